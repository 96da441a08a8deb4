//! The rows of the table: each load with its contenders and its targets.

use std::io;
use std::process::Command;
use std::time::Duration;

use crate::experiment::{Contender, Experiment, Family, Line, Target};
use crate::load::hostile::{self, EACH};
use crate::load::store::{self, Store};
use crate::load::{broadcast, connect, idle, messages, stdio, stream, Metrics};
use crate::machine::most_clients;
use crate::options::Options;
use crate::peers::{Kind, Peer};
use crate::server;

const PEERS: [(&str, Peer); 3] =
    [("std loop", Peer::Std), ("tokio", Peer::Tokio), ("backport", Peer::Backport)];

pub(crate) fn all(options: &Options) -> Vec<Experiment> {
    let span = options.span();
    let mut rows = Vec::new();
    for clients in [1, 16, 64, 512] {
        rows.push(Experiment {
            name: format!("ping-pong-{clients}"),
            rounds: options.rounds(),
            contenders: peers(move |peer| messages::exchange(peer, Kind::Echo, clients, 1, span)),
            lines: vec![
                line(format!("ping-pong, {}, 32 B: CPU per message", count(clients)), "micros", "µs", 1.03),
                Line { target: Target::Compared, ..line("the same: p99 latency", "p99", "µs", 1.0) },
            ],
            at: Some((Family::PingPong, clients as f64)),
        });
    }
    for clients in [1, 8] {
        rows.push(Experiment {
            name: format!("stream-{clients}"),
            rounds: options.rounds(),
            contenders: peers(move |peer| stream::echo(peer, clients, span)),
            lines: vec![line(format!("stream, {}: CPU per MB", count(clients)), "micros", "µs", 1.02)],
            at: None,
        });
    }
    rows.push(Experiment {
        name: "pipelined".to_owned(),
        rounds: options.rounds(),
        contenders: peers(move |peer| messages::exchange(peer, Kind::Echo, 16, 64, span)),
        lines: vec![line(
            "pipelined, 16 clients × 64 messages of 32 B: CPU per message",
            "micros",
            "µs",
            1.02,
        )],
        at: None,
    });
    rows.extend(framed(options));
    rows.push(unhurried(options));
    rows.extend(connects(options));
    rows.extend(crowds(options));
    rows.extend(lines(options));
    rows.extend(broadcasts(options));
    rows.extend(healthy_beside_hostile(options));
    rows.extend(stores(options));
    #[cfg(feature = "tls")]
    rows.extend(encrypted(options));
    rows.retain(|row| options.keeps(&row.name));
    rows
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
        contenders: peers(move |peer| messages::unhurried(peer, 64, Duration::from_millis(200), turns)),
        lines: vec![line(
            "unhurried, 64 clients, a message of 32 B each 200 ms: CPU per message",
            "micros",
            "µs",
            1.03,
        )],
        at: None,
    }
}

fn connects(options: &Options) -> Vec<Experiment> {
    let span = options.span();
    let mut rows = Vec::new();
    for at_once in [1, 2, 4, 8, 16, 32] {
        let how = if at_once == 1 { "one after another".to_owned() } else { format!("{at_once} at once") };
        let title = format!("connect, echo, close, {how}: CPU per connection");
        let lines =
            |cpu| vec![line(title, "micros", "µs", cpu), line("the same: p99 latency", "p99", "µs", 0.45)];
        rows.push(Experiment {
            name: format!("connect-{at_once}"),
            rounds: options.rounds(),
            contenders: peers(move |peer| connect::one_after_another(peer, Kind::Echo, at_once, span)),
            lines: match at_once {
                1 => lines(0.50),
                8 => lines(0.40),
                // The others are for the plot.
                _ => Vec::new(),
            },
            at: Some((Family::Connect, f64::from(u32::try_from(at_once).unwrap_or(u32::MAX)))),
        });
    }
    for at_once in [1, 8] {
        let contender = |label, peer, kind| Contender {
            label,
            run: Box::new(move || connect::one_after_another(peer, kind, at_once, span)),
        };
        let how = if at_once == 1 { "one after another" } else { "8 at once" };
        let title = format!("connections, {how}, beside one thread for them all: CPU per connection");
        rows.push(Experiment {
            name: format!("alone-{at_once}"),
            rounds: options.rounds(),
            contenders: vec![
                contender("std loop", Peer::Std, Kind::Echo),
                contender("one thread, no hand-over", Peer::Std, Kind::Alone),
                contender("backport", Peer::Backport, Kind::Echo),
            ],
            lines: vec![Line { target: Target::Compared, ..line(title, "micros", "µs", 1.0) }],
            at: None,
        });
    }
    rows.push(Experiment {
        name: "burst".to_owned(),
        rounds: options.rounds().min(5),
        contenders: peers(|peer| connect::all_at_once(peer, 512)),
        lines: vec![Line {
            title: "512 connects at once: the worst one".to_owned(),
            metric: "worst",
            unit: "ms",
            target: Target::AtMost(150.0),
        }],
        at: None,
    });
    rows
}

