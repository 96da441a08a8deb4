//! Reading: errors of the call, peers that drip, flood, reset, send out of band, or never end a line.

use std::io::Write;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use crate::host::{each, Setup};
use crate::support::{assert_same, in_time, pattern, Peer};

const MIB: u64 = 1 << 20;

#[test]
fn a_read_that_fails_ends_that_client_as_lost_and_the_server_goes_on() {
    each(["ECONNRESET", "ETIMEDOUT", "EHOSTUNREACH", "ENOMEM", "EIO"], |error| {
        // The third read of each worker's thread.
        let fault = format!("recvfrom:error={error}:when=3");
        let Some(setup) = Setup::new().injecting(&fault) else { return };
        let host = setup.start();
        let lost = host.connect();
        lost.assert_echo(b"one");
        lost.assert_echo(b"two");
        lost.wait_for_end();
        host.eventually("it is lost", |report| report.get("Lost") == 1);
        drop(lost);
        // By the same worker, whose next calls don't fail.
        host.finish();
    });
}

#[test]
fn a_drip_and_a_burst_are_intact_with_memory_bounded() {
    let host = Setup::new().start();
    let drip = host.connect();
    for byte in 0..50 {
        drip.assert_echo(&[byte]);
        thread::sleep(Duration::from_millis(10));
    }
    host.connect().assert_echo(&pattern(100_000));
    let before = host.resident();
    let data = pattern(8_000_000);
    let burst = host.connect();
    let sender = burst.stream.try_clone().unwrap();
    let sent = data.clone();
    let sending = thread::spawn(move || (&sender).write_all(&sent).unwrap());
    assert_same(&burst.read(data.len()), &data);
    sending.join().unwrap();
    let grown = host.resident().saturating_sub(before);
    assert!(grown < 2 * MIB, "resident memory grew by {grown} bytes");
    drop((drip, burst));
    host.finish();
}

#[test]
fn a_hundred_mebibytes_without_a_newline_are_too_long_with_memory_bounded_and_an_answer() {
    let host = Setup::new().set("LINES", 1).start();
    // Lines come back without their ends.
    let lines = host.connect();
    lines.send("a line\nand another\n");
    assert_eq!(lines.read(17), b"a lineand another");
    drop(lines);
    let before = host.resident();
    let peer = host.connect();
    let sender = peer.stream.try_clone().unwrap();
    let sending = thread::spawn(move || {
        let chunk = vec![b'x'; MIB as usize];
        (0..100).map_while(|_| (&sender).write_all(&chunk).ok()).count()
    });
    let mut most = 0;
    let answer = in_time("the answer", move || {
        let mut answer = vec![0; 200];
        let count = std::io::Read::read(&mut &peer.stream, &mut answer).unwrap();
        answer.truncate(count);
        (String::from_utf8(answer).unwrap(), peer)
    });
    let (answer, peer) = answer;
    assert!(answer.contains("65536") || answer.contains("long"), "{answer}");
    for _ in 0..10 {
        most = most.max(host.resident().saturating_sub(before));
        thread::sleep(Duration::from_millis(20));
    }
    assert!(most < 8 * MIB, "resident memory grew by {most} bytes");
    drop(peer.stream.shutdown(Shutdown::Both));
    sending.join().unwrap();
    drop(peer);
    host.eventually("it failed", |report| report.get("Failed") == 1);
    host.assert_settled();
    host.end();
}

#[test]
fn resets_at_any_moment_leave_nothing_behind() {
    let host = Setup::new().start();
    let bystander = host.connect();
    for round in 0..100 {
        let peer = host.connect();
        match round % 5 {
            0 => {}
            1 => peer.send(b"x"),
            2 => peer.assert_echo(b"x"),
            3 => peer.send("!flood 2000000"),
            _ => {
                peer.send(pattern(50_000));
                peer.half_close();
            }
        }
        peer.reset();
    }
    bystander.assert_echo(b"untouched");
    drop(bystander);
    host.finish();
}

#[test]
fn half_closed_peers_get_their_whole_replies() {
    let host = Setup::new().start();
    let peers = host.connect_many(5);
    for peer in &peers {
        peer.send("!give 3000000");
        peer.half_close();
    }
    let expected = pattern(3_000_000);
    for peer in peers {
        let mut all = peer.read_to_end();
        assert_eq!(all.split_off(3_000_000), b"closed by the server");
        assert_same(&all, &expected);
    }
    host.finish();
}

#[test]
fn bytes_out_of_band_are_left_out_and_nothing_spins() {
    let host = Setup::new().start();
    let peer = host.connect();
    let socket = peer.stream.socket();
    for round in 0..5 {
        peer.assert_echo(b"in band");
        assert_eq!(socket.send_out_of_band(b"!").unwrap(), 1);
        if round % 2 == 0 {
            thread::sleep(Duration::from_millis(150));
        }
    }
    // The mark stays at the end of what was read.
    let load = host.load(Duration::from_secs(1));
    assert!(load < 0.01, "{:.1} % of a processor", load * 100.0);
    peer.assert_echo(b"in band again");
    // Unread urgent data at the close must not turn the reply's end into RST.
    socket.send_out_of_band(b"!").unwrap();
    peer.send("!give 100000");
    socket.send_out_of_band(b"!").unwrap();
    let mut all = peer.read_to_end();
    assert_eq!(all.split_off(100_000), b"closed by the server");
    drop(peer);
    host.finish();
}

#[test]
fn a_flood_that_never_reads_its_echo_is_held_by_its_own_window() {
    let host = Setup::new().set("WRITE_TIMEOUT", 1000).start();
    let before = host.resident();
    let flooding = Peer::connect_narrow(host.address());
    let sender = flooding.stream.try_clone().unwrap();
    let sending = thread::spawn(move || {
        let chunk = pattern(MIB as usize);
        (0..100).map_while(|_| (&sender).write_all(&chunk).ok()).count()
    });
    let bystander = host.connect();
    for _ in 0..50 {
        bystander.assert_echo(b"untouched");
        thread::sleep(Duration::from_millis(10));
    }
    host.eventually("it is too slow", |report| report.get("TooSlow") == 1);
    let sent = sending.join().unwrap();
    assert!(sent < 100, "the flood was never held");
    let grown = host.resident().saturating_sub(before);
    assert!(grown < 2 * MIB, "resident memory grew by {grown} bytes");
    drop((flooding, bystander));
    host.finish();
}
