//! How connections end, and whether the peer sees the end of TLS (close_notify).

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use backport::{receiving, Adapter, Client, Closing, Input, Result, TcpServer};
use crossbeam_channel::unbounded;
use rustls::version::{TLS12, TLS13};

use crate::support::{
    assert_same, eventually, gate, in_time, next, pattern, serve_tcp_with, Echo, ServedTcp, Watch,
};
use crate::tls_peer::{identity, take, tcp, End, TlsPeer};

fn serve<A: Adapter>(watch: &Watch, factory: impl Fn() -> A + Send + Sync + 'static) -> ServedTcp {
    let watch = watch.clone();
    serve_tcp_with(move || watch.around_serving(factory()), |server| server.tls(identity().server()))
}

/// Does what its peer says.
struct Obedient;

impl Adapter for Obedient {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        client.write("hello")?;
        loop {
            match input.chunk()?.unwrap_or(b"return") {
                b"return" => return Ok(()),
                b"close" => client.close(),
                b"abort" => client.abort(),
                b"fail" => return Err("on purpose".into()),
                b"panic" => std::panic::resume_unwind(Box::new("on purpose")),
                b"idle" => client.set_idle_timeout(Some(Duration::from_millis(100))),
                b"flood" => client.write(vec![0; 20_000_000])?,
                b"post" => client.post(vec![0; 20_000_000])?,
                other => client.write(other)?,
            }
        }
    }
}

#[track_caller]
fn assert_end(word: &str, expected: End, reason: &str) {
    for version in [&TLS12, &TLS13] {
        let watch = Watch::new();
        let served = serve(&watch, || Obedient);
        served.server.set_write_timeout(Duration::from_millis(200));
        let mut peer = TlsPeer::over(tcp(served.address()), identity().client_with(&[version]));
        assert_eq!(peer.read(5), b"hello");
        peer.send(word);
        assert_eq!(next(&watch.closed), reason, "{word}");
        let (data, end) = peer.read_to_any_end();
        assert_eq!(end, expected, "{word} over {version:?}, after {} bytes", data.len());
        if expected == End::CloseNotify {
            assert_same(&data, b"");
        }
        watch.assert_settled(&served);
    }
}

#[test]
fn a_close_says_the_end_of_tls() {
    assert_end("close", End::CloseNotify, "ByServer");
}

#[test]
fn a_conversation_that_returns_says_the_end_of_tls() {
    assert_end("return", End::CloseNotify, "ByServer");
}

#[test]
fn a_callback_that_fails_or_panics_says_the_end_of_tls() {
    assert_end("fail", End::CloseNotify, "Failed");
    assert_end("panic", End::CloseNotify, "Panicked");
}

#[test]
fn an_idle_timeout_says_the_end_of_tls() {
    assert_end("idle", End::CloseNotify, "Idle");
}

/// Whoever gets only a part must not believe that it is all.
#[test]
fn an_abort_says_no_end_of_tls() {
    assert_end("abort", End::Cut, "ByServer");
}

#[test]
fn a_peer_that_reads_too_slowly_gets_no_end_of_tls() {
    assert_end("flood", End::Cut, "TooSlow");
    assert_end("post", End::Cut, "TooSlow");
}

#[test]
fn a_stop_of_the_server_or_of_the_machine_says_the_end_of_tls() {
    for whole in [false, true] {
        let watch = Watch::new();
        let served = serve(&watch, || Echo);
        let mut peers: Vec<_> = (0..5).map(|_| TlsPeer::connect(served.address())).collect();
        peers.iter_mut().for_each(|peer| peer.assert_echo(b"hello"));
        let stopping = thread::spawn(move || {
            if whole {
                served.stop()
            } else {
                served.server.stop();
                served.join()
            }
        });
        for mut peer in peers {
            assert_same(&peer.read_to_end(), b"");
            assert_eq!(next(&watch.closed), "Stopping");
        }
        in_time("the stop", move || stopping.join()).unwrap().unwrap();
    }
}

