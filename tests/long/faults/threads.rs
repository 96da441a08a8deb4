//! Threads that can't be started (P15).

use crate::host::{each, Setup};
use crate::support::{is_while_busy, Peer};

#[test]
fn a_worker_that_cannot_be_started_costs_one_client() {
    if is_while_busy() {
        // The next test is about these.
        return;
    }
    // The acceptor's fourth and sixth, and the log's between them; the thread that prepares starts
    // three.
    let Some(setup) = Setup::new().injecting("clone3:error=EAGAIN:when=4..6") else { return };
    let host = setup.set("FEW_RECORDS", 1).start();
    let live = host.connect_many(3);
    live.iter().for_each(|peer| peer.assert_echo(b"live"));
    for _ in 0..2 {
        host.connect().wait_for_end();
    }
    host.connect().assert_echo(b"the next");
    live.iter().for_each(|peer| peer.assert_echo(b"still live"));
    let report = host.report();
    assert_eq!((report.get("refused"), report.get("opened")), (2, 4));
    let logged = host.logged();
    assert!(logged.len() == 1 && logged[0].contains("could not be served"), "{logged:?}");
    drop(live);
    host.finish();
}

#[test]
fn a_machine_that_cannot_start_its_threads_says_which_and_lets_go() {
    // The thread that runs it has started one before: it listens to us.
    let names = if is_while_busy() {
        ["backport-reactor", "backport-worker-0", "backport-acceptor-0"].as_slice()
    } else {
        &["backport-reactor", "backport-acceptor-0"]
    };
    each((2..).zip(names), |(number, name)| {
        let fault = format!("clone3:error=EAGAIN:when={number}");
        let Some(setup) = Setup::new().injecting(&fault) else { return };
        let mut host = setup.set("FEW_RECORDS", 1).begin();
        let said = host.wait();
        assert!(said.starts_with("ended ") && said.contains(name), "{said}");
        Peer::try_connect(host.address()).unwrap_err();
    });
}

/// As a user who may have few threads (root may have any number).
#[test]
fn clients_beyond_the_threads_that_a_user_may_have_are_refused_and_the_rest_served() {
    let Some(setup) = Setup::new().by_nobody(&["prlimit", "--nproc=20"]) else { return };
    let host = setup.start();
    for _ in 0..3 {
        let peers = host.connect_many(40);
        peers.iter().for_each(|peer| drop(std::io::Write::write(&mut &peer.stream, b"x")));
        let served = peers.iter().filter(|peer| is_served(peer)).count();
        if is_while_busy() {
            assert_eq!(served, 40, "those without threads are served by the leader");
        } else {
            assert!((5..20).contains(&served), "{served} of 40");
        }
        drop(peers);
        // Their workers are there for the next then, whatever may be started.
        host.eventually("all have left", |report| report.get("current") == 0);
        host.assert_unharmed();
    }
    assert_eq!(host.report().get("refused") > 60, !is_while_busy());
    assert_eq!(host.report().get("errors"), 0, "{:?}", host.logged());
    host.finish();
}

fn is_served(peer: &Peer) -> bool {
    matches!(std::io::Read::read(&mut &peer.stream, &mut [0]), Ok(1))
}
