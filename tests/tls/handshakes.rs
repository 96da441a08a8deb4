//! Handshakes that fail, stall or never begin, and what happens to the server meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use backport::Full;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, Error, ServerConfig};

use crate::support::{
    assert_same, eventually, pattern, serve_tcp_with, Echo, Peer, ServedTcp, Watch, DEADLINE,
};
use crate::tls_peer::{client, client_hello, identity, take, tcp, Identity, TlsPeer};

/// The handshake timeout of these tests.
const LIMIT: Duration = Duration::from_secs(1);

/// An echo with a short handshake timeout.
fn echo() -> (ServedTcp, Watch) {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve_tcp_with(
        move || watched.around(Echo),
        |server| server.tls(identity().server()).handshake_timeout(LIMIT),
    );
    (served, watch)
}

/// An echo with the default handshake timeout, which no test waits for.
fn patient_echo() -> (ServedTcp, Watch) {
    let watch = Watch::new();
    let watched = watch.clone();
    (serve_tcp_with(move || watched.around(Echo), |server| server.tls(identity().server())), watch)
}

#[track_caller]
fn assert_failed(served: &ServedTcp, watch: &Watch, count: u64) {
    eventually("the failures are counted", || served.server.stats().handshakes_failed == count);
    served.wait_until_empty();
    assert!(watch.opened.try_recv().is_err(), "no opening");
    assert!(watch.closed.try_recv().is_err(), "no closing");
}

#[track_caller]
fn assert_echoes(served: &ServedTcp, watch: &Watch) {
    TlsPeer::connect(served.address()).assert_echo(b"still there?");
    watch.opened.recv_timeout(DEADLINE).unwrap();
    watch.closed.recv_timeout(DEADLINE).unwrap();
}

/// Waits for the end of a connection, however it comes, and returns what came before.
fn until_end(mut stream: &TcpStream) -> Vec<u8> {
    let (mut all, mut some) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut some) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&some[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no end in time"),
            Err(_) => return all,
        }
    }
}

#[test]
fn a_handshake_that_stalls_anywhere_ends_at_its_timeout_and_disturbs_no_other() {
    let (served, watch) = echo();
    let hello = client_hello();
    let cuts = [0, 1, 3, 5, 6, 50, hello.len() / 2, hello.len() - 1, hello.len()];
    let peers: Vec<_> = cuts
        .into_iter()
        .map(|cut| {
            let (address, part) = (served.address(), hello[..cut].to_vec());
            thread::spawn(move || {
                let (mut stream, start) = (tcp(address), Instant::now());
                stream.write_all(&part).unwrap();
                until_end(&stream);
                start.elapsed()
            })
        })
        .collect();
    eventually("all have begun", || served.server.client_count() == cuts.len());
    let start = Instant::now();
    assert_echoes(&served, &watch);
    assert!(start.elapsed() < LIMIT, "another client had to wait");
    for (peer, cut) in peers.into_iter().zip(cuts) {
        let took = peer.join().unwrap();
        assert!(took >= LIMIT * 9 / 10 && took < LIMIT * 5, "cut after {cut} bytes: ended after {took:?}");
    }
    assert_failed(&served, &watch, cuts.len() as u64);
}

