//! Runs an experiment in alternating rounds.

use indicatif::ProgressBar;

use crate::experiment::Experiment;
use crate::load::Metrics;
use crate::outcome::Outcome;

/// Runs every contender in each round. A measurement that fails is reported and has no figures.
pub(crate) fn run(experiment: Experiment, bar: &ProgressBar) -> Outcome {
    let count = experiment.contenders.len();
    let mut rounds = Vec::new();
    for round in 0..experiment.rounds {
        let mut results = vec![Metrics::new(); count];
        // Another contender begins each round. A contender leaves a warm CPU and closing sockets behind,
        // and this way each contender meets them equally often.
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
