//! The handshake of a transport: a read and a wait for room, each against the interrupt and the abort.

use std::io;
use std::sync::Arc;

use shuttle::thread;

use super::sync::{Condvar, Mutex};
use super::{deadline, explore, pick, Time};
use crate::reactor::interrupt::Interrupt;
use crate::reactor::Reactor;
use crate::threads::Threads;
use crate::transport::Waited;

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
fn reader(interrupt: &Arc<Interrupt>, socket: &Arc<Socket>) -> thread::JoinHandle<usize> {
    let (interrupt, socket) = (Arc::clone(interrupt), Arc::clone(socket));
    thread::spawn(move || {
        let mut reads = 0;
        while interrupt.unless_interrupted(|| socket.read()) == Some(true) {
            reads += 1;
        }
        reads
    })
}

/// The reader comes back: it sees the interrupt before it waits, or the interrupt sees that it waits.
#[test]
fn a_kick_ends_the_read() {
    explore(Time::Stands, || {
        let (interrupt, socket) = (Arc::new(Interrupt::default()), Arc::new(Socket::default()));
        let messages = pick(3);
        socket.change(|state| state.messages = messages);
        let reader = reader(&interrupt, &socket);
        if interrupt.interrupt() {
            socket.change(|state| state.shut = true);
        }
        assert!(reader.join().unwrap() <= messages);
        assert!(!interrupt.is_reading());
        assert!(interrupt.unless_interrupted(|| ()).is_none(), "a read that begins after the interrupt");
    });
}

/// The parking is made when the first one waits at it, which may be while others interrupt.
#[test]
fn a_kick_ends_a_wait_at_a_parking_that_is_just_made() {
    explore(Time::Stands, || {
        let interrupt = Arc::new(Interrupt::default());
        let writer = thread::spawn({
            let interrupt = Arc::clone(&interrupt);
            move || {
                let reactor = Arc::new(Reactor::new(Threads::new()));
                interrupt.readiness(&reactor).wait_writable(&io::stdin(), deadline())
            }
        });
        interrupt.interrupt();
        assert_eq!(writer.join().unwrap(), Waited::Interrupted);
    });
}

/// As above; a interrupt does not end a settling, an abort does.
#[test]
fn an_abort_ends_a_settling_at_a_parking_that_is_just_made() {
    explore(Time::Stands, || {
        let interrupt = Arc::new(Interrupt::default());
        let worker = thread::spawn({
            let interrupt = Arc::clone(&interrupt);
            move || {
                let reactor = Arc::new(Reactor::new(Threads::new()));
                interrupt.readiness(&reactor).settle(&io::stdin(), false, deadline()).is_none()
            }
        });
        let closer = thread::spawn({
            let interrupt = Arc::clone(&interrupt);
            move || {
                interrupt.interrupt();
            }
        });
        interrupt.abort();
        closer.join().unwrap();
        assert!(worker.join().unwrap());
    });
}
