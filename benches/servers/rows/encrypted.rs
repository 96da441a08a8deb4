//! The rows about TLS 1.3, beside a loop with `rustls::StreamOwned` and beside tokio-rustls.

use super::{count, line, peers};
use crate::experiment::{Experiment, Line, Target};
use crate::load::encrypted;
use crate::machine::most_clients;
use crate::options::Options;

pub(super) fn rows(options: &Options) -> Vec<Experiment> {
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
