//! Intervals and timeouts by a clock that the test moves.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use backport::testing::Clock;
use backport::{Machine, Running};
use crossbeam_channel::{unbounded, Receiver, Sender};
use parking_lot::Mutex;

use crate::support::{gate, in_time, next, serve, Echo};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// What ran, and how many milliseconds after the clock was made.
#[derive(Clone)]
struct Record {
    clock: Clock,
    start: std::time::Instant,
    said: Sender<(&'static str, u128)>,
    heard: Receiver<(&'static str, u128)>,
}

impl Record {
    fn new(machine: &Machine) -> Record {
        let (clock, (said, heard)) = (Clock::new(machine), unbounded());
        let start = clock.now();
        Record { clock, start, said, heard }
    }

    fn note(&self, what: &'static str) {
        self.said.send((what, (self.clock.now() - self.start).as_millis())).unwrap();
    }

    fn taken(&self) -> Vec<(&'static str, u128)> {
        self.heard.try_iter().collect()
    }
}

/// A job that notes when it runs.
fn every(machine: &Machine, record: &Record, period: Duration, what: &'static str) -> backport::Interval {
    let record = record.clone();
    machine.prepare_interval(period, move |_| record.note(what))
}

/// A machine by hand, which an interval of an hour keeps from ending.
fn clocked() -> (Running, Record) {
    let machine = Machine::new();
    let record = Record::new(&machine);
    machine.prepare_interval(HOUR, |_| ());
    (machine.start().unwrap(), record)
}

fn message(panic: Box<dyn std::any::Any + Send>) -> String {
    *panic
        .downcast::<String>()
        .or_else(|panic| panic.downcast::<&str>().map(|s| Box::new((*s).to_owned())))
        .unwrap()
}

#[test]
fn jobs_run_in_the_order_in_which_they_are_due() {
    let (running, record) = clocked();
    let machine = running.machine();
    every(machine, &record, 2 * SECOND, "two");
    every(machine, &record, 3 * SECOND, "three");
    let once = record.clone();
    machine.prepare_timeout(5 * SECOND, move || once.note("once"));
    record.clock.advance(6 * SECOND);
    // At the same time, the one that was prepared first.
    let expected =
        [("two", 2000), ("three", 3000), ("two", 4000), ("once", 5000), ("two", 6000), ("three", 6000)];
    assert_eq!(record.taken(), expected);
    running.stop().unwrap();
}

#[test]
fn each_beat_on_the_way_is_run_and_none_before_its_time() {
    let (running, record) = clocked();
    let beat = every(running.machine(), &record, SECOND, "beat");
    record.clock.advance(SECOND - Duration::from_nanos(1));
    assert_eq!(beat.ticks(), 0);
    record.clock.advance(Duration::from_nanos(1));
    assert_eq!(beat.ticks(), 1);
    record.clock.advance(10 * SECOND);
    assert_eq!(beat.ticks(), 11);
    assert_eq!(record.taken(), (1..=11).map(|n| ("beat", n * 1000)).collect::<Vec<_>>());
    record.clock.advance(24 * HOUR);
    assert_eq!(beat.ticks(), 11 + 24 * 3600);
    running.stop().unwrap();
}

#[test]
fn nothing_runs_unless_the_clock_is_moved() {
    let (running, record) = clocked();
    let beat = every(running.machine(), &record, Duration::from_millis(1), "beat");
    let real = serve(|| Echo);
    let (sender, told) = unbounded();
    real.machine().prepare_timeout(Duration::from_millis(50), move || sender.send(()).unwrap());
    next(&told);
    assert_eq!(beat.ticks(), 0);
    assert_eq!(record.clock.now(), record.start);
    running.stop().unwrap();
}

#[test]
fn what_a_job_prepares_counts_from_when_the_job_was_due() {
    let (running, record) = clocked();
    let (machine, outer) = (running.machine().clone(), record.clone());
    running.machine().prepare_timeout(2 * SECOND, move || {
        outer.note("outer");
        let (inner, at_once) = (outer.clone(), outer.clone());
        machine.prepare_timeout(3 * SECOND, move || inner.note("inner"));
        machine.prepare_timeout(Duration::ZERO, move || at_once.note("at once"));
        machine.prepare_timeout(9 * SECOND, || panic!("this is due after the end"));
    });
    record.clock.advance(10 * SECOND);
    assert_eq!(record.taken(), [("outer", 2000), ("at once", 2000), ("inner", 5000)]);
    running.stop().unwrap();
}

#[test]
fn what_is_prepared_between_two_moves_counts_from_there() {
    let (running, record) = clocked();
    record.clock.advance(SECOND / 2);
    every(running.machine(), &record, SECOND, "beat");
    record.clock.advance(SECOND);
    assert_eq!(record.taken(), [("beat", 1500)]);
    running.stop().unwrap();
}

#[test]
fn what_was_prepared_before_the_clock_goes_by_it_too() {
    let machine = Machine::new();
    let (sender, told) = unbounded();
    machine.prepare_timeout(HOUR, move || sender.send(()).unwrap());
    let clock = Clock::new(&machine);
    let running = machine.start().unwrap();
    clock.advance(HOUR);
    assert!(told.try_recv().is_ok());
    running.join().unwrap();
}

#[test]
fn a_job_that_stops_itself_or_another_is_the_last_of_it() {
    let (running, record) = clocked();
    let machine = running.machine();
    let other = every(machine, &record, 2 * SECOND, "other");
    let own = record.clone();
    let one = machine.prepare_interval(SECOND, move |interval| {
        own.note("own");
        if interval.ticks() == 3 {
            interval.stop();
            other.stop();
        }
    });
    record.clock.advance(10 * SECOND);
    assert_eq!(record.taken(), [("own", 1000), ("other", 2000), ("own", 2000), ("own", 3000)]);
    assert!(one.is_stopped());
    running.stop().unwrap();
}

#[test]
fn a_job_that_panics_is_cancelled_and_the_clock_goes_on() {
    let (running, record) = clocked();
    let bad = running.machine().prepare_interval(SECOND, |_| panic!("an interval panics, on purpose"));
    every(running.machine(), &record, 2 * SECOND, "good");
    record.clock.advance(4 * SECOND);
    assert_eq!(record.taken(), [("good", 2000), ("good", 4000)]);
    assert_eq!((bad.ticks(), bad.is_stopped()), (1, true));
    running.stop().unwrap();
}

#[test]
fn a_machine_that_a_job_stops_runs_no_job_after_it() {
    let (running, record) = clocked();
    every(running.machine(), &record, SECOND, "beat");
    let machine = running.machine().clone();
    running.machine().prepare_timeout(3 * SECOND, move || machine.stop());
    record.clock.advance(10 * SECOND);
    assert_eq!(record.taken(), [("beat", 1000), ("beat", 2000), ("beat", 3000)]);
    running.join().unwrap();
    record.clock.advance(10 * SECOND);
    assert_eq!(record.taken(), []);
}

#[test]
fn a_machine_ends_with_the_last_beat_of_its_last_job_and_not_at_the_next() {
    let machine = Machine::new();
    let clock = Clock::new(&machine);
    machine.prepare_interval(SECOND, |interval| interval.stop());
    let running = machine.start().unwrap();
    clock.advance(SECOND);
    in_time("the machine ends", move || running.join()).unwrap();
}

#[test]
fn moving_the_clock_of_a_machine_that_is_over_does_nothing() {
    let machine = Machine::new();
    let record = Record::new(&machine);
    let once = record.clone();
    let timeout = machine.prepare_timeout(SECOND, move || once.note("once"));
    let running = machine.start().unwrap();
    record.clock.advance(SECOND);
    // It had nothing else, so it ends by itself.
    in_time("the machine ends", move || running.join()).unwrap();
    record.clock.advance(SECOND);
    assert_eq!(record.taken(), [("once", 1000)]);
    assert!(timeout.is_stopped());

    let never_ran = Machine::new();
    let clock = Clock::new(&never_ran);
    never_ran.prepare_timeout(SECOND, || ());
    never_ran.stop();
    clock.advance(SECOND);
}

#[test]
fn the_clock_waits_for_the_start_of_its_machine() {
    let machine = Machine::new();
    let record = Record::new(&machine);
    let beat = every(&machine, &record, SECOND, "beat");
    let clock = record.clock.clone();
    let moved = thread::spawn(move || clock.advance(3 * SECOND));
    let running = machine.start().unwrap();
    in_time("the clock arrives", move || moved.join()).unwrap();
    assert_eq!(beat.ticks(), 3);
    running.stop().unwrap();
}

#[test]
fn threads_that_move_the_clock_at_once_move_it_by_the_sum() {
    let (running, record) = clocked();
    let beat = every(running.machine(), &record, SECOND, "beat");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| record.clock.advance(SECOND));
        }
    });
    assert_eq!(beat.ticks(), 8);
    assert_eq!(record.clock.now() - record.start, 8 * SECOND);
    running.stop().unwrap();
}

