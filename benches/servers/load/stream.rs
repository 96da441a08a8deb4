//! Streams: clients that send as fast as their data comes back.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::{micros_per, silence, Metrics};
use crate::peers::{Kind, Peer};
use crate::server::{Server, PATIENCE};

/// The most bytes that a client has under way. With twice as many, some streams are half as fast, by
/// chance.
const WINDOW: usize = 256 * 1024;
const CHUNK: usize = 64 * 1024;

struct Stream {
    socket: TcpStream,
    sent: usize,
    received: usize,
}

/// Has each client send data and read it back.
///
/// `micros`: CPU time per MB (10⁶ bytes) that was sent back; `rate`: MB per second.
pub(crate) fn echo(peer: Peer, clients: usize, span: Duration) -> io::Result<Metrics> {
    let server = Server::start(peer, Kind::Echo)?;
    let poll = Poll::new()?;
    let mut streams = connect(&poll, server.address, clients)?;
    run(poll, &mut streams, || server.cpu_time(), span)
}

fn connect(poll: &Poll, address: SocketAddr, clients: usize) -> io::Result<Vec<Stream>> {
    let mut streams = Vec::new();
    for index in 0..clients {
        let socket = std::net::TcpStream::connect(address)?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        poll.registry().register(&mut socket, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        streams.push(Stream { socket, sent: 0, received: 0 });
    }
    Ok(streams)
}

fn run(
    mut poll: Poll,
    streams: &mut [Stream],
    mut cpu_time: impl FnMut() -> io::Result<Duration>,
    span: Duration,
) -> io::Result<Metrics> {
    let mut events = Events::with_capacity(64);
    let mut buffer = vec![0; WINDOW];
    let received = |streams: &[Stream]| streams.iter().map(|stream| stream.received as u64).sum::<u64>();
    let start = Instant::now();
    let mut warm = None;
    while start.elapsed() < span {
        poll.poll(&mut events, Some(PATIENCE))?;
        if events.is_empty() {
            return Err(silence());
        }
        for event in &events {
            streams[event.token().0].pump(&mut buffer)?;
        }
        if warm.is_none() && start.elapsed() > span / 10 {
            warm = Some((cpu_time()?, received(streams), Instant::now()));
        }
    }
    let Some((before, skipped, since)) = warm else { return Err(silence()) };
    let (spent, bytes, time) = (cpu_time()? - before, received(streams) - skipped, since.elapsed());
    let micros = micros_per(spent, bytes)? * 1e6;
    Ok(vec![("micros", micros), ("rate", bytes as f64 / 1e6 / time.as_secs_f64())])
}

impl Stream {
    /// Sends and receives until both would block.
    fn pump(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            let mut moved = false;
            while self.sent + CHUNK <= self.received + WINDOW {
                match self.socket.write(&buffer[..CHUNK]) {
                    Ok(count) => self.sent += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
                moved = true;
            }
            loop {
                match self.socket.read(buffer) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(count) => self.received += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
                moved = true;
            }
            if !moved {
                return Ok(());
            }
        }
    }
}
