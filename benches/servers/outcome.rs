//! The figures of an experiment, as medians over its rounds.

use crate::experiment::Experiment;
use crate::load::Metrics;

/// An experiment and its figures.
pub(crate) struct Outcome {
    pub(crate) experiment: Experiment,
    /// By round and contender. A measurement that failed has no figures.
    pub(crate) rounds: Vec<Vec<Metrics>>,
}

/// A median and its quartiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Outcome {
    /// Returns a figure of a contender. There is none if every measurement failed.
    pub(crate) fn figure(&self, contender: usize, metric: &str) -> Option<Spread> {
        spread(self.rounds.iter().filter_map(|round| find(&round[contender], metric)))
    }

    /// Returns the ratio of a contender's figure to that of the first contender. The ratio is taken within
    /// each round.
    pub(crate) fn ratio(&self, contender: usize, metric: &str) -> Option<Spread> {
        self.ratio_to(0, contender, metric)
    }

    /// Returns the ratio of a contender's figure to that of another one, the measure.
    pub(crate) fn ratio_to(&self, measure: usize, contender: usize, metric: &str) -> Option<Spread> {
        spread(self.rounds.iter().filter_map(|round| {
            let (ours, measure) = (find(&round[contender], metric)?, find(&round[measure], metric)?);
            (measure > 0.0).then_some(ours / measure)
        }))
    }
}

fn find(metrics: &Metrics, name: &str) -> Option<f64> {
    metrics.iter().find(|metric| metric.0 == name).map(|metric| metric.1)
}

fn spread(figures: impl Iterator<Item = f64>) -> Option<Spread> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let last = figures.len().checked_sub(1)?;
    let at = |part: f64| {
        let place = part * last as f64;
        let (below, above) = (figures[place.floor() as usize], figures[place.ceil() as usize]);
        below + (above - below) * place.fract()
    };
    Some(Spread { low: at(0.25), median: at(0.5), high: at(0.75) })
}
