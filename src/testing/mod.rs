//! Tests of adapters without sockets, with connections in memory.
//!
//! A [`TestClient`] is the peer. Each [`TestClient`] has its own machine, which serves the connection with
//! the same code as a socket, on its own thread. The machine stops when the [`TestClient`] is dropped.
//!
//! ```
//! use std::io::{Read, Write};
//! use backport::{receiving, testing, Closing};
//!
//! # fn main() -> std::io::Result<()> {
//! let mut client = testing::connect(receiving(|client, data| Ok(client.write(data)?)));
//! client.write_all(b"hello")?;
//! client.close_write();
//! let mut reply = String::new();
//! client.read_to_string(&mut reply)?;
//! assert_eq!(reply, "hello");
//! assert!(matches!(client.finish(), Closing::ByPeer));
//! # Ok(())
//! # }
//! ```
//!
//! A [`Clock`] tests intervals and timeouts without waiting.

mod client;
mod clock;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{bounded, Sender};
use parking_lot::Mutex;

use crate::adapter::Adapter;
use crate::closing::Closing;
use crate::error::Result;
use crate::limits::Limits;
use crate::machine::Machine;
use crate::remote::Remote;
use crate::server::control::Control;
use crate::server::handle::ServerHandle;
use crate::server::listener::Accepted;
use crate::server::permit::Permit;
use crate::server::session::Sessions;
use crate::server::Server;
use crate::threads::pool::Job;
use crate::transport::memory::{MemoryTransport, Pipe};
use crate::transport::Transport;

pub use client::TestClient;
pub use clock::Clock;

/// How long a machine may take to start. The deadline of the test does not change this time.
const START: Duration = Duration::from_secs(10);

/// Connects a client in memory to `adapter`, with the default settings of [`Setup`].
///
/// # Panics
/// Panics if the machine that serves the client cannot be started.
pub fn connect<A: Adapter>(adapter: A) -> TestClient {
    Setup::new().connect(adapter)
}

/// The settings of a connection in memory.
#[derive(Debug)]
#[must_use = "a setup does nothing until `connect` is called"]
pub struct Setup {
    limits: Limits,
    window: usize,
    deadline: Duration,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup::new()
    }
}

impl Setup {
    /// Creates a setup with the default limits of a server, a window of 64 KiB and a deadline of 10 s.
    pub fn new() -> Setup {
        Setup { limits: Limits::default(), window: 64 * 1024, deadline: Duration::from_secs(10) }
    }

    /// Sets how many unread bytes each direction can hold. A small window has the effect of a peer that reads
    /// slowly. Default: 64 KiB.
    pub fn window(self, bytes: usize) -> Setup {
        Setup { window: bytes, ..self }
    }

    /// Sets how long each call of the [`TestClient`] waits before it fails with
    /// [`TimedOut`](io::ErrorKind::TimedOut) or panics. Default: 10 s.
    pub fn deadline(self, deadline: Duration) -> Setup {
        Setup { deadline, ..self }
    }

    /// Sets the same limit as [`TcpServer::idle_timeout`](crate::TcpServer::idle_timeout). Default: none.
    pub fn idle_timeout(self, limit: Duration) -> Setup {
        self.limits.set_idle_timeout(Some(limit));
        self
    }

    /// Sets the same limit as [`TcpServer::write_timeout`](crate::TcpServer::write_timeout). Default: 30 s.
    pub fn write_timeout(self, limit: Duration) -> Setup {
        self.limits.set_write_timeout(limit);
        self
    }

    /// Sets the same limit as [`TcpServer::max_backlog`](crate::TcpServer::max_backlog). Default: 1 MiB.
    pub fn max_backlog(self, bytes: usize) -> Setup {
        self.limits.set_max_backlog(bytes);
        self
    }

    /// Connects a client to `adapter`, which runs on its own thread. Blocks until that thread runs.
    ///
    /// # Panics
    /// Panics if the machine that serves the client cannot be started.
    pub fn connect<A: Adapter>(self, adapter: A) -> TestClient {
        let Setup { limits, window, deadline } = self;
        let (inward, outward) = (Pipe::new(window), Pipe::new(window));
        let flush = Arc::new(OnceLock::new());
        let transport = MemoryTransport {
            inward: Arc::clone(&inward),
            outward: Arc::clone(&outward),
            flush: Arc::clone(&flush),
        };
        let (machine, (reports, closing)) = (Machine::new(), bounded(1));
        let (registered, is_registered) = bounded(1);
        let server = MemoryServer { adapter, transport, limits, reports, registered };
        let start = || -> Result<_> {
            let server = machine.prepare(server)?;
            let running = machine.start()?;
            // The test may ask the server for its client immediately.
            is_registered.recv_timeout(START)?;
            Ok((server, running))
        };
        let (server, running) = start().unwrap_or_else(|error| panic!("cannot start a machine: {error}"));
        TestClient { inward, outward, flush, deadline, closing, server, running }
    }
}

/// A server with one client in memory.
struct MemoryServer<A> {
    adapter: A,
    transport: MemoryTransport,
    limits: Limits,
    /// Sends the reason of the session's end to the test.
    reports: Sender<Closing>,
    /// Tells the test that the client is registered.
    registered: Sender<()>,
}

impl<A: Adapter> Server for MemoryServer<A> {
    type Handle = ServerHandle;

    fn prepare(self, control: Control) -> io::Result<ServerHandle> {
        control.set_name("memory");
        control.state().limits().take(&self.limits);
        let (adapter, registered) = (Mutex::new(Some(self.adapter)), self.registered);
        // The session has registered the client before it calls the factory. There is only one client.
        let factory = move || {
            // This fails if the test has given up.
            registered.send(()).unwrap_or_default();
            adapter.lock().take().unwrap_or_else(|| unreachable!("a second client in memory"))
        };
        let connect = |transport| -> Arc<dyn Transport> { Arc::<MemoryTransport>::new(transport) };
        let sessions = Arc::new(Sessions::new(&control, factory, connect).reporting(self.reports));
        let (server, socket) = (Arc::clone(control.state()), self.transport);
        control.spawn("memory", move || {
            if let Some(permit) = Permit::take(&server) {
                sessions.session(permit, Accepted { socket, remote: Remote::Memory }).run();
            }
        })?;
        Ok(control.handle())
    }
}
