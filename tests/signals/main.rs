//! Signals (P11), each test with a process of its own.

#![cfg(unix)]

#[path = "../support/mod.rs"]
mod support;

mod install;
#[cfg(target_os = "linux")]
mod open_files;
mod setup;

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use backport::{Adapter, Backport, Client, Closing, Machine, Result};
use support::child::{command, exit, is_child, say, Child};
use support::{Echo, Peer, DEADLINE};

const INT: i32 = 2;
const TERM: i32 = 15;
/// Longer than what counts as one burst.
const A_WHILE: Duration = Duration::from_millis(250);

/// Says how it is called; at `stuck` it doesn't come back for long.
struct Tell;

impl Adapter for Tell {
    fn opening(&mut self, _: &Client) -> Result {
        say("opening");
        Ok(())
    }
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        if data == b"stuck" {
            say("stuck");
            thread::sleep(DEADLINE * 2);
        }
        Ok(client.write(data)?)
    }
    fn closing(&mut self, _: &Client, reason: &Closing) {
        say(format_args!("closing: {reason}"));
    }
}

fn run_until_stopped() -> Result {
    Backport::run(|machine| {
        machine.set_drain_timeout(DEADLINE);
        let server = machine.prepare_tcp_server("127.0.0.1:0", || Tell)?;
        say(server.local_addr());
        Ok(())
    })
}

#[test]
fn child_serves() {
    if is_child("child_serves") {
        exit(run_until_stopped().map_or(3, |()| 0));
    }
}

