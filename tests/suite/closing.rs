//! The end of a connection: what was written is delivered, and it ends (P6, P8).

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use backport::{Adapter, Client, Closing, Input, Result};

use crate::support::{assert_same, gate, next, pattern, serve, serve_tcp, Echo, Gate, Peer, Watch};

pub(crate) const REPLY: usize = 1_500_000;

/// Writes its reply at the first bytes, which it leaves unread for the most part, and closes.
pub(crate) struct Reply;

impl Adapter for Reply {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        input.read_exact(&mut [0; 1])?;
        client.write(pattern(REPLY))?;
        client.close();
        Ok(())
    }
}

#[test]
fn all_arrives_though_the_clients_input_is_unread() {
    let served = serve(|| Reply);
    let peer = served.connect();
    peer.send(vec![b'?'; 2000]);
    assert_same(&peer.read_to_end(), &pattern(REPLY));
    drop(peer);
    served.wait_until_empty();
}

#[test]
fn all_arrives_though_the_close_came_from_another_thread() {
    let watch = Watch::new();
    let watched = watch.clone();
    let (keeper, gate) = gate();
    // Never reads: what the client sends stays unread.
    struct Deaf(Gate);
    impl Adapter for Deaf {
        fn serving(&mut self, _: &Client, _: &mut Input) -> Result {
            self.0.wait();
            Ok(())
        }
    }
    let served = serve(move || watched.around(Deaf(gate.clone())));
    let peer = served.connect();
    let client = next(&watch.opened);
    peer.send(vec![b'?'; 2000]);
    let writer = thread::spawn(move || {
        client.write(pattern(REPLY)).unwrap();
        client.close();
        drop(keeper);
    });
    assert_same(&peer.read_to_end(), &pattern(REPLY));
    drop(peer);
    writer.join().unwrap();
    assert_eq!(next(&watch.closed), "ByServer");
    watch.assert_settled(&served);
}

#[test]
fn all_arrives_though_the_client_waits_in_a_read_when_another_thread_closes() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(backport::receiving(|_, _| Ok(()))));
    let peer = served.connect();
    let client = next(&watch.opened);
    // Long enough to park, rather than be within the read's first moments.
    thread::sleep(Duration::from_millis(250));
    let writer = thread::spawn(move || {
        client.write(pattern(REPLY)).unwrap();
        client.close();
    });
    assert_same(&peer.read_to_end(), &pattern(REPLY));
    writer.join().unwrap();
    assert_eq!(next(&watch.closed), "ByServer");
}

#[test]
fn all_arrives_though_the_client_goes_on_sending() {
    let served = serve(|| Reply);
    let peer = served.connect();
    let (stream, done) = (peer.stream.try_clone().unwrap(), Arc::new(AtomicBool::new(false)));
    let sending = done.clone();
    let sender = thread::spawn(move || {
        // Ends with an error once the server has heard enough.
        while !sending.load(Ordering::SeqCst) && io::Write::write(&mut &stream, &[b'?'; 1000]).is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
    });
    let mut got = vec![0; REPLY];
    // Slowly, so that much of it is still in the server's kernel when it closes.
    for chunk in got.chunks_mut(100_000) {
        (&peer.stream).read_exact(chunk).unwrap();
        thread::sleep(Duration::from_millis(10));
    }
    assert_same(&got, &pattern(REPLY));
    assert_eq!(peer.read_to_end(), b"");
    done.store(true, Ordering::SeqCst);
    sender.join().unwrap();
    drop(peer);
    served.wait_until_empty();
}

#[test]
fn a_peer_that_only_half_closed_gets_its_whole_reply() {
    struct Answer(usize);
    impl Adapter for Answer {
        fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
            let mut request = Vec::new();
            input.read_to_end(&mut request)?;
            assert_eq!(request.len(), self.0);
            Ok(client.write(pattern(3_000_000))?)
        }
    }
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around_serving(Answer(5000)));
    let peer = served.connect();
    peer.send(vec![b'q'; 5000]);
    peer.half_close();
    assert_same(&peer.read_to_end(), &pattern(3_000_000));
    assert_eq!(next(&watch.closed), "ByPeer");
    watch.assert_settled(&served);
}

#[test]
fn an_echo_of_a_half_closed_peer_comes_back_whole() {
    let served = serve(|| Echo);
    let peer = served.connect();
    let (sent, stream) = (pattern(3_000_000), peer.stream.try_clone().unwrap());
    let sender = thread::spawn(move || {
        io::Write::write_all(&mut &stream, &sent).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    });
    assert_same(&peer.read_to_end(), &pattern(3_000_000));
    sender.join().unwrap();
}

