//! Limits: settings with their defaults, fixed limits, and the limits of the operating system.
//!
//! # Settings
//!
//! Each server has its own settings. [`TcpServer`] sets them. Limits in time have their own page,
//! [`deadlines`](super::deadlines).
//!
//! | setting | default | effect |
//! |---|---|---|
//! | [`max_clients`] \* | 1,024 | at the limit, new clients wait in the kernel's queue |
//! | [`when_full`] | [`Full::Wait`] | with [`Full::Refuse`], new clients get a message at the limit and are closed |
//! | [`max_backlog`] \* | 1 MiB per client | if more posted data waits for a client, it ends as [`TooSlow`] |
//! | [`backlog`] | 4,096 | how many connections the kernel queues; Linux cuts it to `net.core.somaxconn` |
//! | [`nodelay`] | on | small writes are sent without delay (`TCP_NODELAY`) |
//! | [`reuse_port`] | off | if on, several sockets may listen on one address |
//! | [`stack_size`] | 2 MiB per client | the stack of the client's thread, at most 1 GiB; only the used part takes memory |
//!
//! \* These settings, the idle timeout and the write timeout can be changed while the server runs, with methods
//! of its handle:
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
//! # Fixed limits
//!
//! | limit | value |
//! |---|---|
//! | bytes in one call of `receiving` | at most 64 KiB |
//! | output that a cork gathers before it sends | 64 KiB |
//! | idle threads that wait for the next client | 16, each for 1 s |
//! | connections that a full server has refused and keeps open for a moment | 32 per listener, each for 1 s |
//! | log records that wait for the logger | 1 MiB |
//!
//! # Memory
//!
//! The memory of each client is limited: input is read only as fast as the adapter takes it, and posted
//! output is limited by [`max_backlog`]. The number of clients is limited by [`max_clients`]. An idle client
//! may stay connected forever unless you set [`idle_timeout`].
//!
//! A client that has sent more than 1 KiB at once keeps 4 KiB for its next input. A larger buffer is freed when nothing
//! has arrived for a tenth of a second.
//!
//! # Limits of the operating system
//!
//! Before you raise [`max_clients`] to many thousands, check these limits on Linux:
//!
//! - **Memory mappings.** A process may have 65,530 of them (`vm.max_map_count`). A thread needs about four,
//!   so the limit allows about 16,000 threads. If a process starts more threads, it can be aborted. With
//!   [`Threads::WhileBusy`](super::threads), clients that wait need no threads.
//! - **Threads.** `kernel.threads-max` and the pids limit of a container limit the number of threads. If a
//!   client's thread cannot be started, that client is refused.
//! - **Open files.** `ulimit -n` limits the file descriptors, and each client needs one.
//!   [`Backport::run`](crate::Backport::run) raises the soft limit to the sum of all [`max_clients`] plus 64, if
//!   the hard limit allows it. If no more files can be opened, the acceptor waits and tries again.
//!
//! # What ends the process
//!
//! A library cannot prevent that these events end the process:
//!
//! - A stack overflow.
//! - A failed memory allocation.
//! - A panic in a `drop` while another panic unwinds the stack.
//!
//! [`TcpServer`]: crate::TcpServer
//! [`max_clients`]: crate::TcpServer::max_clients
//! [`when_full`]: crate::TcpServer::when_full
//! [`Full::Wait`]: crate::Full::Wait
//! [`Full::Refuse`]: crate::Full::Refuse
//! [`idle_timeout`]: crate::TcpServer::idle_timeout
//! [`max_backlog`]: crate::TcpServer::max_backlog
//! [`backlog`]: crate::TcpServer::backlog
//! [`nodelay`]: crate::TcpServer::nodelay
//! [`reuse_port`]: crate::TcpServer::reuse_port
//! [`stack_size`]: crate::TcpServer::stack_size
//! [`TooSlow`]: crate::Closing::TooSlow
