//! The statistics of clients, servers and machines.
//!
//! Each value is a snapshot. It is computed on the thread that asks for it, and does not change afterwards.

use std::time::{Duration, Instant};

/// The statistics of one client. [`Client::stats`](crate::Client::stats) returns them.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ClientStats {
    /// How many bytes were read from the client.
    pub bytes_in: u64,
    /// How many bytes were sent to the client: the kernel has taken them.
    pub bytes_out: u64,
    /// When the client connected.
    pub connected_since: Instant,
    /// How many bytes were written or posted to the client and wait because the kernel has not taken them yet.
    pub backlog: usize,
    /// For how long nothing has arrived from the client. Before its first input, this is the time since it
    /// connected. This time and `in_callback_for` come from a coarse clock, which is up to 20 ms late.
    pub idle_for: Duration,
    /// For how long the adapter has been at work, or `None` if it waits for input.
    ///
    /// The time of `receiving` begins when the data has arrived. If several frames have arrived together, the
    /// later ones wait for the earlier ones, and this time counts. In `serving`, everything between two reads that
    /// wait is work. The time of a write that waits for the peer counts, too.
    pub in_callback_for: Option<Duration>,
}

/// The statistics of one server. [`ServerHandle::stats`](crate::ServerHandle::stats) returns them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// How many clients the server has begun to serve in total.
    pub accepted: u64,
    /// How many connections it has accepted but not served, because the server was full
    /// ([`Full::Refuse`](crate::Full::Refuse)), because no thread could be started or because the server was
    /// stopping.
    pub refused: u64,
    /// How often accepting a connection has failed. A [`TcpClient`](crate::TcpClient) counts the attempts to
    /// connect that have failed.
    pub accept_errors: u64,
    /// How many accepted clients have ended before `opening`, because the header of a proxy or the handshake of
    /// TLS has failed.
    pub handshakes_failed: u64,
    /// How many clients it serves now.
    pub current: usize,
    /// The largest number of clients that it has served at once.
    pub peak: usize,
    /// How many bytes were read from all its clients, including clients that have ended.
    pub bytes_in: u64,
    /// How many bytes were sent to all its clients, including clients that have ended.
    pub bytes_out: u64,
    /// How many bytes wait for its clients because the kernel has not taken them yet.
    pub backlog: usize,
    /// How many clients have ended as [`ByPeer`](crate::Closing::ByPeer). This counter and the following ones
    /// are for the eight reasons of [`Closing`](crate::Closing). Each is counted before the delivery of the last
    /// output.
    pub by_peer: u64,
    /// How many clients have ended as [`ByServer`](crate::Closing::ByServer).
    pub by_server: u64,
    /// How many clients have ended as [`Stopping`](crate::Closing::Stopping).
    pub stopping: u64,
    /// How many clients have ended as [`Lost`](crate::Closing::Lost).
    pub lost: u64,
    /// How many clients have ended as [`Panicked`](crate::Closing::Panicked), or had a panic in `closing`, in the
    /// drop of the adapter or in the drop of an error.
    pub panics: u64,
    /// How many clients have ended as [`Failed`](crate::Closing::Failed).
    pub failures: u64,
    /// How many clients have ended as [`Idle`](crate::Closing::Idle).
    pub idle_timeouts: u64,
    /// How many clients have ended as [`TooSlow`](crate::Closing::TooSlow).
    pub too_slow: u64,
    /// With [`Threads::WhileBusy`](crate::Threads::WhileBusy): how often a callback has kept the thread that serves the
    /// clients for so long that another thread has taken over.
    pub take_overs: u64,
}

/// The statistics of a machine. [`Machine::stats`](crate::Machine::stats) returns them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MachineStats {
    /// How many servers it has now.
    pub servers: usize,
    /// How many of its intervals and timeouts have not ended.
    pub intervals: usize,
    /// How many of its threads are running.
    pub threads: usize,
    /// The sums over all its servers, including servers that have ended. `peak` is the sum of the peaks.
    pub clients: ServerStats,
}

impl ServerStats {
    /// Adds the statistics of another server.
    pub(crate) fn add(&mut self, other: &ServerStats) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.accept_errors += other.accept_errors;
        self.handshakes_failed += other.handshakes_failed;
        self.current += other.current;
        self.peak += other.peak;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.backlog += other.backlog;
        self.by_peer += other.by_peer;
        self.by_server += other.by_server;
        self.stopping += other.stopping;
        self.lost += other.lost;
        self.panics += other.panics;
        self.failures += other.failures;
        self.idle_timeouts += other.idle_timeouts;
        self.too_slow += other.too_slow;
        self.take_overs += other.take_overs;
    }
}
