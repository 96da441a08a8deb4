//! System calls per message and per connection, counted by strace.
//!
//! They are counted twice, over few units and over many. The difference is the cost of the units without
//! that of the start and the stop.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use indicatif::ProgressBar;

use crate::load::connect::visit;
use crate::load::crowd::Crowd;
use crate::peers::{Kind, Peer};
use crate::server::Server;

const FEW: usize = 300;
const MANY: usize = 1_300;

/// The system calls of a server for one unit of work.
pub(crate) struct Calls {
    pub(crate) unit: &'static str,
    pub(crate) peer: &'static str,
    /// The most frequent call comes first.
    pub(crate) calls: Vec<(String, f64)>,
}

/// Counts for each contender. Without strace the result is empty.
pub(crate) fn count(bar: &ProgressBar) -> Vec<Calls> {
    let mut all = Vec::new();
    for (unit, load) in [("message", messages as fn(&Server, usize) -> _), ("connection", connections)] {
        for peer in [Peer::Std, Peer::Tokio, Peer::Backport] {
            match per_unit(peer, load) {
                Ok(calls) => all.push(Calls { unit, peer: peer.name(), calls }),
                Err(error) => {
                    bar.suspend(|| eprintln!("system calls of {} cannot be counted: {error}", peer.name()));
                }
            }
        }
    }
    all
}

fn messages(server: &Server, count: usize) -> io::Result<()> {
    let mut crowd = Crowd::connect(server.address, 1)?;
    (0..count).try_for_each(|_| crowd.exchange_one(0))
}

fn connections(server: &Server, count: usize) -> io::Result<()> {
    (0..count).try_for_each(|_| visit(server.address))
}

fn per_unit(peer: Peer, load: fn(&Server, usize) -> io::Result<()>) -> io::Result<Vec<(String, f64)>> {
    let few = trace(peer, |server| load(server, FEW))?;
    let many = trace(peer, |server| load(server, MANY))?;
    let mut calls = Vec::new();
    for (name, count) in many {
        let each = (count - few.get(&name).unwrap_or(&0.0)) / (MANY - FEW) as f64;
        // A call in fewer than one of twenty units does not belong to the unit.
        if each >= 0.05 {
            calls.push((name, each));
        }
    }
    calls.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(calls)
}

fn trace(peer: Peer, load: impl Fn(&Server) -> io::Result<()>) -> io::Result<BTreeMap<String, f64>> {
    let path = std::env::temp_dir().join(format!("backport-bench-{}.strace", std::process::id()));
    let server = Server::start_traced(peer, Kind::Echo, &path)?;
    load(&server)?;
    server.stop()?;
    let summary = fs::read_to_string(&path)?;
    fs::remove_file(&path)?;
    // The columns are: % time, seconds, µs per call, calls, errors (may be empty), name.
    let mut counts = BTreeMap::new();
    for line in summary.lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        if let [share, _, _, calls, .., name] = fields[..] {
            if let (Ok(_), Ok(calls)) = (share.parse::<f64>(), calls.parse::<f64>()) {
                if name != "total" {
                    counts.insert(name.to_owned(), calls);
                }
            }
        }
    }
    Ok(counts)
}
