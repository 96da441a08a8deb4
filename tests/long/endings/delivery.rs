//! Every way to write, and every way to end, with peers that keep reading: all of it arrives, then the end (P6).

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use backport::{Adapter, Client, Closing, Input, Machine, Result, TcpServer};
use crossbeam_channel::{bounded, Receiver, Sender};

use crate::lateness::{Lateness, TOLERATED};
use crate::network::{Network, SERVER};
use crate::readers::{connect, read, Behaviour};
use crate::support::{eventually, next, pattern};

const GOODBYE: usize = 100_000;
const ROUNDS: usize = 3;
/// In kilobytes per second.
const RATES: [usize; 3] = [300, 700, 3000];
/// How often a case runs in all, if the computer had no time for it.
const ATTEMPTS: usize = 4;

/// How the output is written and how the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    PostThenClose,
    PostThenStop,
    WriteThenClose,
    WriteThenStop,
    /// Another thread's write is blocked when the end begins.
    BlockedWriteAndClose,
    BlockedWriteAndStop,
    /// `serving` returns, and there is input that it has not read.
    UnreadInput,
    /// `closing` writes everything.
    GoodbyeAtStop,
    GoodbyeAtClose,
    PostHalfCloseThenClose,
    PostHalfCloseThenStop,
}

use Path::*;

impl Path {
    fn says_goodbye(self) -> bool {
        matches!(self, PostThenStop | WriteThenStop | BlockedWriteAndStop | PostThenClose)
    }
}

struct Case {
    path: Path,
    behaviour: Behaviour,
    size: usize,
    delayed: bool,
    round: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { path, behaviour, size, delayed, round } = self;
        write!(f, "{path:?} of {size} bytes, {behaviour:?}, delayed: {delayed}, round {round}")
    }
}

/// Gives its client to the test, reads until the test lets it end, and says goodbye.
struct Subject {
    clients: Sender<Client>,
    ends: Option<Receiver<()>>,
    goodbye: usize,
}

impl Adapter for Subject {
    fn opening(&mut self, client: &Client) -> Result {
        Ok(self.clients.send(client.clone())?)
    }
    fn serving(&mut self, _: &Client, input: &mut Input) -> Result {
        match &self.ends {
            Some(ends) => drop(ends.recv()),
            None => while input.chunk()?.is_some() {},
        }
        Ok(())
    }
    fn closing(&mut self, client: &Client, _: &Closing) {
        let written = client.write(pattern(self.goodbye));
        assert!(written.is_ok() || self.goodbye == 0, "{written:?}");
    }
}

/// Runs one case, and returns what went wrong.
fn run(case: &Case, network: Option<&Network>) -> Result<(), String> {
    let Case { path, behaviour, size, .. } = *case;
    let machine = Machine::new();
    machine.set_drain_timeout(Duration::from_secs(25));
    let ((clients, client), (keeper, ends)) = (bounded(1), bounded(0));
    let ends = (path == UnreadInput).then_some(ends);
    let goodbye = match path {
        GoodbyeAtStop | GoodbyeAtClose => size,
        _ if path.says_goodbye() => GOODBYE,
        _ => 0,
    };
    let factory = move || Subject { clients: clients.clone(), ends: ends.clone(), goodbye };
    let own = machine.clone();
    let prepare = move |address: &str| {
        let server = TcpServer::new(address.to_owned(), factory).max_backlog(20_000_000);
        own.prepare(server).unwrap().local_addr()
    };
    let address = match network {
        None => prepare("127.0.0.1:0"),
        Some(network) => network.within(0, move || prepare(SERVER)),
    };
    let running = machine.start().unwrap();
    let stream: TcpStream = match network {
        None => connect(address, behaviour.rate),
        Some(network) => network.within(1, move || connect(address, behaviour.rate)),
    };
    let client = next(&client);
    if path == UnreadInput {
        io::Write::write_all(&mut &stream, &[0; 2000]).unwrap();
    }
    let reader = thread::spawn(move || {
        let read = read(&stream, behaviour);
        // The stream is open until here.
        drop(stream);
        read
    });
    let writer = write(path, &client, size);
    // The reader has read for a while.
    thread::sleep(Duration::from_millis(300));
    end(path, &client, &machine, keeper);
    let (said, result) = reader.join().unwrap();
    let written = writer.is_none_or(|writer| writer.join().unwrap().is_ok());
    let closed = running.stop();
    let mut expected =
        if matches!(path, GoodbyeAtStop | GoodbyeAtClose) { Vec::new() } else { pattern(size) };
    expected.extend(pattern(goodbye));
    if said != expected || result.is_err() || !written || closed.is_err() {
        let (got, of) = (said.len(), expected.len());
        return Err(format!("{case}: {got} of {of} bytes, {result:?}, written: {written}, run: {closed:?}"));
    }
    Ok(())
}

