//! The control channel.
//!
//! Everything that decides about shutdown goes through one channel. Its one reader is the thread in
//! `run` ([`crate::machine`]), the only place that decides.
//!
//! | event | sent by | reaction |
//! |---|---|---|
//! | `Stop` | `Machine::stop`, `Backport::stop`, the signal thread, the drop of the last handle | first: the graceful stop begins; after that: as `StopNow` |
//! | `StopNow` | `Machine::stop_now` | the stop begins if it has not; sockets are aborted |
//! | `ServerEnded` | the last thread or client of a server, by its drop guard ([`Presence`]) | the server leaves the registry; the last one stops the machine |
//! | `JobEnded` | the scheduler: an interval was stopped or panicked, a timeout ran | the last one stops a machine that never had a server |
//! | `ThreadsEnded` | the last thread of a machine that was told to start no more | `run` returns |
//!
//! What a client does, connects and ends, is no event: registries are kept by the threads that
//! change them (a lock each), so that a busy server does not wake the reader for each connection.
//!
//! [`Presence`]: crate::server::core::Presence

use crate::sync::channel::Sender;

/// What is sent over the control channel. The table above says by whom and to what end.
#[derive(Debug)]
pub(crate) enum Event {
    Stop,
    StopNow,
    ServerEnded(ServerId),
    JobEnded,
    ThreadsEnded,
}

/// The sending side of the control channel. Unbounded: senders never wait for `run`.
pub(crate) type Events = Sender<Event>;

/// A server's number in its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerId(pub(crate) u64);
