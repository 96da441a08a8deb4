//! The crate as a newcomer uses it: one adapter, and the defaults. [`Peer::WhileBusy`](super::Peer::WhileBusy) changes one
//! of them.

use std::io;
use std::net::SocketAddr;
use std::thread;

use backport::framing::Lines;
use backport::{Adapter, Client, Machine, Result, Running, TcpHandle, TcpServer, Threads};

use super::{asks_for_nap, Kind, Serving, NAP, NEWS};

struct Echo;

impl Adapter for Echo {
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        client.write(data)?;
        Ok(())
    }
}

/// The framing removes the end of each line, and the answer adds it again.
struct EchoLine;

impl Adapter for EchoLine {
    fn receiving(&mut self, client: &Client, line: &[u8]) -> Result {
        client.write_line(line)?;
        Ok(())
    }
}

struct Napper;

impl Adapter for Napper {
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        if asks_for_nap(data) {
            thread::sleep(NAP);
        }
        client.write(data)?;
        Ok(())
    }
}

struct Server {
    machine: Machine,
    handle: TcpHandle,
    running: Running,
}

pub(super) fn start(kind: Kind, threads: Threads) -> io::Result<Box<dyn Serving>> {
    let machine = Machine::new();
    let handle = match kind {
        Kind::Echo => machine.prepare(server(|| Echo).threads(threads))?,
        Kind::Naps => machine.prepare(server(|| Napper).threads(threads))?,
        Kind::Lines => machine.prepare(server(|| EchoLine.framed(Lines::default())))?,
        Kind::Gathered => machine.prepare(server(|| EchoLine.framed(Lines::default()).gathering()))?,
        // These clients are more than the default limit.
        _ => machine.prepare(server(|| Echo).threads(threads).max_clients(20_000))?,
    };
    let running = machine.start().map_err(io::Error::other)?;
    Ok(Box::new(Server { machine, handle, running }))
}

fn server<A: Adapter, F: Fn() -> A + Send + Sync + 'static>(factory: F) -> TcpServer<F> {
    TcpServer::new("127.0.0.1:0", factory)
}

pub(super) fn stdio() -> io::Result<()> {
    let machine = Machine::new();
    machine.prepare_stdio_server(|| Echo)?;
    machine.run().map_err(io::Error::other)
}

impl Serving for Server {
    fn address(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    fn broadcast(&self) -> io::Result<()> {
        self.handle.broadcast(NEWS);
        Ok(())
    }

    fn fill(&self, last: usize) -> io::Result<()> {
        let clients = self.handle.clients();
        for client in &clients[clients.len().saturating_sub(last)..] {
            while client.stats().backlog == 0 {
                client.post([b'f'; 64 * 1024])?;
            }
        }
        Ok(())
    }

    fn take_overs(&self) -> io::Result<u64> {
        Ok(self.machine.stats().clients.take_overs)
    }

    fn stop(self: Box<Self>) -> io::Result<()> {
        self.running.stop().map_err(io::Error::other)
    }
}