fn crowds(options: &Options) -> Vec<Experiment> {
    let (span, rounds) = (options.span(), options.rounds());
    let most = if options.quick { most_clients().min(1_000) } else { most_clients() };
    let up_to_most = |sizes: &[usize]| -> Vec<usize> {
        sizes.iter().copied().filter(|&size| size < most).chain([most]).collect()
    };
    let mut rows = Vec::new();
    for clients in up_to_most(&[10, 100, 1_000, 10_000]) {
        let line = |what: &str, metric, unit, target| {
            let title = format!("{clients} idle clients: {what}");
            Line { title, metric, unit, target }
        };
        let lines = vec![
            line("resident memory per client", "kib", "KiB", Target::AtMost(10.0)),
            line("threads", "threads", "", Target::None),
            line("CPU time per second", "idle", "ms", Target::None),
            line("stop to exit (the others just exit)", "stop", "s", Target::AtMost(0.7)),
        ];
        rows.push(Experiment {
            name: format!("idle-{clients}"),
            rounds: rounds.min(3),
            contenders: peers(move |peer| idle::idle(peer, clients)),
            // The smaller crowds are for the plot.
            lines: if clients == most { lines } else { Vec::new() },
            at: Some((Family::Idle, clients as f64)),
        });
    }
    for clients in up_to_most(&[1, 10, 100, 1_000, 10_000]) {
        let title = format!("{}, {} of them active: CPU per message", count(clients), clients.min(16));
        rows.push(Experiment {
            name: format!("scale-{clients}"),
            rounds: if clients > 1_000 { rounds.min(3) } else { rounds.min(7) },
            contenders: peers(move |peer| messages::scale(peer, clients, 16, span)),
            lines: vec![line(title, "micros", "µs", 1.03)],
            at: Some((Family::Scale, clients as f64)),
        });
    }
    rows
}

fn lines(options: &Options) -> [Experiment; 2] {
    let span = options.span();
    let contender = |label, command: fn() -> io::Result<Command>| Contender {
        label,
        run: Box::new(move || stdio::lines(command, span)),
    };
    let cat = || contender("`cat`", || Ok(Command::new("cat")));
    let backport = || contender("backport", || server::command(Peer::Backport, Kind::Stdio));
    let reader = || contender("reader thread and channel", || server::command(Peer::Std, Kind::Stdio));
    let asking = || contender("poll, read, write", || server::command(Peer::Std, Kind::Asking));
    let title = "stdio, beside a loop that could be stopped: CPU per message";
    [
        Experiment {
            name: "stdio".to_owned(),
            rounds: options.rounds(),
            contenders: vec![cat(), reader(), backport()],
            lines: vec![line("stdio, line by line: CPU per message", "micros", "µs", 1.05)],
            at: None,
        },
        Experiment {
            name: "stdio-asking".to_owned(),
            rounds: options.rounds(),
            contenders: vec![cat(), asking(), backport()],
            lines: vec![Line { target: Target::Compared, ..line(title, "micros", "µs", 1.0) }],
            at: None,
        },
    ]
}

fn broadcasts(options: &Options) -> [Experiment; 2] {
    let (span, rounds) = (options.span(), options.rounds().min(7));
    let contender = |label, peer, stalled| Contender {
        label,
        run: Box::new(move || broadcast::broadcast(peer, 1_000, stalled, span)),
    };
    let plain = Experiment {
        name: "broadcast".to_owned(),
        rounds,
        contenders: vec![
            contender("blocking writes", Peer::Std, 0),
            contender("backport", Peer::Backport, 0),
        ],
        lines: vec![line("broadcast of 100 B to 1,000 clients: CPU per delivery", "micros", "µs", 1.05)],
        at: None,
    };
    let stalled = Experiment {
        name: "broadcast-stalled".to_owned(),
        rounds,
        contenders: vec![
            contender("backport, none stalled", Peer::Backport, 0),
            contender("backport", Peer::Backport, 50),
        ],
        lines: vec![
            line("the same while 50 more clients are stalled: CPU per delivery", "micros", "µs", 1.10),
            line("the same: until the last of the 1,000 has it, p50", "p50", "ms", 1.10),
        ],
        at: None,
    };
    [plain, stalled]
}

