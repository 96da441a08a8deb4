//! Clients that have a thread only while they are busy ([`Threads::WhileBusy`]).

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use backport::framing::Lines;
use backport::{receiving, Adapter, Client, Closing, Error, Input, Result, TcpServer, Threads};
use crossbeam_channel::{unbounded, Sender};

use crate::support::{eventually, gate, next, pattern, serve_tcp_with, Echo, Gate, Peer, ServedTcp, Watch};

/// A client has proved that its callbacks are short after so many messages, whatever the computer does meanwhile.
const PROOF: usize = 100;
/// The threads of a machine with one server and waiting clients: the acceptor, the reactor, the leader, the standby, and
/// a few workers that wait for work.
const FEW: usize = 4 + 16;

fn serve<A: Adapter>(factory: impl Fn() -> A + Send + Sync + 'static) -> ServedTcp {
    serve_tcp_with(factory, |server: TcpServer<_>| server.threads(Threads::WhileBusy))
}

/// Connects clients whose callbacks have proved short.
fn proven(served: &ServedTcp, count: usize) -> Vec<Peer> {
    let peers: Vec<_> = (0..count).map(|_| served.connect()).collect();
    for _ in 0..PROOF {
        peers.iter().for_each(|peer| peer.assert_echo(b"x"));
    }
    peers
}

fn threads(served: &ServedTcp) -> usize {
    served.machine().stats().threads
}

#[test]
fn clients_that_wait_have_no_threads() {
    let served = serve(|| Echo);
    let peers: Vec<_> = (0..200).map(|_| served.connect()).collect();
    peers.iter().for_each(|peer| peer.assert_echo(b"hello"));
    eventually("they have given their threads up", || threads(&served) <= FEW);
    peers.iter().for_each(|peer| peer.assert_echo(b"still there"));
    assert_eq!(served.server.broadcast("to all\n"), 200);
    peers.iter().for_each(|peer| assert_eq!(peer.read(7), b"to all\n"));
    drop(peers);
    served.wait_until_empty();
    served.stop().unwrap();
}

/// Such a message fills the first buffer of a client, so there may be more to read after each callback.
#[test]
fn clients_with_messages_of_two_kilobytes_need_no_threads_while_they_send() {
    let served = serve(|| Echo);
    let peers: Vec<_> = (0..50).map(|_| served.connect()).collect();
    let message = pattern(2048);
    let exchange = || peers.iter().for_each(|peer| peer.assert_echo(&message));
    (0..PROOF).for_each(|_| exchange());
    eventually("they have given their threads up", || {
        exchange();
        threads(&served) <= FEW
    });
    served.stop().unwrap();
}

#[test]
fn boxed_and_framed_adapters_give_their_threads_up_too() {
    for kind in 0..3 {
        let factory = move || -> Box<dyn Adapter> {
            match kind {
                0 => Box::new(Echo),
                1 => Box::new(Echo.framed(Lines::default())),
                _ => Box::new(Box::new(Echo)),
            }
        };
        let served = serve(factory);
        let peers: Vec<_> = (0..50).map(|_| served.connect()).collect();
        let echo = |peer: &Peer| {
            peer.send("line\n");
            assert_eq!(peer.read(4), b"line");
            if kind != 1 {
                assert_eq!(peer.read(1), b"\n");
            }
        };
        peers.iter().for_each(echo);
        eventually("they have given their threads up", || threads(&served) <= FEW);
        peers.iter().for_each(echo);
        served.stop().unwrap();
    }
}

/// A wrapper whose `serving` does something before and after that of another adapter.
struct Wrapper(Echo, Arc<AtomicUsize>);

impl Adapter for Wrapper {
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        self.0.receiving(client, data)
    }

    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        self.1.fetch_add(1, Ordering::SeqCst);
        let result = self.0.serving(client, input);
        self.1.fetch_add(1000, Ordering::SeqCst);
        result
    }
}

