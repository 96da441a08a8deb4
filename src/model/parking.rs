//! Where threads park: the wait against the kick, the abort and what the watcher sees.

use std::io;
use std::sync::Arc;

use shuttle::thread;

use super::{deadline, explore, pick, Time};
use crate::link::parking::Parking;
use crate::link::watcher::Watcher;
use crate::link::{Flush, Waited};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::threads::Threads;

fn parking() -> (Arc<Watcher>, Arc<Parking>) {
    let watcher = Arc::new(Watcher::new(Threads::new()));
    let parking = Parking::new(Arc::clone(&watcher));
    (watcher, parking)
}

#[test]
fn a_kick_ends_every_wait() {
    explore(Time::Stands, || {
        let (_watcher, parking) = parking();
        let waiter = thread::spawn({
            let parking = Arc::clone(&parking);
            move || parking.wait_writable(&io::stdin(), deadline())
        });
        parking.kick();
        assert_eq!(waiter.join().unwrap(), Waited::Kicked);
        assert_eq!(parking.wait_writable(&io::stdin(), deadline()), Waited::Kicked);
    });
}

/// Each wait is told once what is ready, however soon that is.
#[test]
fn what_the_watcher_sees_ends_the_wait() {
    explore(Time::Stands, || {
        let (watcher, parking) = parking();
        let over = Arc::new(AtomicBool::new(false));
        let waiter = thread::spawn({
            let (parking, over) = (Arc::clone(&parking), Arc::clone(&over));
            move || {
                let waited = [(); 2].map(|()| parking.wait_writable(&io::stdin(), deadline()));
                over.store(true, Ordering::SeqCst);
                waited
            }
        });
        while !over.load(Ordering::SeqCst) {
            watcher.tell();
            thread::yield_now();
        }
        assert_eq!(waiter.join().unwrap(), [Waited::Ready; 2]);
        assert!(!watcher.is_watching(), "nobody waits, and the descriptor is watched");
    });
}

/// The worker settles while a writer of another thread is woken by the kick and leaves.
#[test]
fn an_abort_ends_a_settling() {
    explore(Time::Stands, || {
        let (_watcher, parking) = parking();
        let writer = thread::spawn({
            let parking = Arc::clone(&parking);
            move || parking.wait_writable(&io::stdin(), deadline())
        });
        let worker = thread::spawn({
            let parking = Arc::clone(&parking);
            move || parking.settle(&io::stdin(), false, deadline()).is_none()
        });
        parking.abort();
        assert_eq!(writer.join().unwrap(), Waited::Kicked);
        assert!(worker.join().unwrap());
    });
}

/// It is told of input if it listens for it, and of room in any case.
#[test]
fn what_the_watcher_sees_ends_a_settling() {
    explore(Time::Stands, || {
        let (deaf, readable) = [(false, true), (false, false), (true, true)][pick(3)];
        let (_watcher, parking) = parking();
        let over = Arc::new(AtomicBool::new(false));
        let worker = thread::spawn({
            let (parking, over) = (Arc::clone(&parking), Arc::clone(&over));
            move || {
                let seen = parking.settle(&io::stdin(), deaf, deadline());
                over.store(true, Ordering::SeqCst);
                seen
            }
        });
        while !over.load(Ordering::SeqCst) {
            // A hang-up is told to the deaf too.
            parking.ready(readable, true);
            thread::yield_now();
        }
        let seen = worker.join().unwrap().expect("there was room");
        assert_eq!((seen.readable, seen.writable), (readable && !deaf, true));
    });
}

#[test]
fn a_settling_that_sees_nothing_says_so() {
    explore(Time::Passes, || {
        let (_watcher, parking) = parking();
        let worker = thread::spawn({
            let parking = Arc::clone(&parking);
            move || parking.settle(&io::stdin(), false, deadline()).is_none()
        });
        parking.abort();
        assert!(worker.join().unwrap());
    });
}

#[test]
fn a_deadline_ends_a_wait() {
    explore(Time::Passes, || {
        let (_watcher, parking) = parking();
        let waiter = thread::spawn({
            let parking = Arc::clone(&parking);
            move || parking.wait_writable(&io::stdin(), deadline())
        });
        parking.kick();
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
        let (watcher, parking) = parking();
        let flushes = Arc::new(Flushes::default());
        let weak = Arc::downgrade(&flushes);
        assert!(parking.flush_when_writable(&io::stdin(), weak));
        let writer = thread::spawn({
            let parking = Arc::clone(&parking);
            move || parking.wait_writable(&io::stdin(), deadline())
        });
        flushes.room.store(true, Ordering::SeqCst);
        while !flushes.flushed.load(Ordering::SeqCst) {
            assert!(watcher.is_watching(), "nobody watches for room");
            watcher.change();
            watcher.tell();
            thread::yield_now();
        }
        parking.kick();
        writer.join().unwrap();
        assert!(watcher.is_watching(), "the next post would wait for good");
    });
}