#[test]
fn sigint_and_sigterm_stop_gracefully_with_every_closing() {
    for name in ["INT", "TERM"] {
        let mut child = Child::start("child_serves");
        let address = child.address();
        let peers: Vec<_> = (0..3).map(|_| Peer::connect(address)).collect();
        peers.iter().for_each(|_| child.expect("opening"));
        child.signal(name);
        peers.iter().for_each(|_| child.expect("closing: the server is stopping"));
        peers.iter().for_each(|peer| assert_eq!(peer.read_to_end(), b""));
        drop(peers);
        child.assert_exit(0);
        assert!(child.rest().is_empty());
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once_with_its_status() {
    for (first, second, status) in [("INT", "INT", 130), ("TERM", "TERM", 143), ("TERM", "INT", 130)] {
        let mut child = Child::start("child_serves");
        let address = child.address();
        let stuck = Peer::connect(address);
        let other = Peer::connect(address);
        stuck.send(b"stuck");
        let mut said = [child.hear(), child.hear(), child.hear()];
        said.sort();
        assert_eq!(said, ["opening", "opening", "stuck"]);
        child.signal(first);
        // The first has taken effect, and is a while ago.
        child.expect("closing: the server is stopping");
        drop(other);
        thread::sleep(A_WHILE);
        child.signal(second);
        child.assert_exit(status);
    }
}

/// A thousand signals, or as many as the process lives to see.
fn burst(process: u32, name: &str) {
    let script = format!("i=0; while [ $i -lt 1000 ]; do kill -{name} {process} || exit 0; i=$((i+1)); done");
    Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status().unwrap();
}

#[test]
fn a_burst_of_a_thousand_signals_is_one_stop() {
    for name in ["INT", "TERM"] {
        let mut child = Child::start("child_serves");
        let address = child.address();
        let peers: Vec<_> = (0..3).map(|_| Peer::connect(address)).collect();
        peers.iter().for_each(|_| child.expect("opening"));
        burst(child.id(), name);
        peers.iter().for_each(|_| child.expect("closing: the server is stopping"));
        drop(peers);
        child.assert_exit(0);
        assert!(child.rest().is_empty());
    }
}

#[test]
fn child_tidies_up_after_its_machine() {
    if is_child("child_tidies_up_after_its_machine") {
        run_until_stopped().unwrap();
        thread::sleep(Duration::from_millis(5));
        exit(0);
    }
}

/// Nobody is connected, so the machine stops before the last of them is sent.
#[test]
fn a_burst_that_outlives_the_machine_is_one_stop() {
    for name in ["INT", "TERM"] {
        let mut child = Child::start("child_tidies_up_after_its_machine");
        child.address();
        burst(child.id(), name);
        child.assert_exit(0);
    }
}

/// A shell without job control ignores SIGINT for its background jobs, and `nohup` ignores SIGHUP.
#[test]
#[cfg(target_os = "linux")]
fn a_sigint_or_sighup_that_is_ignored_at_the_start_stays_ignored() {
    for name in ["INT", "HUP"] {
        let trap = format!("trap '' {name}; exec \"$0\" \"$@\"");
        let mut child = Child::start_as(command(&["sh", "-c", &trap], "child_serves"));
        let address = child.address();
        child.signal(name);
        thread::sleep(A_WHILE);
        Peer::connect(address).assert_echo(b"still there");
        child.expect("opening");
        child.expect("closing: closed by the peer");
        child.signal("TERM");
        child.assert_exit(0);
    }
}

#[test]
fn a_sigterm_that_is_ignored_at_the_start_stops_gracefully_all_the_same() {
    let ignoring = ["sh", "-c", "trap '' TERM; exec \"$0\" \"$@\""];
    let mut child = Child::start_as(command(&ignoring, "child_serves"));
    child.address();
    child.signal("TERM");
    child.assert_exit(0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_sighup_stops_gracefully_otherwise() {
    let mut child = Child::start("child_serves");
    child.address();
    child.signal("HUP");
    child.assert_exit(0);
}

#[test]
fn child_outlives_its_machine() {
    if is_child("child_outlives_its_machine") {
        Backport::run(|_| Ok(())).unwrap();
        say("returned");
        thread::sleep(DEADLINE * 2);
        exit(0);
    }
}

#[test]
fn signals_have_their_default_effect_once_run_has_returned() {
    for (name, number) in [("INT", INT), ("TERM", TERM)] {
        let mut child = Child::start("child_outlives_its_machine");
        child.expect("returned");
        child.signal(name);
        child.assert_killed_by(number);
    }
}

/// As in a container: there signals have no default effect.
#[test]
#[cfg(target_os = "linux")]
fn the_first_process_of_all_exits_instead() {
    let unshare = ["unshare", "--pid", "--fork", "--kill-child"];
    let possible = Command::new(unshare[0]).args(&unshare[1..]).arg("true").stderr(Stdio::null()).status();
    if !possible.is_ok_and(|status| status.success()) {
        return support::child::skip("since this machine lets us make no namespace of processes");
    }
    for (name, number) in [("INT", INT), ("TERM", TERM)] {
        let mut child = Child::start_as(command(&unshare, "child_outlives_its_machine"));
        child.expect("returned");
        let first = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
        support::child::signal(first.trim().parse().unwrap(), name);
        child.assert_exit(128 + number);
    }
}

#[test]
fn child_outlives_a_machine_that_a_signal_stops() {
    if is_child("child_outlives_a_machine_that_a_signal_stops") {
        run_until_stopped().unwrap();
        say("returned");
        thread::sleep(DEADLINE * 2);
        exit(0);
    }
}

#[test]
fn a_signal_right_after_run_has_returned_ends_the_process() {
    for (name, number) in [("INT", INT), ("TERM", TERM)] {
        let mut child = Child::start("child_outlives_a_machine_that_a_signal_stops");
        child.address();
        child.signal(name);
        child.expect("returned");
        child.signal(name);
        child.assert_killed_by(number);
    }
}

#[test]
fn child_runs_twice() {
    if is_child("child_runs_twice") {
        run_until_stopped().unwrap();
        say("again");
        exit(run_until_stopped().map_or(3, |()| 0));
    }
}

#[test]
fn a_second_run_in_a_process_is_stopped_by_its_first_signal() {
    let mut child = Child::start("child_runs_twice");
    child.address();
    child.signal("INT");
    child.expect("again");
    child.address();
    child.signal("INT");
    child.assert_exit(0);
}

#[test]
fn child_runs_a_machine_alone() {
    if is_child("child_runs_a_machine_alone") {
        let machine = Machine::new();
        say(machine.prepare_tcp_server("127.0.0.1:0", || Echo).unwrap().local_addr());
        machine.run().unwrap();
        exit(0);
    }
}

#[test]
fn a_machine_alone_touches_no_signals() {
    for (name, number) in [("INT", INT), ("TERM", TERM)] {
        let mut child = Child::start("child_runs_a_machine_alone");
        Peer::connect(child.address()).assert_echo(b"up");
        child.signal(name);
        let status = child.wait();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(number), "{status}");
    }
}