#[test]
fn a_job_that_hangs_makes_the_clock_panic_and_not_hang() {
    let (running, record) = clocked();
    let (keeper, gate) = gate();
    running.machine().prepare_timeout(SECOND, move || gate.wait());
    let clock = record.clock.clone().deadline(Duration::from_millis(100));
    let panic = catch_unwind(AssertUnwindSafe(|| clock.advance(SECOND))).unwrap_err();
    let said = message(panic);
    assert!(said.contains("100ms") && said.contains("a job hangs"), "{said}");
    drop(keeper);
    running.stop().unwrap();
}

#[test]
fn a_job_that_moves_its_own_clock_panics_at_once() {
    let (running, record) = clocked();
    let (clock, said) = (record.clock.clone(), Arc::new(Mutex::new(String::new())));
    let heard = said.clone();
    running.machine().prepare_timeout(SECOND, move || {
        let panic = catch_unwind(AssertUnwindSafe(|| clock.advance(SECOND))).unwrap_err();
        *heard.lock() = message(panic);
    });
    record.clock.advance(SECOND);
    assert!(said.lock().contains("a job cannot move the clock"), "{}", said.lock());
    running.stop().unwrap();
}

#[test]
fn a_clock_comes_before_the_machine_runs_or_not_at_all() {
    let served = serve(|| Echo);
    let panic = catch_unwind(AssertUnwindSafe(|| Clock::new(served.machine()))).unwrap_err();
    assert!(message(panic).contains("too late"));
}