/// Writes the output. Returns the thread of a write that is blocked.
fn write(path: Path, client: &Client, size: usize) -> Option<thread::JoinHandle<io::Result<()>>> {
    match path {
        PostThenClose | PostThenStop | UnreadInput | PostHalfCloseThenClose | PostHalfCloseThenStop => {
            client.post(pattern(size)).unwrap();
        }
        WriteThenClose | WriteThenStop => client.write(pattern(size)).unwrap(),
        BlockedWriteAndClose | BlockedWriteAndStop => {
            let (writer, record) = (client.clone(), pattern(size));
            let thread = thread::spawn(move || writer.write(record));
            eventually("the write has begun", || client.stats().bytes_out > 0);
            return Some(thread);
        }
        GoodbyeAtStop | GoodbyeAtClose => {}
    }
    None
}

fn end(path: Path, client: &Client, machine: &Machine, keeper: Sender<()>) {
    if matches!(path, PostHalfCloseThenClose | PostHalfCloseThenStop) {
        client.close_write();
    }
    match path {
        PostThenClose | WriteThenClose | BlockedWriteAndClose | GoodbyeAtClose | PostHalfCloseThenClose => {
            client.close();
        }
        UnreadInput => drop(keeper),
        _ => machine.stop(),
    }
}

/// Enough for three seconds at the rate, which is less than the five that a close may take.
fn size(rate: usize, goodbye: bool) -> usize {
    (rate * 2700).min(4_000_000) - if goodbye { GOODBYE } else { 0 }
}

fn cases(delayed: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    let paths = [
        PostThenClose,
        PostThenStop,
        WriteThenClose,
        WriteThenStop,
        BlockedWriteAndClose,
        BlockedWriteAndStop,
        UnreadInput,
        GoodbyeAtStop,
        GoodbyeAtClose,
        PostHalfCloseThenClose,
        PostHalfCloseThenStop,
    ];
    let senders = [None, Some(50), Some(300), Some(1500)].map(|ms| ms.map(Duration::from_millis));
    for round in 0..ROUNDS {
        // The rates come in turn, so that not all cases at one time are fast.
        for path in paths {
            for sends_every in senders {
                // All of them take too long over a slow link.
                let few = sends_every.is_none() || sends_every == senders[round % 3 + 1];
                if delayed && !few {
                    continue;
                }
                for rate in RATES {
                    let size = size(rate, path.says_goodbye());
                    let behaviour = Behaviour { rate, sends_every, pause: None };
                    cases.push(Case { path, behaviour, size, delayed, round });
                }
            }
        }
        for path in [PostThenClose, PostThenStop, WriteThenStop, GoodbyeAtStop] {
            for rate in RATES {
                // Less, because the pause takes its time, too.
                let size = size(rate, path.says_goodbye()) * 3 / 4;
                let pause = Some((size / 3, Duration::from_millis(800)));
                let behaviour = Behaviour { rate, sends_every: None, pause };
                cases.push(Case { path, behaviour, size, delayed, round });
            }
        }
    }
    cases
}

/// Runs a case. If it fails and the computer was late meanwhile, it says nothing, so it runs again.
fn run_steadily(case: &Case, network: Option<&Network>, lateness: &Lateness) -> Result<(), String> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let start = Instant::now();
        let failure = match run(case, network) {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        // Whoever was late needs a moment to notice.
        thread::sleep(2 * TOLERATED);
        if attempts == ATTEMPTS || !lateness.is_since(start) {
            return Err(format!("{failure}, attempt {attempts}"));
        }
        println!("the computer had no time for this case: {failure}");
    }
}

/// Runs the cases, so many at a time, and no other test of this file.
#[track_caller]
fn run_all(cases: Vec<Case>, at_once: usize, network: Option<&Network>) {
    static ONE_TEST: Mutex<()> = Mutex::new(());
    let _one_test = ONE_TEST.lock();
    let count = cases.len();
    let (queue, failures) = (Mutex::new(cases), Mutex::new(Vec::new()));
    // Each thread that runs cases keeps a clone, also while it panics.
    let working: Arc<()> = Arc::default();
    let workers: Vec<_> = (0..at_once).map(|_| Arc::clone(&working)).collect();
    let lateness = network.map_or_else(Arc::default, |network| Arc::clone(&network.lateness));
    thread::scope(|scope| {
        scope.spawn(|| lateness.watch(|| Arc::strong_count(&working) == 1));
        for worker in workers {
            let (queue, failures, lateness) = (&queue, &failures, &lateness);
            scope.spawn(move || {
                loop {
                    let case = queue.lock().unwrap().pop();
                    let Some(case) = case else { break };
                    if let Err(failure) = run_steadily(&case, network, lateness) {
                        failures.lock().unwrap().push(failure);
                    }
                }
                drop(worker);
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {count} cases failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn steady_readers_get_everything() {
    run_all(cases(false), 32, None);
}

#[test]
fn steady_readers_behind_a_delay_get_everything() {
    let Some(network) = Network::new() else { return };
    run_all(cases(true), 12, Some(&network));
}