#[test]
fn close_to_a_silent_peer_ends_within_the_linger() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    let peer = served.connect();
    peer.assert_echo(b"a recent write makes it linger");
    let start = Instant::now();
    next(&watch.opened).close();
    watch.assert_settled(&served);
    assert!(start.elapsed() < Duration::from_millis(1500 + 1000), "{:?}", start.elapsed());
    assert_eq!(peer.read_to_end(), b"");
}

#[test]
fn close_from_eight_threads_is_one_close() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    for _ in 0..20 {
        let peer = served.connect();
        let client = next(&watch.opened);
        client.write("the last word").unwrap();
        let together = Arc::new(Barrier::new(8));
        let closers: Vec<_> = (0..8)
            .map(|_| {
                let (client, together) = (client.clone(), together.clone());
                thread::spawn(move || {
                    together.wait();
                    client.close();
                })
            })
            .collect();
        closers.into_iter().for_each(|closer| closer.join().unwrap());
        assert_eq!(peer.read_to_end(), b"the last word");
        assert_eq!(next(&watch.closed), "ByServer");
    }
    watch.assert_settled(&served);
}

/// Closes in one of its callbacks, twice, after a write.
struct CloseIn(&'static str);

impl CloseIn {
    fn at(&self, place: &str, client: &Client) -> Result {
        if self.0 == place {
            client.write(place)?;
            client.close();
            client.close();
        }
        Ok(())
    }
}

impl Adapter for CloseIn {
    fn opening(&mut self, client: &Client) -> Result {
        self.at("opening", client)
    }
    fn receiving(&mut self, client: &Client, _: &[u8]) -> Result {
        self.at("receiving", client)
    }
    fn closing(&mut self, client: &Client, _: &Closing) {
        self.at("closing", client).unwrap();
    }
}

#[test]
fn close_inside_each_callback_delivers_and_ends_once() {
    for (place, expected) in [("opening", "ByServer"), ("receiving", "ByServer"), ("closing", "ByPeer")] {
        let watch = Watch::new();
        let watched = watch.clone();
        let served = serve(move || watched.around(CloseIn(place)));
        let peer = served.connect();
        peer.send(b"go");
        if place == "closing" {
            peer.half_close();
        }
        assert_eq!(peer.read_to_end(), place.as_bytes());
        assert_eq!(next(&watch.closed), expected);
        watch.assert_settled(&served);
        assert!(watch.closed.is_empty());
    }
}

#[test]
fn a_write_inside_closing_is_delivered_and_others_may_not_write_then() {
    struct Goodbye;
    impl Adapter for Goodbye {
        fn closing(&mut self, client: &Client, reason: &Closing) {
            let other = client.clone();
            let result = thread::spawn(move || other.write("not you")).join().unwrap();
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            client.write_line(format!("goodbye: {reason}")).unwrap();
        }
    }
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Goodbye));
    let peer = served.connect();
    next(&watch.opened).close();
    assert_eq!(peer.read_to_end(), b"goodbye: closed by the server\n");
    let peer = served.connect();
    peer.half_close();
    assert_eq!(peer.read_to_end(), b"goodbye: closed by the peer\n");
    served.wait_until_empty();
    assert_eq!(served.server.stats().panics, 0);
}

#[test]
fn abort_resets_at_once_and_closing_runs_without_a_last_word() {
    struct Silent;
    impl Adapter for Silent {
        fn closing(&mut self, client: &Client, _: &Closing) {
            assert_eq!(client.write("too late").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
    }
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve_tcp(move || watched.around(Silent));
    // What its kernel has taken already would be followed by an end, not by a reset.
    let peer = Peer::connect_narrow(served.address());
    let client = next(&watch.opened);
    client.post(vec![b'x'; 3_000_000]).unwrap_or_else(|error| panic!("{error}"));
    client.abort();
    client.abort();
    assert_eq!(next(&watch.closed), "ByServer");
    let mut rest = Vec::new();
    let error = (&peer.stream).read_to_end(&mut rest).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    watch.assert_settled(&served);
}

#[test]
fn the_first_reason_stays() {
    struct Slow(Gate);
    impl Adapter for Slow {
        fn receiving(&mut self, _: &Client, _: &[u8]) -> Result {
            self.0.wait();
            Ok(())
        }
    }
    let watch = Watch::new();
    let watched = watch.clone();
    let (keeper, gate) = gate();
    let served = serve(move || watched.around(Slow(gate.clone())));
    let peer = served.connect();
    let client = next(&watch.opened);
    peer.send(b"x");
    client.close();
    peer.reset();
    served.server.stop();
    drop(keeper);
    assert_eq!(next(&watch.closed), "ByServer");
    served.join().unwrap();
    watch.assert_balanced();
}
