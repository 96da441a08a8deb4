//! Messages and their answers: ping-pong, pipelines, crowds with few busy clients, and clients that send
//! rarely.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::{micros_at, micros_per, settle, Metrics, MESSAGE};
use crate::peers::{Kind, Peer};
use crate::server::Server;

/// Has each client send `depth` messages and wait for as many.
///
/// `micros`: CPU time per message; `p50`, `p99`: of the time from a send to its whole answer.
pub(crate) fn exchange(
    peer: Peer,
    kind: Kind,
    clients: usize,
    depth: usize,
    span: Duration,
) -> io::Result<Metrics> {
    let mut server = Server::start(peer, kind)?;
    let mut crowd = Crowd::connect(server.address, clients)?;
    busy(&mut server, &mut crowd, clients, depth, span)
}

/// Has `active` of the clients exchange one message at a time.
pub(crate) fn scale(peer: Peer, clients: usize, active: usize, span: Duration) -> io::Result<Metrics> {
    let mut server = Server::start(peer, Kind::Crowd)?;
    let mut crowd = Crowd::connect(server.address, clients)?;
    settle(&server)?;
    busy(&mut server, &mut crowd, active, 1, span)
}

fn busy(
    server: &mut Server,
    crowd: &mut Crowd,
    active: usize,
    depth: usize,
    span: Duration,
) -> io::Result<Metrics> {
    let batch = MESSAGE.repeat(depth);
    // The crate needs some messages of each client to learn that its callbacks are short.
    crowd.exchange(active, &batch, span / 3)?;
    let before = server.cpu_time()?;
    let exchange = crowd.exchange(active, &batch, span)?;
    let spent = server.cpu_time()? - before;
    Ok(vec![
        ("micros", micros_per(spent, exchange.answers * depth as u64)?),
        ("p50", micros_at(&exchange.latency, 0.50)),
        ("p99", micros_at(&exchange.latency, 0.99)),
    ])
}

/// Has every client send a message each `pause`. The messages are spread evenly over the pause. Before that, each client
/// has sent `before` messages more than the first one, without a pause.
///
/// `micros`: CPU time per message.
pub(crate) fn unhurried(
    peer: Peer,
    clients: usize,
    before: usize,
    pause: Duration,
    turns: u32,
) -> io::Result<Metrics> {
    let server = Server::start(peer, Kind::Echo)?;
    let mut crowd = Crowd::connect(server.address, clients)?;
    crowd.exchange_each(before)?;
    settle(&server)?;
    let step = pause / u32::try_from(clients).map_err(io::Error::other)?;
    let before = server.cpu_time()?;
    let mut next = Instant::now();
    for _ in 0..turns {
        for client in 0..clients {
            crowd.exchange_one(client)?;
            next += step;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
    let spent = server.cpu_time()? - before;
    Ok(vec![("micros", micros_per(spent, u64::from(turns) * clients as u64)?)])
}
