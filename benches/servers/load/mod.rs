//! The loads: what a crowd of clients does to a server, and what is measured of it. Each runs once
//! against one contender and gives back [`Metrics`].

pub(crate) mod broadcast;
pub(crate) mod connect;
pub(crate) mod crowd;
pub(crate) mod idle;
pub(crate) mod messages;
pub(crate) mod stdio;
pub(crate) mod stream;

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

/// What a load measured: names and figures, in the units that the names say.
pub(crate) type Metrics = Vec<(&'static str, f64)>;

/// A message.
pub(crate) const MESSAGE: [u8; 32] = *b"a message of thirty-two bytes..\n";

/// Nanoseconds, up to a minute, to three digits.
pub(crate) fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).map_err(io::Error::other)
}

pub(crate) fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
}

pub(crate) fn micros_at(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

/// Microseconds each.
pub(crate) fn micros_per(time: Duration, count: u64) -> io::Result<f64> {
    match count {
        0 => Err(io::Error::other("nothing was done in time")),
        count => Ok(time.as_secs_f64() * 1e6 / count as f64),
    }
}

/// For a peer that should have answered by now.
pub(crate) fn silence() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the server doesn't answer")
}
