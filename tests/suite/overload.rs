//! Limits: clients, idleness, stacks; suspend and resume (P13).

use std::collections::HashSet;
use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use backport::{receiving, Adapter, Full, Machine, TcpServer};
use crossbeam_channel::unbounded;

use crate::support::{
    eventually, is_while_busy, next, nothing, prepare, serve, serve_plain_with, serve_with, try_prepare,
    Echo, Peer, Served, Settings, Watch,
};

const MS: Duration = Duration::from_millis(1);

fn limited<F>(set: impl FnOnce(Settings) -> Settings, factory: F) -> Served
where
    F: Fn() -> Box<dyn Adapter> + Send + Sync + 'static,
{
    serve_with(factory, set)
}

fn watched_echo(watch: &Watch) -> impl Fn() -> Box<dyn Adapter> + Send + Sync + 'static {
    let watch = watch.clone();
    move || Box::new(watch.around(Echo))
}

#[test]
fn one_client_more_than_the_limit_waits_for_a_place() {
    let watch = Watch::new();
    let served = limited(|server| server.max_clients(3), watched_echo(&watch));
    let mut served_ones: Vec<_> = (0..3).map(|_| served.connect()).collect();
    (0..3).for_each(|_| drop(next(&watch.opened)));
    let waiting = served.connect();
    waiting.send(b"let me in");
    nothing(&watch.opened);
    assert_eq!(served.server.client_count(), 3);
    drop(served_ones.pop());
    let start = Instant::now();
    assert_eq!(waiting.read(9), b"let me in");
    assert!(start.elapsed() < 1000 * MS, "served late: {:?}", start.elapsed());
    assert_eq!(served.server.stats().peak, 3);
}

#[test]
fn ten_times_the_limit_are_all_served_and_never_more_at_once() {
    let watch = Watch::new();
    let served = limited(|server| server.max_clients(4), watched_echo(&watch));
    let peers: Vec<_> = (0..40).map(|_| served.connect()).collect();
    // A client counts once its worker has it: without this, a slow start could see fewer at once.
    (0..4).for_each(|_| drop(next(&watch.opened)));
    for peer in peers {
        peer.assert_echo(b"my turn");
        assert!(served.server.client_count() <= 4);
    }
    watch.assert_settled(&served);
    let stats = served.server.stats();
    assert_eq!((stats.accepted, stats.peak), (40, 4));
}

#[test]
fn raising_the_limit_lets_those_in_who_wait() {
    let watch = Watch::new();
    let served = limited(|server| server.max_clients(1), watched_echo(&watch));
    let peers: Vec<_> = (0..3).map(|_| served.connect()).collect();
    next(&watch.opened);
    nothing(&watch.opened);
    served.server.set_max_clients(3);
    peers.iter().for_each(|peer| peer.assert_echo(b"in"));
}

const BUSY: &[u8] = b"busy, try again later\n";

/// Over TLS, nothing can be said to a client without a handshake, so a refusal is only the end there.
fn refusing(watch: &Watch, limit: usize) -> Served {
    serve_plain_with(watched_echo(watch), |server| {
        server.max_clients(limit).when_full(Full::Refuse(BUSY.to_vec()))
    })
}

#[test]
fn a_full_server_waits_by_default_and_a_message_comes_from_whatever_has_bytes() {
    assert_eq!(Full::default(), Full::Wait);
    assert_eq!(Full::Refuse("busy".into()), Full::refuse(b"busy"));
}

#[test]
fn a_client_that_a_full_server_refuses_reads_the_message_and_the_end() {
    let watch = Watch::new();
    let served = refusing(&watch, 1);
    let inside = served.connect();
    inside.assert_echo(b"in");
    let threads = served.machine().stats().threads;
    for count in 0..100 {
        let peer = served.connect();
        if count % 2 == 0 {
            peer.send(b"a request");
        }
        assert_eq!(peer.read_to_end(), BUSY);
    }
    assert_eq!(served.server.stats().refused, 100);
    assert_eq!(served.machine().stats().threads, threads, "no thread serves who is refused");
    inside.assert_echo(b"still in");
    drop(inside);
    watch.assert_settled(&served);
    assert_eq!(served.server.stats().accepted, 1, "no adapter was made for who is refused");
    served.stop().unwrap();
}

