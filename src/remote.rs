//! [`Remote`]: the remote side of a connection, as plain data that stays available after the connection has
//! ended. [`Credentials`]: the process and the user at the other end of a Unix socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
#[cfg(unix)]
use std::path::PathBuf;

#[cfg(unix)]
use crate::logging::Escaped;

/// The remote side of a client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remote {
    /// A TCP connection. If an IPv4 peer connects to an IPv6 listener, both addresses are IPv4.
    Tcp {
        /// The peer's address.
        peer: SocketAddr,
        /// The local address. For a client of a listener, it is the address that the peer has connected to.
        local: SocketAddr,
    },
    /// A connection to a Unix socket.
    #[cfg(unix)]
    Unix {
        /// The path of the server, which the peer has connected to, as the program has given it. `None` if the
        /// socket has an abstract name or no name.
        path: Option<PathBuf>,
        /// The process and the user of the peer. `None` if the system does not tell them.
        credentials: Option<Credentials>,
    },
    /// The standard input and output of this process.
    Stdio,
    /// A connection in memory, to a test in the same process. See [`testing`](crate::testing).
    Memory,
}

impl Remote {
    /// Returns the peer's internet address, or `None` if the peer has none.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Remote::Tcp { peer, .. } => Some(*peer),
            #[cfg(unix)]
            Remote::Unix { .. } => None,
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
            #[cfg(unix)]
            Remote::Unix { path, credentials } => {
                f.write_str("unix")?;
                if let Some(path) = path {
                    write!(f, " {}", Escaped(path.display()))?;
                }
                credentials.map_or(Ok(()), |credentials| write!(f, " ({credentials})"))
            }
            Remote::Stdio => f.write_str("stdio"),
            Remote::Memory => f.write_str("memory"),
        }
    }
}

/// The process and the user at the other end of a Unix socket, at the moment when it has connected.
///
/// The kernel reports them, so the peer cannot forge them. The process may have ended since then, and another
/// process may have its number now. A process can also pass a connected socket to another process. Therefore use
/// the user to decide about rights, and the process only for messages.
///
/// On Linux, Android and Apple's systems, the process is known. On the BSDs only the user is known.
#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Credentials {
    /// The number of the process. `None` if the system does not report it, or if the process belongs to a
    /// namespace that this process cannot see.
    pub pid: Option<u32>,
    /// The effective user of the process.
    pub uid: u32,
    /// The effective group of the process.
    pub gid: u32,
}

#[cfg(unix)]
impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}, gid {}", self.uid, self.gid)?;
        self.pid.map_or(Ok(()), |pid| write!(f, ", pid {pid}"))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_unix_remote_is_shown_on_one_line() {
        let show = |path: Option<&str>, credentials| {
            Remote::Unix { path: path.map(PathBuf::from), credentials }.to_string()
        };
        let mut credentials = Credentials { pid: Some(12), uid: 1000, gid: 100 };
        assert_eq!(
            show(Some("/run/a.sock"), Some(credentials)),
            "unix /run/a.sock (uid 1000, gid 100, pid 12)"
        );
        credentials.pid = None;
        assert_eq!(show(Some("/run/a\nb"), Some(credentials)), "unix /run/a\\nb (uid 1000, gid 100)");
        assert_eq!(show(None, None), "unix");
    }
}
