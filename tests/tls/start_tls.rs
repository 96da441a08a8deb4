//! Connections that begin in plain text and switch to TLS (STARTTLS).

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use backport::{receiving, Adapter, Client, Result, TcpServer};
use crossbeam_channel::{unbounded, Receiver, Sender};
use rustls::version::{TLS12, TLS13};

use crate::start_tls_scene::{contains, scenes, upgraded, LONG};
use crate::support::{assert_same, eventually, next, pattern, serve_tcp_with, Echo, Peer, ServedTcp};
use crate::tls_peer::{client, client_hello, identity, take, Identity, TlsPeer};

#[test]
fn every_way_to_find_lines_can_switch() {
    for (way, scene) in scenes(LONG) {
        let mut peer = upgraded(scene.begin());
        for word in ["one", "two"] {
            peer.send(format!("{word}\r\n"));
            assert_eq!(peer.read(5), format!("{word}\r\n").as_bytes(), "{way}");
            assert_eq!(next(&scene.told), (word.as_bytes().to_vec(), true), "{way}");
        }
        let client = next(&scene.watch.opened);
        assert_eq!(client.tls().unwrap().server_name(), Some("localhost"));
        // A second time is an error, which ends this connection, because the adapter passes it on.
        peer.send("STARTTLS\r\n");
        assert_eq!(peer.read_to_end(), b"220 go ahead\r\nsecret goodbye\r\n");
        assert_eq!(next(&scene.watch.closed), "Failed", "{way}");
    }
}

/// Posts of another thread and a broadcast.
#[test]
fn output_of_other_threads_during_the_handshake_is_encrypted() {
    for version in [&TLS12, &TLS13] {
        for (way, scene) in scenes(LONG) {
            let mut peer = scene.begin();
            let other = next(&scene.watch.opened);
            let mut expected = Vec::new();
            let mut say = |other: &Client| {
                other.post("posted\r\n").unwrap();
                assert_eq!(scene.served.server.broadcast("all\r\n"), 1);
                expected.extend_from_slice(b"posted\r\nall\r\n");
            };
            // The handshake must have begun, or the first words may come in plain text before it.
            let mut tls = client(identity().client_with(&[version]));
            let flight = take(&mut tls);
            peer.stream.write_all(&flight[..20]).unwrap();
            thread::sleep(Duration::from_millis(100));
            say(&other);
            peer.stream.write_all(&flight[20..]).unwrap();
            let writing = other.clone();
            let writer = thread::spawn(move || writing.write("written\r\n"));
            while tls.wants_read() && tls.is_handshaking() {
                tls.read_tls(&mut peer.stream).unwrap();
                tls.process_new_packets().unwrap();
            }
            let flight = take(&mut tls);
            peer.stream.write_all(&flight).unwrap();
            let mut peer = TlsPeer { stream: rustls::StreamOwned::new(tls, peer.stream) };
            let mut got = peer.read(expected.len() + 9);
            // The thread that waits to write comes before or after the posts.
            let at = got.windows(9).position(|part| part == b"written\r\n").expect("it is written");
            got.drain(at..at + 9);
            assert_eq!(got, expected, "{way}");
            writer.join().unwrap().unwrap();
            peer.send("hello\r\n");
            assert_eq!(peer.read(7), b"hello\r\n");
        }
    }
}

#[test]
fn gathered_and_posted_output_goes_out_in_plain_text_first() {
    let served = serve_tcp_with(
        || {
            receiving(|client: &Client, _| {
                let corked = client.cork();
                client.write("one ")?;
                client.post("two ")?;
                client.write("three\n")?;
                client.start_tls()?;
                client.write("four ")?;
                drop(corked);
                Ok(client.write("five\n")?)
            })
        },
        |server| server.start_tls(identity().server()),
    );
    let peer = served.connect();
    peer.send("STARTTLS");
    assert_eq!(peer.read_line(), "one two three");
    let mut peer = upgraded(peer);
    assert_eq!(peer.read(10), b"four five\n");
}

/// Output of a size that blocks, to a peer that reads slowly.
#[test]
fn much_posted_output_goes_out_in_plain_text_first() {
    let served = serve_tcp_with(
        || {
            receiving(|client: &Client, _| {
                client.post(pattern(700_000))?;
                client.start_tls()?;
                Ok(client.write(pattern(700_000))?)
            })
        },
        |server| server.start_tls(identity().server()),
    );
    let peer = Peer::connect_narrow(served.address());
    peer.send("STARTTLS");
    thread::sleep(Duration::from_millis(200));
    assert_same(&peer.read(700_000), &pattern(700_000));
    let mut peer = upgraded(peer);
    assert_same(&peer.read(700_000), &pattern(700_000));
}

/// What a callback saw when it called `start_tls`.
fn kinds<A: Adapter>(
    tls: bool,
    factory: impl Fn(Sender<Option<std::io::ErrorKind>>) -> A + Send + Sync + 'static,
) -> (ServedTcp, Receiver<Option<std::io::ErrorKind>>) {
    let (sender, receiver) = unbounded();
    let set = |server: TcpServer<_>| if tls { server.start_tls(identity().server()) } else { server };
    (serve_tcp_with(move || factory(sender.clone()), set), receiver)
}

