//! Writes: whole, unmixed, bounded in time (P5, P7).

use std::collections::HashMap;
use std::io::{self, IoSlice, Write};
use std::thread;
use std::time::{Duration, Instant};

use backport::{Adapter, Client, Result};
use crossbeam_channel::{unbounded, Sender};

use crate::support::{
    assert_same, eventually, in_time, next, pattern, serve, serve_with, Echo, Peer, Served, Watch,
};

/// A served echo, its first client, and that client's peer.
pub(crate) fn connected() -> (Served, Peer, Client, Watch) {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    let peer = served.connect();
    let client = next(&watch.opened);
    (served, peer, client, watch)
}

#[test]
fn records_of_three_threads_are_never_torn() {
    const RECORD: usize = 300_000;
    let (_served, peer, client, _watch) = connected();
    let writers: Vec<_> = (0..3u8)
        .map(|writer| {
            let client = client.clone();
            thread::spawn(move || {
                for _ in 0..20 {
                    client.write(vec![writer; RECORD]).unwrap();
                }
                client
            })
        })
        .collect();
    let mut counts = [0; 3];
    for _ in 0..60 {
        let record = peer.read(RECORD);
        assert!(record.iter().all(|byte| *byte == record[0]), "a torn record");
        counts[usize::from(record[0])] += 1;
    }
    assert_eq!(counts, [20; 3]);
    for writer in writers {
        in_time("the writer ends", || writer.join().unwrap());
    }
}

#[test]
fn formatted_vectored_and_posted_records_never_mix_either() {
    let (_served, peer, client, _watch) = connected();
    let letters = "abcdefgh".repeat(20);
    let ways: [fn(&Client, &str) -> io::Result<()>; 4] = [
        |client, text| writeln!(client, "{}-{}-{}", text.len(), text, text),
        |client, text| {
            let length = text.len().to_string();
            client.write_vectored_all(&[
                length.as_bytes(),
                b"-",
                text.as_bytes(),
                b"-",
                text.as_bytes(),
                b"\n",
            ])
        },
        |client, text| client.write_line(format!("{0}-{1}-{1}", text.len(), text)),
        |client, text| client.post(format!("{0}-{1}-{1}\n", text.len(), text)),
    ];
    let writers: Vec<_> = ways
        .into_iter()
        .map(|way| {
            let (client, letters) = (client.clone(), letters.clone());
            thread::spawn(move || (0..150).for_each(|n| way(&client, &letters[..n]).unwrap()))
        })
        .collect();
    let mut seen: HashMap<usize, usize> = HashMap::new();
    for _ in 0..600 {
        let line = peer.read_line();
        let parts: Vec<_> = line.split('-').collect();
        assert_eq!(parts.len(), 3, "torn: {line}");
        let length: usize = parts[0].parse().unwrap();
        assert!(parts[1] == &letters[..length] && parts[2] == parts[1], "torn: {line}");
        *seen.entry(length).or_default() += 1;
    }
    assert!((0..150).all(|length| seen[&length] == 4));
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

#[test]
fn many_parts_make_one_record() {
    let (_served, peer, client, _watch) = connected();
    // More than one `writev(2)` takes (IOV_MAX is 1,024), some of them empty.
    let data = pattern(60_000);
    let mut parts: Vec<&[u8]> = data.chunks(20).collect();
    parts.insert(7, b"");
    parts.push(b"");
    client.write_vectored_all(&parts).unwrap();
    client.write_vectored_all(&[]).unwrap();
    assert_same(&peer.read(60_000), &data);
}

#[test]
fn a_client_is_a_writer() {
    let (_served, peer, mut client, _watch) = connected();
    assert_eq!(Write::write(&mut client, b"one ").unwrap(), 4);
    client.write_all(b"two ").unwrap();
    assert_eq!(client.write_vectored(&[IoSlice::new(b"th"), IoSlice::new(b"ree ")]).unwrap(), 6);
    write!(&client, "{} ", 4).unwrap();
    io::copy(&mut &b"five"[..], &mut &client).unwrap();
    client.flush().unwrap();
    client.close();
    assert_eq!(peer.read_to_end(), b"one two three 4 five");
}

#[test]
fn a_formatter_that_fails_is_an_error_and_writes_nothing() {
    struct Bad;
    impl std::fmt::Display for Bad {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            Err(std::fmt::Error)
        }
    }
    let (_served, peer, client, _watch) = connected();
    let client = &client;
    write!(client, "begun {Bad}").unwrap_err();
    write!(&client, "as {}", "be".to_owned() + "fore").unwrap();
    assert_eq!(peer.read(9), b"as before");
}

