//! [`Remote`]: the remote side of a connection, as plain data that stays available after the connection has
//! ended.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The remote side of a client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remote {
    /// A TCP connection. If an IPv4 peer connects to an IPv6 listener, both addresses are IPv4.
    Tcp {
        /// The peer's address.
        peer: SocketAddr,
        /// The local address that the peer has connected to.
        local: SocketAddr,
    },
    /// The standard input and output of this process.
    Stdio,
    /// A connection in memory, to a test in the same process. See [`testing`](crate::testing).
    Memory,
}

impl Remote {
    /// Returns the peer's address, or `None` if the peer has no address.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Remote::Tcp { peer, .. } => Some(*peer),
            Remote::Stdio | Remote::Memory => None,
        }
    }

    /// Returns the peer's IP address, or `None` if the peer has no address.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.address().map(|address| address.ip())
    }

    /// Returns the peer's port, or `None` if the peer has no address.
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