/// Single bytes do not begin the time limit again.
#[test]
fn a_handshake_that_drips_ends_at_its_timeout() {
    let (served, watch) = echo();
    let (mut stream, start) = (tcp(served.address()), Instant::now());
    for byte in client_hello() {
        if stream.write_all(&[byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    let took = start.elapsed();
    assert!(took >= LIMIT * 9 / 10 && took < LIMIT * 5, "{took:?}");
    until_end(&stream);
    assert_failed(&served, &watch, 1);
}

/// The demand is 100 ms. A busy computer gets three tries.
#[test]
fn a_stop_ends_half_open_handshakes_at_once() {
    let mut took = Vec::new();
    for _ in 0..3 {
        let (served, watch) = patient_echo();
        let hello = client_hello();
        let peers: Vec<_> = (0..50)
            .map(|number| {
                let mut stream = tcp(served.address());
                stream.write_all(&hello[..hello.len() * (number % 3) / 2]).unwrap();
                stream
            })
            .collect();
        eventually("all have begun", || served.server.client_count() == 50);
        let start = Instant::now();
        served.stop().unwrap();
        took.push(start.elapsed());
        peers.iter().for_each(|peer| drop(until_end(peer)));
        watch.assert_balanced();
        assert!(watch.opened.try_recv().is_err(), "no opening");
        if took.last().is_some_and(|took| *took < Duration::from_millis(100)) {
            println!("fifty half-open handshakes and a stop: {took:?}");
            return;
        }
    }
    panic!("a stop took {took:?}");
}

/// The alert must not be lost to a reset, although the server reads only a part of the input.
#[test]
fn plain_text_and_garbage_get_an_alert_and_the_end() {
    const ALERT: u8 = 21;
    let (served, watch) = echo();
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\n\r\n", "x".repeat(20_000));
    let zeros = vec![0; 5000];
    let noise = pattern(100_000);
    let inputs = [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", long.as_bytes(), &zeros, &noise];
    for input in inputs {
        let peer = served.connect();
        peer.send(input);
        let answer = peer.read_to_end();
        assert_eq!(answer.first(), Some(&ALERT), "{answer:?}");
    }
    assert_failed(&served, &watch, inputs.len() as u64);
    assert_echoes(&served, &watch);
}

/// A record that fails in the middle of a conversation.
#[test]
fn garbage_in_a_conversation_gets_an_alert_and_the_end() {
    let (served, watch) = echo();
    for garbage in [vec![0x17, 3, 3, 0, 100], vec![], vec![0x16]] {
        let mut peer = TlsPeer::connect(served.address());
        peer.assert_echo(b"hello");
        // More than a second later, nothing of the conversation is in transit.
        thread::sleep(Duration::from_millis(1200));
        // The peer still sends when the server fails.
        let (writing, noise) =
            (peer.stream.sock.try_clone().unwrap(), [garbage, pattern(8_000_000)].concat());
        let writer = thread::spawn(move || drop((&writing).write_all(&noise)));
        let error = peer.stream.read_to_end(&mut Vec::new()).expect_err("an alert is an error");
        let alert = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
        assert!(matches!(alert, Some(Error::AlertReceived(_))), "{error:?}");
        assert_eq!(watch.closed.recv_timeout(DEADLINE).unwrap(), "Lost");
        drop(peer);
        writer.join().unwrap();
    }
}

fn only_13() -> Arc<ServerConfig> {
    identity().server_with(&[&TLS13])
}

fn with_alpn(names: &[&str]) -> (ServerConfig, ClientConfig) {
    let names: Vec<_> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
    let mut server = ServerConfig::clone(&identity().server());
    let mut client = ClientConfig::clone(&identity().client());
    server.alpn_protocols.clone_from(&names);
    client.alpn_protocols = names;
    (server, client)
}

#[track_caller]
fn refused_with(served: &ServedTcp, config: Arc<ClientConfig>) -> AlertDescription {
    let error = TlsPeer::try_over(tcp(served.address()), config).err().expect("it is refused");
    match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        Some(Error::AlertReceived(alert)) => *alert,
        _ => panic!("{error:?}"),
    }
}

#[test]
fn a_version_or_a_protocol_that_the_server_does_not_have_is_refused_with_an_alert() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve_tcp_with(move || watched.around(Echo), |server| server.tls(only_13()));
    let alert = refused_with(&served, identity().client_with(&[&TLS12]));
    assert_eq!(alert, AlertDescription::ProtocolVersion);
    assert_failed(&served, &watch, 1);

    let ((server, same), (_, other)) = (with_alpn(&["one", "two"]), with_alpn(&["three"]));
    served.server.set_tls(Arc::new(server));
    let alert = refused_with(&served, Arc::new(other));
    assert_eq!(alert, AlertDescription::NoApplicationProtocol);
    assert_failed(&served, &watch, 2);
    TlsPeer::over(tcp(served.address()), Arc::new(same)).assert_echo(b"hello");
    let opened = watch.opened.recv_timeout(DEADLINE).unwrap();
    assert_eq!(opened.tls().unwrap().alpn(), Some(&b"one"[..]));
}

#[test]
fn a_client_that_does_not_trust_the_certificate_is_a_failed_handshake() {
    let (served, watch) = echo();
    assert!(TlsPeer::try_over(tcp(served.address()), Identity::new().client()).is_err());
    assert_failed(&served, &watch, 1);
}

#[test]
fn a_peer_that_resets_or_leaves_in_the_handshake_is_a_failed_handshake() {
    let (served, watch) = echo();
    let hello = client_hello();
    for cut in [0, 1, hello.len()] {
        let peer = served.connect();
        peer.send(&hello[..cut]);
        peer.reset();
        let peer = served.connect();
        peer.send(&hello[..cut]);
        peer.half_close();
        peer.wait_for_end();
    }
    assert_failed(&served, &watch, 6);
}

/// A handshake takes one of the places.
#[test]
fn handshakes_count_as_clients() {
    let (served, watch) = echo();
    served.server.set_max_clients(1);
    let (stalled, start) = (tcp(served.address()), Instant::now());
    eventually("the handshake has begun", || served.server.client_count() == 1);
    assert_echoes(&served, &watch);
    let waited = start.elapsed();
    assert!(waited >= LIMIT * 9 / 10, "{waited:?}");
    assert_eq!(served.server.stats().peak, 1);
    drop(stalled);
}

#[test]
fn a_full_server_sends_no_plain_text() {
    let served = serve_tcp_with(
        || Echo,
        |server| server.tls(identity().server()).max_clients(1).when_full(Full::refuse("go away")),
    );
    let mut first = TlsPeer::connect(served.address());
    first.assert_echo(b"hello");
    let second = served.connect();
    second.send(client_hello());
    assert_same(&second.read_to_end(), b"");
    eventually("it is counted", || served.server.stats().refused == 1);
    first.assert_echo(b"still there?");
}

#[test]
fn a_broadcast_never_gets_into_a_handshake() {
    let (served, _) = patient_echo();
    for version in [&TLS12, &TLS13] {
        let mut stream = tcp(served.address());
        let mut tls = client(identity().client_with(&[version]));
        let flight = take(&mut tls);
        served.server.broadcast("intruder");
        for part in flight.chunks(40) {
            stream.write_all(part).unwrap();
            served.server.broadcast("intruder");
            thread::sleep(Duration::from_millis(2));
        }
        while tls.wants_read() && tls.is_handshaking() {
            tls.read_tls(&mut stream).unwrap();
            tls.process_new_packets().unwrap();
            served.server.broadcast("intruder");
        }
        stream.write_all(&take(&mut tls)).unwrap();
        let mut stream = rustls::StreamOwned::new(tls, stream);
        stream.write_all(b"hello").unwrap();
        // From `opening` on, a broadcast may come. In this test none is sent any more.
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
    }
}

/// The input that comes with the last message of the handshake is not lost.
#[test]
fn data_in_the_same_segment_as_the_end_of_the_handshake_is_received() {
    let (served, _) = patient_echo();
    for count in [1, 1000, 1280, 5000, 100_000] {
        let mut stream = tcp(served.address());
        let mut tls = client(identity().client());
        stream.write_all(&take(&mut tls)).unwrap();
        while tls.is_handshaking() {
            tls.read_tls(&mut stream).unwrap();
            tls.process_new_packets().unwrap();
        }
        tls.set_buffer_limit(None);
        tls.writer().write_all(&pattern(count)).unwrap();
        let writing = stream.try_clone().unwrap();
        let flight = take(&mut tls);
        let writer = thread::spawn(move || (&writing).write_all(&flight).unwrap());
        let mut peer = rustls::StreamOwned::new(tls, stream);
        let mut answer = vec![0; count];
        peer.read_exact(&mut answer).unwrap();
        assert_same(&answer, &pattern(count));
        writer.join().unwrap();
    }
}

/// Plain peers of a plain server beside it are not affected.
#[test]
fn a_peer_that_speaks_tls_to_a_plain_server_gets_no_tls() {
    let served = serve_tcp_with(|| Echo, |server| server);
    let peer = Peer::connect(served.address());
    peer.assert_echo(&client_hello());
}

#[test]
fn a_client_in_its_handshake_takes_a_place_and_is_not_in_the_list() {
    let (served, watch) = patient_echo();
    let mut stream = tcp(served.address());
    eventually("it takes a place", || served.server.client_count() == 1);
    assert!(served.server.clients().is_empty());
    assert_eq!(served.server.broadcast("news"), 0);
    let mut tls = client(identity().client());
    stream.write_all(&take(&mut tls)).unwrap();
    let mut peer = TlsPeer { stream: rustls::StreamOwned::new(tls, stream.into()) };
    peer.assert_echo(b"through");
    let shown = watch.opened.recv_timeout(DEADLINE).unwrap();
    assert_eq!(served.server.clients().remove(0).id(), shown.id());
    assert!(served.server.client(shown.id()).is_some());
    assert_eq!(served.server.broadcast("news"), 1);
    assert_eq!(peer.read(4), b"news");
}
