//! Writing: errors of the call, and peers whose window stays shut.

use std::time::{Duration, Instant};

use crate::host::{each, Setup};
use crate::support::{in_time, Peer};

#[test]
fn a_write_that_fails_ends_that_client_as_lost_and_the_server_goes_on() {
    each(["ECONNRESET", "EPIPE", "ENOBUFS", "ENOMEM", "EHOSTUNREACH"], |error| {
        // The second write of each worker's thread.
        let fault = format!("sendto:error={error}:when=2");
        let Some(setup) = Setup::new().injecting(&fault) else { return };
        let host = setup.start();
        let lost = host.connect();
        lost.assert_echo(b"one");
        lost.send(b"two");
        lost.wait_for_end();
        host.eventually("it is lost", |report| report.get("Lost") == 1);
        drop(lost);
        // By the same worker, whose next calls don't fail.
        host.finish();
    });
}

#[test]
fn clients_whose_window_stays_shut_are_too_slow_and_no_other_waits() {
    let host = Setup::new().set("WRITE_TIMEOUT", 1000).start();
    let bystander = host.connect();
    let stalled: Vec<_> = (0..10).map(|_| Peer::connect_narrow(host.address())).collect();
    stalled.iter().for_each(|peer| peer.send("!flood 8000000"));
    let start = Instant::now();
    while host.report().get("TooSlow") < 10 {
        bystander.assert_echo(b"untouched");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", host.report());
    }
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    drop((stalled, bystander));
    host.finish();
}

#[test]
fn a_broadcast_to_windows_that_stay_shut_blocks_nobody_and_is_bounded() {
    let host = Setup::new().start();
    let stalled: Vec<_> = (0..5).map(|_| Peer::connect_narrow(host.address())).collect();
    let reading = host.connect();
    let reader = reading.stream.try_clone().unwrap();
    host.eventually("all are there", |report| report.get("opened") == 6);
    let counting = std::thread::spawn(move || {
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut &reader, &mut all).map(|_| all.len()).unwrap()
    });
    let (line, before) = ("x".repeat(4000), host.resident());
    let told = (0..2000).filter(|_| host.ask(&format!("broadcast {line}")) != "0").count();
    assert_eq!(told, 2000);
    host.eventually("the stalled ones were cut off", |report| report.get("TooSlow") == 5);
    let grown = host.resident().saturating_sub(before);
    assert!(grown < 16 << 20, "resident memory grew by {grown} bytes");
    reading.half_close();
    let read = in_time("the reader's end", move || counting.join().unwrap());
    assert_eq!(read, 2000 * 4000 + "closed by the peer".len());
    drop((stalled, reading));
    host.finish();
}

#[test]
fn a_close_to_peers_who_neither_read_nor_end_frees_their_descriptors() {
    let host = Setup::new().start();
    let silent = host.connect_many(10);
    silent.iter().for_each(|peer| peer.assert_echo(b"x"));
    host.tell("close");
    // While the peers are still there.
    host.eventually("all have left", |report| report.get("current") == 0);
    host.assert_settled();
    silent.iter().for_each(|peer| assert_eq!(peer.read_to_end(), b"closed by the server"));
    drop(silent);
    host.finish();
}
