//! Much output, slow peers, peers that send in small parts, and the answers of the protocol in between.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use backport::{receiving, Adapter, Client, Input, Result};
use crossbeam_channel::{unbounded, Receiver, Sender};
use rustls::version::TLS13;
use socket2::{Domain, Socket, Type};

use crate::support::{
    assert_same, eventually, in_time, next, pattern, serve_tcp_with, Echo, ServedTcp, Watch, DEADLINE,
};
use crate::tls_peer::{client, identity, take, tcp, TlsPeer};

/// A server whose clients the test gets.
fn clients() -> (ServedTcp, Receiver<Client>) {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve_tcp_with(
        move || watched.around(Echo),
        |server| server.tls(identity().server()).max_backlog(100 << 20),
    );
    (served, watch.opened)
}

/// A record that says what it is, so that the peer can tell one that is torn or mixed.
fn record(writer: u8, number: u8, size: usize) -> Vec<u8> {
    let mut record = vec![writer, number];
    record.extend_from_slice(&u32::try_from(size).unwrap().to_be_bytes());
    record.extend((0..size).map(|at| (at as u8) ^ (at >> 8) as u8 ^ writer ^ number));
    record
}

/// P5. Three threads write in every way, and the peer has a small window.
#[test]
fn records_of_several_threads_are_neither_torn_nor_mixed() {
    const ROUNDS: u8 = 5;
    let (served, opened) = clients();
    let mut peer = TlsPeer::connect_narrow(served.address());
    let client = next(&opened);
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let client = client.clone();
            thread::spawn(move || {
                for number in 0..4 * ROUNDS {
                    let size = if number % 7 == 3 { 10 } else { 300_000 - usize::from(number) };
                    let record = record(writer, number, size);
                    match (number + writer) % 4 {
                        0 => client.write(&record).unwrap(),
                        1 => client.post(&record).unwrap(),
                        2 => {
                            let (first, rest) = record.split_at(100.min(record.len()));
                            let parts: Vec<_> = [first].into_iter().chain(rest.chunks(20_000)).collect();
                            client.write_vectored_all(&parts).unwrap();
                        }
                        _ => {
                            let _corked = client.cork();
                            client.write(&record).unwrap();
                            client.flush().unwrap();
                        }
                    }
                }
            })
        })
        .collect();
    let mut expected = [0; 3];
    for _ in 0..3 * 4 * ROUNDS {
        let head = peer.read(6);
        let (writer, number) = (head[0], head[1]);
        let size = u32::from_be_bytes(head[2..].try_into().unwrap()) as usize;
        assert!(writer < 3 && number == expected[usize::from(writer)], "{head:?}, expected {expected:?}");
        expected[usize::from(writer)] += 1;
        assert_same(&peer.read(size), &record(writer, number, size)[6..]);
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    client.close();
    assert_same(&peer.read_to_end(), b"");
}

/// Connects with a receive buffer that holds some segments of the loopback interface. In a smaller one no
/// segment has room, and then the kernel does not see the progress of the peer.
fn connect_slow(served: &ServedTcp) -> TlsPeer {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(256 * 1024).unwrap();
    socket.connect_timeout(&served.address().into(), DEADLINE).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    TlsPeer::over(stream, identity().client())
}

