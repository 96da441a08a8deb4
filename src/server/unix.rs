//! The server on a Unix socket: its builder, its handle, and the code that connects the listener to sessions.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::adapter::Adapter;
use crate::logging::{info, Escaped};
use crate::server::control::Control;
use crate::server::handle::ServerHandle;
use crate::server::listener::unix::UnixListener;
use crate::server::settings::{client_setters, listener_setters, Settings};
use crate::server::Server;
use crate::transport::unix::UnixTransport;

/// A server on a Unix socket with its settings, for [`Machine::prepare`](crate::Machine::prepare). Only on Unix.
///
/// [`Machine::prepare_unix_server`](crate::Machine::prepare_unix_server) is a shorter way to use all default
/// settings.
///
/// ```
/// use std::{io::{Read, Write}, net::Shutdown, os::unix::net::UnixStream};
/// use backport::{Machine, UnixServer};
///
/// # fn main() -> backport::Result {
/// # let path = std::env::temp_dir().join(format!("backport-doc-{}.sock", std::process::id()));
/// let machine = Machine::new();
/// let factory = || backport::receiving(|client, data| Ok(client.write(data)?));
/// machine.prepare(UnixServer::new(&path, factory).mode(0o600).max_clients(100))?;
/// let running = machine.start()?;
///
/// let mut peer = UnixStream::connect(&path)?;
/// peer.write_all(b"hi")?;
/// peer.shutdown(Shutdown::Write)?;
/// let mut reply = String::new();
/// peer.read_to_string(&mut reply)?;
/// assert_eq!(reply, "hi");
///
/// running.stop()?;
/// assert!(!path.exists());
/// # Ok(())
/// # }
/// ```
///
/// # The path
///
/// `prepare` binds the path, which must not exist yet or must be a stale socket. A socket is stale if no server
/// listens on it, for example because its server was killed. `prepare` removes a stale socket. It never removes
/// the socket of a running server, nor anything that is not a socket. To find out, it connects to the socket,
/// so a running server sees a client that leaves at once. If two servers start at the same path at the same
/// time, at most one of them succeeds. For this purpose, a file with the additional suffix `.lock` exists beside
/// the path during the start. Other programs do not know this lock.
///
/// The path is removed when the server stops or drains, before its socket closes. It is also removed if
/// `prepare` fails later, or if the machine never runs. If another file has replaced it, that file stays.
///
/// # Differences from TCP
///
/// - Output that was written reaches a peer that reads it, also if the peer reads it long after the close and
///   also after [`abort`](crate::Client::abort). An abort drops only output that the kernel has not taken yet.
/// - A peer that has ended is noticed at once, so there is no keepalive.
/// - While a connection is closing and output waits for room, the peer must take about 36 kB a second, because
///   the kernel reports smaller progress only when it adds up to that.
#[must_use = "a server does nothing until it is prepared on a machine"]
pub struct UnixServer<F> {
    source: Source,
    factory: F,
    settings: Settings,
    mode: Option<u32>,
    backlog: u32,
}

