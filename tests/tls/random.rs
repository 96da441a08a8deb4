//! Random mixes of output to a peer with a small window, and random portions of input.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use backport::{receiving, Adapter, Client, Machine, Running, TcpHandle, TcpServer};
use crossbeam_channel::Receiver;
use proptest::collection::vec;
use proptest::prelude::*;
use socket2::SockRef;

use crate::support::{self, assert_same, next, pattern, Watch};
use crate::tls_peer::{client, identity, take, tcp, TlsPeer};

/// A server whose sockets have small send buffers, which they inherit from the listener.
struct Narrow {
    server: TcpHandle,
    running: Running,
}

impl Narrow {
    fn serve<A: Adapter>(factory: impl Fn() -> A + Send + Sync + 'static) -> Narrow {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        SockRef::from(&listener).set_send_buffer_size(4096).unwrap();
        let machine = Machine::new();
        let server = TcpServer::from_listener(listener, factory);
        let server = server.tls(identity().server()).max_backlog(100 << 20);
        let server = machine.prepare(server).unwrap();
        Narrow { server, running: machine.start().unwrap() }
    }

    fn watched<A: Adapter>(
        factory: impl Fn() -> A + Send + Sync + 'static,
    ) -> (Narrow, Receiver<Client>, Receiver<&'static str>) {
        let watch = Watch::new();
        let watched = watch.clone();
        (Narrow::serve(move || watched.around_serving(factory())), watch.opened, watch.closed)
    }
}

/// One call of the side that writes.
#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Vectored(Vec<usize>),
    Post(usize),
    /// Writes and posts under a cork.
    Corked(Vec<(bool, usize)>),
    Flush,
    Pause,
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 1..200usize,
        3 => 1000..20_000usize,
        2 => prop_oneof![Just(16_384), Just(16_385), Just(65_536), Just(65_535), Just(65_537)],
        1 => 100_000..250_000usize,
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => sizes().prop_map(Step::Write),
        2 => vec(sizes(), 0..12).prop_map(Step::Vectored),
        4 => sizes().prop_map(Step::Post),
        2 => vec((any::<bool>(), sizes()), 0..6).prop_map(Step::Corked),
        1 => Just(Step::Flush),
        1 => Just(Step::Pause),
    ];
    vec(step, 1..12)
}

/// How the side that writes ends.
#[derive(Clone, Copy, Debug)]
enum Finish {
    Close,
    CloseWrite,
    Return,
    Stop,
}

fn finishes() -> impl Strategy<Value = Finish> {
    prop_oneof![Just(Finish::Close), Just(Finish::CloseWrite), Just(Finish::Return), Just(Finish::Stop)]
}

/// The bytes of a stream, whose position shows.
struct Source(usize);

impl Source {
    fn take(&mut self, count: usize) -> Vec<u8> {
        let bytes = (self.0..self.0 + count).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
        self.0 += count;
        bytes
    }
}

/// Takes the steps, and returns how many bytes they were.
fn write(client: &Client, steps: &[Step]) -> usize {
    let mut source = Source(0);
    for step in steps {
        match step {
            Step::Write(count) => client.write(source.take(*count)).unwrap(),
            Step::Post(count) => client.post(source.take(*count)).unwrap(),
            Step::Vectored(counts) => {
                let parts: Vec<_> = counts.iter().map(|count| source.take(*count)).collect();
                let parts: Vec<_> = parts.iter().map(|part| &part[..]).collect();
                client.write_vectored_all(&parts).unwrap();
            }
            Step::Corked(parts) => {
                let _corked = client.cork();
                for (post, count) in parts {
                    let data = source.take(*count);
                    if *post { client.post(data) } else { client.write(data) }.unwrap();
                }
            }
            Step::Flush => client.flush().unwrap(),
            Step::Pause => thread::sleep(Duration::from_millis(3)),
        }
    }
    source.0
}

