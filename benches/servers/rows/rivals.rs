//! The rows of `--peers all`: the loads that every echo server can take.

use std::io;

use super::{compared, count};
use crate::experiment::{Contender, Experiment};
use crate::load::{connect, idle, messages, stream, Metrics};
use crate::options::Options;
use crate::peers::{Kind, Peer, Rival};

/// Returns the rows, beside the rivals that can run.
pub(crate) fn rows(options: &Options, rivals: &[(&'static str, Rival)]) -> Vec<Experiment> {
    let span = options.span();
    let mut peers = vec![("std loop", Peer::Std)];
    peers.extend(rivals.iter().map(|&(label, rival)| (label, Peer::Rival(rival))));
    peers.extend([("tokio", Peer::Tokio), ("backport", Peer::Backport)]);
    let mut rows = Vec::new();
    let mut row =
        |name: String, title: String, metric, unit, run: Box<dyn Fn(Peer) -> io::Result<Metrics>>| {
            let run = std::rc::Rc::new(run);
            let contender = |&(label, peer): &(&'static str, Peer)| {
                let run = std::rc::Rc::clone(&run);
                Contender { label, run: Box::new(move || run(peer)) as _ }
            };
            rows.push(Experiment {
                name,
                rounds: options.rounds(),
                contenders: peers.iter().map(contender).collect(),
                lines: vec![compared(title, metric, unit)],
                at: None,
            });
        };
    for clients in [1, 16, 64, 512] {
        let title = format!("ping-pong, {}, 32 B: CPU per message", count(clients));
        let run = Box::new(move |peer| messages::exchange(peer, Kind::Echo, clients, 1, span));
        row(format!("ping-pong-{clients}"), title, "micros", "µs", run);
    }
    let title = "pipelined, 16 clients × 64 messages of 32 B: CPU per message".to_owned();
    let run = Box::new(move |peer| messages::exchange(peer, Kind::Echo, 16, 64, span));
    row("pipelined".to_owned(), title, "micros", "µs", run);
    let title = "stream, 1 client: CPU per MB".to_owned();
    row("stream-1".to_owned(), title, "micros", "µs", Box::new(move |peer| stream::echo(peer, 1, span)));
    for (at_once, how) in [(1, "one after another"), (8, "8 at once")] {
        let title = format!("connect, echo, close, {how}: CPU per connection");
        let run = Box::new(move |peer| connect::one_after_another(peer, Kind::Echo, at_once, span));
        row(format!("connect-{at_once}"), title, "micros", "µs", run);
    }
    let title = "1,000 idle clients: resident memory per client".to_owned();
    row("idle".to_owned(), title, "kib", "KiB", Box::new(|peer| idle::idle(peer, Kind::Echo, 1_000)));
    rows.retain(|row| options.keeps(&row.name));
    rows
}
