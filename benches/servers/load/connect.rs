//! Short connections: connect, one message, its answer, close.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};

use super::{histogram, micros_at, micros_per, record, Metrics, MESSAGE};
use crate::peers::{Kind, Peer};
use crate::server::{Server, PATIENCE};

/// Runs `at_once` threads, each of which makes one connection after another.
///
/// `micros`: CPU time per connection; `p50`, `p99`: of the time from the connect to the server's
/// end; `rate`: connections per second of CPU time.
pub(crate) fn one_after_another(
    peer: Peer,
    kind: Kind,
    at_once: usize,
    span: Duration,
) -> io::Result<Metrics> {
    let server = Server::start(peer, kind)?;
    let address = server.address;
    visit_for(address, at_once, span / 10)?;
    let before = server.cpu_time()?;
    let latency = visit_for(address, at_once, span)?;
    // The server's threads for the last clients need a moment to finish.
    thread::sleep(Duration::from_millis(2));
    let spent = server.cpu_time()? - before;
    Ok(vec![
        ("micros", micros_per(spent, latency.len())?),
        ("p50", micros_at(&latency, 0.50)),
        ("p99", micros_at(&latency, 0.99)),
        ("rate", latency.len() as f64 / spent.as_secs_f64()),
    ])
}

fn visit_for(address: SocketAddr, at_once: usize, span: Duration) -> io::Result<Histogram<u64>> {
    let visits = || {
        let mut latency = histogram()?;
        let end = Instant::now() + span;
        while Instant::now() < end {
            let start = Instant::now();
            visit(address)?;
            record(&mut latency, start.elapsed());
        }
        Ok(latency)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(visits)).collect();
        let mut all = histogram()?;
        for thread in threads {
            let latency: io::Result<_> = thread.join().map_err(|_| io::Error::other("a panic"))?;
            all.add(latency?).map_err(io::Error::other)?;
        }
        Ok(all)
    })
}

/// Makes one connection, and reads until its end.
pub(crate) fn visit(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&MESSAGE)?;
    let mut answer = [0; MESSAGE.len()];
    stream.read_exact(&mut answer)?;
    stream.shutdown(Shutdown::Write)?;
    match stream.read(&mut answer)? {
        0 => Ok(()),
        _ => Err(io::Error::other("more came back than was sent")),
    }
}

/// Makes `count` connections at the same moment.
///
/// `worst`: the milliseconds until the last client has an answer. A listen queue that overflows may keep a
/// client waiting for minutes, so the load ends when no answer comes for [`PATIENCE`].
pub(crate) fn all_at_once(peer: Peer, count: usize) -> io::Result<Metrics> {
    let server = Server::start(peer, Kind::Echo)?;
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(count);
    let mut clients = Vec::new();
    let start = Instant::now();
    for index in 0..count {
        let mut stream = mio::net::TcpStream::connect(server.address)?;
        poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        clients.push((stream, false));
    }
    let mut waiting = count;
    while waiting > 0 {
        poll.poll(&mut events, Some(PATIENCE))?;
        if events.is_empty() {
            break;
        }
        for event in &events {
            let (stream, asked) = &mut clients[event.token().0];
            if event.is_writable() && !*asked {
                stream.write_all(&MESSAGE)?;
                *asked = true;
            }
            let mut answer = [0; MESSAGE.len()];
            if event.is_readable() && matches!(stream.read(&mut answer), Ok(count) if count > 0) {
                waiting -= 1;
            }
        }
    }
    Ok(vec![("worst", start.elapsed().as_secs_f64() * 1e3)])
}
