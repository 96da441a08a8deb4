//! The far end of a connection, as the tests play it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;

use super::{Address, DEADLINE};

/// The bytes of one transport. `shutdown` of the write side ends the output as the protocol wants it.
pub(crate) trait Wire: fmt::Debug + Send + Sync {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn write(&self, data: &[u8]) -> io::Result<usize>;
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
    /// The socket below, for its options.
    fn socket(&self) -> SockRef<'_>;
}

macro_rules! wire {
    ($stream:ty) => {
        impl Wire for $stream {
            fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                Read::read(&mut &*self, buffer)
            }
            fn write(&self, data: &[u8]) -> io::Result<usize> {
                Write::write(&mut &*self, data)
            }
            fn shutdown(&self, how: Shutdown) -> io::Result<()> {
                <$stream>::shutdown(self, how)
            }
            fn socket(&self) -> SockRef<'_> {
                SockRef::from(self)
            }
        }
    };
}

wire!(TcpStream);
#[cfg(unix)]
wire!(std::os::unix::net::UnixStream);

/// A stream as of std, over any transport.
#[derive(Clone, Debug)]
pub(crate) struct Stream(Arc<dyn Wire>);

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Stream {
        Stream(Arc::new(stream))
    }
}

impl Stream {
    /// The same stream. It never fails, and is fallible because the streams of std are.
    pub(crate) fn try_clone(&self) -> io::Result<Stream> {
        Ok(self.clone())
    }

    /// The socket below, for its options.
    pub(crate) fn socket(&self) -> SockRef<'_> {
        self.0.socket()
    }

    /// The address of the far end. Only TCP has one.
    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.socket().peer_addr()?.as_socket().expect("it is a TCP stream"))
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.shutdown(how)
    }

    pub(crate) fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.0.socket().set_read_timeout(limit)
    }

    pub(crate) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.0.socket().set_nonblocking(nonblocking)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for &Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection to a server; every call on it fails after the deadline rather than hang.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) stream: Stream,
    server: Address,
}

impl Peer {
    #[track_caller]
    pub(crate) fn connect(address: impl Into<Address>) -> Peer {
        Peer::try_connect(address).unwrap()
    }

    pub(crate) fn try_connect(address: impl Into<Address>) -> io::Result<Peer> {
        match address.into() {
            Address::Tcp(address) => Peer::new(TcpStream::connect_timeout(&address, DEADLINE)?),
            #[cfg(unix)]
            Address::Unix(path) => {
                let stream = std::os::unix::net::UnixStream::connect(path)?;
                Peer::over(Arc::new(stream), Address::Unix(path))
            }
            #[cfg(feature = "over-tls")]
            Address::Tls(address) => {
                Peer::encrypted(TcpStream::connect_timeout(&address, DEADLINE)?, address)
            }
        }
    }

    /// With a receive buffer so small that a server's writes soon find no room. A Unix socket has none: there
    /// the server's own send buffer is all the room.
    pub(crate) fn connect_narrow(address: impl Into<Address>) -> Peer {
        match address.into() {
            Address::Tcp(address) => Peer::new(narrow(address)).unwrap(),
            #[cfg(feature = "over-tls")]
            Address::Tls(address) => Peer::encrypted(narrow(address), address).unwrap(),
            #[cfg(unix)]
            address => Peer::connect(address),
        }
    }

    pub(crate) fn new(stream: TcpStream) -> io::Result<Peer> {
        stream.set_nodelay(true)?;
        let server = stream.peer_addr()?;
        Peer::over(Arc::new(stream), server.into())
    }

    #[cfg(feature = "over-tls")]
    fn encrypted(stream: TcpStream, address: SocketAddr) -> io::Result<Peer> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Peer::over(super::encrypted::Encrypted::over(stream), Address::Tls(address))
    }

    fn over(wire: Arc<dyn Wire>, server: Address) -> io::Result<Peer> {
        wire.socket().set_read_timeout(Some(DEADLINE))?;
        wire.socket().set_write_timeout(Some(DEADLINE))?;
        Ok(Peer { stream: Stream(wire), server })
    }

    /// The address of this end. Only TCP has one.
    pub(crate) fn address(&self) -> SocketAddr {
        self.stream.0.socket().local_addr().unwrap().as_socket().expect("it is a TCP peer")
    }

    /// How the server shows this peer, or the beginning of that.
    pub(crate) fn shown(&self) -> String {
        match self.server {
            Address::Tcp(_) => self.address().to_string(),
            #[cfg(feature = "over-tls")]
            Address::Tls(_) => self.address().to_string(),
            #[cfg(unix)]
            Address::Unix(path) => format!("unix {}", path.display()),
        }
    }

    #[track_caller]
    pub(crate) fn send(&self, data: impl AsRef<[u8]>) {
        (&self.stream).write_all(data.as_ref()).unwrap();
    }

    /// Ends the output; input goes on.
    #[track_caller]
    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The next `count` bytes.
    #[track_caller]
    pub(crate) fn read(&self, count: usize) -> Vec<u8> {
        let mut data = vec![0; count];
        (&self.stream).read_exact(&mut data).unwrap();
        data
    }

    /// The bytes up to the next line feed, without it.
    #[track_caller]
    pub(crate) fn read_line(&self) -> String {
        let mut line = Vec::new();
        loop {
            match self.read(1)[0] {
                b'\n' => return String::from_utf8(line).unwrap(),
                byte => line.push(byte),
            }
        }
    }

    /// Everything up to the end of input, which must come, and not as a reset.
    #[track_caller]
    pub(crate) fn read_to_end(&self) -> Vec<u8> {
        let mut data = Vec::new();
        match (&self.stream).read_to_end(&mut data) {
            Ok(_) => data,
            Err(error) => panic!("{error} after {} bytes", data.len()),
        }
    }

    /// Asserts that nothing comes, for a short while.
    #[track_caller]
    pub(crate) fn assert_silent(&self) {
        self.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let error = (&self.stream).read(&mut [0]).expect_err("nothing was to come");
        assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{error}");
        self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
    }

    /// Waits until the connection is over, by an end of input or a reset.
    #[track_caller]
    pub(crate) fn wait_for_end(&self) {
        let mut rest = [0; 4096];
        loop {
            match (&self.stream).read(&mut rest) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    panic!("no end within {DEADLINE:?}")
                }
                Err(_) => return,
            }
        }
    }

    /// Ends the connection with RST. A Unix socket has none. Its close is a reset for the server if this end has
    /// unread data, and else an end of input.
    pub(crate) fn reset(self) {
        self.stream.0.socket().set_linger(Some(Duration::ZERO)).unwrap();
    }

    #[track_caller]
    pub(crate) fn assert_echo(&self, data: &[u8]) {
        self.send(data);
        assert_eq!(self.read(data.len()), data);
    }
}

/// Connects over TCP, with a small receive buffer.
pub(crate) fn narrow(address: SocketAddr) -> TcpStream {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect_timeout(&address.into(), DEADLINE).unwrap();
    socket.into()
}
