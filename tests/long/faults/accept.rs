//! Accepting: errors of each class, and descriptors that run out (P15).

use std::thread;
use std::time::{Duration, Instant};

use crate::host::{each, Host, Setup};
use crate::support::child::skip;
use crate::support::{eventually, in_time, Peer};

const SECOND: Duration = Duration::from_secs(1);

/// Several clients, all served.
#[track_caller]
fn assert_serves(host: &Host, count: usize) {
    let peers = host.connect_many(count);
    peers.iter().for_each(|peer| peer.assert_echo(b"served"));
}

#[test]
fn accept_emfile_three_times_all_clients_are_served_with_one_warning() {
    let Some(setup) = Setup::new().injecting("accept4:error=EMFILE:when=2..4") else { return };
    let host = setup.start();
    assert_serves(&host, 5);
    assert_eq!(host.report().get("accept_errors"), 3);
    let logged = host.logged();
    assert_eq!(logged.len(), 1, "{logged:?}");
    assert!(logged[0].starts_with("WARN") && logged[0].contains("cannot accept"), "{logged:?}");
    host.finish();
}

#[test]
fn accept_out_of_memory_backs_off_and_recovers() {
    each(["ENFILE", "ENOMEM", "ENOBUFS", "EIO"], |error| {
        let fault = format!("accept4:error={error}:when=1..3");
        let Some(setup) = Setup::new().injecting(&fault) else { return };
        let host = setup.start();
        assert_serves(&host, 2);
        assert_eq!(host.report().get("warnings"), 1);
        host.finish();
    });
}

#[test]
fn accept_errors_of_one_connection_leave_the_next_client_unaffected() {
    each(["ECONNABORTED", "EPROTO", "ENETDOWN", "ETIMEDOUT", "EPERM", "EINTR"], |error| {
        let fault = format!("accept4:error={error}:when=2..3");
        let Some(setup) = Setup::new().injecting(&fault) else { return };
        let host = setup.start();
        assert_serves(&host, 2);
        assert_eq!(host.report().get("warnings"), 0, "{error}");
        host.finish();
    });
}

#[test]
fn accepts_that_signals_interrupt_again_and_again_are_no_errors() {
    let Some(setup) = Setup::new().injecting("accept4:error=EINTR:when=2..300") else { return };
    let host = setup.start();
    let start = Instant::now();
    assert_serves(&host, 3);
    assert!(start.elapsed() < 5 * SECOND, "{:?}", start.elapsed());
    let report = host.report();
    assert_eq!((report.get("accept_errors"), report.get("warnings")), (0, 0));
    host.finish();
}

#[test]
fn a_connection_that_dies_right_after_its_accept_is_not_taken_for_a_bad_listener() {
    // The acceptor asks each socket for its address; its second client's can't say. (The thread
    // that prepares has asked once.)
    let setup = Setup::new().set("LISTEN", "0.0.0.0:0");
    let Some(setup) = setup.injecting("getsockname:error=EINVAL:when=2..3") else { return };
    let host = setup.start();
    let address = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, host.address().port()));
    Peer::connect(address).assert_echo(b"the first");
    for _ in 0..2 {
        Peer::connect(address).wait_for_end();
    }
    Peer::connect(address).assert_echo(b"the next");
    assert_eq!(host.report().get("accept_errors"), 2);
    host.end();
}

#[test]
fn a_port_that_only_root_may_have_is_an_error_that_names_the_address() {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if first.is_ok_and(|first| first.trim() == "0") {
        skip("since anyone may have any port here");
        return;
    }
    let Some(setup) = Setup::new().set("LISTEN", "127.0.0.1:80").by_nobody(&[]) else { return };
    let said = setup.refusal();
    assert!(said.starts_with("PermissionDenied: ") && said.contains("127.0.0.1:80"), "{said}");
}

#[test]
fn clients_that_are_gone_before_they_are_accepted_cost_nothing() {
    let host = Setup::new().set("MAX_CLIENTS", 1).start();
    let first = host.connect();
    first.assert_echo(b"in");
    for round in 0..60 {
        let peer = host.connect();
        if round % 3 != 0 {
            peer.send(b"x");
        }
        if round % 2 == 0 {
            peer.reset();
        }
    }
    first.assert_echo(b"still in");
    drop(first);
    host.finish();
}

