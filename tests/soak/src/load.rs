//! The process of the clients. Its threads visit the servers until its standard input ends.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver};

use crate::options::Options;
use crate::random::Random;
use crate::visits::{Visitor, VISITS};

/// The visits of one client by their names, and their faults.
#[derive(Default)]
struct Diary {
    visits: BTreeMap<&'static str, u64>,
    faults: Vec<String>,
}

/// Runs the whole process. Returns the faults.
pub(crate) fn run(addresses: [SocketAddr; 3], options: &Options) -> io::Result<Vec<String>> {
    let (word, stop) = bounded::<()>(0);
    let pause = Duration::from_secs(1) * options.clients / options.rate;
    let clients: Vec<_> = (0..options.clients)
        .map(|nth| {
            let visitor = Visitor { random: Random::new(options.seed, nth), addresses };
            let stop = stop.clone();
            thread::spawn(move || visit(visitor, pause, &stop))
        })
        .collect();
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(word);
    let mut all = Diary::default();
    for client in clients {
        let diary = client.join().map_err(|_| io::Error::other("a client panicked"))?;
        diary.visits.into_iter().for_each(|(name, count)| *all.visits.entry(name).or_default() += count);
        all.faults.extend(diary.faults);
    }
    let each: Vec<_> = all.visits.iter().map(|(name, count)| format!("{count} {name}")).collect();
    println!("visits: {}", each.join(", "));
    all.faults.truncate(10);
    Ok(all.faults)
}

/// Visits the servers until the stop, once in each `pause` at most.
fn visit(mut visitor: Visitor, pause: Duration, stop: &Receiver<()>) -> Diary {
    let mut diary = Diary::default();
    let all = VISITS.iter().map(|visit| visit.weight).sum::<usize>();
    // The clients do not start at the same time.
    let mut next = Instant::now() + visitor.random.millis(0..=pause.as_millis() as usize);
    while stop.recv_deadline(next).is_err_and(|error| error.is_timeout()) {
        next += pause;
        let mut lot = visitor.random.from(1..=all);
        let visit = VISITS.iter().find(|visit| {
            let found = lot <= visit.weight;
            lot = lot.saturating_sub(visit.weight);
            found
        });
        let Some(visit) = visit else { continue };
        *diary.visits.entry(visit.name).or_default() += 1;
        if let Err(error) = (visit.run)(&mut visitor) {
            diary.faults.push(format!("{}: {error}", visit.name));
        }
        // The visits that a long one has delayed are skipped.
        next = next.max(Instant::now());
    }
    diary
}