/// Reads everything, in portions of these sizes and with pauses.
fn read(peer: &mut TlsPeer, portions: &[usize]) -> Vec<u8> {
    let mut all = Vec::new();
    for portion in portions.iter().cycle() {
        let mut some = vec![0; *portion];
        match peer.stream.read(&mut some) {
            Ok(0) => break,
            Ok(count) => all.extend_from_slice(&some[..count]),
            Err(error) => panic!("{error} after {} bytes", all.len()),
        }
        if portion % 7 == 0 {
            thread::sleep(Duration::from_micros(500));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, max_shrink_time: 20_000, ..ProptestConfig::default() })]

    /// The contract of retried writes: whatever the socket takes, the stream is all records in their order.
    #[test]
    fn any_mix_of_output_arrives_in_order_and_whole(
        steps in steps(), finish in finishes(), portions in vec(1000..70_000usize, 1..10), wide in any::<bool>()
    ) {
        let (narrow, opened, closed) = Narrow::watched(|| receiving(|client, data| match data {
            b"return" => Err("on purpose".into()),
            data => Ok(client.write(data)?),
        }));
        narrow.running.machine().set_drain_timeout(Duration::from_secs(60));
        let address = narrow.server.local_addr();
        let stream = if wide { tcp(address) } else { support::narrow(address) };
        let mut peer = TlsPeer::over(stream, identity().client());
        let client = next(&opened);
        let reader = thread::spawn(move || {
            if matches!(finish, Finish::Return) {
                peer.send("return");
            }
            (read(&mut peer, &portions), peer)
        });
        if matches!(finish, Finish::Return) {
            // The callback fails at any moment while another thread writes.
            drop(client.post("x"));
            let (received, peer) = reader.join().unwrap();
            prop_assert!(received == b"x" || received.is_empty());
            drop(peer);
            prop_assert_eq!(next(&closed), "Failed");
            return Ok(());
        }
        let total = write(&client, &steps);
        let stopping = match finish {
            Finish::Close => { client.close(); None }
            Finish::CloseWrite => { client.close_write(); None }
            _ => Some(thread::spawn(move || narrow.running.stop())),
        };
        let (received, peer) = reader.join().unwrap();
        assert_same(&received, &Source(0).take(total));
        drop(peer);
        if let Some(stopping) = stopping {
            stopping.join().unwrap().unwrap();
        }
    }

    /// Several threads write records, while the peer sends and changes its keys.
    #[test]
    fn any_mix_of_output_of_two_threads_is_two_streams(
        first in steps(), second in steps(), portions in vec(1000..70_000usize, 1..10)
    ) {
        let (narrow, opened, _closed) = Narrow::watched(|| receiving(|_, _| Ok(())));
        let mut peer = TlsPeer::over(support::narrow(narrow.server.local_addr()), identity().client());
        let client = next(&opened);
        let writers: Vec<_> = [first, second]
            .into_iter()
            .zip([0u8, 0x80])
            .map(|(steps, mark)| {
                let client = client.clone();
                thread::spawn(move || {
                    let mut count = 0;
                    for step in &steps {
                        count += match step {
                            Step::Write(size) | Step::Post(size) => {
                                // Seven bits of the position, and a mark.
                                let record: Vec<_> = (0..*size).map(|at| ((count + at) as u8 & 0x7f) | mark).collect();
                                if matches!(step, Step::Post(_)) { client.post(record) } else { client.write(record) }.unwrap();
                                *size
                            }
                            _ => { client.flush().unwrap(); 0 }
                        };
                    }
                    count
                })
            })
            .collect();
        let closer = {
            let client = client.clone();
            thread::spawn(move || {
                let counts: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
                client.close();
                counts
            })
        };
        let received = read(&mut peer, &portions);
        let counts = closer.join().unwrap();
        for (mark, count) in [0, 0x80].into_iter().zip(counts) {
            let stream: Vec<_> = received.iter().filter(|byte| **byte & 0x80 == mark).map(|byte| byte & 0x7f).collect();
            let expected: Vec<_> = (0..count).map(|at| at as u8 & 0x7f).collect();
            assert_same(&stream, &expected);
        }
    }

    /// Any portions of the ciphertext give the same input.
    #[test]
    fn any_portions_of_records_are_the_same_input(
        sizes in vec(sizes(), 1..8), cuts in vec(1..30_000usize, 1..20), tiny in any::<bool>()
    ) {
        let served = shared_echo();
        let mut stream = tcp(served);
        let mut tls = client(identity().client());
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).unwrap();
        }
        tls.set_buffer_limit(None);
        let mut source = Source(0);
        for size in sizes {
            tls.writer().write_all(&source.take(size)).unwrap();
        }
        let (ciphertext, writing) = (take(&mut tls), stream.try_clone().unwrap());
        let writer = thread::spawn(move || {
            let mut rest = &ciphertext[..];
            for cut in cuts.iter().cycle() {
                let cut = if tiny && *cut < 10_000 { cut % 50 + 1 } else { *cut };
                let (part, more) = rest.split_at(cut.min(rest.len()));
                (&writing).write_all(part).unwrap();
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
        });
        let mut peer = TlsPeer { stream: rustls::StreamOwned::new(tls, stream.into()) };
        assert_same(&peer.read(source.0), &Source(0).take(source.0));
        writer.join().unwrap();
    }
}

/// An echo that the cases share.
fn shared_echo() -> std::net::SocketAddr {
    static SHARED: std::sync::OnceLock<Narrow> = std::sync::OnceLock::new();
    let narrow = SHARED.get_or_init(|| Narrow::serve(|| receiving(|client, data| Ok(client.write(data)?))));
    narrow.server.local_addr()
}

/// Every cut of a handshake, of two records and of the end, at each byte.
#[test]
fn every_cut_of_a_short_conversation_is_the_same_conversation() {
    let (narrow, _opened, closed) = Narrow::watched(|| receiving(|client, data| Ok(client.write(data)?)));
    let mut at = 1;
    loop {
        let mut stream = tcp(narrow.server.local_addr());
        let mut tls = client(identity().client());
        let mut longest = 0;
        let mut send = |stream: &mut std::net::TcpStream, bytes: Vec<u8>| {
            let (first, second) = bytes.split_at(at.min(bytes.len()));
            longest = longest.max(bytes.len());
            stream.write_all(first).unwrap();
            if !second.is_empty() {
                // Without a pause, most parts would come in one read.
                thread::sleep(Duration::from_micros(300));
                stream.write_all(second).unwrap();
            }
        };
        send(&mut stream, take(&mut tls));
        while tls.is_handshaking() {
            tls.read_tls(&mut stream).unwrap();
            tls.process_new_packets().unwrap();
        }
        tls.writer().write_all(&pattern(10)).unwrap();
        tls.writer().write_all(&pattern(10)).unwrap();
        tls.send_close_notify();
        send(&mut stream, take(&mut tls));
        let mut peer = TlsPeer { stream: rustls::StreamOwned::new(tls, stream.into()) };
        assert_same(&peer.read_to_end(), &[pattern(10), pattern(10)].concat());
        assert_eq!(next(&closed), "ByPeer", "cut after {at} bytes");
        at += 1;
        if at > longest {
            break;
        }
    }
    assert!(at > 150, "{at}");
}
