//! The upgrades to TLS: the handshake before `opening`, the switch from plain text that a callback asks for
//! (STARTTLS), and the handshake of an outgoing connection.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use crate::server::handle::ServerHandle;
use crate::server::upgrade::{Connection, Upgrade};
use crate::sync::Mutex;
use crate::transport::tls::{Start, TlsTransport};

/// When the handshake of a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Before `opening`.
    AtOnce,
    /// When a callback asks for it.
    Later,
}

/// The TLS of one server.
pub(crate) struct ServerTls {
    /// Replaced by [`ServerHandle::set_tls`], and read by each new session.
    config: Mutex<Arc<ServerConfig>>,
    /// How long a handshake may take that begins later.
    timeout: Duration,
}

impl ServerTls {
    pub(crate) fn new(config: Arc<ServerConfig>, timeout: Duration) -> Arc<ServerTls> {
        Arc::new(ServerTls { config: Mutex::new(config), timeout })
    }

    /// Returns the upgrade of each connection.
    pub(crate) fn upgrade(self: &Arc<Self>, begin: Begin) -> Arc<dyn Upgrade> {
        Arc::new(TlsUpgrade { tls: Arc::clone(self), begin })
    }

    /// Replaces the configuration. Connections that exist keep the old one.
    pub(crate) fn set(&self, config: Arc<ServerConfig>) {
        *self.config.lock() = config;
    }
}

impl Start for ServerTls {
    #[inline(never)]
    fn start(&self) -> io::Result<Box<rustls::Connection>> {
        let config = Arc::clone(&self.config.lock());
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Box::new(connection.into()))
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }
}

struct TlsUpgrade {
    tls: Arc<ServerTls>,
    begin: Begin,
}

impl Upgrade for TlsUpgrade {
    fn upgrade(&self, connection: Connection, deadline: Instant) -> io::Result<Connection> {
        let Connection { transport: lower, mut facts } = connection;
        let transport = match self.begin {
            Begin::AtOnce => {
                let (transport, session) = TlsTransport::handshake(lower, self.tls.start()?, deadline)?;
                facts.tls = session.into();
                transport
            }
            Begin::Later => TlsTransport::plain(lower, Arc::<ServerTls>::clone(&self.tls)),
        };
        Ok(Connection { transport: Arc::new(transport), facts })
    }

    fn encrypts(&self) -> bool {
        self.begin == Begin::AtOnce
    }
}

/// The TLS of an outgoing connection.
pub(crate) struct ClientTls {
    config: Arc<ClientConfig>,
    /// The name that the certificate of the peer must have.
    name: ServerName<'static>,
}

impl ClientTls {
    /// # Errors
    /// Returns an error if `name` is neither a domain name nor an IP address.
    pub(crate) fn new(config: Arc<ClientConfig>, name: String) -> io::Result<ClientTls> {
        let name = ServerName::try_from(name.as_str()).map(|name| name.to_owned()).map_err(|_| {
            let message =
                format!("{:?} cannot be the name of a certificate: use a domain name or an IP address", name);
            io::Error::new(io::ErrorKind::InvalidInput, message)
        })?;
        Ok(ClientTls { config, name })
    }

    #[inline(never)]
    fn start(&self) -> io::Result<Box<rustls::Connection>> {
        let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        Ok(Box::new(connection.map_err(io::Error::other)?.into()))
    }
}

impl Upgrade for ClientTls {
    fn upgrade(&self, connection: Connection, deadline: Instant) -> io::Result<Connection> {
        let Connection { transport: lower, mut facts } = connection;
        let (transport, session) = TlsTransport::handshake(lower, self.start()?, deadline)?;
        facts.tls = session.into();
        Ok(Connection { transport: Arc::new(transport), facts })
    }

    fn encrypts(&self) -> bool {
        true
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ServerHandle {
    /// Replaces the TLS configuration, for example because the certificate expires. Does not block.
    ///
    /// New connections use the new configuration. Connections that exist keep the old one. Clients can resume
    /// their sessions if you copy the fields `ticketer` and `session_storage` from the old configuration.
    ///
    /// # Panics
    /// Panics if the server was prepared without TLS, because its connections would stay in plain text.
    pub fn set_tls(&self, config: Arc<ServerConfig>) {
        let tls = self.state().tls().expect("set_tls needs a server that was prepared with tls or start_tls");
        tls.set(config);
    }
}

impl fmt::Debug for TlsUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsUpgrade").field("begin", &self.begin).finish_non_exhaustive()
    }
}