/// P9: what a running callback writes is delivered, then the goodbye, then the end.
#[test]
fn a_stop_delivers_the_answer_that_is_being_computed() {
    struct Slow(crate::support::Gate, crossbeam_channel::Sender<()>);
    impl Adapter for Slow {
        fn receiving(&mut self, client: &Client, _: &[u8]) -> Result {
            self.1.send(())?;
            self.0.wait();
            client.write(pattern(300_000))?;
            client.post(pattern(100_000))?;
            let _corked = client.cork();
            Ok(client.write(pattern(3000))?)
        }

        fn closing(&mut self, client: &Client, _: &Closing) {
            client.write("goodbye").unwrap();
        }
    }
    for version in [&TLS12, &TLS13] {
        let watch = Watch::new();
        let ((keeper, gate), (sender, begun)) = (gate(), unbounded());
        let served = serve(&watch, move || Slow(gate.clone(), sender.clone()));
        let mut peer = TlsPeer::over(tcp(served.address()), identity().client_with(&[version]));
        peer.send("?");
        next(&begun);
        let client = next(&watch.opened);
        let stopping = thread::spawn(move || served.stop());
        eventually("the stop has reached the client", || client.is_stopping());
        drop(keeper);
        let expected = [&pattern(300_000)[..], &pattern(100_000), &pattern(3000), b"goodbye"].concat();
        assert_same(&peer.read_to_end(), &expected);
        drop(peer);
        stopping.join().unwrap().unwrap();
        assert_eq!(next(&watch.closed), "Stopping");
    }
}

#[test]
fn an_end_without_close_notify_and_a_reset_are_losses() {
    let watch = Watch::new();
    let served = serve(&watch, || Echo);
    for version in [&TLS12, &TLS13] {
        let mut peer = TlsPeer::over(tcp(served.address()), identity().client_with(&[version]));
        peer.assert_echo(b"hello");
        peer.stream.sock.shutdown(Shutdown::Write).unwrap();
        assert_eq!(next(&watch.closed), "Lost");
        // The server says its own end.
        assert_same(&peer.read_to_end(), b"");
        let mut peer = TlsPeer::over(tcp(served.address()), identity().client_with(&[version]));
        peer.assert_echo(b"hello");
        peer.stream.sock.socket().set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        assert_eq!(next(&watch.closed), "Lost");
    }
    assert_eq!(served.server.stats().failures, 0);
    watch.assert_settled(&served);
}

/// The error can be told from others by its kind.
#[test]
fn the_error_of_an_end_without_close_notify_has_a_kind_of_its_own() {
    struct Kind(crossbeam_channel::Sender<std::io::ErrorKind>);
    impl Adapter for Kind {
        fn closing(&mut self, _: &Client, reason: &Closing) {
            let Closing::Lost(error) = reason else { panic!("{reason}") };
            self.0.send(error.kind()).unwrap();
        }
    }
    let (sender, kinds) = unbounded();
    let served =
        serve_tcp_with(move || Kind(sender.clone()), |server: TcpServer<_>| server.tls(identity().server()));
    let peer = TlsPeer::connect(served.address());
    peer.stream.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(next(&kinds), std::io::ErrorKind::UnexpectedEof);
}

/// A record that is cut by the end of the connection is a loss, and its part is not received.
#[test]
fn half_a_record_and_the_end_is_a_loss() {
    let (sender, received) = unbounded();
    let watch = Watch::new();
    let served = serve(&watch, move || {
        let sender = sender.clone();
        receiving(move |_, data| Ok(sender.send(data.to_vec())?))
    });
    let mut peer = TlsPeer::connect(served.address());
    peer.send("whole");
    peer.stream.conn.writer().write_all(b"this record is cut").unwrap();
    let record = crate::tls_peer::take(&mut peer.stream.conn);
    peer.stream.sock.write_all(&record[..record.len() - 1]).unwrap();
    peer.stream.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(next(&watch.closed), "Lost");
    assert_eq!(next(&received), b"whole");
    assert!(received.try_recv().is_err());
}