/// Healthy clients beside hostile ones: as busy as they can be, and in no hurry.
fn healthy_beside_hostile(options: &Options) -> [Experiment; 2] {
    // A 99th percentile of a hundred answers is a single answer. Five times the span gives more.
    let span = options.span() * 5;
    let line = |what: &str, metric, target| {
        let title = format!("{EACH} clients while {EACH} stall, {EACH} drip, {EACH} reset: {what}");
        Line { title, metric, unit: "µs", target }
    };
    let experiment = |name: &str, how: &str, load: hostile::Load, p99| {
        let contender = |label, peer, beside| Contender {
            label,
            run: Box::new(move || hostile::healthy(peer, beside, load, span)),
        };
        Experiment {
            name: name.to_owned(),
            rounds: options.rounds(),
            contenders: vec![
                contender("backport, without the others", Peer::Backport, false),
                contender("std loop", Peer::Std, true),
                contender("backport", Peer::Backport, true),
            ],
            lines: vec![
                line(&format!("p99 latency, {how}"), "p99", p99),
                line(&format!("median latency, {how}"), "p50", Target::Compared),
            ],
            at: None,
        }
    };
    [
        experiment("hostile-busy", "a message after another", hostile::busy, Target::Ratio(3.0)),
        // Without the hostile clients the CPU is idle here, so this compares some work with none.
        experiment("hostile-unhurried", "a message each 50 ms", hostile::unhurried, Target::Ratio(3.0)),
    ]
}

/// The example `kv` beside `redis-server`.
fn stores(options: &Options) -> [Experiment; 2] {
    let count = if options.quick { 20_000 } else { 200_000 };
    let row = |at_once, count, target| {
        let contender =
            |label, store| Contender { label, run: Box::new(move || store::commands(store, at_once, count)) };
        let title = format!("example kv, 50 clients, SET and GET, {at_once} at once: CPU per command");
        Experiment {
            name: format!("kv-{at_once}"),
            rounds: options.rounds(),
            contenders: vec![contender("redis-server", Store::Redis), contender("backport", Store::Kv)],
            lines: vec![Line { target, ..line(title, "micros", "µs", 1.0) }],
            at: None,
        }
    };
    [row(1, count / 10, Target::Compared), row(64, count, Target::Ratio(1.3))]
}

/// TLS 1.3, beside a loop with `rustls::StreamOwned` and beside tokio-rustls.
#[cfg(feature = "tls")]
fn encrypted(options: &Options) -> Vec<Experiment> {
    use crate::load::encrypted;

    let span = options.span() * 2;
    let row = |name: &str, line, contenders| Experiment {
        name: format!("tls-{name}"),
        rounds: options.rounds(),
        contenders,
        lines: vec![line],
        at: None,
    };
    let mut rows = Vec::new();
    for (clients, size) in [(1, 32), (16, 32), (64, 32), (1, 4096)] {
        let title = format!("TLS, {}, {size} B: CPU per message", count(clients));
        rows.push(row(
            &format!("messages-{clients}-{size}"),
            line(title, "micros", "µs", 1.03),
            peers(move |peer| encrypted::messages(peer, clients, size, span)),
        ));
    }
    for clients in [1, 4] {
        let title = format!("TLS, stream, {}: CPU per MB", count(clients));
        rows.push(row(
            &format!("stream-{clients}"),
            line(title, "micros", "µs", 1.00),
            peers(move |peer| encrypted::stream(peer, clients, span)),
        ));
    }
    for (resume, what) in [(false, "full"), (true, "resumed")] {
        let title = format!("TLS, {what} handshake, one message: CPU per connection");
        rows.push(row(
            &format!("handshake-{what}"),
            line(title, "micros", "µs", 1.00),
            peers(move |peer| encrypted::handshakes(peer, resume, span)),
        ));
    }
    rows.push(Experiment {
        rounds: options.rounds().min(3),
        ..row(
            "idle",
            Line {
                title: "TLS, 1,000 idle clients: resident memory per client".to_owned(),
                metric: "kib",
                unit: "KiB",
                target: Target::AtMost(40.0),
            },
            peers(|peer| encrypted::idle(peer, 1_000.min(most_clients()))),
        )
    });
    rows
}

fn peers(run: impl Fn(Peer) -> io::Result<Metrics> + Copy + 'static) -> Vec<Contender> {
    let contender = |(label, peer)| Contender { label, run: Box::new(move || run(peer)) as _ };
    PEERS.into_iter().map(contender).collect()
}

fn line(title: impl Into<String>, metric: &'static str, unit: &'static str, ratio: f64) -> Line {
    Line { title: title.into(), metric, unit, target: Target::Ratio(ratio) }
}

fn count(clients: usize) -> String {
    if clients == 1 {
        "1 client".to_owned()
    } else {
        format!("{clients} clients")
    }
}
