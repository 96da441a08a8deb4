//! Who is at the far end of a client: plain data.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Who is at the far end of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remote {
    /// A TCP connection. IPv4 peers of a dual-stack listener are shown as IPv4.
    Tcp {
        /// The peer's address.
        peer: SocketAddr,
        /// The address of ours that the peer connected to.
        local: SocketAddr,
    },
    /// The process's own standard input and output.
    Stdio,
    /// A test, in the same process: [`testing`](crate::testing).
    Memory,
}

impl Remote {
    /// The peer's address, where it has one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Remote::Tcp { peer, .. } => Some(*peer),
            Remote::Stdio | Remote::Memory => None,
        }
    }

    /// The peer's IP address, where it has one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.address().map(|address| address.ip())
    }

    /// The peer's port, where it has one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.address().map(|address| address.port())
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remote::Tcp { peer, .. } => peer.fmt(f),
            Remote::Stdio => f.write_str("stdio"),
            Remote::Memory => f.write_str("memory"),
        }
    }
}
