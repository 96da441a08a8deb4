//! The replacement of `crossbeam-channel`. It has only the functions that the core uses.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvError, RecvTimeoutError, SendError, TryRecvError};

use super::sync::{Condvar, Mutex};

struct Channel<T> {
    state: Mutex<ChannelState<T>>,
    changed: Condvar,
    capacity: usize,
}

struct ChannelState<T> {
    queue: VecDeque<T>,
    senders: usize,
    receivers: usize,
}

pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    bounded(usize::MAX)
}

pub(crate) fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "channels without capacity are not implemented");
    let state = Mutex::new(ChannelState { queue: VecDeque::new(), senders: 1, receivers: 1 });
    let channel = Arc::new(Channel { state, changed: Condvar::new(), capacity });
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

pub(crate) struct Sender<T>(Arc<Channel<T>>);

impl<T> Sender<T> {
    pub(crate) fn send(&self, value: T) -> Result<(), SendError<T>> {
        let mut state = self.0.state.lock();
        while state.receivers > 0 && state.queue.len() >= self.0.capacity {
            self.0.changed.wait(&mut state);
        }
        if state.receivers == 0 {
            return Err(SendError(value));
        }
        state.queue.push_back(value);
        drop(state);
        self.0.changed.notify_all();
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.state.lock().senders += 1;
        Sender(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.state.lock().senders -= 1;
        self.0.changed.notify_all();
    }
}

pub(crate) struct Receiver<T>(Arc<Channel<T>>);

impl<T> Receiver<T> {
    pub(crate) fn recv(&self) -> Result<T, RecvError> {
        self.receive(None).map_err(|_| RecvError)
    }

    pub(crate) fn recv_timeout(&self, limit: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_deadline(Instant::now() + limit)
    }

    pub(crate) fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.receive(Some(deadline))
    }

    pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut state = self.0.state.lock();
        let value = state.queue.pop_front();
        let senders = state.senders;
        drop(state);
        self.0.changed.notify_all();
        match value {
            Some(value) => Ok(value),
            None if senders == 0 => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    fn receive(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        let mut state = self.0.state.lock();
        loop {
            if let Some(value) = state.queue.pop_front() {
                drop(state);
                self.0.changed.notify_all();
                return Ok(value);
            }
            if state.senders == 0 {
                return Err(RecvTimeoutError::Disconnected);
            }
            match deadline {
                None => self.0.changed.wait(&mut state),
                // A value that arrives while the deadline passes is left for a later call.
                Some(deadline) if self.0.changed.wait_until(&mut state, deadline).timed_out() => {
                    return Err(RecvTimeoutError::Timeout);
                }
                Some(_) => {}
            }
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        self.0.state.lock().receivers += 1;
        Receiver(Arc::clone(&self.0))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let dropped = {
            let mut state = self.0.state.lock();
            state.receivers -= 1;
            let last = state.receivers == 0;
            last.then(|| std::mem::take(&mut state.queue))
        };
        drop(dropped);
        self.0.changed.notify_all();
    }
}
