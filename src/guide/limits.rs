//! Limits: all settings with their defaults, fixed bounds, and the limits of the system.
//!
//! # Settings
//!
//! Each server has its own settings. [`TcpServer`] sets them.
//!
//! | setting | default | effect |
//! |---|---|---|
//! | [`max_clients`] \* | 1,024 | at the limit the acceptor waits and the kernel queues new clients |
//! | [`idle_timeout`] \* | none | if a client sends nothing for this long, it ends as [`Idle`] |
//! | [`write_timeout`] \* | 30 s | if one write takes longer, the client ends as [`TooSlow`] |
//! | [`max_backlog`] \* | 1 MiB per client | if more posted data waits for a client, it ends as [`TooSlow`] |
//! | [`backlog`] | 4,096 | how many connections the kernel queues; Linux cuts it to `net.core.somaxconn` |
//! | [`keepalive`] | 60 s | after this long without traffic, the kernel probes the peer; a vanished peer ends as [`Lost`] |
//! | [`nodelay`] | on | small writes are sent without delay (`TCP_NODELAY`) |
//! | [`reuse_port`] | off | if on, several sockets may listen on one address |
//! | [`stack_size`] | 2 MiB per client | stack of the client's thread; only the part that is used takes memory |
//! | [`Machine::set_drain_timeout`] | 5 s | how long a [stop](super::stopping) may take |
//!
//! \* The server's handle changes these four while the server runs:
//!
//! ```
//! use std::time::Duration;
//! use backport::{receiving, Machine, TcpServer};
//!
//! # fn main() -> backport::Result {
//! let machine = Machine::new();
//! let echo = || receiving(|client, data| Ok(client.write(data)?));
//! let server = machine.prepare(TcpServer::new("localhost:0", echo).max_clients(100))?;
//! server.set_max_clients(200);
//! server.set_idle_timeout(Some(Duration::from_secs(300)));
//! # Ok(())
//! # }
//! ```
//!
//! # Fixed bounds
//!
//! | bound | value |
//! |---|---|
//! | bytes in one call of `receiving` | at most 64 KiB |
//! | gathered output that makes a cork send early | 64 KiB |
//! | the end of a connection waits for its peer | 1 s without progress, 5 s in total |
//! | threads that wait for the next client | 16, each for 1 s |
//! | log records that wait for the logger | 1 MiB |
//!
//! # Memory
//!
//! The memory of each client is bounded: input is read as the adapter takes it, and output has
//! [`max_backlog`]. The number of clients is bounded by [`max_clients`]. An idle client may stay as long
//! as it likes unless you set [`idle_timeout`].
//!
//! # The limits of the system
//!
//! Before you raise [`max_clients`] far, check these on Linux:
//!
//! - **Memory mappings.** A thread needs about four, and a process may have 65,530 (`vm.max_map_count`).
//!   That is enough for about 16,000 threads. One thread more can abort the process.
//! - **Threads.** `kernel.threads-max` and the pids limit of a container. If a client's thread cannot be
//!   started, that client is refused.
//! - **Open files.** `ulimit -n`; each client needs one. If no more can be opened, the acceptor waits and
//!   tries again.
//!
//! # What ends the process
//!
//! No library survives these three:
//!
//! - A stack overflow.
//! - Memory that the system refuses; Rust aborts.
//! - A panic in a drop while another panic unwinds.
//!
//! [`TcpServer`]: crate::TcpServer
//! [`max_clients`]: crate::TcpServer::max_clients
//! [`idle_timeout`]: crate::TcpServer::idle_timeout
//! [`write_timeout`]: crate::TcpServer::write_timeout
//! [`max_backlog`]: crate::TcpServer::max_backlog
//! [`backlog`]: crate::TcpServer::backlog
//! [`keepalive`]: crate::TcpServer::keepalive
//! [`nodelay`]: crate::TcpServer::nodelay
//! [`reuse_port`]: crate::TcpServer::reuse_port
//! [`stack_size`]: crate::TcpServer::stack_size
//! [`Machine::set_drain_timeout`]: crate::Machine::set_drain_timeout
//! [`Idle`]: crate::Closing::Idle
//! [`TooSlow`]: crate::Closing::TooSlow
//! [`Lost`]: crate::Closing::Lost