#[test]
fn an_adapter_with_its_own_serving_keeps_its_thread_and_is_called_once() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let served = serve(move || Wrapper(Echo, counter.clone()));
    let peers = proven(&served, 20);
    thread::sleep(Duration::from_millis(300));
    assert!(threads(&served) >= 20, "each keeps its thread");
    peers.iter().for_each(|peer| peer.assert_echo(b"again"));
    assert_eq!(calls.load(Ordering::SeqCst), 20);
    drop(peers);
    served.wait_until_empty();
    assert_eq!(calls.load(Ordering::SeqCst), 20 * 1001);
    served.stop().unwrap();
}

/// Waits at a gate when it receives `wait`, and echoes everything else.
struct Waiter(Sender<()>, Gate);

impl Adapter for Waiter {
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        if data == b"wait" {
            self.0.send(())?;
            self.1.wait();
        }
        Ok(client.write(data)?)
    }
}

#[test]
fn a_callback_that_blocks_keeps_no_other_client_waiting() {
    for blocking in [1, 20] {
        let (keeper, gate) = gate();
        let (sender, waits) = unbounded();
        let served = serve(move || Waiter(sender.clone(), gate.clone()));
        let peers = proven(&served, 2 * blocking);
        let (blocked, others) = peers.split_at(blocking);
        blocked.iter().for_each(|peer| peer.send("wait"));
        blocked.iter().for_each(|_| next(&waits));
        others.iter().for_each(|peer| peer.assert_echo(b"not blocked"));
        served.connect().assert_echo(b"a newcomer");
        let take_overs = served.server.stats().take_overs;
        assert!((1..=blocking as u64).contains(&take_overs), "{take_overs}");
        drop(keeper);
        blocked.iter().for_each(|peer| assert_eq!(peer.read(4), b"wait"));
        peers.iter().for_each(|peer| peer.assert_echo(b"all go on"));
        eventually("they have given their threads up", || threads(&served) <= FEW);
        peers.iter().for_each(|peer| peer.assert_echo(b"and without threads"));
        drop(peers);
        served.wait_until_empty();
        served.stop().unwrap();
    }
}

#[test]
fn newcomers_that_block_at_once_cost_no_take_over() {
    let (keeper, gate) = gate();
    let (sender, waits) = unbounded();
    let served = serve(move || Waiter(sender.clone(), gate.clone()));
    let others = proven(&served, 3);
    let before = served.server.stats().take_overs;
    let blocked: Vec<_> = (0..20).map(|_| served.connect()).collect();
    blocked.iter().for_each(|peer| peer.send("wait"));
    blocked.iter().for_each(|_| next(&waits));
    others.iter().for_each(|peer| peer.assert_echo(b"not blocked"));
    assert_eq!(served.server.stats().take_overs, before);
    drop(keeper);
    blocked.iter().for_each(|peer| assert_eq!(peer.read(4), b"wait"));
    served.stop().unwrap();
}

#[test]
fn a_callback_that_waits_for_the_callback_of_another_client_gets_what_it_waits_for() {
    let (sender, receiver) = unbounded::<()>();
    let served = serve(move || {
        let (sender, receiver) = (sender.clone(), receiver.clone());
        receiving(move |client, data| {
            match data {
                b"ask" => next(&receiver),
                b"tell" => sender.send(())?,
                _ => {}
            }
            Ok(client.write(data)?)
        })
    });
    let peers = proven(&served, 2);
    for _ in 0..5 {
        peers[0].send("ask");
        thread::sleep(Duration::from_millis(20));
        peers[1].assert_echo(b"tell");
        assert_eq!(peers[0].read(3), b"ask");
    }
    served.stop().unwrap();
}

