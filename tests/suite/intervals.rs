//! Intervals and timeouts (P16).

use std::io::Write;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use backport::{Adapter, Client, Interval, Machine, Result};
use crossbeam_channel::unbounded;

use crate::support::{eventually, gate, in_time, next, nothing, prepare, serve, Echo};

const MS: Duration = Duration::from_millis(1);

#[test]
fn ticks_keep_a_fixed_rate_without_drift() {
    const PERIOD: Duration = Duration::from_millis(100);
    const COUNT: u32 = 10;
    // On a loaded computer a tick may come so late that the next is skipped; a drift of the job's
    // 60 ms a tick would show each time, and as twice of what is allowed here.
    let in_rate = (0..5).any(|_| {
        let machine = Machine::new();
        let (sender, ticks) = unbounded();
        machine.prepare_interval(PERIOD, move |interval| {
            sender.send(Instant::now()).unwrap();
            thread::sleep(60 * MS);
            if interval.ticks() == u64::from(COUNT) {
                interval.stop();
            }
        });
        let start = Instant::now();
        in_time("run returns", move || machine.run()).unwrap();
        let ticks: Vec<Duration> = ticks.iter().map(|tick| tick - start).collect();
        assert_eq!(ticks.len(), COUNT as usize);
        for (tick, number) in ticks.iter().zip(1..) {
            assert!(*tick >= number * PERIOD, "tick {number} came after {tick:?}");
        }
        *ticks.last().unwrap() < COUNT * PERIOD + 3 * PERIOD
    });
    assert!(in_rate, "never {COUNT} ticks at their rate");
}

#[test]
fn an_overrun_skips_ticks_and_makes_no_burst() {
    let machine = Machine::new();
    let (sender, ticks) = unbounded();
    machine.prepare_interval(20 * MS, move |interval| {
        sender.send(Instant::now()).unwrap();
        if interval.ticks() == 1 {
            thread::sleep(210 * MS);
        }
        if interval.ticks() == 10 {
            interval.stop();
        }
    });
    let start = Instant::now();
    in_time("run returns", move || machine.run()).unwrap();
    let last = ticks.iter().last().unwrap() - start;
    // Tick 1 at 20 ms, tick 2 at 240 ms, then one every 20 ms: tick 10 at 400 ms.
    assert!(last >= 400 * MS, "ten ticks within {last:?}");
}

#[test]
fn a_job_that_panics_is_cancelled_and_the_others_go_on() {
    let served = serve(|| Echo);
    let bad = served.machine().prepare_interval(5 * MS, |_| panic!("an interval panics, on purpose"));
    let good = served.machine().prepare_interval(5 * MS, |_| ());
    eventually("the bad one is cancelled", || bad.is_stopped());
    let before = good.ticks();
    eventually("the good one goes on", || good.ticks() > before + 3);
    assert_eq!(bad.ticks(), 1);
    served.assert_echoes();
    served.stop().unwrap();
}

#[test]
fn a_timeout_that_panics_costs_nothing_else() {
    let served = serve(|| Echo);
    let bad = served.machine().prepare_timeout(MS, || panic!("a timeout panics, on purpose"));
    eventually("it has run", || bad.is_stopped());
    let (sender, told) = unbounded();
    served.machine().prepare_timeout(MS, move || sender.send(()).unwrap());
    next(&told);
}

#[test]
fn a_zero_period_panics_at_once_with_a_clear_message() {
    let machine = Machine::new();
    let attempt = AssertUnwindSafe(|| machine.prepare_interval(Duration::ZERO, |_| ()));
    let payload = catch_unwind(attempt).unwrap_err();
    let message = payload.downcast_ref::<&str>().unwrap();
    assert!(message.contains("period") && message.contains("zero"), "{message}");
    in_time("nothing was prepared", move || machine.run()).unwrap();
}

#[test]
fn absurd_periods_never_tick_and_hold_up_no_stop() {
    let served = serve(|| Echo);
    let never = [
        served.machine().prepare_interval(Duration::MAX, |_| ()),
        served.machine().prepare_interval(Duration::from_secs(u64::MAX / 2), |_| ()),
        served.machine().prepare_timeout(Duration::MAX, || ()),
    ];
    let (sender, told) = unbounded();
    served.machine().prepare_timeout(Duration::ZERO, move || sender.send(()).unwrap());
    next(&told);
    served.stop().unwrap();
    assert!(never.iter().all(|job| job.ticks() == 0 && job.is_stopped()));
}

