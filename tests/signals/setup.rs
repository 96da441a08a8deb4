//! A signal in the middle of the setup.

use std::thread;
use std::time::Duration;

use backport::{Backport, Result, TcpServer};

use crate::support::child::{exit, is_child, say, Child};
use crate::support::{eventually, Echo, DEADLINE};
use crate::A_WHILE;

/// A value of a factory that says so when it drops, and does `what`.
struct Last(fn());

impl Drop for Last {
    fn drop(&mut self) {
        say("dropping");
        (self.0)();
    }
}

/// Runs a setup that is stopped in its middle, which lets go of a server, and goes on for `rest`.
fn run_stopped_in_the_setup(last: fn(), rest: Duration) -> Result {
    Backport::run(|machine| {
        let last = Last(last);
        let factory = move || {
            let _captured = &last;
            Echo
        };
        machine.prepare_tcp_server("127.0.0.1:0", factory)?;
        say("in the setup");
        eventually("the signal", || machine.is_stopped());
        thread::sleep(rest);
        Ok(())
    })
}

#[test]
fn child_drops_slowly() {
    if is_child("setup::child_drops_slowly") {
        drop(run_stopped_in_the_setup(|| thread::sleep(DEADLINE * 2), Duration::ZERO));
    }
}

#[test]
fn child_panics_in_a_drop() {
    if is_child("setup::child_panics_in_a_drop") {
        drop(run_stopped_in_the_setup(|| panic!("in a drop, on purpose"), DEADLINE * 2));
    }
}

#[test]
fn what_a_stop_in_the_setup_drops_holds_up_no_second_signal() {
    for role in ["setup::child_drops_slowly", "setup::child_panics_in_a_drop"] {
        for (first, second, status) in [("TERM", "TERM", 143), ("INT", "INT", 130)] {
            let mut child = Child::start(role);
            child.expect("in the setup");
            child.signal(first);
            child.expect("dropping");
            thread::sleep(A_WHILE);
            child.signal(second);
            child.assert_exit(status);
        }
    }
}

#[test]
fn child_is_stopped_in_its_setup() {
    if is_child("setup::child_is_stopped_in_its_setup") {
        let result = Backport::run(|machine| {
            machine.prepare_tcp_server("127.0.0.1:0", || Echo)?;
            say("in the setup");
            eventually("a server is refused", || {
                machine.prepare(TcpServer::new("127.0.0.1:0", || Echo)).is_err()
            });
            machine.prepare_tcp_server("127.0.0.1:0", || Echo)?;
            panic!("a stopped machine takes no server");
        });
        say(format_args!("{result:?}"));
        exit(0);
    }
}

#[test]
fn a_setup_that_fails_because_a_signal_has_stopped_its_machine_is_a_stop() {
    for name in ["INT", "TERM"] {
        let mut child = Child::start("setup::child_is_stopped_in_its_setup");
        child.expect("in the setup");
        child.signal(name);
        child.expect("Ok(())");
        child.assert_exit(0);
    }
}