#[test]
#[cfg(target_os = "linux")] // Elsewhere a peer that still sends sees a reset instead of the end.
fn a_large_request_that_nobody_has_read_destroys_no_refusal() {
    let watch = Watch::new();
    let served = refusing(&watch, 1);
    let inside = served.connect();
    inside.assert_echo(b"in");
    // More than stay open, so that some are closed while their requests are unread.
    let peers: Vec<_> = (0..80).map(|_| served.connect()).collect();
    for peer in &peers {
        peer.stream.set_nonblocking(true).unwrap();
        // The end of some requests finds no room, or an end.
        drop(std::io::Write::write_all(&mut &peer.stream, &[b'r'; 100_000]));
        peer.stream.set_nonblocking(false).unwrap();
    }
    peers.iter().for_each(|peer| assert_eq!(peer.read_to_end(), BUSY));
    inside.assert_echo(b"still in");
}

#[test]
fn a_place_that_comes_free_goes_to_the_next_client_and_not_to_a_refusal() {
    let watch = Watch::new();
    let served = refusing(&watch, 1);
    for _ in 0..20 {
        let inside = served.connect();
        inside.assert_echo(b"in");
        assert_eq!(served.connect().read_to_end(), BUSY);
        drop(inside);
        served.wait_until_empty();
        served.connect().assert_echo(b"next");
        served.wait_until_empty();
    }
}

#[test]
fn raising_the_limit_ends_the_refusals() {
    let watch = Watch::new();
    let served = refusing(&watch, 1);
    let first = served.connect();
    first.assert_echo(b"first");
    assert_eq!(served.connect().read_to_end(), BUSY);
    served.server.set_max_clients(2);
    let second = served.connect();
    second.assert_echo(b"second");
    assert_eq!(served.connect().read_to_end(), BUSY);
    first.assert_echo(b"first still");
}

#[test]
fn a_suspended_server_refuses_nobody_until_it_is_resumed() {
    let watch = Watch::new();
    let served = refusing(&watch, 1);
    let inside = served.connect();
    inside.assert_echo(b"in");
    let refused = served.connect();
    assert_eq!(refused.read_to_end(), BUSY);
    served.server.suspend();
    let waiting = served.connect();
    waiting.assert_silent();
    // The kernel's answer to the first of these bytes is RST.
    let closed = || std::io::Write::write(&mut &refused.stream, b"late").is_err();
    eventually("the connection that was refused before is closed", closed);
    served.server.resume();
    assert_eq!(waiting.read_to_end(), BUSY);
    served.server.suspend();
    served.stop().unwrap();
}

#[test]
#[cfg(target_os = "linux")] // The size of the buffers
fn a_request_that_nobody_has_read_destroys_no_refusal_that_is_still_on_its_way() {
    let watch = Watch::new();
    let message = vec![b'm'; 50_000_000];
    let served = serve_plain_with(watched_echo(&watch), |server| {
        server.max_clients(1).when_full(Full::Refuse(message))
    });
    let inside = served.connect();
    inside.assert_echo(b"in");
    let slow = Peer::connect_narrow(served.address());
    slow.send(b"a request");
    eventually("it is refused", || served.server.stats().refused == 1);
    // These close the connection of the first one, whose message still waits in the kernel.
    let others: Vec<_> = (0..40).map(|_| served.connect()).collect();
    eventually("all are refused", || served.server.stats().refused == 41);
    assert!(slow.read_to_end().len() > 16 * 1024);
    drop(others);
}

#[test]
fn a_refusal_that_is_too_long_is_cut_and_delays_nobody() {
    let watch = Watch::new();
    let message = vec![b'm'; 50_000_000];
    let served = serve_plain_with(watched_echo(&watch), |server| {
        server.max_clients(1).when_full(Full::Refuse(message))
    });
    let inside = served.connect();
    inside.assert_echo(b"in");
    // Nobody reads yet.
    let peers: Vec<_> = (0..5).map(|_| served.connect()).collect();
    eventually("all are refused", || served.server.stats().refused == 5);
    for peer in peers {
        let got = peer.read_to_end();
        assert!(got.len() >= 16 * 1024 && got.len() < 50_000_000, "{} bytes", got.len());
        assert!(got.iter().all(|byte| *byte == b'm'));
    }
    inside.assert_echo(b"still in");
}

