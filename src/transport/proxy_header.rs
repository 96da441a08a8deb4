//! The header that a proxy sends before the data of its client: the PROXY protocol, versions 1 and 2
//! ([specification](https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt)).
//!
//! The header is read exactly, so that the next byte of the transport is the first byte of the client. No
//! buffer has to be passed on to the part that reads next.
//!
//! - The shortest header of version 1 has 15 bytes. Both versions differ in their first bytes, so the first
//!   12 bytes are read together.
//! - A header of version 2 says its own length.
//! - A header of version 1 ends with a line feed. Its rest is read byte by byte.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use proxy_header::{ParseConfig, ProxyHeader};

use crate::transport::{Received, Transport};

/// The first bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The first bytes of version 1.
const PREFIX: &[u8; 6] = b"PROXY ";
/// The length of the longest header of version 1, with its line end.
const LONGEST_LINE: usize = 107;
/// The largest length that a header of version 2 may say. The addresses take at most 216 bytes, and the rest are
/// extra fields, which may hold certificates.
const LONGEST_BODY: u16 = 4096;
/// Version 2, and the command for a connection of the proxy itself.
const LOCAL: u8 = 0x20;
/// Version 2, and the command for a connection that the proxy passes on.
const PROXY: u8 = 0x21;

/// The addresses that a proxy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The address of the client.
    pub(crate) source: SocketAddr,
    /// The address that the client has connected to.
    pub(crate) destination: SocketAddr,
}

/// Reads the header, and no byte after it. Blocks until `deadline`. Returns `None` if the header names no
/// addresses, for example because the proxy speaks for itself.
///
/// # Errors
/// - `InvalidData` if the bytes are not such a header
/// - `UnexpectedEof` if the input ends before or within the header
/// - `TimedOut` if the header is not complete at the deadline
/// - `ConnectionAborted` after an interrupt
/// - the error of the transport if the connection was lost
pub(crate) fn read(transport: &dyn Transport, deadline: Instant) -> io::Result<Option<Named>> {
    let mut header = Header { transport, deadline, bytes: Vec::new() };
    while header.bytes.len() < SIGNATURE.len() {
        header.read(SIGNATURE.len() - header.bytes.len())?;
        if !begins_like(&header.bytes, SIGNATURE) && !begins_like(&header.bytes, PREFIX) {
            return Err(header.malformed("the connection does not begin with a PROXY header"));
        }
    }
    if header.bytes == SIGNATURE {
        header.version_2()
    } else {
        header.version_1()
    }
}

/// Returns `true` if one of the two is a prefix of the other.
fn begins_like(bytes: &[u8], expected: &[u8]) -> bool {
    bytes.iter().zip(expected).all(|(byte, expected)| byte == expected)
}

/// A header of which a part has arrived.
struct Header<'a> {
    transport: &'a dyn Transport,
    deadline: Instant,
    bytes: Vec<u8>,
}

