//! Peers that read at a steady rate, and may send at the same time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

const DEADLINE: Duration = Duration::from_secs(60);
/// The time between two reads.
const TICK: Duration = Duration::from_millis(50);

/// How a peer behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behaviour {
    /// In kilobytes per second.
    pub(crate) rate: usize,
    /// The peer also sends some bytes each time.
    pub(crate) sends_every: Option<Duration>,
    /// The peer reads nothing for this long after it has read that many bytes.
    pub(crate) pause: Option<(usize, Duration)>,
}

/// Connects, with a receive buffer that holds about a fifth of a second.
pub(crate) fn connect(address: SocketAddr, rate: usize) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(rate * 1000 / 5).unwrap();
    socket.connect_timeout(&address.into(), DEADLINE).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Reads at the rate until the end. Returns the bytes, and how the connection has ended.
pub(crate) fn read(stream: &TcpStream, behaviour: Behaviour) -> (Vec<u8>, io::Result<()>) {
    let done = Arc::new(AtomicBool::new(false));
    let sender = behaviour.sends_every.map(|period| {
        let (mut stream, done) = (stream.try_clone().unwrap(), Arc::clone(&done));
        thread::spawn(move || {
            while !done.load(Ordering::Relaxed) && stream.write_all(b"more input").is_ok() {
                thread::sleep(period);
            }
        })
    });
    let result = read_steadily(stream, behaviour);
    done.store(true, Ordering::Relaxed);
    if let Some(sender) = sender {
        sender.join().unwrap();
    }
    result
}

fn read_steadily(mut stream: &TcpStream, behaviour: Behaviour) -> (Vec<u8>, io::Result<()>) {
    let portion = behaviour.rate * 1000 * TICK.as_millis() as usize / 1000;
    let (mut all, mut buffer) = (Vec::new(), vec![0; portion]);
    let (mut next, mut pause) = (Instant::now(), behaviour.pause);
    loop {
        let mut left = portion;
        while left > 0 {
            match stream.read(&mut buffer[..left]) {
                Ok(0) => return (all, Ok(())),
                Ok(count) => {
                    all.extend_from_slice(&buffer[..count]);
                    left -= count;
                }
                Err(error) => return (all, Err(error)),
            }
        }
        if let Some((_, length)) = pause.filter(|(at, _)| all.len() >= *at) {
            pause = None;
            thread::sleep(length);
        }
        next = (next + TICK).max(Instant::now() - TICK);
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}
