//! Tests of waits for a descriptor at the same time as interrupts, aborts and reports of the reactor.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use shuttle::thread;

use super::{deadline, explore, pick, Time};
use crate::reactor::{Flush, Reactor, Readiness, Source, TakenWait, Waited};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::threads::MachineThreads;

fn readiness() -> (Arc<Reactor>, Arc<Readiness>) {
    let reactor = Arc::new(Reactor::new(MachineThreads::new()));
    let readiness = Readiness::new(Arc::clone(&reactor));
    (reactor, readiness)
}

#[test]
fn an_interrupt_ends_every_wait_for_room() {
    explore(Time::Stands, || {
        let (_reactor, readiness) = readiness();
        let waiter = thread::spawn({
            let readiness = Arc::clone(&readiness);
            move || readiness.wait_writable(&io::stdin(), deadline())
        });
        readiness.interrupt();
        assert_eq!(waiter.join().unwrap(), Waited::Interrupted);
        assert_eq!(readiness.wait_writable(&io::stdin(), deadline()), Waited::Interrupted);
    });
}

/// Each wait gets one report of the current readiness, even if the report comes very early.
#[test]
fn a_report_of_the_reactor_ends_the_wait() {
    explore(Time::Stands, || {
        let (reactor, readiness) = readiness();
        let ended = Arc::new(AtomicBool::new(false));
        let waiter = thread::spawn({
            let (readiness, ended) = (Arc::clone(&readiness), Arc::clone(&ended));
            move || {
                let waited = [(); 2].map(|()| readiness.wait_writable(&io::stdin(), deadline()));
                ended.store(true, Ordering::SeqCst);
                waited
            }
        });
        while !ended.load(Ordering::SeqCst) {
            reactor.report();
            thread::yield_now();
        }
        assert_eq!(waiter.join().unwrap(), [Waited::Ready; 2]);
        assert!(!reactor.is_watching(), "no thread waits, but the descriptor is watched");
    });
}

/// The session waits for a slow peer while an interrupt wakes a writer on another thread.
#[test]
fn an_abort_ends_every_wait() {
    explore(Time::Stands, || {
        let (_reactor, readiness) = readiness();
        let writer = thread::spawn({
            let readiness = Arc::clone(&readiness);
            move || readiness.wait_writable(&io::stdin(), deadline())
        });
        let session = thread::spawn({
            let readiness = Arc::clone(&readiness);
            move || matches!(readiness.wait_taken(&io::stdin(), false, deadline()), TakenWait::TimedOut)
        });
        readiness.abort();
        assert_eq!(writer.join().unwrap(), Waited::Interrupted);
        assert!(session.join().unwrap());
    });
}

/// The wait for a slow peer ends with a report of room, whether the read side is open or not.
#[test]
fn a_report_of_the_reactor_ends_the_wait_for_a_slow_peer() {
    explore(Time::Stands, || {
        let (read_shut, readable) = [(false, true), (false, false), (true, true)][pick(3)];
        let (_reactor, readiness) = readiness();
        let ended = Arc::new(AtomicBool::new(false));
        let session = thread::spawn({
            let (readiness, ended) = (Arc::clone(&readiness), Arc::clone(&ended));
            move || {
                let seen = readiness.wait_taken(&io::stdin(), read_shut, deadline());
                ended.store(true, Ordering::SeqCst);
                seen
            }
        });
        while !ended.load(Ordering::SeqCst) {
            // The system reports a hang-up even if the read side is shut down.
            readiness.ready(readable, true);
            thread::yield_now();
        }
        assert!(matches!(session.join().unwrap(), TakenWait::Seen { writable: true }));
    });
}

#[test]
fn a_wait_for_a_slow_peer_that_sees_nothing_returns_none() {
    explore(Time::Passes, || {
        let (_reactor, readiness) = readiness();
        let session = thread::spawn({
            let readiness = Arc::clone(&readiness);
            move || matches!(readiness.wait_taken(&io::stdin(), false, deadline()), TakenWait::TimedOut)
        });
        readiness.abort();
        assert!(session.join().unwrap());
    });
}

#[test]
fn a_deadline_ends_a_wait() {
    explore(Time::Passes, || {
        let (_reactor, readiness) = readiness();
        let waiter = thread::spawn({
            let readiness = Arc::clone(&readiness);
            move || readiness.wait_writable(&io::stdin(), deadline())
        });
        readiness.interrupt();
        assert_ne!(waiter.join().unwrap(), Waited::Ready);
    });
}

/// Counts the flushes that find room.
#[derive(Default)]
struct Flushes {
    room: AtomicBool,
    flushed: AtomicBool,
}

impl Flush for Flushes {
    fn flush(&self) {
        if self.room.load(Ordering::SeqCst) {
            self.flushed.store(true, Ordering::SeqCst);
        }
    }

    fn check_progress(&self) -> Option<Duration> {
        None
    }

    fn lost(&self) {
        panic!("no connection is lost here");
    }
}

/// The descriptor stays registered for a backlog while a writer comes and goes.
#[test]
fn a_backlog_is_flushed_although_writers_come_and_go() {
    explore(Time::Passes, || {
        let (reactor, readiness) = readiness();
        let flushes = Arc::new(Flushes::default());
        let weak = Arc::downgrade(&flushes);
        assert!(readiness.flush_when_writable(&io::stdin(), weak));
        let writer = thread::spawn({
            let readiness = Arc::clone(&readiness);
            move || readiness.wait_writable(&io::stdin(), deadline())
        });
        flushes.room.store(true, Ordering::SeqCst);
        while !flushes.flushed.load(Ordering::SeqCst) {
            assert!(reactor.is_watching(), "the descriptor is not watched for room");
            reactor.change();
            reactor.report();
            thread::yield_now();
        }
        readiness.interrupt();
        writer.join().unwrap();
        assert!(reactor.is_watching(), "the next post would wait forever");
    });
}