#[test]
fn accept_errors_of_one_connection_without_end_make_no_loop_that_spins() {
    let Some(setup) = Setup::new().injecting("accept4:error=EPROTO:when=2+") else { return };
    let host = setup.start();
    let (_first, _waiting) = (host.connect(), host.connect());
    host.eventually("it has tried often", |report| report.get("accept_errors") > 64);
    // The pauses double from 5 ms on: by then they are long.
    thread::sleep(SECOND);
    let load = host.load(SECOND);
    assert!(load < 0.01, "{:.1} % of a processor", load * 100.0);
    host.end();
}

#[test]
fn accept_on_a_listener_that_is_bad_for_good_ends_that_server_alone() {
    each(["EBADF", "EINVAL", "ENOTSOCK"], |error| {
        // The third accept of each acceptor's thread: after its second client.
        let fault = format!("accept4:error={error}:when=3+");
        let Some(setup) = Setup::new().set("SERVERS", 2).injecting(&fault) else { return };
        let mut host = setup.start();
        let (bad, good) = (host.addresses()[0], host.addresses()[1]);
        let stays = Peer::connect(good);
        stays.assert_echo(b"other server");
        let goes = Peer::connect(bad);
        goes.assert_echo(b"this server");
        // This one may see the reset of the listener's end.
        drop(Peer::try_connect(bad));
        assert_eq!(goes.read_to_end(), b"the server is stopping");
        eventually("its listener is closed", || Peer::try_connect(bad).is_err());
        stays.assert_echo(b"not me");
        let load = host.load(SECOND / 2);
        assert!(load < 0.01, "{:.1} % of a processor", load * 100.0);
        host.tell("stop");
        assert_eq!(stays.read_to_end(), b"the server is stopping");
        let said = host.wait();
        assert_eq!(said, format!("ended the server tcp {bad} ended with an error"));
    });
}

#[test]
fn a_stop_during_the_back_off_of_an_accept_takes_effect_at_once() {
    let Some(setup) = Setup::new().injecting("accept4:error=EMFILE:when=2+") else { return };
    let host = setup.start();
    let first = host.connect();
    first.assert_echo(b"served");
    drop(first);
    let waiting = host.connect();
    // 5 + 10 + … + 640 ms have passed: the pause is a second by now.
    host.eventually("the back-off is long", |report| report.get("accept_errors") >= 9);
    let (said, took) = host.stop();
    assert_eq!(said, "ended ok");
    assert!(took < SECOND / 2, "{took:?}");
    // It was never accepted, and is told so.
    in_time("the end of the client that waits", move || waiting.wait_for_end());
    assert_eq!(host.report().get("warnings"), 1);
}

fn with_few_descriptors() -> Host {
    Setup::new().behind(&["sh", "-c", "ulimit -n 40; exec \"$0\" \"$@\""]).start()
}

#[test]
fn more_clients_than_there_are_descriptors_for_are_all_served_in_turn() {
    let host = with_few_descriptors();
    let peers = host.connect_many(100);
    peers.iter().for_each(|peer| peer.send(b"my turn"));
    host.eventually("descriptors are out", |report| report.get("accept_errors") > 0);
    for peer in peers {
        assert_eq!(peer.read(7), b"my turn");
    }
    let report = host.report();
    assert_eq!((report.get("refused"), report.get("warnings")), (0, 1));
    host.finish();
}

#[test]
fn a_stop_while_descriptors_are_out_ends_all_who_are_there_and_who_wait() {
    let host = with_few_descriptors();
    let live = host.connect_many(3);
    live.iter().for_each(|peer| peer.assert_echo(b"before"));
    host.ask("starve");
    let queued = host.connect_many(5);
    host.eventually("descriptors are out", |report| report.get("accept_errors") > 3);
    host.tell("stop");
    live.iter().for_each(|peer| assert_eq!(peer.read_to_end(), b"the server is stopping"));
    queued.iter().for_each(Peer::wait_for_end);
    drop((live, queued));
    let mut host = host;
    assert_eq!(host.wait(), "ended ok");
}

