//! The rows of the table: each load with its contenders and its targets, a file for each kind of load.

mod connections;
mod crowds;
#[cfg(feature = "tls")]
mod encrypted;
mod messages;
mod programs;
pub(crate) mod rivals;
pub(crate) mod threads;

use std::io;

use crate::experiment::{Contender, Experiment, Line, Target, WHILE_BUSY};
use crate::load::Metrics;
use crate::machine::most_clients;
use crate::options::Options;
use crate::peers::Peer;

const PEERS: [(&str, Peer); 3] =
    [("std loop", Peer::Std), ("tokio", Peer::Tokio), ("backport", Peer::Backport)];

/// Returns the rows that the options keep.
pub(crate) fn all(options: &Options) -> Vec<Experiment> {
    let mut rows = messages::rows(options);
    rows.extend(connections::rows(options));
    rows.extend(crowds::rows(options));
    rows.extend(programs::rows(options));
    #[cfg(feature = "tls")]
    rows.extend(encrypted::rows(options));
    rows.retain(|row| options.keeps(&row.name));
    rows
}

/// Returns those of the sizes that this computer can serve, and the largest that it can.
fn up_to_most(options: &Options, sizes: &[usize]) -> Vec<usize> {
    let most = if options.quick { most_clients().min(1_000) } else { most_clients() };
    sizes.iter().copied().filter(|&size| size < most).chain([most]).collect()
}

fn peers(run: impl Fn(Peer) -> io::Result<Metrics> + Copy + 'static) -> Vec<Contender> {
    let contender = |(label, peer)| Contender { label, run: Box::new(move || run(peer)) as _ };
    PEERS.into_iter().map(contender).collect()
}

/// Returns the three peers, and the crate with threads for busy clients only.
fn peers_and_while_busy(run: impl Fn(Peer) -> io::Result<Metrics> + Copy + 'static) -> Vec<Contender> {
    let while_busy = Contender { label: WHILE_BUSY, run: Box::new(move || run(Peer::WhileBusy)) };
    peers(run).into_iter().chain([while_busy]).collect()
}

fn line(title: impl Into<String>, metric: &'static str, unit: &'static str, ratio: f64) -> Line {
    Line { title: title.into(), metric, unit, target: Target::Ratio(ratio) }
}

/// A ratio without a target.
fn compared(title: impl Into<String>, metric: &'static str, unit: &'static str) -> Line {
    Line { title: title.into(), metric, unit, target: Target::Compared }
}

fn count(clients: usize) -> String {
    if clients == 1 {
        "1 client".to_owned()
    } else {
        format!("{clients} clients")
    }
}
