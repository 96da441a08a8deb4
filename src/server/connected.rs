//! A server for one connection that the user has made: [`Connected`].

use std::fmt;
use std::io;
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use socket2::Socket;

use crate::adapter::Adapter;
use crate::error::with_context;
use crate::reactor::Reactor;
use crate::server::control::Control;
use crate::server::handle::ServerHandle;
use crate::server::listener::tcp::{self, TcpOptions};
#[cfg(unix)]
use crate::server::listener::unix;
use crate::server::listener::Accepted;
use crate::server::permit::Permit;
use crate::server::session::Sessions;
use crate::server::Server;
use crate::sync::Mutex;
use crate::transport::socket::SocketTransport;
#[cfg(unix)]
use crate::transport::unix::UnixTransport;
use crate::transport::Transport;

/// A connected stream, for [`Machine::serve`](crate::Machine::serve). It is made from a
/// [`TcpStream`](std::net::TcpStream), or on Unix also from a `UnixStream`.
#[derive(Debug)]
pub struct Connected {
    stream: Stream,
}

/// The kinds of streams that can be served. [`Stream::accept`] says how.
#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// Makes the transport of a socket.
type Connect = fn(Socket, Arc<Reactor>) -> Arc<dyn Transport>;

impl From<TcpStream> for Connected {
    fn from(stream: TcpStream) -> Connected {
        Connected { stream: Stream::Tcp(stream) }
    }
}

#[cfg(unix)]
impl From<UnixStream> for Connected {
    fn from(stream: UnixStream) -> Connected {
        Connected { stream: Stream::Unix(stream) }
    }
}

impl Stream {
    /// Prepares the socket for its transport, and determines its remote side and the limits of its server.
    fn accept(self, control: &Control) -> io::Result<(Accepted<Socket>, Connect)> {
        match self {
            Stream::Tcp(stream) => {
                let options = TcpOptions::default();
                control.state().limits().set_stall_timeout(options.stall_timeout());
                let connect: Connect = |socket, reactor| SocketTransport::new(socket, reactor);
                Ok((tcp::connected(stream, &options)?, connect))
            }
            #[cfg(unix)]
            Stream::Unix(stream) => {
                let connect: Connect = |socket, reactor| UnixTransport::new(socket, reactor);
                Ok((unix::connected(stream)?, connect))
            }
        }
    }
}

/// Serves one connection with one adapter.
pub(crate) struct ServeConnected<A> {
    pub(crate) connected: Connected,
    pub(crate) adapter: A,
}

impl<A: Adapter> Server for ServeConnected<A> {
    type Handle = ServerHandle;

    fn prepare(self, control: Control) -> io::Result<ServerHandle> {
        let accepted = self.connected.stream.accept(&control);
        let (accepted, connect) =
            accepted.map_err(|error| with_context("cannot serve the connection", &error))?;
        control.set_name(format!("connection {}", accepted.remote));
        control.state().set_brief();
        let reactor = Arc::clone(&control.engine().reactor);
        reactor.prepare();
        let transport = move |socket| connect(socket, Arc::clone(&reactor));
        let adapter = Mutex::new(Some(self.adapter));
        let factory = move || adapter.lock().take().expect("there is one session, which makes one adapter");
        let sessions = Arc::new(Sessions::new(&control, factory, transport));
        let permit =
            Permit::take(control.state()).ok_or_else(|| io::Error::other("the server is stopping"))?;
        sessions.start(permit, accepted)?;
        Ok(control.handle())
    }
}

impl<A> fmt::Debug for ServeConnected<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeConnected").field("connected", &self.connected).finish_non_exhaustive()
    }
}