#[test]
fn real_exhaustion_of_descriptors_live_clients_go_on_and_queued_ones_are_served_after_it() {
    let host = with_few_descriptors();
    let live = host.connect_many(5);
    live.iter().for_each(|peer| peer.assert_echo(b"before"));
    let held: usize = host.ask("starve").parse().unwrap();
    assert!(held > 5);
    let queued = host.connect_many(20);
    queued.iter().for_each(|peer| peer.send(b"queued"));
    let start = Instant::now();
    while start.elapsed() < 3 * SECOND {
        live.iter().for_each(|peer| peer.assert_echo(b"meanwhile"));
        let load = host.load(SECOND);
        assert!(load < 0.02, "{:.1} % of a processor", load * 100.0);
    }
    // One may have been let in with the descriptor that a waiting accept holds already.
    assert!(host.report().get("accepted") <= 6);
    host.ask("release");
    let start = Instant::now();
    queued.iter().for_each(|peer| assert_eq!(peer.read(6), b"queued"));
    assert!(start.elapsed() < 3 * SECOND, "{:?}", start.elapsed());
    live.iter().for_each(|peer| peer.assert_echo(b"after"));
    assert_eq!(host.report().get("warnings"), 1);
    drop((live, queued));
    host.finish();
}

#[test]
fn a_full_server_that_refuses_keeps_no_descriptors_and_gives_one_warning() {
    for shared in [0, 1] {
        let setup = Setup::new().set("MAX_CLIENTS", 1).set("REFUSE", "busy").set("SHARED", shared);
        let host = setup.start();
        let inside = host.connect();
        inside.assert_echo(b"in");
        let before = host.descriptors();
        let mut most = 0;
        let peers: Vec<_> = (0..500)
            .map(|_| {
                let peer = host.connect();
                peer.send(b"a request");
                assert_eq!(peer.read_to_end(), b"busy");
                most = most.max(host.descriptors());
                peer
            })
            .collect();
        assert!(most <= before + 33, "{most} descriptors, and {before} before");
        eventually("the refused ones are closed, although their peers keep their ends", || {
            host.descriptors() <= before
        });
        let report = host.report();
        assert_eq!((report.get("refused"), report.get("warnings")), (500, 1));
        let logged = host.logged();
        assert!(
            logged[0].contains("the limit of 1 clients is reached, new clients are refused"),
            "{logged:?}"
        );
        let load = host.load(SECOND / 2);
        assert!(load < 0.01, "{:.1} % of a processor", load * 100.0);
        inside.assert_echo(b"still in");
        drop((inside, peers));
        host.eventually("the places are free", |report| report.get("current") == 0);
        host.finish();
    }
}

#[test]
fn a_full_server_that_refuses_works_with_descriptors_that_are_out_for_a_while() {
    let setup = Setup::new().behind(&["sh", "-c", "ulimit -n 40; exec \"$0\" \"$@\""]);
    let host = setup.set("MAX_CLIENTS", 2).set("REFUSE", "busy").start();
    let inside = host.connect_many(2);
    inside.iter().for_each(|peer| peer.assert_echo(b"in"));
    // More than there are descriptors for; the oldest give theirs away.
    for peer in host.connect_many(100) {
        peer.send(b"a request");
        assert_eq!(peer.read_to_end(), b"busy");
    }
    host.ask("starve");
    let waiting = host.connect_many(3);
    waiting.iter().for_each(|peer| peer.send(b"a request"));
    host.eventually("descriptors are out", |report| report.get("accept_errors") > 0);
    inside.iter().for_each(|peer| peer.assert_echo(b"still in"));
    host.ask("release");
    waiting.iter().for_each(|peer| assert_eq!(peer.read_to_end(), b"busy"));
    assert_eq!(host.report().get("refused"), 103);
    drop((inside, waiting));
    host.eventually("the places are free", |report| report.get("current") == 0);
    host.finish();
}
