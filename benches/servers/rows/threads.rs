//! The rows of `threads`: the crate with threads for busy clients only, beside its default and its rivals.

use std::io;
use std::time::Duration;

use super::{count, peers_and_while_busy, up_to_most};
use crate::experiment::{Experiment, Line, Target};
use crate::load::naps::{self, History, HEALTHY};
use crate::load::{connect, idle, messages, stream, Metrics};
use crate::options::Options;
use crate::peers::{Kind, Peer};

const OF_TOKIO: Target = Target::RatioTo("tokio", 1.03);
const OF_PER_CLIENT: Target = Target::RatioTo("per client", 1.03);

pub(crate) fn rows(options: &Options) -> Vec<Experiment> {
    let mut rows = busy(options);
    rows.extend(connections(options));
    rows.extend(sparse(options));
    rows.push(idle_clients(options));
    rows.extend(beside_blocking(options));
    rows.extend(few_of_many(options));
    rows.retain(|row| options.keeps(&row.name));
    rows
}

/// Returns a row with a single line, about the CPU time.
fn row(
    name: String,
    title: String,
    rounds: usize,
    target: Target,
    run: impl Fn(Peer) -> io::Result<Metrics> + Copy + 'static,
) -> Experiment {
    let lines = vec![Line { title, metric: "micros", unit: "µs", target }];
    Experiment { name, rounds, contenders: peers_and_while_busy(run), lines, at: None }
}

/// Clients that are as busy as they can be.
fn busy(options: &Options) -> Vec<Experiment> {
    let (span, rounds) = (options.span(), options.rounds());
    let mut rows = Vec::new();
    for clients in [1, 16, 64, 512] {
        let title = format!("ping-pong, {}, 32 B: CPU per message", count(clients));
        let target = if clients == 1 { OF_PER_CLIENT } else { OF_TOKIO };
        rows.push(row(format!("ping-pong-{clients}"), title, rounds, target, move |peer| {
            messages::exchange(peer, Kind::Echo, clients, 1, span)
        }));
    }
    for clients in [1, 8] {
        let title = format!("stream, {}: CPU per MB", count(clients));
        let target = if clients == 1 { OF_PER_CLIENT } else { Target::Compared };
        rows.push(row(format!("stream-{clients}"), title, rounds, target, move |peer| {
            stream::echo(peer, clients, span)
        }));
    }
    let title = "pipelined, 16 clients × 64 messages of 32 B: CPU per message";
    rows.push(row("pipelined".to_owned(), title.to_owned(), rounds, OF_TOKIO, move |peer| {
        messages::exchange(peer, Kind::Echo, 16, 64, span)
    }));
    rows
}

fn connections(options: &Options) -> [Experiment; 2] {
    let (span, rounds) = (options.span(), options.rounds());
    [(1, "one after another"), (8, "8 at once")].map(|(at_once, how)| {
        let title = format!("connect, echo, close, {how}: CPU per connection");
        row(format!("connect-{at_once}"), title, rounds, OF_TOKIO, move |peer| {
            connect::one_after_another(peer, Kind::Echo, at_once, span)
        })
    })
}

/// Many clients, each of which sends a message each two seconds.
fn sparse(options: &Options) -> [Experiment; 2] {
    const CLIENTS: usize = 1_000;
    const PAUSE: Duration = Duration::from_secs(2);
    let rounds = options.rounds().min(5);
    let steady = Target::RatioTo("per client", 1.15);
    [
        ("steady", "after 20 messages each", 20, steady),
        ("fresh", "from a fresh connection", 0, Target::Compared),
    ]
    .map(|(name, history, before, target)| {
        let title =
            format!("sparse, 1,000 clients, 500 messages a second in all, {history}: CPU per message");
        row(format!("sparse-{name}"), title, rounds, target, move |peer| {
            messages::unhurried(peer, CLIENTS, before, PAUSE, 1)
        })
    })
}

fn idle_clients(options: &Options) -> Experiment {
    let clients = up_to_most(options, &[]).last().copied().unwrap_or(1);
    let line = |what: &str, metric, unit, target| {
        let title = format!("{clients} idle clients: {what}");
        Line { title, metric, unit, target }
    };
    Experiment {
        name: "idle".to_owned(),
        rounds: options.rounds().min(3),
        contenders: peers_and_while_busy(move |peer| idle::idle(peer, Kind::Crowd, clients)),
        lines: vec![
            line("resident memory per client", "kib", "KiB", Target::AtMost(1.0)),
            line("threads", "threads", "", Target::None),
            line("stop to exit (the std loop and tokio just exit)", "stop", "s", Target::AtMost(0.7)),
        ],
        at: None,
    }
}

/// Healthy clients beside clients whose callbacks block for 50 ms each.
fn beside_blocking(options: &Options) -> Vec<Experiment> {
    // A client that blocks sends 20 messages a second, so a short span shows little.
    let span = options.span() * 5;
    let mut rows = Vec::new();
    for (history, name, who) in [
        (History::Newcomers, "newcomers", "newcomers"),
        (History::Proven, "proven", "clients with 50 short messages"),
    ] {
        for others in [20, 200] {
            let line = |what: &str, metric, unit, target| {
                let title = format!("{HEALTHY} clients beside {others} {who} that block for 50 ms: {what}");
                Line { title, metric, unit, target }
            };
            rows.push(Experiment {
                name: format!("blocking-{name}-{others}"),
                rounds: options.rounds().min(5),
                contenders: peers_and_while_busy(move |peer| naps::healthy(peer, others, history, span)),
                lines: vec![
                    line("p99 latency", "p99", "µs", Target::Compared),
                    line("maximum latency", "max", "µs", Target::Compared),
                    line("take-overs", "take-overs", "", Target::None),
                ],
                at: None,
            });
        }
    }
    rows
}

/// Many clients, of which 16 are busy.
fn few_of_many(options: &Options) -> Vec<Experiment> {
    let span = options.span();
    let scale = |clients: usize| {
        let title = format!("{}, 16 of them active: CPU per message", count(clients));
        row(format!("scale-{clients}"), title, options.rounds().min(5), Target::Compared, move |peer| {
            messages::scale(peer, clients, 16, span)
        })
    };
    up_to_most(options, &[1_000]).into_iter().map(scale).collect()
}
