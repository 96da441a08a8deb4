//! Conversations, and what a client knows about its TLS.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use backport::{receiving, Client, Machine, TcpServer};
use crossbeam_channel::unbounded;
use rustls::version::{TLS12, TLS13};

use crate::support::{assert_same, eventually, next, pattern, serve_tcp_with, Echo, ServedTcp, Watch};
use crate::tls_peer::{identity, tcp, Identity, TlsPeer};

fn echo() -> ServedTcp {
    serve_tcp_with(|| Echo, |server| server.tls(identity().server()))
}

#[test]
fn both_versions_echo_small_and_large_messages() {
    let served = echo();
    for version in [&TLS12, &TLS13] {
        let mut peer = TlsPeer::over(tcp(served.address()), identity().client_with(&[version]));
        peer.assert_echo(b"hello");
        for count in [1, 1279, 1280, 1281, 16_383, 16_384, 16_385, 40_000, 65_536, 200_000] {
            peer.assert_echo(&pattern(count));
        }
        peer.close_notify();
        assert_same(&peer.read_to_end(), b"");
    }
    served.wait_until_empty();
    assert_eq!(served.server.stats().handshakes_failed, 0);
}

#[test]
fn a_client_knows_the_facts_of_its_tls() {
    let (sender, facts) = unbounded();
    let served = serve_tcp_with(
        move || {
            let sender = sender.clone();
            receiving(move |client: &Client, _| {
                let tls = client.tls().ok_or("no TLS")?;
                let name = tls.server_name().map(str::to_owned);
                sender.send((tls.version(), name, tls.is_resumed(), tls.alpn().map(<[u8]>::to_vec)))?;
                assert!(tls.peer_certificates().is_empty());
                Ok(client.write(format!("{:?}", tls.cipher()))?)
            })
        },
        |server| server.tls(identity().server()),
    );
    for version in [&TLS12, &TLS13] {
        let config = identity().client_with(&[version]);
        for resumed in [false, true] {
            let mut peer = TlsPeer::over(tcp(served.address()), config.clone());
            peer.send("?");
            let mut cipher = [0; 100];
            let count = peer.stream.read(&mut cipher).unwrap();
            let expected = peer.stream.conn.negotiated_cipher_suite().unwrap().suite();
            assert_eq!(String::from_utf8_lossy(&cipher[..count]), format!("{expected:?}"));
            let (seen, name, was_resumed, alpn) = next(&facts);
            assert_eq!(seen, version.version);
            assert_eq!((name.as_deref(), was_resumed, alpn), (Some("localhost"), resumed, None));
            peer.close_notify();
        }
    }
}

#[test]
fn a_plain_client_has_no_tls() {
    let served = serve_tcp_with(
        || receiving(|client, _| Ok(client.write(format!("{}", client.tls().is_none()))?)),
        |server| server,
    );
    let peer = served.connect();
    peer.send("?");
    assert_eq!(peer.read(4), b"true");
}

/// P6: what was written before a close arrives, and the end of TLS after it, with unread input on our side.
#[test]
fn a_close_delivers_everything_and_the_end_of_tls() {
    let served = serve_tcp_with(
        || {
            receiving(|client, _| {
                client.write(pattern(1_500_000))?;
                client.close();
                Ok(())
            })
        },
        |server| server.tls(identity().server()),
    );
    let mut peer = TlsPeer::connect(served.address());
    peer.send(pattern(2000));
    peer.send(pattern(2000));
    assert_same(&peer.read_to_end(), &pattern(1_500_000));
}

#[test]
fn a_stop_delivers_the_goodbye_and_the_end_of_tls() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve_tcp_with(move || watched.around(Goodbye), |server| server.tls(identity().server()));
    let mut peer = TlsPeer::connect(served.address());
    peer.send("?");
    assert_eq!(peer.read(1), b"!");
    let stopping = thread::spawn(move || served.stop());
    assert_same(&peer.read_to_end(), b"goodbye");
    drop(peer);
    stopping.join().unwrap().unwrap();
    assert_eq!(next(&watch.closed), "Stopping");
}

struct Goodbye;

impl backport::Adapter for Goodbye {
    fn receiving(&mut self, client: &Client, _: &[u8]) -> backport::Result {
        Ok(client.write("!")?)
    }

    fn closing(&mut self, client: &Client, _: &backport::Closing) {
        client.write("goodbye").unwrap();
    }
}

/// The input ends without close_notify, so the last message may be cut.
#[test]
fn an_end_without_the_end_of_tls_is_a_loss() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve_tcp_with(move || watched.around(Echo), |server| server.tls(identity().server()));
    let mut peer = TlsPeer::connect(served.address());
    peer.assert_echo(b"hello");
    peer.stream.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(next(&watch.closed), "Lost");
    let mut peer = TlsPeer::connect(served.address());
    peer.assert_echo(b"hello");
    peer.close_notify();
    assert_eq!(next(&watch.closed), "ByPeer");
    // The server still says its own end.
    assert_same(&peer.read_to_end(), b"");
}

#[test]
fn both_sides_send_at_once() {
    const COUNT: usize = 20_000_000;
    let (sender, clients) = unbounded();
    let served = serve_tcp_with(
        move || {
            let sender = sender.clone();
            let mut received = 0;
            receiving(move |client: &Client, data| {
                if received == 0 {
                    sender.send(client.clone())?;
                }
                received += data.len();
                if received == COUNT {
                    client.write("all")?;
                }
                Ok(())
            })
        },
        |server| server.tls(identity().server()),
    );
    let peer = TlsPeer::connect(served.address());
    let (mut tls, socket) = (peer.stream.conn, peer.stream.sock);
    let (mut sent, mut received) = (0, Vec::new());
    socket.set_nonblocking(true).unwrap();
    let start = Instant::now();
    let data = pattern(COUNT);
    let mut writer = None;
    while received.len() < COUNT + 3 {
        assert!(start.elapsed() < Duration::from_secs(60), "{sent} sent, {} received", received.len());
        if sent < COUNT {
            sent += tls.writer().write(&data[sent..(sent + 16_384).min(COUNT)]).unwrap();
        }
        while tls.wants_write() && tls.write_tls(&mut &socket).is_ok() {}
        if tls.read_tls(&mut &socket).is_ok() {
            tls.process_new_packets().unwrap();
            let mut some = vec![0; 100_000];
            if let Ok(count) = tls.reader().read(&mut some) {
                received.extend_from_slice(&some[..count]);
            }
        }
        if let Ok(client) = clients.try_recv() {
            writer = Some(thread::spawn(move || client.write(pattern(COUNT))));
        }
    }
    writer.unwrap().join().unwrap().unwrap();
    assert_eq!(received.len(), COUNT + 3);
}

#[test]
fn a_new_certificate_is_for_new_connections() {
    let served = echo();
    let mut old = TlsPeer::connect(served.address());
    let other = Identity::new();
    served.server.set_tls(other.server());
    old.assert_echo(b"still there");
    assert!(TlsPeer::try_over(tcp(served.address()), identity().client()).is_err());
    TlsPeer::over(tcp(served.address()), other.client()).assert_echo(b"hello");
    old.assert_echo(b"still there");
    eventually("the failure is counted", || served.server.stats().handshakes_failed == 1);
}

#[test]
#[should_panic(expected = "prepared with tls")]
fn a_plain_server_has_no_certificate_to_replace() {
    let machine = Machine::new();
    let server = machine.prepare(TcpServer::new("127.0.0.1:0", || Echo)).unwrap();
    server.set_tls(identity().server());
}