#[test]
fn start_tls_without_the_setting_twice_or_from_elsewhere_is_refused_and_changes_nothing() {
    use std::io::ErrorKind::{AlreadyExists, ResourceBusy, Unsupported};
    fn upgrading(sender: Sender<Option<std::io::ErrorKind>>) -> impl Adapter {
        receiving(move |client: &Client, data| {
            if data == b"TLS" {
                client.write("!")?;
                sender.send(client.start_tls().err().map(|error| error.kind()))?;
            }
            Ok(client.write(data)?)
        })
    }
    let (served, kinds_seen) = kinds(false, upgrading);
    let peer = served.connect();
    peer.send("TLS");
    assert_eq!(next(&kinds_seen), Some(Unsupported));
    assert_eq!(peer.read(4), b"!TLS");
    peer.assert_echo(b"goes on in plain text");

    let (served, kinds_seen) = kinds(true, upgrading);
    let peer = served.connect();
    peer.assert_echo(b"hello");
    let outside = served.server.clients().remove(0);
    // The client's own thread reads.
    eventually("it is refused", || outside.start_tls().is_err_and(|error| error.kind() == ResourceBusy));
    peer.assert_echo(b"goes on in plain text");
    peer.send("TLS");
    assert_eq!(peer.read(1), b"!");
    let mut peer = upgraded(peer);
    assert_eq!(next(&kinds_seen), None);
    assert_eq!(peer.read(3), b"TLS");
    peer.send("TLS");
    assert_eq!(next(&kinds_seen), Some(AlreadyExists));
    assert_eq!(peer.read(4), b"!TLS");
    peer.assert_echo(b"goes on through TLS");

    // A connection that was encrypted from its beginning cannot switch, either.
    let (sender, kinds_seen) = unbounded();
    let served = serve_tcp_with(move || upgrading(sender.clone()), |server| server.tls(identity().server()));
    let mut peer = TlsPeer::connect(served.address());
    peer.send("TLS");
    assert!(matches!(next(&kinds_seen), Some(Unsupported | AlreadyExists)));
    assert_eq!(peer.read(4), b"!TLS");
}

#[test]
fn a_handshake_that_stalls_or_drips_ends_at_its_timeout() {
    let limit = Duration::from_secs(1);
    for (way, scene) in scenes(limit) {
        let hello = client_hello();
        let mut peer = scene.begin();
        let start = Instant::now();
        for byte in hello {
            if start.elapsed() > limit * 3 || peer.stream.write_all(&[byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
            if !scene.watch.closed.is_empty() {
                break;
            }
        }
        assert_eq!(next(&scene.watch.closed), "Lost", "{way}");
        let took = start.elapsed();
        assert!(took >= limit * 9 / 10 && took < limit * 5, "{way}: {took:?}");
        let mut rest = Vec::new();
        drop(peer.stream.read_to_end(&mut rest));
        assert!(!contains(&rest, b"secret"), "{way}: {}", rest.escape_ascii());
        // It may send an alert, but nothing else.
        assert!(rest.is_empty() || rest[0] == 21, "{way}: {}", rest.escape_ascii());
    }
}

/// How a test ends the connection that is in the handshake of `start_tls`.
type Ender = fn(&ServedTcp, &Client);

#[test]
fn a_stop_a_close_and_an_abort_end_the_handshake_at_once() {
    let enders: [(&str, Ender); 4] = [
        ("ByServer", |_, client| client.close()),
        ("ByServer", |_, client| client.abort()),
        ("Stopping", |served, _| served.server.stop()),
        ("Stopping", |served, _| served.machine().stop()),
    ];
    for (reason, end) in enders {
        for (way, scene) in scenes(LONG) {
            let hello = client_hello();
            let mut peer = scene.begin();
            peer.stream.write_all(&hello[..100]).unwrap();
            thread::sleep(Duration::from_millis(50));
            let (client, start) = (next(&scene.watch.opened), Instant::now());
            client.post("a posted secret").unwrap();
            end(&scene.served, &client);
            assert_eq!(next(&scene.watch.closed), reason, "{way}");
            assert!(start.elapsed() < Duration::from_secs(5), "{way}: {:?}", start.elapsed());
            let mut rest = Vec::new();
            drop(peer.stream.read_to_end(&mut rest));
            assert!(!contains(&rest, b"secret"), "{way}: {}", rest.escape_ascii());
        }
    }
}

/// The peer ends its input after the command.
#[test]
fn a_peer_that_leaves_instead_of_a_handshake_is_a_loss() {
    for (way, scene) in scenes(LONG) {
        let peer = scene.begin();
        peer.half_close();
        assert_eq!(next(&scene.watch.closed), "Lost", "{way}");
        assert!(!contains(&peer.read_to_end(), b"secret"), "{way}");
        scene.begin().reset();
        assert_eq!(next(&scene.watch.closed), "Lost", "{way}");
    }
}

#[test]
fn start_tls_in_opening_is_the_same_as_tls() {
    struct AtOnce;
    impl Adapter for AtOnce {
        fn opening(&mut self, client: &Client) -> Result {
            Ok(client.start_tls()?)
        }

        fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
            Echo.receiving(client, data)
        }
    }
    let served = serve_tcp_with(|| AtOnce, |server| server.start_tls(identity().server()));
    let mut peer = TlsPeer::connect(served.address());
    peer.assert_echo(&pattern(100_000));
    peer.close_notify();
    assert_same(&peer.read_to_end(), b"");
}

/// The new certificate is also for connections that exist and have not switched yet.
#[test]
fn the_certificate_is_the_one_of_the_time_of_the_switch() {
    let (_, scene) = scenes(LONG).remove(0);
    let (old, other) = (scene.begin(), Identity::new());
    thread::sleep(Duration::from_millis(100));
    let waiting = scene.served.connect();
    waiting.send("x\r\n");
    assert_eq!(waiting.read(3), b"x\r\n");
    scene.served.server.set_tls(other.server());
    drop(upgraded(old));
    waiting.send("STARTTLS\r\n");
    assert_eq!(waiting.read(14), b"220 go ahead\r\n");
    let mut peer = TlsPeer::over(waiting.stream, other.client());
    peer.send("y\r\n");
    assert_eq!(peer.read(3), b"y\r\n");
}
