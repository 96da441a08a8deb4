//! Accepts from Unix sockets. [`unix_path`](super::unix_path) has the path of such a socket.

#[cfg(target_os = "linux")]
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
#[cfg(target_os = "linux")]
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use socket2::Socket;
#[cfg(target_os = "linux")]
use socket2::{Domain, SockAddr, Type};

#[cfg(target_os = "linux")]
use crate::error::with_context;
use crate::logging::debug;
#[cfg(target_os = "linux")]
use crate::logging::Escaped;
use crate::remote::{Credentials, Remote};
use crate::server::listener::socket::ListenSocket;
use crate::server::listener::unix_path::{listen, BoundPath};
use crate::server::listener::{Accepted, Listener};

/// A bound Unix socket that listens.
pub(crate) struct UnixListener {
    /// `None` if this process has not bound the path.
    bound: Option<Arc<BoundPath>>,
    socket: ListenSocket,
    /// The path that peers connect to.
    path: Option<PathBuf>,
}

impl UnixListener {
    /// Listens on a path, and removes a stale socket there.
    pub(crate) fn bind(path: &Path, mode: Option<u32>, backlog: u32) -> io::Result<UnixListener> {
        let (socket, bound) = listen(path, mode, limit(backlog))?;
        let socket = ListenSocket::own(socket)?;
        Ok(UnixListener { bound: Some(Arc::new(bound)), socket, path: Some(path.to_owned()) })
    }

    /// Listens on an abstract name (`unix(7)`). The system frees the name when the socket closes.
    #[cfg(target_os = "linux")]
    pub(crate) fn bind_abstract(name: &[u8], backlog: u32) -> io::Result<UnixListener> {
        if name.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the abstract name of a server is empty",
            ));
        }
        /// The size of `sun_path`, without the NUL byte at the beginning.
        const LIMIT: usize = 107;
        if name.len() > LIMIT {
            let length = name.len();
            let message =
                format!("an abstract name has {length} bytes, and the limit of the system is {LIMIT}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let bind = || {
            let address = SockAddr::unix(OsStr::from_bytes(&[b"\0", name].concat()))?;
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.bind(&address)?;
            socket.listen(limit(backlog))?;
            ListenSocket::own(socket)
        };
        let socket = bind().map_err(|error| {
            with_context(format_args!("cannot listen on @{}", Escaped(name.escape_ascii())), &error)
        })?;
        Ok(UnixListener { bound: None, socket, path: None })
    }

    /// Takes a listener that was bound elsewhere. Another process may share it, so it is only made
    /// non-blocking, and its path stays.
    pub(crate) fn shared(listener: StdListener) -> io::Result<UnixListener> {
        let path = listener.local_addr()?.as_pathname().map(Path::to_owned);
        Ok(UnixListener { bound: None, socket: ListenSocket::shared(listener.into())?, path })
    }
}

impl Drop for UnixListener {
    /// The path is removed before the socket closes. An interrupt may be removing it at this moment, so it is
    /// not enough to drop it.
    fn drop(&mut self) {
        if let Some(bound) = &self.bound {
            bound.remove();
        }
    }
}

fn limit(backlog: u32) -> i32 {
    i32::try_from(backlog).unwrap_or(i32::MAX)
}

impl Listener for UnixListener {
    type Socket = Socket;

    /// The path is removed while the socket still listens. A server that starts now either finds no path, or a
    /// server that accepts. It never finds a path that looks stale and is about to be removed.
    fn interrupter(&self) -> Box<dyn FnOnce() + Send> {
        let (bound, interrupt) = (self.bound.as_ref().map(Arc::downgrade), self.socket.interrupter());
        Box::new(move || {
            if let Some(bound) = bound.and_then(|bound| bound.upgrade()) {
                bound.remove();
            }
            interrupt();
        })
    }

    fn accept(&mut self, deadline: Option<Instant>) -> io::Result<Option<Accepted<Socket>>> {
        let Some((socket, _)) = self.socket.accept(deadline)? else { return Ok(None) };
        // On Linux an accepted socket is blocking, even if its listener is not (`accept(2)`).
        #[cfg(not(target_os = "linux"))]
        make_ready(&socket).map_err(|error| io::Error::new(io::ErrorKind::ConnectionAborted, error))?;
        let remote = Remote::Unix { path: self.path.clone(), credentials: credentials(&socket) };
        Ok(Some(Accepted { socket, remote }))
    }
}

/// Prepares a connected stream for its transport. The path of the result is the path that one side has bound.
pub(crate) fn connected(stream: UnixStream) -> io::Result<Accepted<Socket>> {
    let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
    let path = peer.as_pathname().or(local.as_pathname()).map(Path::to_owned);
    let socket = Socket::from(stream);
    socket.set_read_timeout(None)?;
    make_ready(&socket)?;
    let remote = Remote::Unix { path, credentials: credentials(&socket) };
    Ok(Accepted { socket, remote })
}

/// The transport needs a blocking socket on Linux, and a non-blocking one on other systems.
fn make_ready(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(!cfg!(target_os = "linux"))
}

/// Returns the process and the user of the peer, if the system tells them.
fn credentials(socket: &impl AsFd) -> Option<Credentials> {
    match system::credentials(socket) {
        Ok(credentials) => credentials,
        Err(error) => {
            debug!("cannot find out the user of a peer: {error}");
            None
        }
    }
}

/// Linux and Android: `SO_PEERCRED` of `unix(7)`. A process in a namespace that this process cannot see has the
/// number 0.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::os::fd::AsFd;

    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

    use crate::remote::Credentials;

    pub(super) fn credentials(socket: &impl AsFd) -> nix::Result<Option<Credentials>> {
        let peer = getsockopt(socket, PeerCredentials)?;
        let pid = u32::try_from(peer.pid()).ok().filter(|pid| *pid > 0);
        Ok(Some(Credentials { pid, uid: peer.uid(), gid: peer.gid() }))
    }
}

/// Apple's systems and the BSDs: `getpeereid(3)`.
#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd"
))]
mod system {
    use std::os::fd::AsFd;

    use crate::remote::Credentials;

    pub(super) fn credentials(socket: &impl AsFd) -> nix::Result<Option<Credentials>> {
        let (uid, gid) = nix::unistd::getpeereid(socket)?;
        #[cfg(target_vendor = "apple")]
        let pid = {
            use nix::sys::socket::{getsockopt, sockopt::LocalPeerPid};
            getsockopt(socket, LocalPeerPid)
                .ok()
                .and_then(|pid| u32::try_from(pid).ok())
                .filter(|pid| *pid > 0)
        };
        #[cfg(not(target_vendor = "apple"))]
        let pid = None;
        Ok(Some(Credentials { pid, uid: uid.as_raw(), gid: gid.as_raw() }))
    }
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd"
)))]
mod system {
    use std::os::fd::AsFd;

    use crate::remote::Credentials;

    pub(super) fn credentials(_: &impl AsFd) -> std::io::Result<Option<Credentials>> {
        Ok(None)
    }
}