#[test]
fn a_peer_that_does_not_read_costs_no_take_over() {
    let served = serve(|| {
        receiving(|client, data| {
            Ok(client.write(if data == b"flood" { &[b'f'; 20_000_000][..] } else { data })?)
        })
    });
    let peers = proven(&served, 3);
    let before = served.server.stats().take_overs;
    peers[0].send("flood");
    for _ in 0..20 {
        peers[1].assert_echo(b"not blocked");
        peers[2].assert_echo(b"not blocked");
        thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(peers[0].read(20_000_000), [b'f'; 20_000_000]);
    // The copy into the socket may take long on a busy computer.
    assert!(served.server.stats().take_overs <= before + 1);
    served.stop().unwrap();
}

#[test]
fn callbacks_of_one_client_never_overlap_and_come_in_order_on_changing_threads() {
    struct Ordered {
        next: u8,
        inside: Arc<AtomicBool>,
        threads: Sender<ThreadId>,
    }
    impl Adapter for Ordered {
        fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
            assert!(!self.inside.swap(true, Ordering::SeqCst), "two callbacks at once");
            for byte in data {
                assert_eq!(*byte, self.next);
                self.next = self.next.wrapping_add(1);
            }
            if data[0] == 77 {
                thread::sleep(Duration::from_millis(20));
            }
            self.threads.send(thread::current().id())?;
            client.write(data)?;
            self.inside.store(false, Ordering::SeqCst);
            Ok(())
        }
    }
    let (sender, seen) = unbounded();
    let factory = move || Ordered { next: 0, inside: Arc::default(), threads: sender.clone() };
    let served = serve(factory);
    let peers: Vec<_> = (0..8).map(|_| served.connect()).collect();
    for byte in (0..=255_u8).cycle().take(600) {
        peers.iter().for_each(|peer| peer.send([byte]));
        peers.iter().for_each(|peer| assert_eq!(peer.read(1), [byte]));
    }
    drop(peers);
    served.wait_until_empty();
    let threads: HashSet<_> = seen.try_iter().collect();
    assert!(threads.len() > 1, "they have all run on one thread");
    served.stop().unwrap();
}

#[test]
fn a_stop_reaches_clients_without_threads() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(receiving(|client, data| Ok(client.write(data)?))));
    let peers = proven(&served, 50);
    eventually("they have given their threads up", || threads(&served) <= FEW);
    served.stop().unwrap();
    for peer in &peers {
        assert_eq!(peer.read_to_end(), b"");
        assert_eq!(next(&watch.closed), "Stopping");
    }
    watch.assert_balanced();
}

/// After the drain timeout, no other threads are started, except for these.
#[test]
fn closings_that_block_after_the_drain_timeout_are_all_named() {
    struct Clinging(Sender<()>, Gate);
    impl Adapter for Clinging {
        fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
            Ok(client.write(data)?)
        }
        fn closing(&mut self, _: &Client, _: &Closing) {
            self.0.send(()).expect("the test holds a receiver");
            self.1.wait();
        }
    }
    let (keeper, gate) = gate();
    let (sender, closing) = unbounded();
    let served = serve(move || Clinging(sender.clone(), gate.clone()));
    let peers = proven(&served, 5);
    served.machine().set_drain_timeout(Duration::from_millis(200));
    let error = served.stop().unwrap_err();
    let Some(Error::Stuck { threads, .. }) = error.downcast_ref::<Error>() else { panic!("{error}") };
    assert_eq!(threads.len(), 5, "{threads:?}");
    drop(keeper);
    peers.iter().for_each(|_| next(&closing));
}

#[test]
fn timeouts_hold_for_clients_without_threads() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || {
        watched.around(receiving(|client, data| {
            if data == b"short" {
                client.set_idle_timeout(Some(Duration::from_millis(300)));
            }
            Ok(client.write(data)?)
        }))
    });
    let peers = proven(&served, 2);
    peers[0].assert_echo(b"short");
    assert_eq!(peers[0].read_to_end(), b"");
    assert_eq!(next(&watch.closed), "Idle");
    peers[1].assert_echo(b"not idle");
    served.stop().unwrap();
}

#[test]
fn a_long_stream_keeps_no_other_client_waiting_and_loses_nothing() {
    let served = serve(|| Echo);
    let peers = proven(&served, 3);
    let all = pattern(20_000_000);
    thread::scope(|scope| {
        let (stream, others) = peers.split_first().unwrap();
        let echoed = scope.spawn(|| stream.read(20_000_000));
        scope.spawn(|| all.chunks(100_000).for_each(|chunk| stream.send(chunk)));
        while !echoed.is_finished() {
            others.iter().for_each(|peer| peer.assert_echo(b"in between"));
        }
        crate::support::assert_same(&echoed.join().unwrap(), &all);
        stream.half_close();
        stream.wait_for_end();
    });
    served.stop().unwrap();
}
