//! A guest of a crew without a client: a queue of callbacks, which a test sends.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::poll::{Descriptor, Readable};
use super::sync::{Condvar, Mutex};
use super::{deadline, pick};
use crate::crew::turn::{Turn, Wait};
use crate::crew::{CrewGuard, Guest, Place};
use crate::threads::user_code::Label;

/// What a message makes the guest do.
type Callback = Box<dyn FnOnce() + Send>;

/// The messages for one guest, and what has become of it.
pub(super) struct Inbox {
    descriptor: Descriptor,
    state: Mutex<InboxState>,
    changed: Condvar,
    /// If this is set, the guest ends when it has heard so many messages and its time is over.
    enough: Option<usize>,
}

#[derive(Default)]
struct InboxState {
    messages: VecDeque<Callback>,
    /// The peer sends no more.
    ended: bool,
    /// The guest was asked to end.
    closed: bool,
    place: Option<Place>,
    heard: usize,
    /// A thread runs the guest.
    held: bool,
    /// Two threads have run the guest at once.
    torn: bool,
    /// How often the guest was dropped.
    dropped: usize,
}

impl Readable for Inbox {
    fn readiness(&self) -> Option<bool> {
        let state = self.state.lock();
        (state.ended || !state.messages.is_empty()).then_some(state.ended)
    }
}

impl Inbox {
    pub(super) fn new(enough: Option<usize>) -> Arc<Inbox> {
        Arc::new_cyclic(|inbox: &Weak<Inbox>| Inbox {
            descriptor: Descriptor::new(Weak::<Inbox>::clone(inbox)),
            state: Mutex::default(),
            changed: Condvar::new(),
            enough,
        })
    }

    /// Makes the guest. It keeps `crew` until its end, as a session does.
    pub(super) fn guest(self: &Arc<Self>, crew: Arc<CrewGuard>) -> Box<dyn Guest> {
        Box::new(Listener { inbox: Arc::clone(self), rested: false, crew: Some(crew) })
    }

    pub(super) fn send(&self, callback: impl FnOnce() + Send + 'static) {
        self.change(|state| state.messages.push_back(Box::new(callback)));
        self.descriptor.ready();
    }

    pub(super) fn end(&self) {
        self.change(|state| state.ended = true);
        self.descriptor.ready();
    }

    /// Asks the guest to end, as a close of a client does.
    pub(super) fn close(&self) {
        let place = {
            let mut state = self.state.lock();
            state.closed = true;
            state.place.clone()
        };
        self.changed.notify_all();
        if let Some(place) = place {
            place.call();
        }
    }

    /// Blocks until the guest has heard so many messages.
    pub(super) fn wait_for(&self, heard: usize) {
        let mut state = self.state.lock();
        while state.heard < heard {
            self.changed.wait(&mut state);
        }
    }

    /// The descriptor cannot be watched.
    pub(super) fn refuse(&self) {
        self.descriptor.refuse();
    }

    /// Asserts that the guest has ended, and that no two threads have run it at once. Returns how much it has heard.
    pub(super) fn check(&self) -> usize {
        let state = self.state.lock();
        assert!(!state.torn, "two threads have run one guest at once");
        assert_eq!(state.dropped, 1, "a guest was lost");
        state.heard
    }

    fn change<T>(&self, change: impl FnOnce(&mut InboxState) -> T) -> T {
        let result = change(&mut self.state.lock());
        self.changed.notify_all();
        result
    }
}

struct Listener {
    inbox: Arc<Inbox>,
    /// It goes on after a wait.
    rested: bool,
    crew: Option<Arc<CrewGuard>>,
}

/// What a read has found.
enum Found {
    Callback(Callback, bool),
    End,
    Nothing,
}

impl Listener {
    /// The patience of a guest with a time limit is over at once. That of the others depends on the mode of the time.
    fn read(&self, limit: Option<Duration>) -> Found {
        let inbox = &*self.inbox;
        let patience = if inbox.enough.is_some() { Instant::now() } else { deadline() };
        let mut state = inbox.state.lock();
        loop {
            if state.closed {
                return Found::End;
            }
            let Some(limit) = limit else { return Found::Nothing };
            if let Some(callback) = state.messages.pop_front() {
                return Found::Callback(callback, !state.messages.is_empty());
            }
            if state.ended {
                return Found::End;
            }
            match limit {
                Duration::MAX => inbox.changed.wait(&mut state),
                Duration::ZERO => return Found::Nothing,
                _ => {
                    if inbox.changed.wait_until(&mut state, patience).timed_out() {
                        return Found::Nothing;
                    }
                }
            }
        }
    }

    fn go_on(&mut self, turn: &mut Turn) -> Option<Wait> {
        let mut rested = std::mem::take(&mut self.rested);
        loop {
            match self.read(turn.before_read()) {
                Found::End => return None,
                Found::Callback(callback, more) => {
                    turn.after_read(more);
                    callback();
                    self.inbox.change(|state| state.heard += 1);
                    rested = false;
                }
                Found::Nothing => {
                    let enough =
                        self.inbox.enough.is_some_and(|enough| self.inbox.state.lock().heard >= enough);
                    if enough && rested {
                        return None;
                    }
                    self.rested = true;
                    turn.pause(match self.inbox.enough {
                        Some(_) if enough => Some(Instant::now()),
                        Some(_) => [None, Some(Instant::now()), Some(deadline())][pick(3)],
                        None => None,
                    });
                    return turn.wait.take();
                }
            }
        }
    }
}

impl Guest for Listener {
    fn go_on(&mut self, turn: &mut Turn) -> Option<Wait> {
        self.inbox.change(|state| state.torn |= std::mem::replace(&mut state.held, true));
        let wait = Listener::go_on(self, turn);
        if wait.is_none() {
            self.crew = None;
        }
        self.inbox.change(|state| state.held = false);
        wait
    }

    fn waits_at(&self, place: Place) -> Option<(RawFd, Label)> {
        let closed = self.inbox.change(|state| {
            state.place = Some(place);
            state.closed
        });
        (!closed).then(|| (self.inbox.descriptor.number(), Arc::new("a guest") as Label))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.inbox.change(|state| state.dropped += 1);
    }
}