impl Header<'_> {
    fn version_1(mut self) -> io::Result<Option<Named>> {
        while !self.bytes.contains(&b'\n') {
            if self.bytes.len() == LONGEST_LINE {
                return Err(self.malformed("no line end within the 107 bytes of a PROXY header of version 1"));
            }
            self.read(1)?;
        }
        self.parse()
    }

    fn version_2(mut self) -> io::Result<Option<Named>> {
        const FIXED: usize = SIGNATURE.len() + 4;
        self.read_to(FIXED)?;
        let (command, protocol) = (self.bytes[FIXED - 4], self.bytes[FIXED - 3]);
        let length = u16::from_be_bytes([self.bytes[FIXED - 2], self.bytes[FIXED - 1]]);
        if command != LOCAL && command != PROXY {
            return Err(invalid(format!("a PROXY header of an unknown version or command: 0x{command:02x}")));
        }
        if length > LONGEST_BODY {
            return Err(invalid(format!(
                "a PROXY header of {length} bytes: the limit is {LONGEST_BODY} bytes"
            )));
        }
        self.read_to(FIXED + usize::from(length))?;
        match (command, protocol) {
            // The rest of the header must be ignored, even if it is malformed.
            (LOCAL, _) => Ok(None),
            // The lower half of the byte is the kind of socket.
            (_, datagrams) if datagrams & 0x0f == 2 => {
                Err(invalid(format!("a PROXY header for datagrams in a stream: 0x{datagrams:02x}")))
            }
            _ => self.parse(),
        }
    }

    /// Parses the complete header.
    fn parse(&self) -> io::Result<Option<Named>> {
        let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
        match ProxyHeader::parse(&self.bytes, config) {
            Ok((header, used)) if used == self.bytes.len() => Ok(header
                .proxied_address()
                .map(|address| Named { source: address.source, destination: address.destination })),
            _ => Err(self.malformed("malformed PROXY header")),
        }
    }

    /// Reads until the header has `length` bytes.
    fn read_to(&mut self, length: usize) -> io::Result<()> {
        while self.bytes.len() < length {
            self.read(length - self.bytes.len())?;
        }
        Ok(())
    }

    /// Reads at least one byte, and at most `most` bytes.
    fn read(&mut self, most: usize) -> io::Result<()> {
        let start = self.bytes.len();
        self.bytes.resize(start + most, 0);
        let result = self.read_once(start);
        self.bytes.truncate(start + *result.as_ref().unwrap_or(&0));
        result.map(drop)
    }

    fn read_once(&mut self, start: usize) -> io::Result<usize> {
        loop {
            // A peer that sends its header slowly does not get more time.
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let message =
                    format!("no PROXY header within the handshake_timeout: {start} bytes have arrived");
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            match self.transport.read(&mut self.bytes[start..], Some(left))? {
                Received::Bytes(count) => return Ok(count),
                Received::EndOfInput => {
                    let message = format!("the input ended after {start} bytes of a PROXY header");
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
                }
                Received::Interrupted => return Err(io::ErrorKind::ConnectionAborted.into()),
                Received::TimedOut => {}
            }
        }
    }

    /// Creates an error that quotes the first bytes. The log escapes it.
    fn malformed(&self, problem: &str) -> io::Error {
        const QUOTED: usize = 64;
        let (quoted, more) = match self.bytes.get(..QUOTED) {
            Some(first) if first.len() < self.bytes.len() => (first, "…"),
            _ => (&*self.bytes, ""),
        };
        invalid(format!("{problem}: \"{}{more}\"", String::from_utf8_lossy(quoted)))
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::io::IoSlice;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::transport::memory::{MemoryTransport, Pipe};
    use crate::transport::Grace;

    const LONG: Duration = Duration::from_secs(20);
    const DATA: &[u8] = b"the first bytes of the client";

    fn transport() -> MemoryTransport {
        MemoryTransport { inward: Pipe::new(8192), outward: Pipe::new(1), flush: Arc::default() }
    }

    fn send(transport: &MemoryTransport, bytes: &[u8]) {
        if !bytes.is_empty() {
            assert_eq!(transport.inward.write(&[IoSlice::new(bytes)], Instant::now()).unwrap(), bytes.len());
        }
    }

    fn named(source: &str, destination: &str) -> Option<Named> {
        Some(Named { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
    }

    /// Builds a header of version 2.
    fn version_2(command: u8, protocol: u8, body: &[&[u8]]) -> Vec<u8> {
        let body = body.concat();
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, protocol], &length, &body].concat()
    }

    /// Headers, and the addresses that they name.
    fn headers() -> Vec<(Vec<u8>, Option<Named>)> {
        let line = |line: &str| line.as_bytes().to_vec();
        let ports = [0x12, 0x34, 0, 80];
        let (v4, mut v6) = ([192, 0, 2, 1, 198, 51, 100, 2], [0; 32]);
        (v6[0], v6[1], v6[15], v6[16], v6[17], v6[31]) = (0x20, 1, 7, 0x20, 1, 8);
        let tlvs = [4, 0, 3, 1, 2, 3, 0xff, 0xff, 0xff];
        let v4_named = named("192.0.2.1:4660", "198.51.100.2:80");
        let v6_named = named("[2001::7]:4660", "[2001::8]:80");
        let longest = format!("PROXY UNKNOWN{}\r\n", " ".repeat(LONGEST_LINE - 15));
        vec![
            (line("PROXY TCP4 192.0.2.1 198.51.100.2 4660 80\r\n"), v4_named),
            (line("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n"), named("1.1.1.1:1", "2.2.2.2:2")),
            (line("PROXY TCP6 2001::7 2001::8 4660 80\r\n"), v6_named),
            (line("PROXY TCP6 :: :: 0 0\r\n"), named("[::]:0", "[::]:0")),
            (line("PROXY UNKNOWN\r\n"), None),
            (line("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"), None),
            (line(&longest), None),
            (version_2(PROXY, 0x11, &[&v4, &ports]), v4_named),
            (version_2(PROXY, 0x21, &[&v6, &ports]), v6_named),
            (version_2(PROXY, 0x11, &[&v4, &ports, &tlvs]), v4_named),
            (version_2(PROXY, 0x11, &[&v4, &ports, &[1; 4084]]), v4_named),
            (version_2(PROXY, 0x00, &[]), None),
            (version_2(PROXY, 0x00, &[&tlvs]), None),
            (version_2(PROXY, 0x31, &[&[b'/'; 216]]), None),
            (version_2(LOCAL, 0x00, &[]), None),
            (version_2(LOCAL, 0x12, &[&[9]]), None),
        ]
    }

    /// Sends a header and data in pieces, and asserts that exactly the header is read.
    #[track_caller]
    fn check(header: &[u8], expected: Option<Named>, pieces: &[&[u8]]) {
        let transport = transport();
        pieces.iter().for_each(|piece| send(&transport, piece));
        transport.inward.end();
        let found = read(&transport, Instant::now() + LONG).unwrap();
        assert_eq!(found, expected, "{}", header.escape_ascii());
        let (mut rest, mut buffer) = (Vec::new(), [0; 64]);
        while let Received::Bytes(count) = transport.read(&mut buffer, None).unwrap() {
            rest.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(rest, DATA, "after {}", header.escape_ascii());
    }

    #[test]
    fn exactly_the_header_is_read_whatever_its_pieces_are() {
        for (header, expected) in headers() {
            let all = [&header, DATA].concat();
            check(&header, expected, &[&all]);
            check(&header, expected, &all.chunks(1).collect::<Vec<_>>());
            // Every way to cut the first bytes into three pieces, and every cut of the rest into two.
            let first = all.len().min(60);
            for one in 1..all.len() {
                let (left, right) = all.split_at(one);
                check(&header, expected, &[left, right]);
                for two in one + 1..first {
                    check(&header, expected, &[left, &all[one..two], &all[two..]]);
                }
            }
        }
    }

    /// Returns the error for bytes after which the input ends.
    #[track_caller]
    fn error(bytes: &[u8]) -> io::Error {
        let transport = transport();
        send(&transport, bytes);
        transport.inward.end();
        read(&transport, Instant::now() + LONG).unwrap_err()
    }

    #[test]
    fn a_header_that_ends_too_early_is_an_error() {
        for (header, _) in headers() {
            for end in 0..header.len() {
                let error = error(&header[..end]);
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
                assert_eq!(error.to_string(), format!("the input ended after {end} bytes of a PROXY header"));
            }
        }
    }

    #[test]
    fn a_malformed_header_is_an_error_that_says_why() {
        let too_long = "PROXY UNKNOWN".to_owned() + &" ".repeat(200);
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (b"GET / HTTP/1.1\r\n".to_vec(), "does not begin with a PROXY header: \"GET / HTTP/1\""),
            (b"\x16\x03\x01\x02\x00\x01".to_vec(), "does not begin with a PROXY header"),
            (b"proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n".to_vec(), "does not begin with a PROXY header"),
            (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), "does not begin with a PROXY header"),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n".to_vec(), "malformed PROXY header: \"PROXY TCP4"),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n".to_vec(), "malformed PROXY header"),
            (b"PROXY TCP4 ::1 ::2 1 2\r\n".to_vec(), "malformed PROXY header"),
            (b"PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n".to_vec(), "malformed PROXY header"),
            (b"PROXY \r\n     \r\n".to_vec(), "malformed PROXY header"),
            (too_long.into_bytes(), "no line end within the 107 bytes"),
            (version_2(0x11, 0x11, &[&[1; 12]]), "unknown version or command: 0x11"),
            (version_2(0x22, 0x11, &[&[1; 12]]), "unknown version or command: 0x22"),
            (version_2(PROXY, 0x12, &[&[1; 12]]), "for datagrams in a stream: 0x12"),
            (version_2(PROXY, 0x22, &[&[1; 36]]), "for datagrams in a stream: 0x22"),
            (version_2(PROXY, 0x11, &[&[1; 11]]), "malformed PROXY header"),
            (version_2(PROXY, 0x41, &[&[1; 36]]), "malformed PROXY header"),
            (version_2(PROXY, 0x00, &[&[1; 4097]]), "a PROXY header of 4097 bytes: the limit is 4096 bytes"),
        ];
        for (bytes, part) in cases {
            let error = error(&bytes);
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            assert!(error.to_string().contains(part), "{error}");
            assert!(error.to_string().len() < 300, "{error}");
        }
    }

    #[test]
    fn bytes_that_are_no_header_are_refused_without_waiting_for_more() {
        for begin in [&b"x"[..], b"PROXX", b"\r\n\r\n\0\r\nX", b"PROXYX"] {
            let transport = transport();
            send(&transport, begin);
            let error = read(&transport, Instant::now() + LONG).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
    }

    #[test]
    fn a_header_that_drips_gets_no_more_time() {
        let transport = Arc::new(transport());
        let dripping = Arc::clone(&transport);
        let drops = std::thread::spawn(move || {
            // It ends when the test ends the pipe, long before the spaces do.
            for byte in "PROXY UNKNOWN".bytes().chain(std::iter::repeat_n(b' ', 90)) {
                if dripping.inward.write(&[IoSlice::new(&[byte])], Instant::now()).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            panic!("the deadline did not come");
        });
        let error = read(&*transport, Instant::now() + Duration::from_millis(300)).unwrap_err();
        transport.inward.end();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("handshake_timeout"), "{error}");
        drops.join().unwrap();
    }

    #[test]
    fn an_interrupt_ends_the_wait() {
        let transport = transport();
        send(&transport, b"PROXY TCP4");
        transport.interrupt(Grace::Skip);
        let error = read(&transport, Instant::now() + LONG).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }
}
