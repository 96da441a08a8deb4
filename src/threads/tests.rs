//! Tests of the threads of a machine.

use super::*;
use crossbeam_channel::{bounded, unbounded, Receiver};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

fn close(threads: &MachineThreads) -> Receiver<()> {
    let (sender, ended) = bounded(1);
    threads.close(move || sender.send(()).unwrap());
    ended
}

/// A thread-local whose drop calls a function.
struct AtThreadEnd(Box<dyn FnOnce()>);

impl Drop for AtThreadEnd {
    fn drop(&mut self) {
        std::mem::replace(&mut self.0, Box::new(|| ()))();
    }
}

std::thread_local! {
    #[allow(clippy::missing_const_for_thread_local, reason = "it is const, but not for the lint on Windows")]
    static AT_END: RefCell<Option<AtThreadEnd>> = const { RefCell::new(None) };
}

fn at_thread_end(call: impl FnOnce() + 'static) {
    AT_END.with(|slot| *slot.borrow_mut() = Some(AtThreadEnd(Box::new(call))));
}

#[test]
fn deferred_threads_start_when_it_opens() {
    let threads = MachineThreads::new();
    let (sender, names) = unbounded();
    for name in ["one", "two"] {
        let sender = sender.clone();
        let job = move || sender.send(std::thread::current().name().map(str::to_owned)).unwrap();
        threads.spawn(name.to_owned(), None, false, job).unwrap();
    }
    assert!(names.is_empty());
    threads.open().unwrap();
    close(&threads).recv_timeout(LONG).unwrap();
    assert!(threads.join().is_empty());
    drop(sender);
    assert_eq!(names.iter().flatten().collect::<std::collections::BTreeSet<_>>().len(), 2);
}

#[test]
fn a_running_thread_is_named_and_the_end_of_the_last_one_is_reported() {
    let threads = MachineThreads::new();
    threads.open().unwrap();
    let (go, wait) = bounded::<()>(0);
    threads.spawn("stuck".to_owned(), None, false, move || assert!(wait.recv().is_err())).unwrap();
    let ended = close(&threads);
    assert_eq!(threads.join(), ["stuck"]);
    assert_eq!(threads.count(), 1);
    assert!(ended.is_empty());
    drop(go);
    ended.recv_timeout(LONG).unwrap();
    assert!(threads.join().is_empty());
    assert_eq!(threads.count(), 0);
}

#[test]
fn a_thread_has_ended_when_its_thread_locals_are_dropped() {
    let threads = MachineThreads::new();
    threads.open().unwrap();
    let (go, wait) = bounded::<()>(0);
    let job = move || at_thread_end(move || wait.recv_timeout(LONG).unwrap());
    threads.spawn("slow".to_owned(), None, false, job).unwrap();
    let ended = close(&threads);
    assert_eq!(threads.join(), ["slow"]);
    go.send(()).unwrap();
    ended.recv_timeout(LONG).unwrap();
    assert!(threads.join().is_empty());
}

/// On `windows-gnu` the thread-local is older only if no test has started a thread before.
#[test]
fn a_thread_local_that_is_older_than_the_threads_is_dropped_before_their_end() {
    at_thread_end(|| ());
    let threads = MachineThreads::new();
    threads.open().unwrap();
    let ((go, wait), (sender, drops)) = (bounded::<()>(0), bounded(1));
    let job = move || {
        at_thread_end(move || {
            sender.send(()).unwrap();
            // An error means that the test has failed.
            wait.recv_timeout(LONG).unwrap_or_default();
        });
    };
    threads.spawn("slow".to_owned(), None, false, job).unwrap();
    drops.recv_timeout(LONG).unwrap();
    assert_eq!(threads.count(), 1);
    go.send(()).unwrap();
    close(&threads).recv_timeout(LONG).unwrap();
}

#[test]
fn a_destructor_that_hangs_is_noticed_and_delays_no_other_thread() {
    let threads = MachineThreads::new();
    threads.open().unwrap();
    let (go, wait) = bounded::<()>(0);
    let job = move || at_thread_end(move || wait.recv_timeout(LONG).unwrap_err().to_string().clear());
    threads.spawn("stuck".to_owned(), None, false, job).unwrap();
    for number in 0..50 {
        threads.spawn(format!("worker-{number}"), None, false, || ()).unwrap();
    }
    while threads.count() > 1 {
        std::thread::yield_now();
    }
    assert_eq!(threads.join(), ["stuck"]);
    let ended = close(&threads);
    drop(go);
    ended.recv_timeout(LONG).unwrap();
}

#[test]
fn nothing_starts_after_the_close() {
    let threads = MachineThreads::new();
    let (sender, receiver) = bounded::<()>(0);
    threads.spawn("deferred".to_owned(), None, false, move || drop(sender)).unwrap();
    close(&threads).recv_timeout(LONG).unwrap();
    assert!(receiver.recv().is_err(), "a deferred thread is dropped");
    assert!(threads.spawn("late".to_owned(), None, false, || ()).is_err());
    assert!(threads.open().is_ok());
    assert_eq!(threads.count(), 0);
}
