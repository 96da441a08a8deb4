//! What is measured: an experiment has a few contenders, and gives a few lines of the table.

use std::io;

use crate::load::Metrics;

/// One load, against every contender in turn.
pub(crate) struct Experiment {
    /// What filters look at.
    pub(crate) name: String,
    pub(crate) rounds: usize,
    /// The first is the measure, the last is the crate; between them one more, or none.
    pub(crate) contenders: Vec<Contender>,
    pub(crate) lines: Vec<Line>,
    /// Where it stands in its family's plot.
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
    /// Of the crate's figure, by the measure's.
    Ratio(f64),
    /// Of the crate's figure itself.
    AtMost(f64),
    /// No target, but a comparison.
    Compared,
    None,
}

/// Experiments that differ in the number of clients alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    PingPong,
    Connect,
    Idle,
    Scale,
}
