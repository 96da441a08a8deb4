//! An experiment: a load, its contenders, and its lines of the table.

use std::io;

use crate::load::Metrics;

/// The label of the crate with a thread for each client only while it is busy.
pub(crate) const WHILE_BUSY: &str = "backport, while busy";

/// A load that runs against each contender.
pub(crate) struct Experiment {
    /// Filters are compared with it.
    pub(crate) name: String,
    pub(crate) rounds: usize,
    /// The first is the measure and the last is the crate. There may be one more between them. [`WHILE_BUSY`] may follow
    /// them, for the plots.
    pub(crate) contenders: Vec<Contender>,
    pub(crate) lines: Vec<Line>,
    /// Its place in the plot of its family.
    pub(crate) at: Option<(Family, f64)>,
}

pub(crate) struct Contender {
    pub(crate) label: &'static str,
    pub(crate) run: Box<dyn Fn() -> io::Result<Metrics>>,
}

/// A line of the table.
pub(crate) struct Line {
    pub(crate) title: String,
    pub(crate) metric: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) target: Target,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// The most that the crate's figure divided by the measure's may be.
    Ratio(f64),
    /// The most that the figure of [`WHILE_BUSY`] divided by that of another column may be, in the table of `threads`.
    RatioTo(&'static str, f64),
    /// The most that the crate's figure may be.
    AtMost(f64),
    /// There is no target. The ratio is shown.
    Compared,
    None,
}

/// Experiments that differ only in the number of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    PingPong,
    Connect,
    Idle,
    Scale,
}
