//! Ticks five times and ends. Intervals need no server, so this program listens on no address.
//!
//! Run it:   cargo run --example ticker          (with another number of ticks: add 3)
//! Stop it:  it stops by itself; to stop it sooner, press Ctrl-C

use std::time::{Duration, Instant};

use backport::{Backport, Result};

fn main() -> Result {
    env_logger::init();
    let ticks: u64 = std::env::args().nth(1).map_or(Ok(5), |ticks| ticks.parse())?;
    Backport::run(|machine| {
        let start = Instant::now();
        machine.prepare_interval(Duration::from_secs(1), move |interval| {
            println!("tick {} after {:.3?}", interval.ticks(), start.elapsed());
            // The machine has no server, so it stops when its last interval has stopped.
            if interval.ticks() >= ticks {
                interval.stop();
            }
        });
        Ok(())
    })
}