/// Reads 4 KiB in each hundredth of a second.
fn read_slowly(peer: &mut TlsPeer) -> Vec<u8> {
    let (mut all, mut some) = (Vec::new(), vec![0; 4096]);
    loop {
        match peer.stream.read(&mut some) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&some[..count]),
            Err(error) => panic!("{error} after {} bytes", all.len()),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// P6, with at most 400 kB/s for some three seconds.
#[test]
fn a_peer_that_reads_slowly_but_steadily_is_not_cut_at_a_close() {
    let (served, opened) = clients();
    let mut peer = connect_slow(&served);
    let client = next(&opened);
    let posting = client.clone();
    let data = pattern(1_200_000);
    posting.post(&data).unwrap();
    client.close();
    assert_same(&read_slowly(&mut peer), &data);
}

/// After a stop, only the drain timeout limits the delivery, and not the five seconds of a close.
#[test]
fn a_peer_that_reads_slowly_but_steadily_is_not_cut_at_a_stop() {
    let (served, opened) = clients();
    served.machine().set_drain_timeout(Duration::from_secs(60));
    let mut peer = connect_slow(&served);
    let data = pattern(2_800_000);
    next(&opened).post(&data).unwrap();
    let stopping = thread::spawn(move || served.stop());
    let start = Instant::now();
    assert_same(&read_slowly(&mut peer), &data);
    assert!(start.elapsed() > Duration::from_secs(5), "it was too fast to be a test");
    drop(peer);
    stopping.join().unwrap().unwrap();
}

/// One thread blocks in a write while another closes.
#[test]
fn a_close_delivers_the_write_that_is_blocked() {
    let (served, opened) = clients();
    let mut peer = TlsPeer::connect_narrow(served.address());
    let client = next(&opened);
    let writing = client.clone();
    let (data, size) = (pattern(6_000_000), 6_000_000);
    let sent = data.clone();
    let writer = thread::spawn(move || writing.write(sent));
    assert_same(&peer.read(100_000), &data[..100_000]);
    client.post("behind").unwrap();
    client.close();
    assert!(client.post("too late").is_err());
    let rest = peer.read_to_end();
    assert_eq!(rest.len(), size - 100_000 + 6);
    assert_same(&rest, &[&data[100_000..], b"behind"].concat());
    writer.join().unwrap().unwrap();
}

/// Each change of keys of the peer wants an answer, which must go between the records of the writer.
#[test]
fn the_peer_changes_its_keys_while_the_server_writes() {
    const COUNT: usize = 8_000_000;
    let (served, opened) = clients();
    let peer = TlsPeer::over(tcp(served.address()), identity().client_with(&[&TLS13]));
    let writing = next(&opened);
    let writer =
        thread::spawn(move || pattern(COUNT).chunks(100_000).try_for_each(|part| writing.write(part)));
    let (mut tls, mut socket) = (peer.stream.conn, peer.stream.sock);
    let (mut received, mut some, mut changes) = (Vec::new(), vec![0; 100_000], 0);
    while received.len() < COUNT {
        tls.read_tls(&mut socket).unwrap();
        tls.process_new_packets().unwrap();
        if let Ok(count) = tls.reader().read(&mut some) {
            received.extend_from_slice(&some[..count]);
        }
        // The server also receives under the new keys. Its echo of nothing is nothing.
        if received.len() > changes * 500_000 {
            changes += 1;
            tls.refresh_traffic_keys().unwrap();
        }
        while tls.wants_write() {
            tls.write_tls(&mut socket).unwrap();
        }
    }
    assert!(changes > 10);
    assert_same(&received, &pattern(COUNT));
    writer.join().unwrap().unwrap();
    let mut peer = TlsPeer { stream: rustls::StreamOwned::new(tls, socket) };
    peer.assert_echo(b"under the new keys");
}

/// A server that only receives answers a change of keys with its next output.
#[test]
fn the_peer_changes_its_keys_while_the_server_is_silent() {
    let (served, _) = clients();
    let mut peer = TlsPeer::over(tcp(served.address()), identity().client_with(&[&TLS13]));
    for round in 0..20 {
        peer.stream.conn.refresh_traffic_keys().unwrap();
        peer.assert_echo(format!("round {round}").as_bytes());
    }
}

/// Tells how its reads with a deadline end.
struct Deadlines(Sender<(Result<Vec<u8>, std::io::ErrorKind>, Duration)>);

impl Adapter for Deadlines {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        client.write("ready")?;
        loop {
            let start = Instant::now();
            input.set_deadline(Some(start + Duration::from_millis(500)));
            let result = match input.chunk() {
                Ok(None) => return Ok(()),
                Ok(Some(data)) => Ok(data.to_vec()),
                Err(error) => Err(error.kind()),
            };
            self.0.send((result, start.elapsed()))?;
        }
    }
}

