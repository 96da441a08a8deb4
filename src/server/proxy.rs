//! The upgrade that reads the header of a proxy. It decides whether the sender is believed, and sets the addresses
//! of the client.
//!
//! Runs on the thread of the client, before its other upgrades.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::logging::{warn, Limiter};
use crate::remote::Remote;
use crate::server::listener::tcp::canonical;
use crate::server::upgrade::{Connection, Upgrade};
use crate::transport::proxy_header;

/// Replaces the addresses of a connection by the addresses that its proxy names.
pub(crate) struct ProxyUpgrade {
    /// Returns `true` for the address of a proxy. It is a function of the user.
    is_proxy: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// Limits the warnings about other senders.
    warnings: Limiter,
}

impl ProxyUpgrade {
    pub(crate) fn new(is_proxy: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> ProxyUpgrade {
        ProxyUpgrade { is_proxy: Box::new(is_proxy), warnings: Limiter::default() }
    }

    /// Logs a warning about a sender that is no proxy, unless there was one within the last seconds.
    fn warn_of_stranger(&self, peer: SocketAddr, local: SocketAddr) {
        let Some(more) = self.warnings.allow(Instant::now()) else { return };
        let left_out = match more {
            0 => String::new(),
            _ => format!(" (since the last warning, {more} were not logged)"),
        };
        warn!(
            "a connection from {peer} to {local} is closed: proxy_protocol does not trust {peer}{left_out}"
        );
    }
}

impl Upgrade for ProxyUpgrade {
    fn upgrade(&self, mut connection: Connection, deadline: Instant) -> io::Result<Connection> {
        let Remote::Tcp { peer, local } = connection.facts.remote else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a proxy must connect by TCP"));
        };
        if !(self.is_proxy)(peer.ip()) {
            self.warn_of_stranger(peer, local);
            let message = format!("proxy_protocol does not trust {}", peer.ip());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        if let Some(named) = proxy_header::read(&*connection.transport, deadline)? {
            let peer = unless_unspecified(named.source).unwrap_or(peer);
            let local = unless_unspecified(named.destination).unwrap_or(local);
            connection.facts.remote = Remote::Tcp { peer, local };
        }
        connection.facts.proxy = Some(peer);
        Ok(connection)
    }
}

impl fmt::Debug for ProxyUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyUpgrade").finish_non_exhaustive()
    }
}

/// Returns `None` for an address such as `0.0.0.0`. Some proxies send it if they do not know the address.
fn unless_unspecified(address: SocketAddr) -> Option<SocketAddr> {
    Some(canonical(address)).filter(|address| !address.ip().is_unspecified())
}
