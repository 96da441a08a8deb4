//! The crew: a few threads that serve the many clients of a server with
//! [`Threads::WhileBusy`](crate::Threads::WhileBusy).
//!
//! Between two callbacks, no code of the user is on a stack. Therefore a client that only waits for input needs no thread:
//! its session is a value, which lies in its [`Place`].
//!
//! - The **leader** is the thread that holds the [`Poller`]. It polls the sockets of all waiting clients. It runs the
//!   callbacks of those for whom something has arrived, one after another.
//! - The **standby** is a thread that watches the leader. If a callback takes too long, it takes the poller and becomes
//!   the leader. The thread that it was taken from then belongs to the client of that callback.
//! - Every other thread serves **one client**. A client begins like this. It gives its thread up when it is silent, or
//!   when its callbacks have proved short.
//!
//! The waits of the crate itself, such as a write to a peer that does not read, give the poller away before they begin
//! ([`step_aside`]).
//!
//! If something fails, no client is lost. A client whose descriptor cannot be watched keeps its thread. If no thread can
//! be started for a client, the leader serves it. If the poll itself fails, all clients get threads.

mod leader;
mod place;
#[cfg(not(all(test, shuttle)))]
mod poll;
mod standby;
pub(crate) mod turn;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, mem};

use crate::catch_panic::catch_panic;
use crate::crew::place::{Places, Visitor};
use crate::crew::poll::Watcher;
use crate::crew::standby::{Lead, Standby};
use crate::crew::turn::{Mode, Turn, Wait};
use crate::logging::{error, Escaped};
#[cfg(all(test, shuttle))]
use crate::shuttle::poll;
use crate::sync::atomic::AtomicU64;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::threads::pool::{Job, Pool};

pub(crate) use leader::{is_leading, step_aside};
pub(crate) use place::{Guest, Place};

/// The score at which a session has proved that its callbacks are short. It doubles with each strike.
const TRUSTED: i32 = if cfg!(all(test, shuttle)) { 1 } else { 8 };
/// A callback that takes longer than this is long. A thread that had to wait for a processor rarely needs that long.
const LONG: Duration = Duration::from_millis(5);
/// How many short callbacks make up for a long one.
const WEIGHT: i32 = 4;
/// The room for input that a thread lends to a session.
const ROOM: usize = 64 * 1024;
/// For how long a take-over makes the crew careful.
const ALARM: Duration = Duration::from_millis(200);
/// After so many take-overs within that time, each client that has something to do gets a thread.
const MANY: u32 = 3;

/// Serves the clients of one server.
pub(crate) struct Crew {
    pool: Arc<Pool>,
    stack: Option<usize>,
    watcher: Watcher,
    state: Mutex<CrewState>,
    /// Signalled to wake the standby.
    bell: Condvar,
    /// How often the standby has taken over. Written by the standby, and read for the statistics.
    take_overs: Arc<AtomicU64>,
}

/// Written under the lock by the threads of the crew, and by threads that close a client.
#[derive(Default)]
struct CrewState {
    places: Places,
    /// The sessions whose turn comes next.
    due: VecDeque<Box<Visitor>>,
    /// How many of them have their turn before the next poll.
    round: usize,
    /// The leader waits in the poll, so it must be woken when something is due.
    polling: bool,
    lead: Lead,
    /// The poll has failed, so no session waits without a thread.
    broken: bool,
    /// All sessions have ended.
    over: bool,
    /// How many take-overs there were lately, and until when that counts.
    alarm: Option<(u32, Instant)>,
}

type Guard<'a> = MutexGuard<'a, CrewState>;

impl CrewState {
    /// Returns how many take-overs there were within the last [`ALARM`].
    fn take_overs_lately(&mut self) -> u32 {
        self.alarm = self.alarm.filter(|(_, until)| Instant::now() < *until);
        self.alarm.map_or(0, |(count, _)| count)
    }
}

/// Keeps a crew alive. The sessions of a server share it, so the crew ends after the last of them.
pub(crate) struct CrewGuard(Arc<Crew>);

impl Drop for CrewGuard {
    fn drop(&mut self) {
        self.0.state.lock().over = true;
        self.0.wake(self.0.state.lock());
    }
}

impl CrewGuard {
    /// Starts a crew whose threads have this stack size. It adds the number of its take-overs to `count`.
    ///
    /// # Errors
    /// `Unsupported` if the system has no edge-triggered poll, or the error of the operating system.
    pub(crate) fn start(pool: &Arc<Pool>, stack: Option<usize>, count: &Arc<AtomicU64>) -> io::Result<Self> {
        let (poller, watcher) = poll::new()?;
        let crew = Arc::new(Crew {
            pool: Arc::clone(pool),
            stack,
            watcher,
            state: Mutex::new(CrewState { lead: Lead::offer(poller), ..CrewState::default() }),
            bell: Condvar::new(),
            take_overs: Arc::clone(count),
        });
        crew.run(None)?;
        Ok(CrewGuard(crew))
    }