#[test]
fn an_empty_refusal_is_only_the_end() {
    let watch = Watch::new();
    let served = serve_plain_with(watched_echo(&watch), |server| {
        server.max_clients(1).when_full(Full::Refuse(Vec::new()))
    });
    let inside = served.connect();
    inside.assert_echo(b"in");
    let peer = served.connect();
    peer.send(b"a request");
    assert_eq!(peer.read_to_end(), b"");
}

#[test]
fn every_listener_of_a_full_server_refuses() {
    let watch = Watch::new();
    let machine = Machine::new();
    let watched = watch.clone();
    let server = TcpServer::new("localhost:0", move || watched.around(Echo))
        .max_clients(1)
        .when_full(Full::refuse("busy"));
    let server = machine.prepare(server).unwrap();
    let shared = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let shared = TcpServer::from_listener(shared, || Echo).max_clients(1).when_full(Full::refuse("shared"));
    let shared = machine.prepare(shared).unwrap();
    let running = machine.start().unwrap();
    let inside = [Peer::connect(server.local_addr()), Peer::connect(shared.local_addr())];
    inside.iter().for_each(|peer| peer.assert_echo(b"in"));
    for _ in 0..3 {
        for address in server.local_addrs() {
            let peer = Peer::connect(*address);
            peer.send(b"a request");
            assert_eq!(peer.read_to_end(), b"busy");
        }
        let peer = Peer::connect(shared.local_addr());
        peer.send(b"a request");
        assert_eq!(peer.read_to_end(), b"shared");
    }
    inside.iter().for_each(|peer| peer.assert_echo(b"still in"));
    running.stop().unwrap();
}

#[test]
fn refused_connections_are_closed_after_a_moment_and_at_once_by_a_stop() {
    let echo: fn() -> Echo = || Echo;
    for from_listener in [false, true] {
        let machine = Machine::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = if from_listener {
            TcpServer::from_listener(listener, echo)
        } else {
            TcpServer::new("127.0.0.1:0", echo)
        };
        let server = machine.prepare(server.max_clients(1).when_full(Full::refuse("busy"))).unwrap();
        let running = machine.start().unwrap();
        let inside = Peer::connect(server.local_addr());
        inside.assert_echo(b"in");
        let refused = || {
            let peer = Peer::connect(server.local_addr());
            assert_eq!(peer.read_to_end(), b"busy");
            peer.send(b"a late request");
            peer
        };
        let closed = |peer: &Peer| std::io::Write::write(&mut &peer.stream, b"more").is_err();
        let peer = refused();
        eventually("its connection is closed", || closed(&peer));
        let peer = refused();
        running.stop().unwrap();
        // The kernel's answer to the first of these bytes is RST.
        eventually("its connection is closed", || closed(&peer));
    }
}

#[test]
fn a_suspended_server_serves_its_clients_and_accepts_none_until_resumed() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    let inside = served.connect();
    next(&watch.opened);
    served.server.suspend();
    assert!(served.server.is_suspended());
    let outside = served.connect();
    outside.send(b"knock");
    nothing(&watch.opened);
    inside.assert_echo(b"still served");
    served.server.resume();
    assert!(!served.server.is_suspended());
    assert_eq!(outside.read(5), b"knock");
    served.server.suspend();
    served.stop().unwrap();
}

#[test]
fn an_idle_client_ends_after_the_idle_timeout_and_a_busy_one_does_not() {
    let watch = Watch::new();
    let served = limited(|server| server.idle_timeout(600 * MS), watched_echo(&watch));
    let start = Instant::now();
    let idle = served.connect();
    let busy = served.connect();
    while start.elapsed() < 900 * MS {
        busy.assert_echo(b"busy");
        std::thread::sleep(20 * MS);
    }
    assert_eq!(idle.read_to_end(), b"");
    assert_eq!(next(&watch.closed), "Idle");
    assert!(start.elapsed() >= 600 * MS);
    busy.assert_echo(b"still here");
    assert_eq!(served.server.stats().idle_timeouts, 1);
    let start = Instant::now();
    assert_eq!(busy.read_to_end(), b"");
    assert!(start.elapsed() >= 500 * MS, "the timeout counts from the last byte");
    watch.assert_settled(&served);
}

