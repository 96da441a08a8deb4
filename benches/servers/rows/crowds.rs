//! The rows about many clients: those that are idle, those that get broadcasts, and healthy ones beside hostile ones.

use super::{compared, line, peers_and_while_busy, up_to_most};
use crate::experiment::{Contender, Experiment, Family, Line, Target};
use crate::load::hostile::{self, EACH};
use crate::load::{broadcast, idle};
use crate::machine::most_clients;
use crate::options::Options;
use crate::peers::{Kind, Peer};

pub(super) fn rows(options: &Options) -> Vec<Experiment> {
    let mut rows = idle_clients(options);
    rows.push(bare_threads(options));
    rows.extend(broadcasts(options));
    rows.extend(locked_broadcasts(options));
    rows.push(beside_stalled(options));
    rows.extend(healthy_beside_hostile(options));
    rows
}

fn idle_clients(options: &Options) -> Vec<Experiment> {
    let sizes = up_to_most(options, &[10, 100, 1_000, 10_000]);
    let most = sizes.last().copied();
    let row = |clients: usize| {
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
        Experiment {
            name: format!("idle-{clients}"),
            rounds: options.rounds().min(3),
            contenders: peers_and_while_busy(move |peer| idle::idle(peer, Kind::Crowd, clients)),
            // The smaller crowds are for the plot.
            lines: if Some(clients) == most { lines } else { Vec::new() },
            at: Some((Family::Idle, clients as f64)),
        }
    };
    sizes.iter().copied().map(row).collect()
}

/// The least memory for a thread for each client.
fn bare_threads(options: &Options) -> Experiment {
    let clients = 1_000.min(most_clients());
    let contender =
        |label, peer, kind| Contender { label, run: Box::new(move || idle::idle(peer, kind, clients)) };
    let title = format!("{clients} idle clients, beside bare threads: resident memory per client");
    Experiment {
        name: "floor-idle".to_owned(),
        rounds: options.rounds().min(3),
        contenders: vec![
            contender("std loop", Peer::Std, Kind::Crowd),
            contender("the same with a buffer of 1 KiB", Peer::Std, Kind::Bare),
            contender("backport", Peer::Backport, Kind::Crowd),
        ],
        lines: vec![compared(title, "kib", "KiB")],
        at: None,
    }
}

fn broadcasts(options: &Options) -> Vec<Experiment> {
    let span = options.span();
    let row = |clients: usize| {
        let contender = |label, peer| Contender {
            label,
            run: Box::new(move || broadcast::broadcast(peer, Kind::News, clients, 0, span)),
        };
        let title = format!("broadcast of 100 B to {clients} clients: CPU per delivery");
        Experiment {
            name: format!("broadcast-{clients}"),
            rounds: options.rounds().min(7),
            contenders: vec![contender("blocking writes", Peer::Std), contender("backport", Peer::Backport)],
            lines: vec![line(title, "micros", "µs", 1.05)],
            at: None,
        }
    };
    [10, 100, 1_000, 5_000].into_iter().filter(|&clients| clients <= most_clients()).map(row).collect()
}

/// The least for clients to which several threads may write.
fn locked_broadcasts(options: &Options) -> [Experiment; 2] {
    let span = options.span();
    [1_000, 5_000.min(most_clients())].map(|clients| {
        let contender = |label, peer, kind| Contender {
            label,
            run: Box::new(move || broadcast::broadcast(peer, kind, clients, 0, span)),
        };
        let title = format!("broadcast to {clients} clients, beside a lock for each: CPU per delivery");
        Experiment {
            name: format!("floor-broadcast-{clients}"),
            rounds: options.rounds().min(7),
            contenders: vec![
                contender("blocking writes", Peer::Std, Kind::News),
                contender("the same with a lock for each client", Peer::Std, Kind::Locked),
                contender("backport", Peer::Backport, Kind::News),
            ],
            lines: vec![compared(title, "micros", "µs")],
            at: None,
        }
    })
}

fn beside_stalled(options: &Options) -> Experiment {
    let span = options.span();
    let contender = |label, stalled| Contender {
        label,
        run: Box::new(move || broadcast::broadcast(Peer::Backport, Kind::News, 1_000, stalled, span)),
    };
    Experiment {
        name: "broadcast-stalled".to_owned(),
        rounds: options.rounds().min(7),
        contenders: vec![contender("backport, none stalled", 0), contender("backport", 50)],
        lines: vec![
            line("broadcast to 1,000 while 50 more are stalled: CPU per delivery", "micros", "µs", 1.10),
            line("the same: until the last of the 1,000 has it, p50", "p50", "ms", 1.10),
        ],
        at: None,
    }
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
