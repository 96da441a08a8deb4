//! What clients, servers and machines count: snapshots, taken when asked for.

use std::time::Instant;

/// What one client has counted. From [`Client::stats`](crate::Client::stats).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ClientStats {
    /// Bytes read from the client.
    pub bytes_in: u64,
    /// Bytes handed to the kernel for the client.
    pub bytes_out: u64,
    /// When the client connected.
    pub connected_since: Instant,
    /// Bytes accepted for the client and not yet taken by the kernel.
    pub backlog: usize,
}

/// What one server has counted. From [`ServerHandle::stats`](crate::ServerHandle::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Clients that the server has taken on, ever.
    pub accepted: u64,
    /// Connections that it took and could not serve (no thread could be started), or that came
    /// while it stopped.
    pub refused: u64,
    /// Accepts that failed.
    pub accept_errors: u64,
    /// Clients that it serves now.
    pub current: usize,
    /// The most that it has served at once.
    pub peak: usize,
    /// Bytes read from its clients, those that are gone included.
    pub bytes_in: u64,
    /// Bytes handed to the kernel for its clients, those that are gone included.
    pub bytes_out: u64,
    /// Bytes accepted for its clients and not yet taken by the kernel.
    pub backlog: usize,
    /// Clients that ended with a panic.
    pub panics: u64,
    /// Clients that ended with an error of the adapter's.
    pub failures: u64,
    /// Clients that ended [`Idle`](crate::Closing::Idle).
    pub idle_timeouts: u64,
    /// Clients that ended [`TooSlow`](crate::Closing::TooSlow).
    pub too_slow: u64,
}

/// What a machine has counted. From [`Machine::stats`](crate::Machine::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MachineStats {
    /// Servers that it has now.
    pub servers: usize,
    /// Intervals and timeouts that are pending.
    pub intervals: usize,
    /// Threads that it has started and that have not ended.
    pub threads: usize,
    /// The sums over its servers, those that have ended included; `peak` is the sum of the peaks.
    pub clients: ServerStats,
}

impl ServerStats {
    pub(crate) fn add(&mut self, other: &ServerStats) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.accept_errors += other.accept_errors;
        self.current += other.current;
        self.peak += other.peak;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.backlog += other.backlog;
        self.panics += other.panics;
        self.failures += other.failures;
        self.idle_timeouts += other.idle_timeouts;
        self.too_slow += other.too_slow;
    }
}
