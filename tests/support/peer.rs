//! The far end of a connection, as the tests play it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::DEADLINE;

/// A connection to a server; every call on it fails after the deadline rather than hang.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
}

impl Peer {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Peer {
        Peer::try_connect(address).unwrap()
    }

    pub(crate) fn try_connect(address: SocketAddr) -> io::Result<Peer> {
        Peer::new(TcpStream::connect_timeout(&address, DEADLINE)?)
    }

    /// With a receive buffer so small that a server's writes soon find no room.
    pub(crate) fn connect_narrow(address: SocketAddr) -> Peer {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect_timeout(&address.into(), DEADLINE).unwrap();
        Peer::new(socket.into()).unwrap()
    }

    pub(crate) fn new(stream: TcpStream) -> io::Result<Peer> {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(Peer { stream })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
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

    /// Ends the connection with RST.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    #[track_caller]
    pub(crate) fn assert_echo(&self, data: &[u8]) {
        self.send(data);
        assert_eq!(self.read(data.len()), data);
    }
}
