//! Tests of [`Interrupt`]: a read and a wait for room, each at the same time as an interrupt or an abort.

use std::io;
use std::sync::Arc;

use shuttle::thread;

use super::sync::{Condvar, Mutex};
use super::{deadline, explore, pick, Time};
use crate::reactor::{Reactor, TakenWait, Waited};
use crate::threads::MachineThreads;
use crate::transport::interrupt::Interrupt;

/// The read side of a socket. A read waits until something arrives or until the read side is shut down.
#[derive(Default)]
struct Socket {
    state: Mutex<SocketState>,
    changed: Condvar,
}

#[derive(Default)]
struct SocketState {
    messages: usize,
    shut: bool,
}

impl Socket {
    /// Returns `false` at the end of input.
    fn read(&self) -> bool {
        let mut state = self.state.lock();
        while state.messages == 0 && !state.shut {
            self.changed.wait(&mut state);
        }
        let some = state.messages > 0;
        state.messages -= usize::from(some);
        some
    }

    fn change(&self, change: impl FnOnce(&mut SocketState)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }
}

/// Starts a thread that reads until it is interrupted, and returns the number of its reads.
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

/// Either the reader sees the interrupt before it waits, or the interrupt sees that the reader waits.
#[test]
fn an_interrupt_ends_the_read() {
    explore(Time::Stands, || {
        let (interrupt, socket) = (Arc::new(Interrupt::default()), Arc::new(Socket::default()));
        let messages = pick(3);
        socket.change(|state| state.messages = messages);
        let reader = reader(&interrupt, &socket);
        if interrupt.set() {
            socket.change(|state| state.shut = true);
        }
        assert!(reader.join().unwrap() <= messages);
        assert!(!interrupt.is_reading());
        assert!(interrupt.unless_interrupted(|| ()).is_none(), "a read began after the interrupt");
    });
}

/// The first writer that waits makes the `Readiness`, possibly while others interrupt.
#[test]
fn an_interrupt_ends_a_wait_at_a_new_readiness() {
    explore(Time::Stands, || {
        let interrupt = Arc::new(Interrupt::default());
        let writer = thread::spawn({
            let interrupt = Arc::clone(&interrupt);
            move || {
                let reactor = Arc::new(Reactor::new(MachineThreads::new()));
                interrupt.readiness(&reactor).wait_writable(&io::stdin(), deadline())
            }
        });
        interrupt.set();
        assert_eq!(writer.join().unwrap(), Waited::Interrupted);
    });
}

/// An interrupt does not end the wait for a slow peer while the connection is closing. An abort ends it, even
/// if it races with an interrupt.
#[test]
fn an_abort_ends_the_wait_for_a_slow_peer_at_a_new_readiness() {
    explore(Time::Stands, || {
        let interrupt = Arc::new(Interrupt::default());
        let session = thread::spawn({
            let interrupt = Arc::clone(&interrupt);
            move || {
                let reactor = Arc::new(Reactor::new(MachineThreads::new()));
                matches!(
                    interrupt.readiness(&reactor).wait_taken(&io::stdin(), false, deadline()),
                    TakenWait::TimedOut
                )
            }
        });
        let closer = thread::spawn({
            let interrupt = Arc::clone(&interrupt);
            move || {
                interrupt.set();
            }
        });
        interrupt.set_aborted();
        closer.join().unwrap();
        assert!(session.join().unwrap());
    });
}
