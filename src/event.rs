//! The control channel.
//!
//! Every event that matters for shutdown goes through one channel. Its only reader is the thread in `run`
//! (`machine/run.rs`). Only that thread decides about shutdown.
//!
//! | event | sender | reaction |
//! |---|---|---|
//! | `Drain` | `Machine::drain` | the listeners of all servers close; the graceful stop begins after the limit, or with the end of the last server |
//! | `Stop` | `Machine::stop`, `Backport::stop`, the signal thread, dropping the last handle | the graceful stop begins |
//! | `StopNow` | `Machine::stop_now` | the stop begins if it has not begun yet, and sockets are aborted |
//! | `DrainServer` | `ServerHandle::drain` | the server's listeners close; after the limit, its clients are closed |
//! | `StopServer` | `ServerHandle::stop`, `Control::stop`, a listener that closes by itself | the server's listeners close; without a listener, its clients are closed |
//! | `ServerFailed` | an acceptor whose listener is unusable, a stdio server whose conversation has failed, an outgoing connection whose only attempt has failed | the failure becomes the error of `run`, and the server's listeners close |
//! | `ListenersClosed` | the last listener of a server | the server's clients are closed, unless it drains |
//! | `ServerEnded` | the last thread or client of a server | the server is removed from the machine; the end of the last server stops the machine |
//! | `JobEnded` | the thread that ends the last interval or timeout; at most one is on its way | the end of the last job stops a machine that never had a server |
//! | `ThreadsEnded` | the last thread of a machine that starts no more threads | `run` returns |
//!
//! A call that repeats an earlier one sends no event: `Drain`, `Stop` and `StopNow` are sent at most once for a
//! machine, and `DrainServer` and `StopServer` at most once for a server.
//!
//! Clients that connect or end cause no event. The threads that serve clients update the registry of their
//! server, which has its own lock. Therefore a busy server does not wake the reader for each connection.

use std::io;
use std::time::Duration;

use crate::sync::channel::Sender;

/// A message on the control channel. The table above lists senders and reactions.
#[derive(Debug)]
pub(crate) enum Event {
    Drain(Duration),
    Stop,
    StopNow,
    DrainServer(ServerId, Duration),
    StopServer(ServerId),
    ServerFailed(ServerId, io::Error),
    ListenersClosed(ServerId),
    ServerEnded(ServerId),
    JobEnded,
    ThreadsEnded,
}

/// The sending side of the control channel. The channel is unbounded, so a sender never waits for `run`.
pub(crate) type Events = Sender<Event>;

/// The number of a server in its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerId(pub(crate) u64);
