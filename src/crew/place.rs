//! [`Places`]: where the sessions of clients lie while they have no threads.

use std::collections::BTreeSet;
use std::mem;
use std::sync::Weak;
use std::time::Instant;

use slab::Slab;

use crate::crew::turn::{Turn, Wait};
use crate::crew::Crew;
use crate::threads::user_code::Label;
use crate::transport::Descriptor;

/// A session, as the crew sees it.
pub(crate) trait Guest: Send {
    /// Goes on until the connection has ended, and returns `None`, or until the session waits.
    fn go_on(&mut self, turn: &mut Turn) -> Option<Wait>;

    /// Takes note of the place, so that a close or a stop can call the session from there. Returns the descriptor that
    /// becomes readable when there is something to read, and the name of the client. Returns `None` if the session must
    /// not wait without a thread, because it has no descriptor or was already asked to end.
    fn waits_at(&self, place: Place) -> Option<(Descriptor, Label)>;
}

/// This is a session with what the crew knows about it. It is in a box, because it moves with each message.
pub(super) struct Visitor {
    pub(super) guest: Box<dyn Guest>,
    /// The number of its place.
    pub(super) token: usize,
    /// The descriptor that the poll watches.
    pub(super) descriptor: Option<Descriptor>,
    /// One point for each short callback, and minus some points for a long one.
    pub(super) score: i32,
    /// How often a thread had to be taken over because of this session.
    pub(super) strikes: u8,
    /// It keeps its next thread until its end.
    pub(super) bound: bool,
    /// It goes on for another reason than input.
    pub(super) called: bool,
    /// No thread could be started for it, so it runs on the leader's thread the next time.
    pub(super) without_thread: bool,
}

/// The place of one session, for threads that close its client.
#[derive(Clone)]
pub(crate) struct Place {
    pub(super) token: usize,
    pub(super) crew: Weak<Crew>,
}

impl Place {
    /// Lets the session go on although nothing has arrived, because it was asked to end. Never blocks.
    pub(crate) fn call(&self) {
        let Some(crew) = self.crew.upgrade() else { return };
        let mut state = crew.state.lock();
        if let Some(visitor) = state.places.take(self.token, true) {
            crew.call(state, visitor);
        }
    }
}

/// The places of all sessions of a crew.
///
/// At each time, a session is in its place, in a queue of the crew, or in the hands of one thread. The thread that takes
/// it out of the place has it alone. If it is not there, then the thread that has it is asked to go on `again` before it
/// puts it back. Therefore no call is lost, in whatever order things happen.
///
/// The token of a session that has ended is given to a later one. A late call then only lets that one look for input that
/// is not there.
#[derive(Default)]
pub(super) struct Places {
    entries: Slab<Entry>,
    /// When sessions go on by themselves, with their tokens.
    timers: BTreeSet<(Instant, usize)>,
}

#[derive(Default)]
struct Entry {
    visitor: Option<Box<Visitor>>,
    /// The name of the client that has waited here, for the thread that runs its callback.
    label: Option<Label>,
    /// The session was called while it was not here.
    again: bool,
    /// The peer or the server may have ended the conversation. Only a read shows that finds nothing else.
    ends: bool,
    /// When the session goes on by itself. This may be too early, because a session that waits again and again with an
    /// idle timeout sets a new timer only when the old one has fired.
    timer: Option<Instant>,
}

impl Places {
    /// Makes a new place, and returns its token.
    pub(super) fn add(&mut self) -> usize {
        self.entries.insert(Entry::default())
    }

    /// Removes a place. The caller drops the label without the lock, because that may free values of the user.
    pub(super) fn remove(&mut self, token: usize) -> Option<Label> {
        let entry = self.entries.try_remove(token)?;
        if let Some(timer) = entry.timer {
            self.timers.remove(&(timer, token));
        }
        entry.label
    }

    /// Names the client of this place.
    pub(super) fn name(&mut self, token: usize, label: Label) {
        self.entries[token].label = Some(label);
    }

    pub(super) fn label(&self, token: usize) -> Option<Label> {
        self.entries.get(token)?.label.clone()
    }

    /// Returns when the first timer fires.
    pub(super) fn first_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(first, _)| *first)
    }

    /// Puts a session into its place. If it must go on, returns it.
    pub(super) fn put(&mut self, mut visitor: Box<Visitor>, wait: Wait) -> Result<(), Box<Visitor>> {
        let token = visitor.token;
        let Some(entry) = self.entries.get_mut(token) else { return Err(visitor) };
        // Unless the poll takes it out, it goes on for another reason.
        visitor.called = true;
        if wait.more || mem::take(&mut entry.again) || entry.ends && !wait.quiet {
            return Err(visitor);
        }
        entry.visitor = Some(visitor);
        if let Some(until) = wait.until.filter(|until| entry.timer.is_none_or(|timer| *until < timer)) {
            if let Some(later) = entry.timer.replace(until) {
                self.timers.remove(&(later, token));
            }
            self.timers.insert((until, token));
        }
        Ok(())
    }

    /// Takes a session out of its place, if it is there. Otherwise it goes on again. `ends` is `true` if the peer or the
    /// server may have ended the conversation.
    pub(super) fn take(&mut self, token: usize, ends: bool) -> Option<Box<Visitor>> {
        let entry = self.entries.get_mut(token)?;
        entry.again |= entry.visitor.is_none();
        entry.ends |= ends;
        let mut visitor = entry.visitor.take()?;
        visitor.called = ends;
        Some(visitor)
    }

    /// Takes a session out whose time has come.
    pub(super) fn take_due(&mut self) -> Option<Box<Visitor>> {
        while self.first_timer().is_some_and(|first| first <= Instant::now()) {
            let (_, token) = self.timers.pop_first()?;
            let Some(entry) = self.entries.get_mut(token) else { continue };
            entry.timer = None;
            if let Some(visitor) = entry.visitor.take() {
                return Some(visitor);
            }
        }
        None
    }

    /// Takes all sessions out of their places.
    #[expect(clippy::vec_box, reason = "they are in boxes already")]
    pub(super) fn take_all(&mut self) -> Vec<Box<Visitor>> {
        self.entries.iter_mut().filter_map(|(_, entry)| entry.visitor.take()).collect()
    }
}
