//! The header of a proxy, in real connections to a real server, compared with a second decoder that is written by
//! hand.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use backport::{Adapter, Client, Input, Machine, Remote, Result, Running, TcpServer};

const DEADLINE: Duration = Duration::from_secs(20);
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The client and the address that it has connected to, if a header names them.
type Named = Option<[SocketAddr; 2]>;

/// Says which addresses it sees, and sends back everything else when the input has ended.
struct Mirror;

impl Adapter for Mirror {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        let mut rest = Vec::new();
        input.read_to_end(&mut rest)?;
        let Remote::Tcp { peer, local } = client.remote() else { panic!("{}", client.remote()) };
        client.write_line(format!("{peer} {local}"))?;
        Ok(client.write(rest)?)
    }
}

/// The server, which runs until the process ends.
fn server() -> SocketAddr {
    static SERVER: OnceLock<(SocketAddr, Running)> = OnceLock::new();
    let (address, _) = SERVER.get_or_init(|| {
        let machine = Machine::new();
        let server = TcpServer::new("127.0.0.1:0", || Mirror).proxy_protocol(|ip| ip.is_loopback());
        let address = machine.prepare(server).unwrap().local_addr();
        (address, machine.start().unwrap())
    });
    *address
}

/// Asserts that a server takes from the stream what the slow decoder takes from it.
pub(crate) fn check(stream: &[u8], cuts: &[usize]) {
    let address = server();
    let mut peer = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    peer.set_nodelay(true).unwrap();
    let real = [peer.local_addr().unwrap(), address];
    let mut unsent = stream;
    for cut in cuts.iter().cycle() {
        let (piece, rest) = unsent.split_at(unsent.len().min(1.max(*cut)));
        // The server may have refused the header already.
        if piece.is_empty() || peer.write_all(piece).is_err() {
            break;
        }
        unsent = rest;
    }
    // Fails only if the server has ended the connection.
    drop(peer.shutdown(Shutdown::Write));
    let mut said = Vec::new();
    let result = peer.read_to_end(&mut said);
    match decode_slowly(stream) {
        Some((named, used)) => {
            let [source, destination] =
                named.map_or(real, |named| [0, 1].map(|side| shown(named[side], real[side])));
            let expected = [format!("{source} {destination}\n").as_bytes(), &stream[used..]].concat();
            assert_eq!(result.map_err(|error| error.kind()), Ok(expected.len()), "{}", stream.escape_ascii());
            assert_eq!(said, expected, "{}", stream.escape_ascii());
        }
        // If the server has not read everything, its close is a reset.
        None => assert_eq!(said, b"", "{}", stream.escape_ascii()),
    }
}

/// The address that a server shows instead of a named one.
fn shown(named: SocketAddr, real: SocketAddr) -> SocketAddr {
    let ip = match named.ip() {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(ip.into(), IpAddr::V4),
        ip => ip,
    };
    if ip == Ipv4Addr::UNSPECIFIED || ip == Ipv6Addr::UNSPECIFIED {
        return real;
    }
    SocketAddr::new(ip, named.port())
}

/// The addresses that a whole stream names, and where its header ends. `None` if it is refused.
pub(crate) fn decode_slowly(stream: &[u8]) -> Option<(Named, usize)> {
    if stream.starts_with(SIGNATURE) {
        version_2(stream)
    } else {
        version_1(stream)
    }
}

fn version_1(stream: &[u8]) -> Option<(Named, usize)> {
    let end = stream.iter().take(107).position(|byte| *byte == b'\n')? + 1;
    let line = stream[..end].strip_prefix(b"PROXY ")?.strip_suffix(b"\r\n")?;
    if line.starts_with(b"UNKNOWN") {
        return (!line.contains(&b'\r')).then_some((None, end));
    }
    let line = std::str::from_utf8(line).ok()?;
    let fields: Vec<&str> = line.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = fields[..] else { return None };
    let ip = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse().ok().map(IpAddr::V4),
            "TCP6" => text.parse().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let source = SocketAddr::new(ip(source)?, source_port.parse().ok()?);
    let destination = SocketAddr::new(ip(destination)?, destination_port.parse().ok()?);
    Some((Some([source, destination]), end))
}

fn version_2(stream: &[u8]) -> Option<(Named, usize)> {
    let (&[command, protocol, high, low], body) = stream[SIGNATURE.len()..].split_first_chunk()?;
    let length = usize::from(high) * 256 + usize::from(low);
    if length > 4096 {
        return None;
    }
    let body = body.get(..length)?;
    let port = |at: usize| body.get(at..at + 2).map(|port| u16::from(port[0]) * 256 + u16::from(port[1]));
    let named = match (command, protocol) {
        (0x20, _) | (0x21, 0x00) => None,
        (0x21, 0x31) => {
            body.get(..216)?;
            None
        }
        (0x21, 0x11) => {
            let ip = |at: usize| body.get(at..at + 4).map(|ip| Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3]));
            let side = |nth: usize| Some(SocketAddr::new(ip(4 * nth)?.into(), port(8 + 2 * nth)?));
            Some([side(0)?, side(1)?])
        }
        (0x21, 0x21) => {
            let ip = |at: usize| body.get(at..at + 16).and_then(|ip| <[u8; 16]>::try_from(ip).ok());
            let side =
                |nth: usize| Some(SocketAddr::new(Ipv6Addr::from(ip(16 * nth)?).into(), port(32 + 2 * nth)?));
            Some([side(0)?, side(1)?])
        }
        _ => return None,
    };
    Some((named, SIGNATURE.len() + 4 + length))
}
