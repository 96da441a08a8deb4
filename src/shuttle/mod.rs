//! Interleaving tests of the coordination core. They run the real code. [`crate::sync`] replaces its locks,
//! condition variables, threads and channels with versions for the crate `shuttle`. The scheduler of that
//! crate tries another interleaving in each round. Only `.ci/model` builds these tests.
//!
//! The tests find deadlocks, lost wake-ups, checks that are outdated when the code acts on them, and actions
//! that happen twice or never. There are two limits. First, all atomics are sequentially consistent, so only
//! ThreadSanitizer can find an ordering that is too weak. Second, the rounds try a sample of the
//! interleavings, not all of them.
//!
//! **Time.** There is no clock. With [`Time::Passes`], chance decides whether a deadline passes now, passes
//! after other threads have run, or never passes. With [`Time::Stands`] it never passes. Therefore both
//! outcomes of a wait are tried in every state. A lost wake-up causes a deadlock, and no deadline hides it.
//! [`Time::Runs`] is for code that needs its deadlines: each of them passes after other threads have run.
//!
//! **Small numbers.** Some limits of a [crew](crate::crew) are smaller in these tests. Otherwise no round would be long
//! enough to reach them.
//!
//! The crate catches panics of callbacks. Therefore a test makes its assertions on its own thread.

pub(crate) mod channel;
mod client;
mod crew;
mod endings;
mod guest;
mod interrupt;
mod machine;
pub(crate) mod poll;
mod pool;
pub(crate) mod reactor;
mod readiness;
mod scheduler;
mod server;
#[cfg(feature = "tls")]
mod start_tls;
pub(crate) mod sync;
pub(crate) mod thread;
mod threads;
mod transport;

use std::cell::Cell;
use std::time::{Duration, Instant};

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler};
use shuttle::{Config, Runner};

/// Whether deadlines may pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Time {
    Passes,
    Runs,
    Stands,
}

std::thread_local! {
    /// The mode of the current rounds. All threads of a round run on the thread of its test.
    static TIME: Cell<Time> = const { Cell::new(Time::Stands) };
}

/// Runs `round` with two kinds of schedules. In the first kind, any thread may run after any step, which
/// finds races between many steps. The second kind has few switches in unusual places, which finds races in
/// which one thread does not run for a long time. If `MODEL_SCHEDULE` is set, only that schedule runs.
fn explore(time: Time, round: fn()) {
    explore_part(time, 1, round);
}

/// Does the same in each mode, with as many rounds in total.
fn explore_times(round: fn()) {
    for time in [Time::Stands, Time::Passes, Time::Runs] {
        explore_part(time, 3, round);
    }
}

/// Does the same with one of `parts` of the rounds.
fn explore_part(time: Time, parts: usize, round: fn()) {
    let rounds: usize = match std::env::var("MODEL_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("MODEL_ROUNDS is a number"),
        Err(_) => 1_000,
    };
    let rounds = rounds.div_ceil(parts);
    let mut config = Config::new();
    config.stack_size = 256 * 1024;
    config.silence_warnings = true;
    TIME.set(time);
    if let Ok(schedule) = std::env::var("MODEL_SCHEDULE") {
        Runner::new(ReplayScheduler::new_from_encoded(&schedule), config).run(round);
        return;
    }
    Runner::new(RandomScheduler::new(rounds), config.clone()).run(round);
    Runner::new(PctScheduler::new(3, rounds), config).run(round);
}

/// Returns a deadline, which passes only if the mode is [`Time::Passes`].
fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Returns a number below `bound`. It comes from the random source of the scheduler, so a schedule can be
/// replayed.
fn pick(bound: usize) -> usize {
    use shuttle::rand::Rng;
    shuttle::rand::thread_rng().gen_range(0..bound)
}
