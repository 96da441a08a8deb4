//! Interleaving tests of the coordination core. They run the code itself. [`crate::sync`] replaces its
//! locks, condition variables, threads and channels by those of the crate `shuttle`. Its scheduler tries
//! another interleaving in each round. Only `.ci/model` builds them.
//!
//! They find deadlocks, lost wake-ups, checks that are stale when they are acted on, and actions that happen
//! twice or never. There are two limits. Atomics behave as if sequentially consistent, so only
//! ThreadSanitizer can find an ordering that is too weak. And the rounds are samples, not all interleavings.
//!
//! **Time.** There is no clock. With [`Time::Passes`], a wait with a deadline tosses a coin: the deadline
//! passes now, or after other threads have run, or never. With [`Time::Stands`] it never passes. Therefore
//! both outcomes are tried against every state, and a lost wake-up is a deadlock although a deadline would
//! have hidden it.
//!
//! The code catches panics of callbacks. Therefore a test asserts on its own thread.

pub(crate) mod channel;
mod client;
mod interrupt;
mod machine;
mod pool;
pub(crate) mod reactor;
mod readiness;
mod server;
pub(crate) mod sync;
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
    Stands,
}

std::thread_local! {
    /// The mode of the present rounds. All threads of a model run on the thread of its test.
    static TIME: Cell<Time> = const { Cell::new(Time::Stands) };
}

/// Runs `round` under schedules of two kinds. In the first kind, any thread may follow after any step, which
/// finds races among many steps. The second kind has few switches at odd places, which finds races in which
/// one thread stands still for long. If `MODEL_SCHEDULE` is set, only that schedule runs.
fn explore(time: Time, round: fn()) {
    let rounds = match std::env::var("MODEL_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("MODEL_ROUNDS is a number"),
        Err(_) => 1_000,
    };
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

/// Returns a deadline that passes only if time does.
fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Returns a number below `bound`, from the random source of the scheduler, so a schedule can be replayed.
fn pick(bound: usize) -> usize {
    use shuttle::rand::Rng;
    shuttle::rand::thread_rng().gen_range(0..bound)
}