    /// Serves a new session, at first on a thread of its own.
    pub(crate) fn begin(&self, guest: Box<dyn Guest>) {
        let visitor = Visitor {
            guest,
            token: self.0.state.lock().places.add(),
            descriptor: None,
            score: 0,
            strikes: 0,
            bound: false,
            called: false,
            without_thread: false,
        };
        // If this fails, the drop of the work calls the session.
        drop(self.0.run(Some(Box::new(visitor))));
    }
}

impl Crew {
    /// Gives a session a thread, or starts a standby.
    fn run(self: &Arc<Self>, visitor: Option<Box<Visitor>>) -> io::Result<()> {
        self.pool.run(self.stack, Box::new(Work { crew: Arc::clone(self), visitor, begun: false }))
    }

    /// Serves one session on this thread, until its connection has ended or until it gives the thread up. If it is
    /// `alone`, it keeps the thread until it is silent.
    fn serve(self: &Arc<Self>, mut visitor: Box<Visitor>, alone: bool) {
        let mut room = Vec::new();
        loop {
            if let Some(descriptor) = visitor.descriptor.take() {
                // Otherwise, each input would wake the leader. If this fails, it does.
                drop(self.watcher.deregister(descriptor));
            }
            let mode = if alone { Mode::Own } else { Mode::Once };
            let mut turn = Turn::new(if visitor.bound { Mode::Bound } else { mode }, room);
            let Some(wait) = visitor.go_on(&mut turn) else { return self.end(visitor) };
            room = mem::take(&mut turn.room);
            if wait.more && room.is_empty() {
                room.resize(ROOM, 0);
            }
            if let Some(began) = turn.callback {
                visitor.score = (visitor.score + if began.elapsed() > LONG { -WEIGHT } else { 1 }).max(0);
                if !visitor.is_trusted() {
                    continue;
                }
            }
            match self.put(visitor, wait) {
                Ok(()) => return,
                Err(back) if back.bound || !back.is_trusted() => visitor = back,
                Err(back) => return self.call(self.state.lock(), back),
            }
        }
    }

    /// Puts a session into its place, where it waits. If it cannot wait there or must go on, returns it.
    fn put(self: &Arc<Self>, mut visitor: Box<Visitor>, wait: Wait) -> Result<(), Box<Visitor>> {
        let token = visitor.token;
        if visitor.descriptor.is_none() {
            let waits = visitor.guest.waits_at(Place { token, crew: Arc::downgrade(self) });
            let watched = waits.filter(|(descriptor, _)| self.watcher.register(*descriptor, token).is_ok());
            let Some((descriptor, label)) = watched else {
                visitor.bound = true;
                return Err(visitor);
            };
            visitor.descriptor = Some(descriptor);
            self.state.lock().places.name(token, label);
        }
        let mut state = self.state.lock();
        if state.broken {
            visitor.bound = true;
            return Err(visitor);
        }
        let first = state.places.first_timer();
        state.places.put(visitor, wait)?;
        if state.places.first_timer() != first {
            self.wake(state);
        }
        Ok(())
    }

    /// Lets a session go on. Never blocks.
    fn call(&self, mut state: Guard<'_>, visitor: Box<Visitor>) {
        state.due.push_back(visitor);
        self.wake(state);
    }

    /// A session has ended. This drops it without the lock, which returns the permit of its client.
    #[expect(clippy::boxed_local, reason = "all callers have a box")]
    fn end(&self, visitor: Box<Visitor>) {
        let label = self.state.lock().places.remove(visitor.token);
        drop(label);
    }

    /// Ends the wait of the leader, if it waits.
    fn wake(&self, mut state: Guard<'_>) {
        if mem::take(&mut state.polling) {
            drop(state);
            if let Err(error) = self.watcher.wake() {
                error!("cannot wake the thread that waits for clients: {error}");
            }
        }
    }
}

impl Visitor {
    /// Returns `true` if the session has proved that its callbacks are short.
    fn is_trusted(&self) -> bool {
        self.score >= TRUSTED << self.strikes
    }

    /// Lets the session go on. It catches the panics of user code itself. A panic of the crate ends this session alone.
    fn go_on(&mut self, turn: &mut Turn) -> Option<Wait> {
        catch_panic(|| self.guest.go_on(turn)).unwrap_or_else(|message| {
            error!("a session panicked: {}", Escaped(message));
            None
        })
    }
}

/// A job for a thread of the crew. It is dropped without a run if no thread could be started.
struct Work {
    crew: Arc<Crew>,
    /// The session that the thread serves. Without one, it stands by.
    visitor: Option<Box<Visitor>>,
    begun: bool,
}

impl Job for Work {
    fn run(&mut self) {
        self.begun = true;
        match self.visitor.take() {
            Some(visitor) => self.crew.serve(visitor, false),
            None => self.crew.stand_by(),
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.begun {
            return;
        }
        // No thread could be started.
        let mut state = self.crew.state.lock();
        match self.visitor.take() {
            Some(mut visitor) => {
                visitor.without_thread = true;
                self.crew.call(state, visitor);
            }
            None => state.lead.standby = Standby::None,
        }
    }
}
