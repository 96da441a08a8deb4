//! The rows about messages: ping-pong, streams, pipelines, frames, crowds with few busy clients, and clients that send
//! rarely.

use std::time::Duration;

use super::{compared, count, line, peers, peers_and_while_busy, up_to_most};
use crate::experiment::{Contender, Experiment, Family};
use crate::load::{messages, stream};
use crate::options::Options;
use crate::peers::{Kind, Peer};

pub(super) fn rows(options: &Options) -> Vec<Experiment> {
    let mut rows = ping_pong(options);
    rows.extend(promised(options));
    rows.extend(streams(options));
    rows.push(pipelined(options));
    rows.extend(framed(options));
    rows.push(unhurried(options));
    rows.extend(few_of_many(options));
    rows
}

fn ping_pong(options: &Options) -> Vec<Experiment> {
    let span = options.span();
    let row = |clients| Experiment {
        name: format!("ping-pong-{clients}"),
        rounds: options.rounds(),
        contenders: peers_and_while_busy(move |peer| messages::exchange(peer, Kind::Echo, clients, 1, span)),
        lines: vec![
            line(format!("ping-pong, {}, 32 B: CPU per message", count(clients)), "micros", "µs", 1.02),
            compared("the same: p99 latency", "p99", "µs"),
        ],
        at: Some((Family::PingPong, clients as f64)),
    };
    [1, 16, 64, 512].map(row).into()
}

/// The least for a loop that keeps the promises of the crate.
fn promised(options: &Options) -> [Experiment; 2] {
    let span = options.span();
    [1, 64].map(|clients| {
        let contender = |label, peer, kind| Contender {
            label,
            run: Box::new(move || messages::exchange(peer, kind, clients, 1, span)),
        };
        let title =
            format!("ping-pong, {}, beside the least for its promises: CPU per message", count(clients));
        Experiment {
            name: format!("floor-ping-pong-{clients}"),
            rounds: options.rounds(),
            contenders: vec![
                contender("std loop", Peer::Std, Kind::Echo),
                contender("the same with a lock, a mark and two times", Peer::Std, Kind::Promised),
                contender("backport", Peer::Backport, Kind::Echo),
            ],
            lines: vec![compared(title, "micros", "µs")],
            at: None,
        }
    })
}

fn streams(options: &Options) -> [Experiment; 2] {
    let span = options.span();
    [1, 8].map(|clients| Experiment {
        name: format!("stream-{clients}"),
        rounds: options.rounds(),
        contenders: peers(move |peer| stream::echo(peer, clients, span)),
        lines: vec![line(format!("stream, {}: CPU per MB", count(clients)), "micros", "µs", 1.01)],
        at: None,
    })
}

fn pipelined(options: &Options) -> Experiment {
    let span = options.span();
    let title = "pipelined, 16 clients × 64 messages of 32 B: CPU per message";
    Experiment {
        name: "pipelined".to_owned(),
        rounds: options.rounds(),
        contenders: peers(move |peer| messages::exchange(peer, Kind::Echo, 16, 64, span)),
        lines: vec![line(title, "micros", "µs", 1.03)],
        at: None,
    }
}

/// The cost of framing beside the raw chunks of the same crate, and the gain of gathering.
fn framed(options: &Options) -> [Experiment; 2] {
    let (span, rounds) = (options.span(), options.rounds());
    let contender = |label, kind, depth| Contender {
        label,
        run: Box::new(move || messages::exchange(Peer::Backport, kind, 1, depth, span)),
    };
    let one_by_one = Experiment {
        name: "framed".to_owned(),
        rounds,
        contenders: vec![
            contender("backport, raw chunks", Kind::Echo, 1),
            contender("backport, `Lines`", Kind::Lines, 1),
        ],
        lines: vec![line("lines of 32 B, one a read: CPU per line", "micros", "µs", 1.10)],
        at: None,
    };
    let gathered = Experiment {
        name: "framed-gathered".to_owned(),
        rounds,
        contenders: vec![
            contender("backport, a write a line", Kind::Lines, 64),
            contender("backport, gathering", Kind::Gathered, 64),
        ],
        lines: vec![
            line("lines of 32 B, 64 a read: CPU per line", "micros", "µs", 0.20),
            line("the same: until the 64 are back, p50", "p50", "µs", 0.20),
        ],
        at: None,
    };
    [one_by_one, gathered]
}

fn unhurried(options: &Options) -> Experiment {
    let turns = if options.quick { 2 } else { 5 };
    Experiment {
        name: "unhurried".to_owned(),
        rounds: options.rounds().min(7),
        contenders: peers(move |peer| messages::unhurried(peer, 64, 0, Duration::from_millis(200), turns)),
        lines: vec![line(
            "unhurried, 64 clients, a message of 32 B each 200 ms: CPU per message",
            "micros",
            "µs",
            1.08,
        )],
        at: None,
    }
}

/// Many clients, of which 16 are busy.
fn few_of_many(options: &Options) -> Vec<Experiment> {
    let (span, rounds) = (options.span(), options.rounds());
    let row = |clients: usize| {
        let title = format!("{}, {} of them active: CPU per message", count(clients), clients.min(16));
        Experiment {
            name: format!("scale-{clients}"),
            rounds: if clients > 1_000 { rounds.min(3) } else { rounds.min(7) },
            contenders: peers_and_while_busy(move |peer| messages::scale(peer, clients, 16, span)),
            lines: vec![line(title, "micros", "µs", 1.03)],
            at: Some((Family::Scale, clients as f64)),
        }
    };
    up_to_most(options, &[1, 10, 100, 1_000, 10_000]).into_iter().map(row).collect()
}
