//! Where threads park: the wait against the interrupt, the abort and what the reactor sees.

use std::io;
use std::sync::Arc;

use shuttle::thread;

use super::{deadline, explore, pick, Time};
use crate::reactor::Reactor;
use crate::reactor::Readiness;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::threads::Threads;
use crate::transport::{Flush, Waited};

fn readiness() -> (Arc<Reactor>, Arc<Readiness>) {
    let reactor = Arc::new(Reactor::new(Threads::new()));
    let readiness = Readiness::new(Arc::clone(&reactor));
    (reactor, readiness)
}

#[test]
fn a_kick_ends_every_wait() {
    explore(Time::Stands, || {
        let (_watcher, readiness) = readiness();
        let waiter = thread::spawn({
            let readiness = Arc::clone(&readiness);
            move || readiness.wait_writable(&io::stdin(), deadline())
        });
        readiness.interrupt();
        assert_eq!(waiter.join().unwrap(), Waited::Interrupted);
        assert_eq!(readiness.wait_writable(&io::stdin(), deadline()), Waited::Interrupted);
    });
}

/// Each wait is told once what is ready, however soon that is.
#[test]
fn what_the_watcher_sees_ends_the_wait() {
    explore(Time::Stands, || {
        let (reactor, readiness) = readiness();
        let over = Arc::new(AtomicBool::new(false));
        let waiter = thread::spawn({
            let (readiness, over) = (Arc::clone(&readiness), Arc::clone(&over));
            move || {
                let waited = [(); 2].map(|()| readiness.wait_writable(&io::stdin(), deadline()));
                over.store(true, Ordering::SeqCst);
                waited
            }
        });
        while !over.load(Ordering::SeqCst) {
            reactor.tell();
            thread::yield_now();
        }
        assert_eq!(waiter.join().unwrap(), [Waited::Ready; 2]);
        assert!(!reactor.is_watching(), "nobody waits, and the descriptor is watched");
    });
}

/// The worker settles while a writer of another thread is woken by the interrupt and leaves.
#[test]
fn an_abort_ends_a_settling() {
    explore(Time::Stands, || {
        let (_watcher, readiness) = readiness();
        let writer = thread::spawn({
            let readiness = Arc::clone(&readiness);
            move || readiness.wait_writable(&io::stdin(), deadline())
        });
        let worker = thread::spawn({
            let readiness = Arc::clone(&readiness);
            move || readiness.settle(&io::stdin(), false, deadline()).is_none()
        });
        readiness.abort();
        assert_eq!(writer.join().unwrap(), Waited::Interrupted);
        assert!(worker.join().unwrap());
    });
}

/// It is told of input if it listens for it, and of room in any case.
#[test]
fn what_the_watcher_sees_ends_a_settling() {
    explore(Time::Stands, || {
        let (deaf, readable) = [(false, true), (false, false), (true, true)][pick(3)];
        let (_watcher, readiness) = readiness();
        let over = Arc::new(AtomicBool::new(false));
        let worker = thread::spawn({
            let (readiness, over) = (Arc::clone(&readiness), Arc::clone(&over));
            move || {
                let seen = readiness.settle(&io::stdin(), deaf, deadline());
                over.store(true, Ordering::SeqCst);
                seen
            }
        });
        while !over.load(Ordering::SeqCst) {
            // A hang-up is told to the deaf too.
            readiness.ready(readable, true);
            thread::yield_now();
        }
        let seen = worker.join().unwrap().expect("there was room");
        assert_eq!((seen.readable, seen.writable), (readable && !deaf, true));
    });
}

#[test]
fn a_settling_that_sees_nothing_says_so() {
    explore(Time::Passes, || {
        let (_watcher, readiness) = readiness();
        let worker = thread::spawn({
            let readiness = Arc::clone(&readiness);
            move || readiness.settle(&io::stdin(), false, deadline()).is_none()
        });
        readiness.abort();
        assert!(worker.join().unwrap());
    });
}

#[test]
fn a_deadline_ends_a_wait() {
    explore(Time::Passes, || {
        let (_watcher, readiness) = readiness();
        let waiter = thread::spawn({
            let readiness = Arc::clone(&readiness);
            move || readiness.wait_writable(&io::stdin(), deadline())
        });
        readiness.interrupt();
        assert_ne!(waiter.join().unwrap(), Waited::Ready);
    });
}

/// Flushes once there is room.
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
}

/// A backlog waits for room while a writer comes and goes: it stays registered.
#[test]
fn a_backlog_is_flushed_though_writers_come_and_go() {
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
            assert!(reactor.is_watching(), "nobody watches for room");
            reactor.change();
            reactor.tell();
            thread::yield_now();
        }
        readiness.interrupt();
        writer.join().unwrap();
        assert!(reactor.is_watching(), "the next post would wait for good");
    });
}