enum Source {
    Path(PathBuf),
    #[cfg(target_os = "linux")]
    Abstract(Vec<u8>),
    Listener(StdListener),
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static> UnixServer<F> {
    /// Creates a server that listens on the path `path`. The type's documentation says what happens if the path
    /// exists.
    ///
    /// The system limits the length of the path, to 107 bytes on Linux. `factory` makes the adapter of each
    /// client, on the client's thread.
    pub fn new(path: impl AsRef<Path>, factory: F) -> UnixServer<F> {
        UnixServer::with(Source::Path(path.as_ref().to_owned()), factory)
    }

    /// Creates a server that listens on a name which is no file. The system frees the name when the server
    /// stops. Every user of the system may connect. Only on Linux.
    ///
    /// The name has 1 to 107 bytes. Tools write it with an `@` in front, which is not a part of it. It belongs
    /// to the network namespace of this process ([unix(7)]).
    ///
    /// [unix(7)]: https://man7.org/linux/man-pages/man7/unix.7.html
    #[cfg(target_os = "linux")]
    pub fn abstract_name(name: impl AsRef<[u8]>, factory: F) -> UnixServer<F> {
        UnixServer::with(Source::Abstract(name.as_ref().to_owned()), factory)
    }

    /// Creates a server with a listener that is already bound, for example by another process that has passed
    /// it on.
    ///
    /// All settings apply except [`backlog`](UnixServer::backlog) and [`mode`](UnixServer::mode). The listener
    /// becomes non-blocking, also for other processes that share it. Nothing else about it is changed. When the
    /// server stops, the listener is not shut down and its path is not removed.
    pub fn from_listener(listener: StdListener, factory: F) -> UnixServer<F> {
        UnixServer::with(Source::Listener(listener), factory)
    }

    fn with(source: Source, factory: F) -> UnixServer<F> {
        UnixServer { source, factory, settings: Settings::default(), mode: None, backlog: 4_096 }
    }

    listener_setters!();
    client_setters!(settings.clients);

    /// Sets the permissions of the path, for example `0o600`. On Linux and most other systems, a peer needs the
    /// permission to write. They are set before the first peer can connect. Default: the permissions that the
    /// system gives, which the umask limits.
    ///
    /// `prepare` returns an error of kind [`InvalidInput`](io::ErrorKind::InvalidInput) if there are other bits
    /// than the nine permissions, or if this server does not bind a path.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Sets how many connections may wait in the kernel's queue until they are accepted (`listen(2)`). On
    /// Linux, `net.core.somaxconn` is the maximum. Default: 4,096.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    fn check_mode(&self) -> io::Result<()> {
        let message = match (self.mode, &self.source) {
            (None, _) => return Ok(()),
            (Some(mode), _) if mode > 0o777 => format!("the mode {mode:#o} has bits that are no permissions"),
            (Some(_), Source::Path(_)) => return Ok(()),
            (Some(_), _) => "a mode needs a server that binds a path".to_owned(),
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
    }
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static> Server for UnixServer<F> {
    type Handle = UnixHandle;

    fn prepare(self, control: Control) -> io::Result<UnixHandle> {
        self.settings.clients.check()?;
        self.check_mode()?;
        let address = Address::of(&self.source)?;
        control.set_name(address.to_string());
        let listener = match self.source {
            Source::Path(path) => UnixListener::bind(&path, self.mode, self.backlog)?,
            #[cfg(target_os = "linux")]
            Source::Abstract(name) => UnixListener::bind_abstract(&name, self.backlog)?,
            Source::Listener(listener) => UnixListener::shared(listener)?,
        };
        self.settings.serve(&control, self.factory, vec![listener], UnixTransport::new)?;
        info!("server {} is ready", Escaped(&address));
        Ok(UnixHandle { server: control.handle(), address: Arc::new(address) })
    }
}

impl<F> fmt::Debug for UnixServer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixServer")
            .field("settings", &self.settings)
            .field("mode", &self.mode)
            .field("backlog", &self.backlog)
            .finish_non_exhaustive()
    }
}

/// The address that a server listens on.
#[derive(Debug)]
enum Address {
    Path(PathBuf),
    #[cfg(target_os = "linux")]
    Abstract(Vec<u8>),
    /// The listener of [`UnixServer::from_listener`] has no path.
    Other,
}

impl Address {
    fn of(source: &Source) -> io::Result<Address> {
        Ok(match source {
            Source::Path(path) => Address::Path(path.clone()),
            #[cfg(target_os = "linux")]
            Source::Abstract(name) => Address::Abstract(name.clone()),
            Source::Listener(listener) => {
                let local = listener.local_addr()?;
                #[cfg(target_os = "linux")]
                if let Some(name) = std::os::linux::net::SocketAddrExt::as_abstract_name(&local) {
                    return Ok(Address::Abstract(name.to_owned()));
                }
                local.as_pathname().map_or(Address::Other, |path| Address::Path(path.to_owned()))
            }
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Path(path) => write!(f, "unix {}", path.display()),
            #[cfg(target_os = "linux")]
            Address::Abstract(name) => write!(f, "unix @{}", name.escape_ascii()),
            Address::Other => f.write_str("unix"),
        }
    }
}

/// A handle of a server on a Unix socket: a [`ServerHandle`] with the server's address. Only on Unix.
#[derive(Clone, Debug)]
pub struct UnixHandle {
    server: ServerHandle,
    address: Arc<Address>,
}

impl UnixHandle {
    /// Returns the path that the server listens on, as the program has given it. Returns `None` if the server
    /// has an abstract name.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &*self.address {
            Address::Path(path) => Some(path),
            _ => None,
        }
    }

    /// Returns the abstract name that the server listens on, or `None` if it listens on a path. Only on Linux.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn abstract_name(&self) -> Option<&[u8]> {
        match &*self.address {
            Address::Abstract(name) => Some(name),
            _ => None,
        }
    }
}

impl Deref for UnixHandle {
    type Target = ServerHandle;

    fn deref(&self) -> &ServerHandle {
        &self.server
    }
}