/// The parts of a record do not begin the limit again, and no byte is lost.
#[test]
fn a_deadline_holds_in_total_for_a_peer_that_drips_a_record() {
    for size in [100, 10_000] {
        let (sender, reads) = unbounded();
        let served =
            serve_tcp_with(move || Deadlines(sender.clone()), |server| server.tls(identity().server()));
        let mut peer = TlsPeer::connect(served.address());
        assert_eq!(peer.read(5), b"ready");
        peer.stream.conn.writer().write_all(&pattern(size)).unwrap();
        let record = take(&mut peer.stream.conn);
        let (last, start) = (record.len() - 1, Instant::now());
        for part in record[..last].chunks(record.len() / 50 + 1) {
            peer.stream.sock.write_all(part).unwrap();
            thread::sleep(Duration::from_millis(30));
        }
        assert!(start.elapsed() > Duration::from_millis(1200), "it was too fast to be a test");
        let timeouts: Vec<_> = reads.try_iter().collect();
        assert!(timeouts.len() >= 2, "{} reads have ended", timeouts.len());
        for (result, took) in timeouts {
            assert_eq!(result, Err(std::io::ErrorKind::TimedOut));
            assert!(took > Duration::from_millis(450) && took < Duration::from_secs(5), "{took:?}");
        }
        peer.stream.sock.write_all(&record[last..]).unwrap();
        let mut all = Vec::new();
        while all.len() < size {
            if let Ok(data) = next(&reads).0 {
                all.extend_from_slice(&data);
            }
        }
        assert_same(&all, &pattern(size));
    }
}

/// A peer that drips a record without an end is idle.
#[test]
fn an_idle_timeout_holds_in_total_for_a_peer_that_drips_a_record() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve_tcp_with(
        move || watched.around(Echo),
        |server| server.tls(identity().server()).idle_timeout(Duration::from_millis(500)),
    );
    let mut peer = TlsPeer::connect(served.address());
    peer.stream.conn.writer().write_all(&pattern(16_000)).unwrap();
    let (record, start) = (take(&mut peer.stream.conn), Instant::now());
    for byte in &record {
        if peer.stream.sock.write_all(&[*byte]).is_err() || !watch.closed.is_empty() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(next(&watch.closed), "Idle");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// Two threads send, and the adapter echoes.
#[test]
fn a_large_echo_while_another_thread_posts_lines() {
    let (served, opened) = clients();
    let peer = TlsPeer::connect(served.address());
    let client = next(&opened);
    let running = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let going = Arc::clone(&running);
    let poster = thread::spawn(move || {
        let mut posted = 0;
        while going.load(std::sync::atomic::Ordering::Relaxed) && posted < 100_000 {
            // 255 does not occur in what is echoed.
            client.post([255; 100]).unwrap();
            posted += 1;
            thread::sleep(Duration::from_micros(200));
        }
        client.close();
        posted
    });
    let data: Vec<u8> = pattern(3_000_000).into_iter().map(|byte| byte % 255).collect();
    let (mut tls, socket) = (peer.stream.conn, peer.stream.sock);
    socket.set_nonblocking(true).unwrap();
    let (mut sent, mut echoed, mut lines, start) = (0, Vec::new(), 0, Instant::now());
    let mut some = vec![0; 100_000];
    let mut ended = false;
    while !ended {
        assert!(start.elapsed() < DEADLINE, "{sent} sent, {} echoed", echoed.len());
        if sent < data.len() && !tls.wants_write() {
            sent += tls.writer().write(&data[sent..(sent + 16_384).min(data.len())]).unwrap();
        }
        while tls.wants_write() && tls.write_tls(&mut &socket).is_ok() {}
        if tls.read_tls(&mut &socket).is_ok() {
            tls.process_new_packets().unwrap();
            match tls.reader().read(&mut some) {
                Ok(0) => ended = true,
                Ok(count) => {
                    lines += some[..count].iter().filter(|byte| **byte == 255).count();
                    echoed.extend(some[..count].iter().filter(|byte| **byte != 255));
                }
                Err(_) => {}
            }
        }
        if echoed.len() == data.len() {
            running.store(false, std::sync::atomic::Ordering::Relaxed);
        }
    }
    assert_same(&echoed, &data);
    let posted = in_time("the poster", move || poster.join()).unwrap();
    assert_eq!(lines, posted * 100);
}

/// Input that arrives while a callback runs and a peer that sends in tiny records.
#[test]
fn many_tiny_records_in_one_segment() {
    let served = serve_tcp_with(
        || receiving(|client: &Client, data| Ok(client.write(data)?)),
        |server| server.tls(identity().server()),
    );
    let mut stream = tcp(served.address());
    let mut tls = client(identity().client());
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).unwrap();
    }
    tls.set_buffer_limit(None);
    let data = pattern(5000);
    for byte in &data {
        tls.writer().write_all(&[*byte]).unwrap();
    }
    stream.write_all(&take(&mut tls)).unwrap();
    let mut peer = TlsPeer { stream: rustls::StreamOwned::new(tls, stream.into()) };
    assert_same(&peer.read(5000), &data);
    eventually("nothing is left", || served.server.stats().bytes_in == 5000);
}
