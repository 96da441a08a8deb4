//! Panics and failures by the thousand: nothing stays behind (P3).

use std::time::Duration;

use crate::host::Setup;
use crate::subject::{FAIL, PANIC, SOUR};
use crate::support::{eventually, gate, next, serve, Echo};

/// Panics when it is dropped.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("in a payload's drop, on purpose"));
    }
}

fn throw() -> ! {
    std::panic::resume_unwind(Box::new(Grenade))
}

#[test]
fn ten_thousand_panicking_connections_leave_nothing_behind_and_touch_no_bystander() {
    let host = Setup::new().start();
    let bystanders = host.connect_many(99);
    bystanders.iter().for_each(|peer| peer.assert_echo(b"before"));
    let panic = |count: usize| {
        for round in 0..count {
            let peer = host.connect();
            peer.send(if round % 10 == 9 { FAIL } else { PANIC });
            peer.wait_for_end();
        }
    };
    panic(1000);
    let before = host.resident();
    panic(9000);
    let grown = host.resident().saturating_sub(before);
    // The subject itself keeps each of their log lines.
    assert!(grown < 3 << 20, "resident memory grew by {grown} bytes");
    bystanders.iter().for_each(|peer| peer.assert_echo(b"after"));
    assert_eq!(host.report().get("Panicked"), 9000);
    assert_eq!(host.report().get("Failed"), 1000);
    drop(bystanders);
    host.finish();
}

#[test]
fn errors_that_panic_when_shown_and_when_dropped_cost_one_client_each() {
    let host = Setup::new().start();
    let bystander = host.connect();
    for _ in 0..5 {
        let peer = host.connect();
        peer.send(SOUR);
        peer.wait_for_end();
    }
    bystander.assert_echo(b"untouched");
    drop(bystander);
    host.assert_unharmed();
    assert_eq!(host.report().get("Failed"), 5);
    host.end();
}

#[test]
fn payloads_that_panic_when_dropped_cost_a_job_a_hook_and_a_thread_of_a_servers_nothing_more() {
    struct Thrower;
    impl backport::Server for Thrower {
        type Handle = ();
        fn prepare(self, control: backport::Control) -> std::io::Result<()> {
            let (keeper, gate) = gate();
            control.on_stop(|| throw());
            control.on_stop(move || drop(keeper));
            control.spawn("thrower", || throw())?;
            control.spawn("waiter", move || gate.wait())
        }
    }
    let served = serve(|| Echo);
    served.machine().prepare(Thrower).unwrap();
    let thrown = served.machine().prepare_interval(Duration::from_millis(1), |_| throw());
    served.machine().prepare_timeout(Duration::ZERO, || throw());
    let (ticked, ticks) = crossbeam_channel::unbounded();
    served.machine().prepare_interval(Duration::from_millis(1), move |_| ticked.send(()).unwrap());
    eventually("the job is cancelled", || thrown.is_stopped());
    (0..3).for_each(|_| next(&ticks));
    assert_eq!(thrown.ticks(), 1);
    served.assert_echoes();
    served.stop().unwrap();
}
