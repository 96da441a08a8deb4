//! Runs experiments in alternating rounds, and makes medians of them.

use std::io;

use indicatif::{ProgressBar, ProgressStyle};

use crate::experiment::Experiment;
use crate::load::Metrics;
use crate::options::Options;
use crate::{machine, plots, report, rows, syscalls};

/// What an experiment came to.
pub(crate) struct Outcome {
    pub(crate) experiment: Experiment,
    /// By round and contender. A measurement that failed has none.
    rounds: Vec<Vec<Metrics>>,
}

/// A median, and the quartiles beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

/// The whole program.
pub(crate) fn all(options: &Options) -> io::Result<()> {
    let rows = rows::all(options);
    if options.list {
        for row in rows {
            println!("{}", row.name);
        }
        return Ok(());
    }
    let machine = machine::describe();
    let cpu = machine::pin(options.cpu)?;
    let steps = rows.iter().map(|row| row.rounds * row.contenders.len()).sum::<usize>();
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:40} {pos}/{len} {msg}");
    let bar = ProgressBar::new(steps as u64).with_style(style.map_err(io::Error::other)?);
    let outcomes: Vec<_> = rows.into_iter().map(|row| run(row, &bar)).collect();
    bar.set_message("system calls");
    let calls = if options.keeps("syscalls") { syscalls::count(&bar) } else { Vec::new() };
    bar.finish_and_clear();
    let text = report::text(&outcomes, &calls, &machine, cpu, options);
    println!("{text}");
    if options.writes() {
        report::write(&text)?;
        plots::draw(&outcomes)?;
    }
    Ok(())
}

fn run(experiment: Experiment, bar: &ProgressBar) -> Outcome {
    let count = experiment.contenders.len();
    let mut rounds = Vec::new();
    for round in 0..experiment.rounds {
        let mut results = vec![Metrics::new(); count];
        // Each comes first in turn: what one leaves behind (a warm CPU, dying sockets) hits all.
        for turn in 0..count {
            let index = (round + turn) % count;
            let contender = &experiment.contenders[index];
            bar.set_message(format!("{}: {}", experiment.name, contender.label));
            match (contender.run)() {
                Ok(metrics) => results[index] = metrics,
                Err(error) => {
                    bar.suspend(|| eprintln!("{}: {}: {error}", experiment.name, contender.label));
                }
            }
            bar.inc(1);
        }
        rounds.push(results);
    }
    Outcome { experiment, rounds }
}

impl Outcome {
    /// A contender's figure.
    pub(crate) fn figure(&self, contender: usize, metric: &str) -> Option<Spread> {
        spread(self.rounds.iter().filter_map(|round| find(&round[contender], metric)))
    }

    /// A contender's figure by the first one's, round by round.
    pub(crate) fn ratio(&self, contender: usize, metric: &str) -> Option<Spread> {
        spread(self.rounds.iter().filter_map(|round| {
            let (ours, measure) = (find(&round[contender], metric)?, find(&round[0], metric)?);
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
