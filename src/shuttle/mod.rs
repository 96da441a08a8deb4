//! A model of the coordination core: the code itself, with its locks, conditions, threads and
//! channels replaced (by [`crate::sync`]) by those of a scheduler that tries other interleavings in
//! each round. Built and run by `.ci/model`; no other build knows of it.
//!
//! What it finds: a deadlock, a lost wake-up, a check that is stale by the time it is acted on,
//! something done twice or not at all. What it can't: atomics are as if sequentially consistent
//! there, so an ordering that is too weak is for ThreadSanitizer to find; and it samples, in place
//! of trying all.
//!
//! **Time.** There is no clock. Where [`Time::Passes`], a wait with a deadline tosses a coin: the
//! deadline passes, now or after others have run, or it never does. Where [`Time::Stands`] still it
//! never does. So both outcomes are tried against every state, and a wake-up that is lost is a
//! deadlock even where a deadline would have hidden it.
//!
//! A panic within our fences is caught by them: what a model asserts, it asserts on its own thread.

pub(crate) mod channel;
mod client;
mod interrupt;
mod machine;
mod pool;
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
    /// That of the rounds that this thread runs: all of a model's threads run on the test's own.
    static TIME: Cell<Time> = const { Cell::new(Time::Stands) };
}

/// Runs `round` under schedules of two kinds: any step may be followed by any thread's, which shows
/// races among many steps; and few switches at odd places, which shows those that want one thread to
/// stand still for long. In place of that the one schedule of `MODEL_SCHEDULE`, if there is one.
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

/// One that passes only where time does.
fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A number below `bound`, from the scheduler's own source, so that a schedule can be replayed.
fn pick(bound: usize) -> usize {
    use shuttle::rand::Rng;
    shuttle::rand::thread_rng().gen_range(0..bound)
}