#[test]
fn an_idle_timeout_shorter_than_the_patience_of_a_read_works_too() {
    let watch = Watch::new();
    let served = limited(|server| server.idle_timeout(20 * MS), watched_echo(&watch));
    let peer = served.connect();
    assert_eq!(peer.read_to_end(), b"");
    assert_eq!(next(&watch.closed), "Idle");
}

#[test]
fn timeouts_of_zero_are_short_and_not_none() {
    let watch = Watch::new();
    let idle = limited(|server| server.idle_timeout(Duration::ZERO), watched_echo(&watch));
    let silent = idle.connect();
    assert_eq!(next(&watch.closed), "Idle");
    assert_eq!(silent.read_to_end(), b"");

    let (sender, outcomes) = unbounded();
    let hasty = serve_with(
        move || {
            let sender = sender.clone();
            receiving(move |client, data| {
                sender.send(client.write(data.repeat(10_000_000)).map_err(|error| error.kind())).unwrap();
                Ok(client.write(data)?)
            })
        },
        |server| server.write_timeout(Duration::ZERO),
    );
    let peer = hasty.connect();
    peer.send(b"four");
    assert_eq!(next(&outcomes), Err(ErrorKind::TimedOut));
    // What there is room for is written.
    peer.wait_for_end();
    hasty.wait_until_empty();
    let other = hasty.connect();
    eventually("it is connected", || hasty.server.clients().len() == 1);
    hasty.server.clients()[0].write("small").unwrap();
    assert_eq!(other.read(5), b"small");
}

#[test]
fn a_stack_too_small_to_run_on_is_refused_and_a_small_one_serves() {
    let machine = Machine::new();
    let error = try_prepare(&machine, || Echo, Settings::default().stack_size(64 * 1024)).unwrap_err();
    assert!(error.to_string().contains("stack_size"), "{error}");
    let served = serve_with(|| Echo, |server| server.stack_size(128 * 1024));
    served.assert_echoes();
    served.stop().unwrap();
}

#[test]
fn a_stack_that_no_thread_can_have_is_refused_with_the_limits() {
    for stack in
        [usize::MAX, usize::MAX - 4096, usize::MAX / 2, 1 << (usize::BITS - 20), 1024 * 1024 * 1024 + 1]
    {
        let settings = Settings::default().stack_size(stack);
        let error = try_prepare(&Machine::new(), || Echo, settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        for part in ["stack_size", "131072", if usize::BITS < 64 { "67108864" } else { "1073741824" }] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
    let served = serve_with(|| Echo, |server| server.stack_size(64 * 1024 * 1024));
    served.assert_echoes();
}

#[test]
fn nobody_waits_for_a_worker_that_is_busy() {
    let served = serve(|| Echo);
    for count in 1..6 {
        // All at once, after others that have left parked workers behind, fewer than these.
        let peers: Vec<_> = (0..count).map(|_| served.connect()).collect();
        peers.iter().for_each(|peer| peer.assert_echo(b"in"));
        drop(peers);
        served.wait_until_empty();
    }
}

#[test]
fn workers_are_used_again_and_end() {
    let served = serve(|| Echo);
    for _ in 0..200 {
        served.assert_echoes();
    }
    // Whoever has served the last client serves the next, if that one comes at once.
    let (sender, threads) = unbounded();
    let tell = move || {
        let sender = sender.clone();
        receiving(move |_, _| Ok(sender.send(thread::current().id())?))
    };
    let other = prepare(served.machine(), tell);
    let served_by = || {
        let peer = other.connect();
        peer.send(b"x");
        let thread = next(&threads);
        drop(peer);
        eventually("its worker is free", || other.client_count() == 0);
        thread
    };
    let workers: HashSet<_> = (0..40).map(|_| served_by()).collect();
    assert!(workers.len() <= 2 + 16, "{} threads for 40 clients", workers.len());
    other.stop();
    // The acceptor and the reactor, and for clients without threads the leader and the standby.
    let own = if is_while_busy() { 4 } else { 2 };
    // A few parked workers.
    assert!(served.machine().stats().threads <= own + 16 + 1);
    eventually("parked workers go home", || served.machine().stats().threads <= own);
}
