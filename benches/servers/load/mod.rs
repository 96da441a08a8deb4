//! The loads: the clients of a server, and the figures that are taken while they run. A load runs once
//! against one contender and returns [`Metrics`].

pub(crate) mod broadcast;
pub(crate) mod connect;
pub(crate) mod crowd;
#[cfg(feature = "tls")]
pub(crate) mod encrypted;
pub(crate) mod hostile;
pub(crate) mod idle;
pub(crate) mod messages;
pub(crate) mod naps;
pub(crate) mod stdio;
pub(crate) mod store;
pub(crate) mod stream;

use std::io;
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::server::Server;

/// The figures of a load by their names. The documentation of the load gives their units.
pub(crate) type Metrics = Vec<(&'static str, f64)>;

/// The message that every load sends.
pub(crate) const MESSAGE: [u8; 32] = *b"a message of thirty-two bytes..\n";

/// How often the number of threads is looked at until it has settled.
const LOOK: Duration = Duration::from_millis(500);
/// After so many looks that have found the same number of threads, it has settled. The crate keeps a thread for one
/// second before it ends it.
const SAME_LOOKS: u32 = 3;
const MOST_LOOKS: u32 = 60;

/// Returns a histogram of nanoseconds, up to a minute, with three digits.
pub(crate) fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).map_err(io::Error::other)
}

pub(crate) fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
}

pub(crate) fn micros_at(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

/// Returns the microseconds for each of `count` units.
///
/// Fails if there was none.
pub(crate) fn micros_per(time: Duration, count: u64) -> io::Result<f64> {
    match count {
        0 => Err(io::Error::other("nothing was done in time")),
        count => Ok(time.as_secs_f64() * 1e6 / count as f64),
    }
}

/// Waits until the server treats silent clients as idle, and no thread ends or starts any more.
fn settle(server: &Server) -> io::Result<()> {
    let (mut last, mut same) = (server.status("Threads")?, 0);
    for _ in 0..MOST_LOOKS {
        thread::sleep(LOOK);
        let threads = server.status("Threads")?;
        same = if threads == last { same + 1 } else { 0 };
        last = threads;
        if same == SAME_LOOKS {
            return Ok(());
        }
    }
    Err(io::Error::other("the number of threads doesn't settle"))
}

/// Returns the error for a server that should have answered by now.
pub(crate) fn silence() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the server doesn't answer")
}