#[test]
fn a_stop_does_not_wait_for_a_period_of_an_hour() {
    let served = serve(|| Echo);
    let hourly = served.machine().prepare_interval(Duration::from_secs(3600), |_| ());
    let start = Instant::now();
    served.stop().unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(hourly.is_stopped());
    assert_eq!(hourly.ticks(), 0);
}

#[test]
fn an_interval_stopped_from_outside_ticks_no_more() {
    let served = serve(|| Echo);
    let (sender, ticks) = unbounded();
    let interval = served.machine().prepare_interval(5 * MS, move |_| sender.send(()).unwrap());
    next(&ticks);
    interval.stop();
    interval.stop();
    assert!(interval.is_stopped());
    // One may run just now; it is the last.
    eventually("its job is dropped", || served.machine().stats().intervals == 0);
    while ticks.try_recv().is_ok() {}
    assert!(ticks.recv().is_err(), "the job was dropped, and with it the sender");
}

#[test]
fn a_timeout_runs_once_unless_it_is_stopped() {
    let served = serve(|| Echo);
    let (sender, told) = unbounded();
    let (kept, cancelled) = (sender.clone(), sender);
    let one = served.machine().prepare_timeout(10 * MS, move || kept.send("kept").unwrap());
    let two = served.machine().prepare_timeout(50 * MS, move || cancelled.send("cancelled").unwrap());
    two.stop();
    assert_eq!(next(&told), "kept");
    assert!(told.recv().is_err(), "both jobs are dropped, nothing more comes");
    eventually("it has ended", || one.is_stopped());
    assert_eq!((one.ticks(), two.ticks()), (1, 0));
}

#[test]
fn periods_count_from_the_start_of_the_machine() {
    let machine = Machine::new();
    let (sender, ticks) = unbounded();
    machine.prepare_interval(100 * MS, move |interval| {
        sender.send(Instant::now()).unwrap();
        interval.stop();
    });
    // Before it runs nothing ticks, however long that is.
    nothing(&ticks);
    let start = Instant::now();
    in_time("run returns", move || machine.run()).unwrap();
    assert!(next(&ticks) - start >= 100 * MS);
}

#[test]
fn a_slow_job_ends_before_the_machine_does() {
    let served = serve(|| Echo);
    let (keeper, gate) = gate();
    let (sender, told) = unbounded();
    served.machine().prepare_timeout(MS, move || {
        sender.send("begun").unwrap();
        gate.wait();
        sender.send("ended").unwrap();
    });
    assert_eq!(next(&told), "begun");
    served.machine().stop();
    thread::spawn(move || {
        thread::sleep(100 * MS);
        drop(keeper);
    });
    served.join().unwrap();
    assert_eq!(told.try_recv(), Ok("ended"));
}

#[test]
fn a_job_may_prepare_and_stop_others() {
    let machine = Machine::new();
    let (inner, (sender, told)) = (machine.clone(), unbounded());
    let forever = machine.prepare_interval(Duration::from_secs(3600), |_| ());
    machine.prepare_timeout(MS, move || {
        let sender = sender.clone();
        inner.prepare_timeout(MS, move || {
            sender.send(()).unwrap();
            forever.stop();
        });
    });
    in_time("the machine ends with its last job", move || machine.run()).unwrap();
    next(&told);
}

#[test]
fn a_job_that_runs_long_holds_up_no_add_and_no_cancel() {
    let served = serve(|| Echo);
    let (keeper, gate) = gate();
    let (sender, told) = unbounded();
    let began = sender.clone();
    served.machine().prepare_timeout(Duration::ZERO, move || {
        began.send(()).unwrap();
        gate.wait();
    });
    next(&told);
    let machine = served.machine().clone();
    // The other job runs all the time, so only these calls themselves can drop the functions.
    in_time("the calls return", move || {
        let captured = Arc::new(());
        for _ in 0..1_000 {
            let value = Arc::clone(&captured);
            let timeout = machine.prepare_timeout(Duration::from_secs(3600), move || drop(value));
            assert_eq!(Arc::strong_count(&captured), 2);
            timeout.stop();
            assert_eq!(Arc::strong_count(&captured), 1, "the function is dropped when the call returns");
        }
        assert_eq!(machine.stats().intervals, 1, "only the running job is left");
    });
    drop(keeper);
    served.stop().unwrap();
}

