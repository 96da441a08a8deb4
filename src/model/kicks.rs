//! The handshake of a link: a read and a wait for room, each against the kick and the abort.

use std::io;
use std::sync::Arc;

use shuttle::thread;

use super::sync::{Condvar, Mutex};
use super::{deadline, explore, pick, Time};
use crate::link::kicks::Kicks;
use crate::link::watcher::Watcher;
use crate::link::Waited;
use crate::threads::Threads;

/// The read side of a socket: a read waits until something comes or the side is shut.
#[derive(Default)]
struct Socket {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    messages: usize,
    shut: bool,
}

impl Socket {
    /// False at the end.
    fn read(&self) -> bool {
        let mut state = self.state.lock();
        while state.messages == 0 && !state.shut {
            self.changed.wait(&mut state);
        }
        let some = state.messages > 0;
        state.messages -= usize::from(some);
        some
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }
}

/// A worker that reads until it is told to stop, on a thread of its own; how many reads it made.
fn reader(kicks: &Arc<Kicks>, socket: &Arc<Socket>) -> thread::JoinHandle<usize> {
    let (kicks, socket) = (Arc::clone(kicks), Arc::clone(socket));
    thread::spawn(move || {
        let mut reads = 0;
        while kicks.unless_kicked(|| socket.read()) == Some(true) {
            reads += 1;
        }
        reads
    })
}

/// The reader comes back: it sees the kick before it waits, or the kick sees that it waits.
#[test]
fn a_kick_ends_the_read() {
    explore(Time::Stands, || {
        let (kicks, socket) = (Arc::new(Kicks::default()), Arc::new(Socket::default()));
        let messages = pick(3);
        socket.change(|state| state.messages = messages);
        let reader = reader(&kicks, &socket);
        if kicks.kick() {
            socket.change(|state| state.shut = true);
        }
        assert!(reader.join().unwrap() <= messages);
        assert!(!kicks.is_reading());
        assert!(kicks.unless_kicked(|| ()).is_none(), "a read that begins after the kick");
    });
}

/// The parking is made when the first one waits at it, which may be while others kick.
#[test]
fn a_kick_ends_a_wait_at_a_parking_that_is_just_made() {
    explore(Time::Stands, || {
        let kicks = Arc::new(Kicks::default());
        let writer = thread::spawn({
            let kicks = Arc::clone(&kicks);
            move || {
                let watcher = Arc::new(Watcher::new(Threads::new()));
                kicks.parking(&watcher).wait_writable(&io::stdin(), deadline())
            }
        });
        kicks.kick();
        assert_eq!(writer.join().unwrap(), Waited::Kicked);
    });
}

/// As above; a kick does not end a settling, an abort does.
#[test]
fn an_abort_ends_a_settling_at_a_parking_that_is_just_made() {
    explore(Time::Stands, || {
        let kicks = Arc::new(Kicks::default());
        let worker = thread::spawn({
            let kicks = Arc::clone(&kicks);
            move || {
                let watcher = Arc::new(Watcher::new(Threads::new()));
                kicks.parking(&watcher).settle(&io::stdin(), false, deadline()).is_none()
            }
        });
        let closer = thread::spawn({
            let kicks = Arc::clone(&kicks);
            move || {
                kicks.kick();
            }
        });
        kicks.abort();
        closer.join().unwrap();
        assert!(worker.join().unwrap());
    });
}
