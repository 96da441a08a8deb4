//! The numbers of a machine: as text when Prometheus asks for it, and as JSON for the page.

use std::time::Duration;

use backport::{Client, Machine, ServerStats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{prometheus_text, DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType::{self, Counter, Gauge};
use prometheus_client::metrics::{counter::ConstCounter, gauge::ConstGauge};
use prometheus_client::registry::Registry;
use serde_json::{json, Map, Value};

/// The metric without `backport_` and `_total`, its help, its type, the label `reason`, and the value.
type Number = (&'static str, &'static str, MetricType, Option<&'static str>, fn(&ServerStats) -> u64);
const NUMBERS: [Number; 17] = [
    ("clients", "Clients that are served now", Gauge, None, |stats| stats.current as u64),
    ("clients_peak", "Largest number of clients at once", Gauge, None, |stats| stats.peak as u64),
    ("clients_accepted", "Clients that were served in total", Counter, None, |stats| stats.accepted),
    ("clients_refused", "Connections that were not served", Counter, None, |stats| stats.refused),
    ("accept_errors", "Failures to accept a connection", Counter, None, |stats| stats.accept_errors),
    ("handshakes_failed", "Failed handshakes and headers", Counter, None, |stats| stats.handshakes_failed),
    ("received_bytes", "Bytes that were read from clients", Counter, None, |stats| stats.bytes_in),
    ("sent_bytes", "Bytes that were sent to clients", Counter, None, |stats| stats.bytes_out),
    ("backlog_bytes", "Bytes that wait for clients", Gauge, None, |stats| stats.backlog as u64),
    ("clients_ended", "Clients that have ended", Counter, Some("by_peer"), |stats| stats.by_peer),
    ("clients_ended", "Clients that have ended", Counter, Some("by_server"), |stats| stats.by_server),
    ("clients_ended", "Clients that have ended", Counter, Some("stopping"), |stats| stats.stopping),
    ("clients_ended", "Clients that have ended", Counter, Some("idle"), |stats| stats.idle_timeouts),
    ("clients_ended", "Clients that have ended", Counter, Some("too_slow"), |stats| stats.too_slow),
    ("clients_ended", "Clients that have ended", Counter, Some("lost"), |stats| stats.lost),
    ("clients_ended", "Clients that have ended", Counter, Some("failed"), |stats| stats.failures),
    ("clients_ended", "Clients that have ended", Counter, Some("panicked"), |stats| stats.panics),
];

#[derive(Debug)]
struct Statistics(Machine);

impl Collector for Statistics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        // A series must not occur twice, so servers of the same name are added up.
        let mut servers = std::collections::BTreeMap::<String, Vec<ServerStats>>::new();
        for server in self.0.servers() {
            servers.entry(server.name()).or_default().push(server.stats());
        }
        for family in NUMBERS.chunk_by(|one, next| one.0 == next.0) {
            let (name, help, kind, ..) = family[0];
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for (_, _, _, reason, value) in family {
                for (server, stats) in &servers {
                    let mut labels = vec![("server", server.as_str())];
                    labels.extend(reason.map(|reason| ("reason", reason)));
                    let sum: u64 = stats.iter().map(value).sum();
                    match kind {
                        Counter => ConstCounter::new(sum).encode(metric.encode_family(&labels)?)?,
                        _ => ConstGauge::new(sum).encode(metric.encode_family(&labels)?)?,
                    }
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn text(machine: &Machine) -> String {
    let (mut registry, mut text) = (Registry::with_prefix("backport"), String::new());
    registry.register_collector(Box::new(Statistics(machine.clone())));
    prometheus_text::encode(&mut text, &registry).expect("a string takes all text");
    text
}

pub(crate) fn json(machine: &Machine, uptime: Duration, name: fn(&Client) -> String) -> Value {
    let (stats, servers) = (machine.stats(), machine.servers());
    // It must fit into the backlog of a reader, so not all servers and clients of a large program are in it.
    let clients = servers.iter().flat_map(|server| server.clients()).take(500);
    let servers = servers.iter().take(500);
    json!({
        "uptime": uptime.as_secs_f64(), "threads": stats.threads, "total": of_server("all", &stats.clients),
        "servers": servers.map(|server| of_server(&server.name(), &server.stats())).collect::<Value>(),
        "clients": clients.map(|client| of_client(&client, &name(&client))).collect::<Value>(),
    })
}

fn of_server(name: &str, stats: &ServerStats) -> Value {
    let number =
        |(name, _, _, reason, value): Number| (reason.unwrap_or(name).to_owned(), value(stats).into());
    json!({ "name": name, "numbers": Map::from_iter(NUMBERS.map(number)) })
}

fn of_client(client: &Client, name: &str) -> Value {
    let (stats, seconds) = (client.stats(), |time: Duration| time.as_secs_f64());
    json!({
        "id": client.id().to_string(), "name": name, "peer": client.remote().to_string(),
        "server": client.server().name(), "age": seconds(stats.connected_since.elapsed()),
        "idle": seconds(stats.idle_for), "in_callback": stats.in_callback_for.map(seconds),
        "received": stats.bytes_in, "sent": stats.bytes_out, "backlog": stats.backlog, "closing": client.is_closed(),
    })
}