#[test]
fn a_job_that_cancels_itself_is_dropped_after_its_run() {
    let served = serve(|| Echo);
    let (sender, told) = unbounded();
    let captured = Arc::new(());
    let value = Arc::clone(&captured);
    let interval = served.machine().prepare_interval(MS, move |interval| {
        interval.stop();
        sender.send(Arc::strong_count(&value)).unwrap();
    });
    assert_eq!(next(&told), 2);
    assert!(told.recv().is_err(), "the function is dropped");
    // The sender may be dropped before the value.
    eventually("the rest is dropped", || Arc::strong_count(&captured) == 1);
    assert_eq!(interval.ticks(), 1);
}

#[test]
fn a_panic_while_a_cancelled_job_is_dropped_does_not_reach_its_canceller() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("the drop of a job panics, on purpose");
        }
    }
    let served = serve(|| Echo);
    let bad = Bad;
    let timeout = served.machine().prepare_timeout(Duration::from_secs(3600), move || drop(bad));
    timeout.stop();
    assert!(timeout.is_stopped());
    assert_eq!(served.machine().stats().intervals, 0);
    served.stop().unwrap();
}

/// The drop of a job may use the machine and other jobs, because no lock is held.
#[test]
fn the_drop_of_a_cancelled_job_may_prepare_and_cancel_others() {
    struct Last(Machine, backport::Interval);
    impl Drop for Last {
        fn drop(&mut self) {
            self.1.stop();
            self.0.prepare_timeout(Duration::from_secs(3600), || ());
        }
    }
    let served = serve(|| Echo);
    let machine = served.machine().clone();
    let other = machine.prepare_interval(Duration::from_secs(3600), |_| ());
    let last = Last(machine.clone(), other.clone());
    let timeout = machine.prepare_timeout(Duration::from_secs(3600), move || drop(last));
    in_time("the call returns", move || timeout.stop());
    assert!(other.is_stopped());
    assert_eq!(machine.stats().intervals, 1);
    served.stop().unwrap();
}

/// A program may arm a timeout for each message. An interval of another machine, which has no such program, shows
/// how many ticks a computer under this load can have.
#[test]
fn clients_that_rearm_a_timer_with_each_message_leave_an_interval_its_ticks() {
    struct Rearm(Machine, Option<Interval>);
    impl Adapter for Rearm {
        fn receiving(&mut self, _: &Client, data: &[u8]) -> Result {
            for _ in data.iter().take(64) {
                self.1.take().iter().for_each(Interval::stop);
                self.1 = Some(self.0.prepare_timeout(Duration::from_secs(30), || ()));
            }
            Ok(())
        }
    }
    let machine = Machine::new();
    let other = machine.clone();
    let server = prepare(&machine, move || Rearm(other.clone(), None));
    let running = machine.start().unwrap();
    let bystander = serve(|| Echo);
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let peer = server.connect();
            thread::spawn(move || while (&peer.stream).write_all(&[b'x'; 64]).is_ok() {})
        })
        .collect();
    let enough = (0..5).any(|_| {
        let (interval, control) = (
            machine.prepare_interval(10 * MS, |_| ()),
            bystander.machine().prepare_interval(10 * MS, |_| ()),
        );
        eventually("the other interval ticks", || control.ticks() >= 100);
        interval.stop();
        control.stop();
        eprintln!("TICKS {} {}", interval.ticks(), control.ticks());
        interval.ticks() * 4 >= control.ticks()
    });
    assert!(enough, "never a quarter of the ticks");
    machine.stop_now();
    in_time("the machine stops", move || running.join()).unwrap();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    bystander.stop().unwrap();
}

#[test]
fn a_machine_ends_when_another_thread_cancels_its_last_job() {
    let machine = Machine::new();
    // Many ends of a last job come before the machine runs, and while it runs.
    let churn = |machine: &Machine| {
        (0..1_000).for_each(|_| machine.prepare_timeout(Duration::from_secs(3600), || ()).stop());
    };
    churn(&machine);
    let last = machine.prepare_interval(Duration::from_secs(3600), |_| ());
    let running = machine.start().unwrap();
    churn(&machine);
    last.stop();
    in_time("the machine ends", move || running.join()).unwrap();
}
