//! The rows about short connections.

use super::{compared, line, peers, peers_and_while_busy};
use crate::experiment::{Contender, Experiment, Family, Line, Target};
use crate::load::connect;
use crate::options::Options;
use crate::peers::{Kind, Peer};

pub(super) fn rows(options: &Options) -> Vec<Experiment> {
    let mut rows = connects(options);
    rows.extend(floors(options));
    rows.push(burst(options));
    rows
}

fn connects(options: &Options) -> Vec<Experiment> {
    let span = options.span();
    let row = |at_once: u32| {
        let how = if at_once == 1 { "one after another".to_owned() } else { format!("{at_once} at once") };
        let title = format!("connect, echo, close, {how}: CPU per connection");
        let lines = |cpu| {
            let latency = compared("the same: p99 latency", "p99", "µs");
            vec![line(title, "micros", "µs", cpu), latency]
        };
        Experiment {
            name: format!("connect-{at_once}"),
            rounds: options.rounds(),
            contenders: peers_and_while_busy(move |peer| {
                connect::one_after_another(peer, Kind::Echo, at_once as usize, span)
            }),
            lines: match at_once {
                1 => lines(0.54),
                8 => lines(0.50),
                // The others are for the plot.
                _ => Vec::new(),
            },
            at: Some((Family::Connect, f64::from(at_once))),
        }
    };
    [1, 2, 4, 8, 16, 32].map(row).into()
}

/// The least that is possible. Without a hand-over, one thread serves one client after another, so a client that
/// waits holds up all others. A hand-over by channel to a thread that exists already is the least for a server whose
/// clients have threads.
fn floors(options: &Options) -> Vec<Experiment> {
    let span = options.span();
    let mut rows = Vec::new();
    for at_once in [1, 8] {
        let how = if at_once == 1 { "one after another" } else { "8 at once" };
        for (name, label, kind) in [
            ("alone", "one thread, no hand-over", Kind::Alone),
            ("hand-over", "a hand-over by channel, nothing else", Kind::HandOver),
        ] {
            let contender = |label, peer, kind| Contender {
                label,
                run: Box::new(move || connect::one_after_another(peer, kind, at_once, span)),
            };
            let title = format!("connections, {how}, beside {label}: CPU per connection");
            rows.push(Experiment {
                name: format!("floor-{name}-{at_once}"),
                rounds: options.rounds(),
                contenders: vec![
                    contender("std loop", Peer::Std, Kind::Echo),
                    contender(label, Peer::Std, kind),
                    contender("backport", Peer::Backport, Kind::Echo),
                ],
                lines: vec![compared(title, "micros", "µs")],
                at: None,
            });
        }
    }
    rows
}

fn burst(options: &Options) -> Experiment {
    Experiment {
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
    }
}
