//! Many threads at once: posts and broadcasts against closes, accepts against changes of mind.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use backport::Client;

use crate::support::{eventually, in_time, next, serve, serve_with, Echo, Peer, Watch};

const THREADS: u64 = 8;
const TO_ALL: &str = "to all who are there\n";

/// Posts numbered lines until the client is closed; how many were taken.
fn post_until_closed(client: &Client, thread: u64) -> u64 {
    let mut taken = 0;
    while client.post(format!("{thread} {taken}\n")).is_ok() {
        taken += 1;
        // A reader that falls behind would be cut off.
        while client.stats().backlog > 500_000 && !client.is_closed() {
            thread::yield_now();
        }
    }
    taken
}

#[test]
fn all_that_posts_accept_arrives_in_order_whole_and_once_though_a_close_comes_between() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    for round in 0..20 {
        let peer = served.connect();
        let client = next(&watch.opened);
        let posting: Vec<_> = (0..THREADS)
            .map(|number| {
                let client = client.clone();
                thread::spawn(move || post_until_closed(&client, number))
            })
            .collect();
        let closing = thread::spawn(move || {
            eventually("some is posted", || client.stats().bytes_out > 1000 * round);
            client.close();
        });
        let all = String::from_utf8(peer.read_to_end()).unwrap();
        closing.join().unwrap();
        let mut seen = HashMap::new();
        for line in all.lines() {
            let (number, count) = line.split_once(' ').unwrap();
            let next = seen.entry(number.parse::<u64>().unwrap()).or_insert(0);
            assert_eq!(count.parse::<u64>().unwrap(), *next, "out of order");
            *next += 1;
        }
        for (number, thread) in posting.into_iter().enumerate() {
            let taken = in_time("the posts end", move || thread.join().unwrap());
            assert_eq!(seen.get(&(number as u64)).copied().unwrap_or(0), taken, "accepted and lost");
        }
    }
    watch.assert_settled(&served);
    served.stop().unwrap();
}

#[test]
fn broadcasts_among_connects_resets_and_closes_harm_nobody() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    let over = Arc::new(AtomicBool::new(false));
    let broadcasts = Arc::new(AtomicUsize::new(0));
    let (server, stop, counter) = (served.server.clone(), over.clone(), broadcasts.clone());
    let broadcasting = thread::spawn(move || {
        while !stop.load(Ordering::SeqCst) {
            server.broadcast(TO_ALL);
            counter.fetch_add(1, Ordering::SeqCst);
            // The echo's own clients must get a word in.
            thread::sleep(Duration::from_micros(200));
        }
    });
    let bystander = served.connect();
    let its_id = next(&watch.opened).id();
    assert_eq!(bystander.read(TO_ALL.len()), TO_ALL.as_bytes());
    let before = broadcasts.load(Ordering::SeqCst);
    for round in 0..300 {
        let peer = served.connect();
        if round % 10 == 0 {
            // However busy the computer is, broadcasts come between the connects.
            let count = broadcasts.load(Ordering::SeqCst);
            eventually("there is a broadcast", || broadcasts.load(Ordering::SeqCst) > count);
        }
        match round % 4 {
            0 => peer.reset(),
            1 => drop(peer),
            2 => peer.half_close(),
            _ => {
                let clients = served.server.clients();
                clients.iter().filter(|client| client.id() != its_id).for_each(Client::close);
            }
        }
    }
    over.store(true, Ordering::SeqCst);
    broadcasting.join().unwrap();
    bystander.half_close();
    let rest = String::from_utf8(bystander.read_to_end()).unwrap();
    let lines = rest.len() / TO_ALL.len();
    assert_eq!(rest, TO_ALL.repeat(lines));
    // The line that was read first may have been counted only after `before` was taken.
    let since = broadcasts.load(Ordering::SeqCst) - before;
    assert!(since <= lines + 1, "{lines} lines of {since} broadcasts");
    watch.assert_settled(&served);
    served.assert_echoes();
    served.stop().unwrap();
}

#[test]
fn limits_and_suspensions_that_change_all_the_time_forget_no_client() {
    let served = serve_with(|| Echo, |server| server.max_clients(2));
    let over = Arc::new(AtomicBool::new(false));
    let (server, stop) = (served.server.clone(), over.clone());
    let changing = thread::spawn(move || {
        let mut round = 0;
        while !stop.load(Ordering::SeqCst) {
            round += 1;
            server.set_max_clients(1 + round % 3);
            server.suspend();
            thread::yield_now();
            server.resume();
        }
    });
    let address = served.address();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || (0..150).for_each(|_| Peer::connect(address).assert_echo(b"remembered")))
        })
        .collect();
    clients.into_iter().for_each(|client| in_time("all are served", move || client.join().unwrap()));
    over.store(true, Ordering::SeqCst);
    changing.join().unwrap();
    served.wait_until_empty();
    assert_eq!(served.server.stats().accepted, 600);
    served.stop().unwrap();
}

#[test]
fn a_client_whose_peer_and_server_and_machine_all_end_it_at_once_closes_once() {
    for round in 0..40 {
        let watch = Watch::new();
        let watched = watch.clone();
        let served = serve(move || watched.around(Echo));
        let peer = served.connect();
        let client = next(&watch.opened);
        let (server, machine) = (served.server.clone(), served.machine().clone());
        thread::scope(|scope| {
            scope.spawn(|| client.close());
            scope.spawn(|| {
                if round % 2 == 0 {
                    client.abort()
                }
            });
            scope.spawn(|| client.post("a last word"));
            scope.spawn(|| server.stop());
            scope.spawn(|| machine.stop());
            scope.spawn(|| if round % 3 == 0 { peer.reset() } else { drop(peer) });
        });
        in_time("the machine ends", move || served.join()).unwrap();
        watch.assert_balanced();
        assert_eq!(watch.closed.len(), 1);
        assert!(client.is_closed());
    }
}
