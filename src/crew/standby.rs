//! The standby: the thread that watches the leader, and takes the poller from it if a callback takes too long.
//!
//! It looks every [`LOOK`] while callbacks run. While the leader only waits, it sleeps until the leader runs the next
//! callback. Therefore an idle machine wakes no thread.

use std::fs;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::crew::poll::Poller;
use crate::crew::{Crew, Guard, ALARM};
use crate::sync::atomic::Ordering;
use crate::threads::user_code::UserCode;

/// How often the standby looks. A callback that is still running at the next look takes too long.
const LOOK: Duration = Duration::from_millis(4);
/// After so many looks at a leader that waits, the standby sleeps.
const IDLE_LOOKS: u32 = 4;
/// How many more looks a callback gets that uses the processor or waits for it.
const MORE_LOOKS: u32 = 6;
/// If no standby could be started, it is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// This part of the state of a crew says who leads, and who watches the leader.
#[derive(Default)]
pub(super) struct Lead {
    /// It lies here while the leader runs a callback.
    poller: Option<Box<Poller>>,
    /// The number of the leadership.
    number: u64,
    /// How many callbacks have run.
    turns: u64,
    /// The token of the session whose callback runs, or was the last to run.
    token: usize,
    /// How many callbacks in a row were those of this session.
    alone: u32,
    /// The leader gives the poller away.
    offered: bool,
    pub(super) standby: Standby,
    /// When a standby may be started, if the last start was not long ago.
    next_start: Option<Instant>,
    /// The folder in which the kernel says what the thread of the leader does.
    thread: Option<PathBuf>,
    /// The user code that the thread of the leader runs.
    user_code: Option<Arc<UserCode>>,
}

#[derive(Default, PartialEq)]
pub(super) enum Standby {
    #[default]
    None,
    Starting,
    Watching,
    /// It sleeps until the bell.
    Asleep,
}

impl Lead {
    /// Offers a new poller to a standby, which the caller starts.
    pub(super) fn offer(poller: Poller) -> Lead {
        let poller = Some(Box::new(poller));
        Lead { poller, offered: true, standby: Standby::Starting, ..Lead::default() }
    }

    /// Lays the poller down for the time of a callback. Returns how many callbacks in a row were those of this session.
    pub(super) fn lay_down(&mut self, poller: Box<Poller>, token: usize) -> u32 {
        self.turns += 1;
        self.alone = if token == self.token { self.alone + 1 } else { 0 };
        (self.poller, self.token) = (Some(poller), token);
        self.alone
    }

    /// Picks the poller up again after a callback. Returns `None` if another thread has taken it.
    pub(super) fn pick_up(&mut self, number: u64) -> Option<Box<Poller>> {
        if self.number != number {
            return None;
        }
        self.offered = false;
        self.poller.take()
    }
}

impl Crew {
    /// A callback begins. Wakes the standby, or starts one if there is none.
    pub(super) fn ring(self: &Arc<Self>, mut state: Guard<'_>) {
        let lead = &mut state.lead;
        if lead.standby == Standby::Asleep {
            self.bell.notify_one();
        } else if lead.standby == Standby::None && lead.next_start.is_none_or(|next| next <= Instant::now()) {
            (lead.standby, lead.next_start) = (Standby::Starting, Some(Instant::now() + RETRY));
            drop(state);
            // If this fails, the drop of the work takes note of it.
            drop(self.run(None));
        }
    }

    /// Gives the poller to the standby, if it still lies there. Returns `false` if there is no standby.
    ///
    /// A standby that is about to start may fail to do so. Then the caller finds the poller there when it has waited.
    pub(super) fn offer_to_standby(&self, number: u64) -> bool {
        let lead = &mut self.state.lock().lead;
        let lies = lead.poller.is_some() && lead.number == number;
        if lies && lead.standby != Standby::None {
            lead.offered = true;
            self.bell.notify_one();
        }
        !lies || lead.offered
    }

    /// Watches the leader, until it has to be replaced, and leads then. Returns at once when the crew has ended.
    pub(super) fn stand_by(self: &Arc<Self>) {
        let thread = fs::canonicalize("/proc/thread-self").ok();
        let mut state = self.state.lock();
        state.lead.standby = Standby::Watching;
        let (mut seen, mut idle, mut more) = (0, 0, 0);
        while !state.lead.offered {
            let over = state.over;
            let lead = &mut state.lead;
            if lead.poller.is_none() {
                if over {
                    return;
                }
                (seen, idle) = (0, idle + 1);
                if idle > IDLE_LOOKS {
                    lead.standby = Standby::Asleep;
                    self.bell.wait(&mut state);
                    (state.lead.standby, idle) = (Standby::Watching, 0);
                    continue;
                }
            } else if lead.turns != seen {
                (seen, idle, more) = (lead.turns, 0, 0);
            } else if more < MORE_LOOKS && lead.thread.as_deref().is_some_and(is_runnable) {
                more += 1;
            } else {
                break;
            }
            self.bell.wait_until(&mut state, Instant::now() + LOOK);
        }
        if !state.lead.offered {
            // Callbacks that block often come in flocks.
            self.take_overs.fetch_add(1, Ordering::Relaxed);
            state.alarm = Some((state.take_overs_lately() + 1, Instant::now() + ALARM));
        }
        let label = state.places.label(state.lead.token);
        // The thread whose callback runs finds another number.
        let number = state.lead.number + 1;
        let lead = Lead { number, thread, user_code: UserCode::of_this_thread(), ..Lead::default() };
        let before = mem::replace(&mut state.lead, lead);
        if let Some(user_code) = before.user_code {
            // Before that thread can look at the number. The session keeps the label, so this frees nothing.
            user_code.set(label);
        }
        drop(state);
        if let Some(poller) = before.poller {
            self.lead(poller, number);
        }
    }
}

/// Returns `true` if a thread uses a processor or waits for one (`proc_pid_stat(5)`).
fn is_runnable(thread: &Path) -> bool {
    let stat = fs::read(thread.join("stat")).unwrap_or_default();
    stat.iter().rposition(|byte| *byte == b')').and_then(|end| stat.get(end + 2)) == Some(&b'R')
}
