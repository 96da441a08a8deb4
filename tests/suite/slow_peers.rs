//! A close against a peer that reads slowly, or not at all (P6, P8).

use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;

use crate::closing::{Reply, REPLY};
use crate::support::{assert_same, eventually, next, nothing, pattern, serve, serve_tcp, Echo, Peer, Watch};

/// Reads `total` bytes within about `pace`, in twenty parts, sending a little in between, and
/// expects the end of input after it.
fn read_slowly_and_send(peer: &Peer, total: usize, pace: Duration, first_sent: usize) {
    let mut got = Vec::new();
    for part in 0..20 {
        thread::sleep(pace / 20);
        if part >= first_sent {
            // The server may have ended its side, but must still take what comes.
            io::Write::write_all(&mut &peer.stream, b"still sending").unwrap();
        }
        let mut chunk = vec![0; total / 20];
        if let Err(error) = (&peer.stream).read_exact(&mut chunk) {
            panic!("{error} after {} bytes", got.len());
        }
        got.extend(chunk);
    }
    assert_same(&got, &pattern(total));
    assert_eq!(peer.read_to_end(), b"");
}

#[test]
fn what_was_written_long_before_the_close_arrives_too() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve_tcp(move || watched.around(backport::receiving(|_, _| Ok(()))));
    let peer = served.connect();
    let client = next(&watch.opened);
    // The kernel takes it all, which only TCP does; the peer is busy for a while and reads later.
    client.write(pattern(REPLY)).unwrap();
    thread::sleep(Duration::from_millis(1300));
    client.close();
    read_slowly_and_send(&peer, REPLY, Duration::from_millis(800), 2);
}

#[test]
fn a_peer_that_reads_makes_progress_though_it_sends_nothing_for_a_while() {
    let served = serve(|| Reply);
    let peer = Peer::connect_narrow(served.address());
    peer.send(b"?");
    read_slowly_and_send(&peer, REPLY, Duration::from_millis(3000), 14);
}

#[test]
fn close_returns_while_a_write_blocks_and_the_writer_fails_soon() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    let _stalled = served.connect();
    let client = next(&watch.opened);
    let (sender, result) = unbounded();
    let writer = client.clone();
    let thread = thread::spawn(move || sender.send(writer.write(vec![0; 50_000_000])).unwrap());
    nothing(&result);
    let start = Instant::now();
    client.close();
    assert!(start.elapsed() < Duration::from_millis(500), "close blocked: {:?}", start.elapsed());
    next(&result).unwrap_err();
    assert!(start.elapsed() < Duration::from_millis(5500), "the writer: {:?}", start.elapsed());
    assert_eq!(next(&watch.closed), "ByServer");
    watch.assert_settled(&served);
    thread.join().unwrap();
}

#[test]
fn a_write_that_blocks_at_the_close_is_whole_for_a_peer_that_reads() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    let peer = served.connect();
    let client = next(&watch.opened);
    // More than the buffers of both sides hold, and no more: it has to be read within the linger.
    let data = pattern(8_000_000);
    let (writer, written) = (client.clone(), data.clone());
    let (sender, result) = unbounded();
    let thread = thread::spawn(move || sender.send(writer.write(written)).unwrap());
    nothing(&result);
    client.close();
    assert_same(&peer.read_to_end(), &data);
    next(&result).unwrap();
    thread.join().unwrap();
}

/// No callback waits for the writer.
#[test]
fn a_write_of_another_thread_is_whole_though_the_callback_that_closes_has_returned() {
    const COUNT: usize = 8_000_000;
    let (sender, result) = unbounded();
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || {
        let sender = sender.clone();
        watched.around(backport::receiving(move |client, _| {
            let (writer, sender) = (client.clone(), sender.clone());
            drop(thread::spawn(move || sender.send(writer.write(pattern(COUNT)))));
            eventually("it has begun", || client.stats().bytes_out > 0);
            client.close();
            Ok(())
        }))
    });
    let peer = served.connect();
    peer.send(b"?");
    assert_eq!(next(&watch.closed), "ByServer");
    assert_same(&peer.read_to_end(), &pattern(COUNT));
    next(&result).unwrap();
}

/// A window that small belongs to a small device. Nothing was written for a while, so it can't be
/// told by that whether all has arrived.
#[test]
fn what_was_written_long_before_the_close_arrives_through_a_small_window_too() {
    const COUNT: usize = 30_000;
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(backport::receiving(|_, _| Ok(()))));
    let peer = Peer::connect_narrow(served.address());
    let client = next(&watch.opened);
    client.write(pattern(COUNT)).unwrap();
    thread::sleep(Duration::from_millis(1100));
    client.close();
    // It speaks meanwhile, which is answered with a reset once nobody listens.
    let mut read = Vec::new();
    let mut part = [0; 1000];
    loop {
        drop(std::io::Write::write(&mut &peer.stream, b"y"));
        match std::io::Read::read(&mut &peer.stream, &mut part) {
            Ok(0) => break,
            Ok(count) => read.extend_from_slice(&part[..count]),
            Err(error) => panic!("{error} after {} bytes", read.len()),
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_same(&read, &pattern(COUNT));
}
