//! Tests of the scheduler: threads that add and cancel jobs, the thread that runs them, and the end of the
//! machine with its last job.

use std::sync::Arc;
use std::time::Duration;

use shuttle::thread;

use super::{explore, Time};
use crate::machine::Machine;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// A job that is due after this time never runs.
const HOUR: Duration = Duration::from_secs(3600);

/// A value that a job captures. Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// If the event of the last end were lost, `run` would never return.
#[test]
fn a_machine_ends_with_its_last_job_whoever_ends_it() {
    explore(Time::Stands, || {
        let machine = Machine::new();
        let jobs = [(); 2].map(|()| machine.prepare_interval(HOUR, |_| ()));
        machine.prepare_timeout(Duration::ZERO, || ());
        let threads = jobs.map(|job| {
            let machine = machine.clone();
            thread::spawn(move || {
                machine.prepare_timeout(HOUR, || ()).stop();
                job.stop();
            })
        });
        machine.run().unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(machine.stats().intervals, 0);
    });
}

/// If the new job did not wake the scheduler's thread, the machine would never be stopped.
#[test]
fn a_job_that_is_due_earlier_wakes_the_thread() {
    explore(Time::Stands, || {
        let machine = Machine::new();
        machine.prepare_interval(HOUR, |_| ());
        let threads = [(); 2].map(|()| {
            let machine = machine.clone();
            thread::spawn(move || {
                let stopped = machine.clone();
                machine.prepare_timeout(Duration::ZERO, move || stopped.stop());
            })
        });
        machine.run().unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// The job has run, is cancelled before its run or while it runs, or ends with the machine.
#[test]
fn the_function_of_a_job_is_dropped_once() {
    explore(Time::Stands, || {
        let (machine, drops) = (Machine::new(), Arc::new(AtomicUsize::new(0)));
        machine.prepare_interval(HOUR, |_| ());
        let once = Counted(Arc::clone(&drops));
        let timeout = machine.prepare_timeout(Duration::ZERO, move || drop(once));
        let every = Counted(Arc::clone(&drops));
        let interval = machine.prepare_interval(HOUR, move |_| assert!(Arc::strong_count(&every.0) > 0));
        let stopping = machine.clone();
        let jobs = [timeout.clone(), interval.clone()].map(|job| thread::spawn(move || job.stop()));
        let stopping = thread::spawn(move || stopping.stop());
        machine.run().unwrap();
        jobs.into_iter().for_each(|thread| thread.join().unwrap());
        stopping.join().unwrap();
        assert!(timeout.is_stopped() && interval.is_stopped());
        assert!(timeout.ticks() <= 1 && interval.ticks() == 0);
        assert_eq!(drops.load(Ordering::SeqCst), 2);
    });
}

/// The job is stopped in the same moment as it ends its run, and the machine is asked to stop.
#[test]
fn an_interval_that_is_stopped_during_a_run_does_not_run_again() {
    explore(Time::Stands, || {
        let machine = Machine::new();
        let interval = machine.prepare_interval(Duration::from_nanos(1), |_| thread::yield_now());
        let other = interval.clone();
        let stopper = thread::spawn(move || {
            while other.ticks() == 0 {
                thread::yield_now();
            }
            other.stop();
            other.ticks()
        });
        machine.run().unwrap();
        let ticks = stopper.join().unwrap();
        assert_eq!(interval.ticks(), ticks, "a run began after the stop");
    });
}
