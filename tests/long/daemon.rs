//! A process that forks in its setup can still be stopped by signals (P11).

#![cfg(unix)]

#[path = "../support/mod.rs"]
mod support;

use std::process::{self, Command};
use std::thread;
use std::time::Duration;

use backport::{Backport, Machine, Result};
use daemonize::{Daemonize, Outcome, Stdio};
use support::child::{exit, is_child, say, signal, Child};
use support::{eventually, Echo, Peer, DEADLINE};

/// Longer than a burst of signals.
const A_WHILE: Duration = Duration::from_millis(250);

/// Signals that stop the machine, with their numbers.
const SIGNALS: [(&str, i32); 2] = [("INT", 2), ("TERM", 15)];

fn daemon() -> Daemonize<()> {
    Daemonize::new().stdout(Stdio::keep()).stderr(Stdio::keep())
}

/// Prepares a server and says its address. The daemon of a test that fails ends by itself.
fn prepare(machine: &Machine) -> Result {
    say(machine.prepare_tcp_server("127.0.0.1:0", || Echo)?.local_addr());
    machine.prepare_timeout(DEADLINE * 3, || exit(9));
    Ok(())
}

/// Says how `run` has ended.
fn report(ended: Result) -> ! {
    match ended {
        Ok(()) => say("ended"),
        Err(error) => say(format_args!("failed: {error}")),
    }
    exit(0)
}

#[track_caller]
fn assert_ends(process: &str) {
    let process = format!("/proc/{process}");
    if cfg!(target_os = "linux") {
        eventually("the daemon ends", || !std::path::Path::new(&process).exists());
    }
}

#[test]
fn child_becomes_a_daemon() {
    if is_child("child_becomes_a_daemon") {
        // Records are logged before the fork and after it, so the log has had a thread in the parent.
        env_logger::builder().filter_level(log::LevelFilter::Trace).init();
        report(Backport::run(|machine| {
            prepare(machine)?;
            daemon().start()?;
            say(process::id());
            Ok(())
        }));
    }
}

#[test]
fn a_daemon_that_forks_in_its_setup_is_stopped_by_each_signal() {
    for (name, _) in SIGNALS {
        let mut child = Child::start("child_becomes_a_daemon");
        let (address, daemon) = (child.address(), child.hear());
        child.assert_exit(0);
        assert_ne!(daemon, child.id().to_string());
        Peer::connect(address).assert_echo(b"served by the daemon");
        signal(daemon.parse().unwrap(), name);
        child.expect("ended");
        assert_ends(&daemon);
    }
}

#[test]
fn child_becomes_a_daemon_that_hangs() {
    if is_child("child_becomes_a_daemon_that_hangs") {
        report(Backport::run(|machine| {
            prepare(machine)?;
            machine.set_drain_timeout(DEADLINE);
            daemon().start()?;
            machine.prepare_timeout(Duration::ZERO, || {
                say(process::id());
                thread::sleep(DEADLINE);
            });
            Ok(())
        }));
    }
}

#[test]
fn a_second_signal_ends_a_daemon_at_once() {
    for (name, _) in SIGNALS {
        let mut child = Child::start("child_becomes_a_daemon_that_hangs");
        let (_, daemon) = (child.address(), child.hear());
        child.assert_exit(0);
        let number = daemon.parse().unwrap();
        signal(number, name);
        thread::sleep(A_WHILE);
        signal(number, name);
        assert_ends(&daemon);
        assert!(child.rest().is_empty(), "it has not ended by itself");
    }
}

#[test]
fn child_gets_a_signal_after_its_fork() {
    if is_child("child_gets_a_signal_after_its_fork") {
        report(Backport::run(|machine| {
            prepare(machine)?;
            daemon().start()?;
            say(process::id());
            let name = std::env::var("SIGNAL").unwrap();
            let kill = Command::new("kill").args([format!("-{name}"), process::id().to_string()]).status()?;
            assert!(kill.success());
            Ok(())
        }));
    }
}

#[test]
fn a_signal_between_the_fork_and_the_end_of_the_setup_is_not_lost() {
    for (name, _) in SIGNALS {
        let mut command = support::child::command(&[], "child_gets_a_signal_after_its_fork");
        command.env("SIGNAL", name);
        let mut child = Child::start_as(command);
        let (_, daemon) = (child.address(), child.hear());
        child.assert_exit(0);
        child.expect("ended");
        assert_ends(&daemon);
    }
}

#[test]
fn child_forks_and_goes_on() {
    if is_child("child_forks_and_goes_on") {
        let mut is_child = false;
        let ended = Backport::run(|machine| {
            match daemon().working_directory(".").execute() {
                Outcome::Parent(parent) => {
                    parent?;
                }
                Outcome::Child(child) => {
                    child?;
                    is_child = true;
                    say(process::id());
                }
            }
            prepare(machine)
        });
        say(if is_child { "child" } else { "parent" });
        report(ended);
    }
}

/// The pipe that wakes the thread for signals is shared by both.
#[test]
fn a_signal_to_a_forked_process_stops_only_that_process() {
    for (name, _) in SIGNALS {
        let mut parent = Child::start("child_forks_and_goes_on");
        let mut said = [parent.hear(), parent.hear(), parent.hear()];
        said.sort_by_key(|said| said.contains(':'));
        let daemon: u32 = said[0].parse().unwrap();
        signal(daemon, name);
        parent.expect("child");
        parent.expect("ended");
        thread::sleep(A_WHILE);
        let served = said[1..].iter().filter(|address| std::net::TcpStream::connect(address).is_ok());
        assert_eq!(served.count(), 1, "the parent still serves");
        parent.signal(name);
        parent.expect("parent");
        parent.expect("ended");
        parent.assert_exit(0);
    }
}
