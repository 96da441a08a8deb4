//! The visits of clients. Each visit ends by itself in bounded time. It fails if the server is at fault.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::random::Random;
use crate::servers::NEWS;

/// The longest time that a server may let a client wait.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Visitor {
    pub(crate) random: Random,
    /// The echo server, the news server, the faulty server.
    pub(crate) addresses: [SocketAddr; 3],
}

pub(crate) struct Visit {
    pub(crate) name: &'static str,
    /// The frequency of the visit in comparison with the others.
    pub(crate) weight: usize,
    pub(crate) run: fn(&mut Visitor) -> io::Result<()>,
}

pub(crate) const VISITS: [Visit; 11] = [
    Visit { name: "connect", weight: 15, run: connect },
    Visit { name: "echo", weight: 25, run: echo },
    Visit { name: "reset", weight: 15, run: reset },
    Visit { name: "half-close", weight: 10, run: half_close },
    Visit { name: "leave", weight: 5, run: leave },
    Visit { name: "meet a fault", weight: 15, run: meet_a_fault },
    Visit { name: "drip", weight: 3, run: drip },
    Visit { name: "flood", weight: 3, run: flood },
    Visit { name: "stall", weight: 2, run: stall },
    Visit { name: "read the news slowly", weight: 3, run: read_the_news_slowly },
    Visit { name: "don't read the news", weight: 2, run: do_not_read_the_news },
];

fn connect(visitor: &mut Visitor) -> io::Result<()> {
    visitor.connect(0).map(drop)
}

fn echo(visitor: &mut Visitor) -> io::Result<()> {
    let mut stream = visitor.connect(0)?;
    for _ in 0..visitor.random.from(1..=20) {
        let size = visitor.random.from(1..=8_000);
        let data = visitor.random.bytes(size);
        stream.write_all(&data)?;
        expect(&mut stream, &data)?;
    }
    Ok(())
}

/// Resets the connection at once, while a request is under way, or while a reply is.
fn reset(visitor: &mut Visitor) -> io::Result<()> {
    let mut stream = visitor.connect(0)?;
    let size = visitor.random.from(0..=50_000);
    stream.write_all(&visitor.random.bytes(size))?;
    if visitor.random.coin() {
        thread::sleep(visitor.random.millis(0..=30));
    }
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))
}

/// Closes the connection and does not read the answer.
fn leave(visitor: &mut Visitor) -> io::Result<()> {
    let mut stream = visitor.connect(0)?;
    let size = visitor.random.from(1..=50_000);
    stream.write_all(&visitor.random.bytes(size))
}

fn half_close(visitor: &mut Visitor) -> io::Result<()> {
    let mut stream = visitor.connect(0)?;
    let size = visitor.random.from(0..=60_000);
    let data = visitor.random.bytes(size);
    stream.write_all(&data)?;
    stream.shutdown(Shutdown::Write)?;
    expect(&mut stream, &data)?;
    match stream.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::other("more than was sent")),
    }
}

/// Meets an adapter that panics, fails or closes. The connection must end.
fn meet_a_fault(visitor: &mut Visitor) -> io::Result<()> {
    let mut stream = visitor.connect(2)?;
    // Some faults happen before this write.
    if stream.write_all(b"go").is_ok() {
        until_the_end(&mut stream)?;
    }
    Ok(())
}

fn drip(visitor: &mut Visitor) -> io::Result<()> {
    let mut stream = visitor.connect(0)?;
    let size = visitor.random.from(10..=100);
    let data = visitor.random.bytes(size);
    for byte in &data {
        stream.write_all(std::slice::from_ref(byte))?;
        thread::sleep(visitor.random.millis(1..=10));
    }
    expect(&mut stream, &data)
}

fn flood(visitor: &mut Visitor) -> io::Result<()> {
    let stream = visitor.connect(0)?;
    let size = visitor.random.from(100_000..=2_000_000);
    let data = visitor.random.bytes(size);
    thread::scope(|scope| {
        let writer = scope.spawn(|| (&stream).write_all(&data));
        expect(&mut &stream, &data)?;
        writer.join().map_err(|_| io::Error::other("a writer panicked"))?
    })
}

/// Writes and never reads, until the server ends the connection.
fn stall(visitor: &mut Visitor) -> io::Result<()> {
    let (mut stream, start) = (visitor.connect_narrow(0)?, Instant::now());
    stream.set_write_timeout(Some(Duration::from_millis(100)))?;
    let block = [0; 64 * 1024];
    while start.elapsed() < PATIENCE {
        match stream.write(&block) {
            Err(error) if !is_pause(&error) => return Ok(()),
            _ => {}
        }
    }
    Err(io::Error::other("a client that doesn't read is still there"))
}

/// Reads more slowly than the news comes, for a while. The records must be whole and in order.
fn read_the_news_slowly(visitor: &mut Visitor) -> io::Result<()> {
    let mut stream = visitor.connect_narrow(1)?;
    let mut buffer = [0; NEWS];
    let mut last: Option<u8> = None;
    for _ in 0..visitor.random.from(1..=30) {
        match stream.read_exact(&mut buffer) {
            Ok(()) => {}
            // The server has cut the client off because it was too slow.
            Err(error) if !is_pause(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        let edition = buffer[0];
        if buffer.iter().any(|&byte| byte != edition) {
            return Err(io::Error::other("a record is torn"));
        }
        if last.is_some_and(|last| edition != last.wrapping_add(1)) {
            return Err(io::Error::other("records are lost, or out of order"));
        }
        last = Some(edition);
        thread::sleep(visitor.random.millis(10..=100));
    }
    Ok(())
}

fn do_not_read_the_news(visitor: &mut Visitor) -> io::Result<()> {
    let mut stream = visitor.connect_narrow(1)?;
    thread::sleep(visitor.random.millis(500..=4_000));
    // If the client is not cut off yet, it ends its output in the middle of a record or after the last one.
    if visitor.random.coin() && stream.shutdown(Shutdown::Write).is_ok() {
        until_the_end(&mut stream)?;
    }
    Ok(())
}

impl Visitor {
    fn connect(&mut self, server: usize) -> io::Result<TcpStream> {
        set_up(TcpStream::connect_timeout(&self.addresses[server], PATIENCE)?)
    }

    /// Connects with a small receive buffer, so that the server soon cannot write more.
    fn connect_narrow(&mut self, server: usize) -> io::Result<TcpStream> {
        let address = self.addresses[server];
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_recv_buffer_size(4096)?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        set_up(socket.into())
    }
}

fn set_up(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Reads as many bytes as `data` has. They must be the same.
fn expect(stream: &mut impl Read, data: &[u8]) -> io::Result<()> {
    let mut reply = vec![0; data.len()];
    stream.read_exact(&mut reply)?;
    if reply == data {
        Ok(())
    } else {
        Err(io::Error::other("the echo differs"))
    }
}

/// Reads until the end of the connection. It fails if there is none.
fn until_the_end(stream: &mut TcpStream) -> io::Result<()> {
    let (mut buffer, start) = ([0; 4096], Instant::now());
    while start.elapsed() < PATIENCE {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if is_pause(&error) => break,
            Err(_) => return Ok(()),
        }
    }
    Err(io::Error::other("the connection doesn't end"))
}

/// Returns `true` for a time-out, which has two kinds.
fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
