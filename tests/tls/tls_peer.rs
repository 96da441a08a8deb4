//! A peer that speaks TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

pub(crate) use crate::support::identity::{identity, Identity};
use crate::support::peer::Stream;
use crate::support::{Peer, DEADLINE};

/// How the far side ended its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With the end of TLS.
    CloseNotify,
    /// Without it: by the end of the connection or a reset.
    Cut,
}

/// The state of TLS of a client that has not begun.
pub(crate) fn client(config: Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap()
}

/// The first bytes that a client sends.
pub(crate) fn client_hello() -> Vec<u8> {
    take(&mut client(identity().client()))
}

/// What the state of TLS wants to send.
pub(crate) fn take(tls: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// A connection to a server, encrypted. Every call fails after the deadline.
pub(crate) struct TlsPeer {
    pub(crate) stream: StreamOwned<ClientConnection, Stream>,
}

impl TlsPeer {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> TlsPeer {
        TlsPeer::over(tcp(address), identity().client())
    }

    /// Does the handshake over a connection.
    #[track_caller]
    pub(crate) fn over(stream: impl Into<Stream>, config: Arc<ClientConfig>) -> TlsPeer {
        TlsPeer::try_over(stream, config).unwrap()
    }

    pub(crate) fn try_over(stream: impl Into<Stream>, config: Arc<ClientConfig>) -> io::Result<TlsPeer> {
        let mut stream = stream.into();
        let mut tls = client(config);
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(TlsPeer { stream: StreamOwned::new(tls, stream) })
    }

    #[track_caller]
    pub(crate) fn send(&mut self, data: impl AsRef<[u8]>) {
        self.stream.write_all(data.as_ref()).unwrap();
        self.stream.flush().unwrap();
    }

    /// The next `count` bytes.
    #[track_caller]
    pub(crate) fn read(&mut self, count: usize) -> Vec<u8> {
        let mut data = vec![0; count];
        self.stream.read_exact(&mut data).unwrap();
        data
    }

    /// Everything up to the end of TLS, which must come.
    #[track_caller]
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut data = Vec::new();
        match self.stream.read_to_end(&mut data) {
            Ok(_) => data,
            Err(error) => panic!("{error} after {} bytes", data.len()),
        }
    }

    /// With a receive buffer so small that a server's writes soon find no room.
    #[track_caller]
    pub(crate) fn connect_narrow(address: SocketAddr) -> TlsPeer {
        TlsPeer::over(Peer::connect_narrow(address).stream, identity().client())
    }

    /// Everything up to the end, and how the end came.
    #[track_caller]
    pub(crate) fn read_to_any_end(&mut self) -> (Vec<u8>, End) {
        let mut data = Vec::new();
        match self.stream.read_to_end(&mut data) {
            Ok(_) => (data, End::CloseNotify),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("no end within {DEADLINE:?}"),
            Err(_) => (data, End::Cut),
        }
    }

    /// Sends the end of TLS, and leaves the socket open.
    #[track_caller]
    pub(crate) fn close_notify(&mut self) {
        self.stream.conn.send_close_notify();
        self.stream.flush().unwrap();
    }

    #[track_caller]
    pub(crate) fn assert_echo(&mut self, data: &[u8]) {
        self.send(data);
        assert_eq!(self.read(data.len()), data);
    }
}

/// Connects without TLS.
#[track_caller]
pub(crate) fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}
