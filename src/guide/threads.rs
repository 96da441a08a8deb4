//! Threads: one for each client, or one for each client that is busy.
//!
//! A server has one of two modes. The mode is a setting of the server, and the adapter is the same in both.
//!
//! | | [`Threads::PerClient`], the default | [`Threads::WhileBusy`] |
//! |---|---|---|
//! | a client that waits for input | has a thread | has no thread, and takes about 1 KiB |
//! | a client whose callbacks are short | has a thread | shares a thread with the others |
//! | a client whose callbacks block or compute | has a thread | has a thread |
//! | an adapter with its own [`serving`] | has a thread | has a thread |
//!
//! ```
//! use backport::{Machine, TcpServer, Threads};
//!
//! # fn main() -> backport::Result {
//! let machine = Machine::new();
//! let factory = || backport::receiving(|client, data| Ok(client.write(data)?));
//! let server = TcpServer::new("localhost:0", factory).threads(Threads::WhileBusy).max_clients(10_000);
//! machine.prepare(server)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Which one to use
//!
//! Use `PerClient` if you have up to a few thousand clients, and few of them are busy at the same time. It has the
//! simplest rule: all callbacks of a client run on one thread, and nothing that a client does can delay another one.
//!
//! Use `WhileBusy` if most of many clients only wait, or if many clients send short messages at the same time.
//! `benches/RESULTS-THREADS.md` has the costs of both, beside tokio and a loop over `std::net`:
//!
//! ```sh
//! cargo bench --bench servers -- threads
//! ```
//!
//! # What changes
//!
//! - The callbacks of one client still run one after another, and never two at once. But they run on different threads.
//!   Therefore keep nothing in a thread-local between two callbacks. The name of the thread says nothing about the
//!   client.
//! - A client begins with a thread. It loses the thread when it has been silent for 25 ms, or when eight callbacks have
//!   taken less than 5 ms each. A longer one counts as minus four. Therefore a client that blocks from the beginning never
//!   delays another one.
//! - If a callback has always been short and then blocks, it delays the other clients once, for 4 to 8 ms. Then another
//!   thread takes over, and the client keeps the thread that it blocks. It must prove itself for twice as long the next
//!   time. [`ServerStats::take_overs`] counts this. After three take-overs within 200 ms, every client that has
//!   something to do gets a thread at once.
//! - A callback that computes for a long time is handled in the same way, but it may delay the others for up to 32 ms,
//!   because the thread uses the processor or only waits for it.
//! - The waits of this crate delay nobody: a write to a peer that does not read, a flush, a handshake of TLS in a callback,
//!   a [`Hold`] at the end of a conversation.
//! - An adapter with its own [`serving`] keeps its thread, because its code is on the stack while it waits. That is also
//!   true for an adapter that wraps another one and passes `serving` on. If such a wrapper implements only
//!   [`receiving`](crate::Adapter::receiving), it needs no thread. Adapters with [`framed`](crate::Adapter::framed) and boxed
//!   adapters need none.
//! - [`stack_size`](crate::TcpServer::stack_size) is the size for all threads that serve the clients.
//! - The mode exists for TCP and Unix sockets, with and without TLS. Standard input, outgoing connections and
//!   [`Machine::serve`](crate::Machine::serve) have a thread for each client. On Windows, every
//!   server has, and a record at the info level says so.
//!
//! # What does not change
//!
//! Everything else in this guide holds in both modes: the order of the callbacks, what a close and a stop deliver, all time
//! limits, and the reasons for which clients end. The tests of this crate run in both.
//!
//! If something fails, no client is lost. A client whose socket cannot be watched keeps its thread. If no thread can be
//! started, one thread serves the clients in turn. An adapter with its own [`serving`] then keeps that thread, and the
//! others wait for it. If the system cannot wait for sockets at all, each client gets a thread from then on, with a
//! warning in the log.
//!
//! # How it works
//!
//! One thread is the *leader*. It waits for the sockets of all clients without threads, and runs their callbacks. Another
//! thread is the *standby*. It looks at the leader every 4 ms while callbacks run. If it sees the same callback twice, it
//! becomes the leader. While nothing arrives, both sleep, and an idle machine makes no system call.
//!
//! A server has one leader for each four cores of the computer, because the kernel and the peers need the others. Each
//! client belongs to one leader for its life. Clients with threads of their own use all cores.
//!
//! [`Threads::PerClient`]: crate::Threads::PerClient
//! [`Threads::WhileBusy`]: crate::Threads::WhileBusy
//! [`ServerStats::take_overs`]: crate::ServerStats::take_overs
//! [`serving`]: crate::Adapter::serving
//! [`Hold`]: crate::Hold
