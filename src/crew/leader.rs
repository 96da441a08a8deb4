//! The leader: the thread that polls, and runs the callbacks of the clients for whom something has arrived.
//!
//! The right to lead is a value, the [`Poller`]. The leader holds it while it polls. While the leader runs a callback,
//! the poller lies in the state of the crew, where the standby can take it. Therefore two threads can never lead.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use crate::crew::poll::Poller;
use crate::crew::standby::Standby;
use crate::crew::turn::{Mode, Turn};
use crate::crew::{Crew, Guard, MANY, ROOM};
use crate::logging::warn;
use crate::reactor::WAIT_SLICE;
use crate::sync::{thread, thread_local};
use crate::threads::user_code::user_code;

/// If so many callbacks in a row were those of one client, it gets a thread, which need not poll.
const ALONE: u32 = if cfg!(all(test, shuttle)) { 2 } else { 32 };
const MAX_STRIKES: u8 = 6;

thread_local! {
    /// The crew that this thread leads, and the number of its leadership.
    #[allow(clippy::missing_const_for_thread_local, reason = "it is const, but the lint is wrong on Windows")]
    static LEADING: RefCell<Option<(Arc<Crew>, u64)>> = const { RefCell::new(None) };
}

/// Returns `true` if this thread leads a crew.
pub(crate) fn is_leading() -> bool {
    LEADING.with(|leading| leading.borrow().is_some())
}

/// Returns `true` if this thread has led a crew until now.
fn set_leading(leading: Option<(Arc<Crew>, u64)>) -> bool {
    LEADING.with(|slot| slot.replace(leading)).is_some()
}

/// Called before this thread waits for anything. If it leads a crew, another thread leads from now on. Never blocks.
pub(crate) fn step_aside() {
    LEADING.with(|leading| {
        let mut leading = leading.borrow_mut();
        if leading.as_ref().is_some_and(|(crew, number)| crew.offer_to_standby(*number)) {
            *leading = None;
        }
    });
}

impl Crew {
    /// Leads until the crew has ended, or until another thread has the poller. Then this thread belongs to the session
    /// whose callback it runs.
    pub(super) fn lead(self: &Arc<Self>, mut poller: Box<Poller>, number: u64) {
        let (mut room, mut state) = (vec![0; ROOM], self.state.lock());
        loop {
            state = self.poll(state, &mut poller);
            let Some(mut visitor) = state.due.pop_front() else {
                set_leading(None);
                self.bell.notify_all();
                return;
            };
            // One that was called probably ends.
            let unproven = !visitor.called && !visitor.is_trusted();
            let needs_thread = visitor.bound || unproven || state.take_overs_lately() >= MANY;
            if needs_thread && !visitor.without_thread {
                drop(state);
                // If this fails, the drop of the work calls the session.
                drop(self.run(Some(visitor)));
                state = self.state.lock();
                continue;
            }
            visitor.without_thread = false;
            let alone = state.lead.lay_down(poller, visitor.token) >= ALONE;
            let alone = alone && matches!(state.lead.standby, Standby::Watching | Standby::Asleep);
            self.ring(state);
            if !is_leading() {
                set_leading(Some((Arc::clone(self), number)));
            }
            if alone {
                step_aside();
                if !is_leading() {
                    drop(room);
                    return self.serve(visitor, true);
                }
            }
            // If it can be neither watched nor served elsewhere, it keeps this thread.
            let mode = if visitor.bound { Mode::Bound } else { Mode::Shared };
            let mut turn = Turn::new(mode, room);
            let waits = match visitor.go_on(&mut turn) {
                Some(wait) => Some((visitor, wait)),
                None => {
                    self.end(visitor);
                    None
                }
            };
            room = turn.room;
            room.resize(ROOM, 0);
            state = self.state.lock();
            let Some(back) = state.lead.pick_up(number) else {
                drop((state, room));
                user_code(None);
                let long = set_leading(None);
                if let Some((mut visitor, _)) = waits {
                    // Another thread leads now. If this one has not stepped aside, the callback was too long.
                    if long {
                        (visitor.strikes, visitor.score) = (MAX_STRIKES.min(visitor.strikes + 1), 0);
                    }
                    // It may need the thread again, so it keeps it for a while.
                    self.serve(visitor, false);
                }
                return;
            };
            poller = back;
            let Some((visitor, wait)) = waits else { continue };
            let put = if visitor.descriptor.is_some() && !state.broken {
                state.places.put(visitor, wait)
            } else {
                drop(state);
                let put = self.put(visitor, wait);
                state = self.state.lock();
                put
            };
            state.due.extend(put.err());
        }
    }

    /// Polls if all sessions have had their turn that were due at the last poll. Waits until a session is due or until
    /// the crew has ended.
    fn poll<'a>(self: &'a Arc<Self>, mut state: Guard<'a>, poller: &mut Poller) -> Guard<'a> {
        while state.round == 0 && !state.over {
            state.polling = state.due.is_empty();
            let until = if state.polling { state.places.first_timer() } else { Some(Instant::now()) };
            let limit = until.map(|until| until.saturating_duration_since(Instant::now()));
            let broken = state.broken;
            drop(state);
            if broken {
                thread::sleep(limit.unwrap_or(WAIT_SLICE).min(WAIT_SLICE));
            }
            let polled = if broken { Ok(()) } else { poller.wait(limit) };
            if let Err(error) = &polled {
                warn!("cannot wait for clients without threads, so each client gets a thread: {error}");
            }
            state = self.state.lock();
            state.polling = false;
            if polled.is_err() {
                state.broken = true;
                let waiting = state.places.take_all();
                state.due.extend(waiting);
                state.due.iter_mut().for_each(|visitor| visitor.bound = true);
            }
            for (token, end) in poller.ready() {
                let ready = state.places.take(token, end);
                state.due.extend(ready);
            }
            while let Some(visitor) = state.places.take_due() {
                state.due.push_back(visitor);
            }
            state.round = state.due.len();
        }
        state.round = state.round.saturating_sub(1);
        state
    }
}