/// Also if all of it arrives at once, and if there is more than one read returns.
#[test]
fn what_came_before_a_bad_record_is_received() {
    for size in [5, 100, 16_384, 40_000] {
        let (watch, (sender, received)) = (Watch::new(), unbounded());
        let served = serve(&watch, move || {
            let sender = sender.clone();
            receiving(move |_, data| Ok(sender.send(data.to_vec())?))
        });
        let mut peer = TlsPeer::connect(served.address());
        let data = pattern(size);
        peer.stream.conn.writer().write_all(&data).unwrap();
        let bad = [23, 3, 3, 0, 32].into_iter().chain([0; 32]);
        let records: Vec<u8> = take(&mut peer.stream.conn).into_iter().chain(bad).collect();
        peer.stream.sock.write_all(&records).unwrap();
        assert_eq!(next(&watch.closed), "Lost", "{size}");
        assert_same(&received.try_iter().collect::<Vec<_>>().concat(), &data);
        let (_, end) = peer.read_to_any_end();
        assert_eq!(end, End::Cut);
    }
}

#[test]
fn after_close_write_the_peer_reads_the_end_and_can_still_send() {
    for version in [&TLS12, &TLS13] {
        let (watch, (sender, received)) = (Watch::new(), unbounded());
        let served = serve(&watch, move || {
            let sender = sender.clone();
            receiving(move |client: &Client, data| {
                sender.send(data.to_vec())?;
                if data == b"bye" {
                    client.write(pattern(500_000))?;
                    client.close_write();
                    assert!(client.write("too late").is_err());
                }
                Ok(())
            })
        });
        let mut peer = TlsPeer::over(tcp(served.address()), identity().client_with(&[version]));
        peer.send("bye");
        assert_eq!(next(&received), b"bye");
        assert_same(&peer.read_to_end(), &pattern(500_000));
        // Below TLS, the output has ended, too.
        assert_eq!(peer.stream.sock.read(&mut [0]).unwrap(), 0);
        for word in ["still", "there"] {
            peer.send(word);
            assert_eq!(next(&received), word.as_bytes());
        }
        assert!(watch.closed.try_recv().is_err());
        peer.close_notify();
        assert_eq!(next(&watch.closed), "ByPeer");
    }
}

/// P6: the peer's end of output does not end ours. The peer reads all that comes, however late.
#[test]
fn the_output_goes_on_after_the_peers_end() {
    for version in [&TLS12, &TLS13] {
        let watch = Watch::new();
        let served = serve(&watch, || {
            receiving(|client: &Client, _| {
                let hold = client.hold();
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(300));
                    assert!(!hold.is_closed());
                    hold.write(pattern(400_000)).unwrap();
                });
                Ok(())
            })
        });
        let mut peer = TlsPeer::over(tcp(served.address()), identity().client_with(&[version]));
        peer.send("query");
        peer.close_notify();
        peer.stream.sock.shutdown(Shutdown::Write).unwrap();
        assert_same(&peer.read_to_end(), &pattern(400_000));
        assert_eq!(next(&watch.closed), "ByPeer");
    }
}

/// A hold keeps a stop from ending the conversation; a reset ends it all the same.
#[test]
fn holds_mean_the_same_over_tls() {
    let watch = Watch::new();
    let served = serve(&watch, || Echo);
    let mut peer = TlsPeer::connect(served.address());
    peer.assert_echo(b"hello");
    let hold = next(&watch.opened).hold();
    let stopping = thread::spawn(move || served.stop());
    thread::sleep(Duration::from_millis(200));
    peer.assert_echo(b"goes on");
    hold.write("late answer").unwrap();
    drop(hold);
    assert_same(&peer.read_to_end(), b"late answer");
    drop(peer);
    stopping.join().unwrap().unwrap();

    let watch = Watch::new();
    let served = serve(&watch, || Echo);
    let mut peer = TlsPeer::connect(served.address());
    peer.assert_echo(b"hello");
    let (hold, start) = (next(&watch.opened).hold(), Instant::now());
    peer.close_notify();
    thread::sleep(Duration::from_millis(100));
    peer.stream.sock.socket().set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    next(&watch.closed);
    assert!(start.elapsed() < Duration::from_secs(10));
    drop(hold);
}
