//! The crate as a newcomer uses it: one adapter, and the defaults.

use std::io;
use std::net::SocketAddr;

use backport::framing::Lines;
use backport::{Adapter, Client, Machine, Result, Running, TcpHandle, TcpServer};

use super::{Kind, Serving, NEWS};

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

struct Server {
    handle: TcpHandle,
    running: Running,
}

pub(super) fn start(kind: Kind) -> io::Result<Box<dyn Serving>> {
    let machine = Machine::new();
    let handle = match kind {
        Kind::Echo => machine.prepare_tcp_server("127.0.0.1:0", || Echo)?,
        Kind::Lines => machine.prepare_tcp_server("127.0.0.1:0", || EchoLine.framed(Lines::default()))?,
        Kind::Gathered => {
            machine.prepare_tcp_server("127.0.0.1:0", || EchoLine.framed(Lines::default()).gathering())?
        }
        // These clients are more than the default limit.
        _ => machine.prepare(TcpServer::new("127.0.0.1:0", || Echo).max_clients(20_000))?,
    };
    let running = machine.start().map_err(io::Error::other)?;
    Ok(Box::new(Server { handle, running }))
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

    fn stop(self: Box<Self>) -> io::Result<()> {
        self.running.stop().map_err(io::Error::other)
    }
}