#[test]
fn a_stalled_reader_times_the_write_out_and_ends_the_connection() {
    struct Flood;
    impl Adapter for Flood {
        fn opening(&mut self, client: &Client) -> Result {
            Ok(client.write(vec![b'x'; 50_000_000])?)
        }
    }
    let watch = Watch::new();
    let watched = watch.clone();
    let limit = Duration::from_millis(1500);
    let served = serve_with(move || watched.around(Flood), |server| server.write_timeout(limit));
    let start = Instant::now();
    let _stalled = served.connect();
    assert_eq!(next(&watch.closed), "TooSlow");
    assert!(start.elapsed() >= limit * 8 / 10, "too early: {:?}", start.elapsed());
    assert!(start.elapsed() <= limit * 12 / 10 + Duration::from_secs(1), "late: {:?}", start.elapsed());
    watch.assert_settled(&served);
    assert_eq!(served.server.stats().too_slow, 1);
}

#[test]
fn a_peer_that_goes_away_during_a_write_is_lost_and_not_slow() {
    struct Flood(Sender<io::Error>);
    impl Adapter for Flood {
        fn opening(&mut self, client: &Client) -> Result {
            // The one thread that could notice is in this write.
            self.0.send(client.write(vec![b'x'; 50_000_000]).unwrap_err()).unwrap();
            Ok(())
        }
    }
    let watch = Watch::new();
    let watched = watch.clone();
    let (sender, errors) = unbounded();
    let served = serve(move || watched.around(Flood(sender.clone())));
    let peer = served.connect();
    peer.read(1);
    peer.reset();
    let error = next(&errors);
    assert!(matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{error:?}");
    assert_eq!(next(&watch.closed), "Lost");
    assert_eq!(served.server.stats().too_slow, 0);
}

#[test]
fn a_reader_that_drips_gets_no_more_time_than_a_stalled_one() {
    let watch = Watch::new();
    let watched = watch.clone();
    let limit = Duration::from_millis(1000);
    let served = serve_with(move || watched.around(Echo), |server| server.write_timeout(limit));
    let peer = served.connect();
    let client = next(&watch.opened);
    let (sender, result) = unbounded();
    let writer = client.clone();
    let thread = thread::spawn(move || {
        let data = vec![b'x'; 100_000_000];
        let start = Instant::now();
        sender.send((writer.write(data), start.elapsed())).unwrap();
    });
    // So that each part of the write finds some room, and all of it would take many times the limit.
    let mut drip = vec![0; 50_000];
    while result.is_empty() && io::Read::read(&mut &peer.stream, &mut drip).is_ok_and(|count| count > 0) {
        thread::sleep(Duration::from_millis(5));
    }
    let (error, took) = next(&result);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(error.to_string().contains("write_timeout"), "{error}");
    assert!(took >= limit * 8 / 10 && took <= limit * 12 / 10 + Duration::from_secs(1), "{took:?}");
    assert!(client.is_closed());
    assert_eq!(next(&watch.closed), "TooSlow");
    watch.assert_settled(&served);
    thread.join().unwrap();
}

/// Writes one large record from the worker, to a peer that reads some of it and pauses, again and
/// again: for longer than any one call waits.
fn assert_whole_for_a_reader_that_pauses(prepare: fn(&Peer)) {
    struct Flood(Vec<u8>, Sender<io::Result<()>>);
    impl Adapter for Flood {
        fn receiving(&mut self, client: &Client, _: &[u8]) -> Result {
            self.1.send(client.write(&self.0)).unwrap();
            client.close();
            Ok(())
        }
    }
    let data = pattern(16_000_000);
    let (sender, written) = unbounded();
    let flood = data.clone();
    let served = serve(move || Flood(flood.clone(), sender.clone()));
    let peer = served.connect();
    peer.send(b"go");
    prepare(&peer);
    let mut got = Vec::new();
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(350));
        got.extend(peer.read(500_000));
    }
    assert!(written.is_empty(), "it has never waited");
    got.extend(peer.read_to_end());
    assert_same(&got, &data);
    next(&written).unwrap();
    served.wait_until_empty();
}

