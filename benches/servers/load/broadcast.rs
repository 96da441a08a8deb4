//! One record that is sent to a thousand clients.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::crowd::Crowd;
use super::{histogram, micros_at, micros_per, record, Metrics};
use crate::peers::{Kind, Peer, NEWS};
use crate::server::Server;

/// Broadcasts to `clients` that read at once, while `stalled` more clients do not read.
///
/// `micros`: CPU time per delivery; `p50`, `p99`: of the milliseconds until the last reading client has
/// the record.
pub(crate) fn broadcast(
    peer: Peer,
    kind: Kind,
    clients: usize,
    stalled: usize,
    span: Duration,
) -> io::Result<Metrics> {
    let mut server = Server::start(peer, kind)?;
    let mut crowd = Crowd::connect(server.address, clients)?;
    let stalled: Vec<Socket> = (0..stalled).map(|_| deaf(server.address)).collect::<io::Result<_>>()?;
    if !stalled.is_empty() {
        // Once a later client has an answer, the server has accepted all of these.
        drop(Crowd::connect(server.address, 1)?);
        std::thread::sleep(Duration::from_millis(50));
        server.fill(stalled.len())?;
    }
    let mut latency = histogram()?;
    let before = server.cpu_time()?;
    let end = Instant::now() + span;
    while Instant::now() < end {
        let start = Instant::now();
        server.broadcast()?;
        crowd.collect(NEWS.len())?;
        record(&mut latency, start.elapsed());
        server.done()?;
    }
    let spent = server.cpu_time()? - before;
    Ok(vec![
        ("micros", micros_per(spent, latency.len() * clients as u64)?),
        ("p50", micros_at(&latency, 0.50) / 1e3),
        ("p99", micros_at(&latency, 0.99) / 1e3),
    ])
}

/// Returns a client that never reads and has a small receive buffer.
fn deaf(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_recv_buffer_size(4096)?;
    socket.connect(&address.into())?;
    Ok(socket)
}