#[test]
fn a_record_that_waits_again_and_again_for_its_reader_arrives_once_and_whole() {
    assert_whole_for_a_reader_that_pauses(|_| ());
}

#[test]
fn so_it_does_at_a_reader_that_has_ended_its_side() {
    assert_whole_for_a_reader_that_pauses(Peer::half_close);
}

#[test]
fn a_zero_length_write_is_ok_while_open_and_a_broken_pipe_after() {
    let (served, peer, client, watch) = connected();
    client.write("").unwrap();
    client.post("").unwrap();
    client.write_vectored_all(&[b"", b""]).unwrap();
    drop(peer);
    next(&watch.closed);
    served.wait_until_empty();
    for result in [client.write(""), client.post(""), client.write_vectored_all(&[b"", b""])] {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}

#[test]
fn writes_after_the_end_are_broken_pipes_a_thousand_times() {
    fn assert_broken(client: &Client) {
        for _ in 0..250 {
            for result in [
                client.write("x"),
                client.write_line("x"),
                client.post("x"),
                client.write_vectored_all(&[b"x"]),
            ] {
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            }
        }
    }
    // At once after close() has returned …
    let (served, _peer, client, watch) = connected();
    client.close();
    assert_broken(&client);
    // … once all is over …
    next(&watch.closed);
    served.wait_until_empty();
    assert_broken(&client);
    // … and after the machine.
    served.stop().unwrap();
    assert_broken(&client);
    client.close();
    client.abort();
    assert!(client.is_closed());
}

#[test]
fn a_peer_that_went_away_breaks_the_pipe_and_not_the_server() {
    let (served, peer, client, watch) = connected();
    client.write("unread").unwrap();
    peer.reset();
    eventually("writes fail", || client.write("anyone?").is_err());
    assert_eq!(client.write("anyone?").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(next(&watch.closed), "Lost");
    watch.assert_settled(&served);
    served.assert_echoes();
}

#[test]
fn clients_and_servers_count_their_bytes() {
    let (served, peer, client, watch) = connected();
    let before = Instant::now();
    for _ in 0..3 {
        peer.assert_echo(b"12345");
    }
    let stats = client.stats();
    assert_eq!((stats.bytes_in, stats.bytes_out, stats.backlog), (15, 15, 0));
    assert!(stats.connected_since <= before);
    let corked = client.cork();
    client.write("waits").unwrap();
    let stats = served.server.stats();
    assert_eq!((stats.bytes_in, stats.bytes_out, stats.backlog, stats.current), (15, 15, 5, 1));
    drop(corked);
    assert_eq!(peer.read(5), b"waits");
    drop(peer);
    next(&watch.closed);
    served.wait_until_empty();
    let stats = served.server.stats();
    assert_eq!(
        (stats.bytes_in, stats.bytes_out, stats.accepted, stats.current, stats.peak),
        (15, 20, 1, 0, 1)
    );
    let machine = served.machine().stats();
    assert_eq!((machine.servers, machine.clients.bytes_in, machine.clients.accepted), (1, 15, 1));
}
