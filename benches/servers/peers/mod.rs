//! The servers under test, one file each. `process` runs one of them in a process of its own.

mod backport;
#[cfg(feature = "tls")]
mod encrypted;
mod floors;
mod process;
mod std_loop;
mod tokio;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::str::FromStr;
use std::thread;
use std::time::Duration;

pub(crate) use process::serve;

/// The buffer of the hand-written peers.
const BUFFER: usize = 64 * 1024;
/// The record that is broadcast.
pub(crate) const NEWS: [u8; 100] = [b'n'; 100];
/// The first byte of a message for which [`Kind::Naps`] sleeps.
pub(crate) const NAP_MARK: u8 = b'z';
/// How long [`Kind::Naps`] sleeps.
pub(crate) const NAP: Duration = Duration::from_millis(50);

/// The code that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Std,
    Tokio,
    Backport,
    /// The crate with [`Threads::WhileBusy`](::backport::Threads::WhileBusy).
    WhileBusy,
    /// A program of the folder `rivals`. It serves [`Kind::Echo`] only.
    Rival(Rival),
}

/// The echo servers in other languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rival {
    Pthreads,
    Go,
    Python,
    EventMachine,
}

/// The service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All input is sent back.
    Echo,
    /// Echo for more clients than the crate accepts by default.
    Crowd,
    /// Echo for clients that also get broadcasts.
    News,
    /// Echo on the process's own standard input and output.
    Stdio,
    /// Echo line by line. Each line is sent back at once.
    Lines,
    /// Echo line by line. The answers to one read are sent in one piece.
    Gathered,
    /// Echo by one thread for one client after another. It shows the cost of connections that are not handed
    /// over to another thread.
    Alone,
    /// Echo that does for each message what the promises of the crate need, and nothing else.
    Promised,
    /// Echo by a thread with a small buffer for each client, and nothing else.
    Bare,
    /// Echo and broadcasts, with a lock for each client, so that the records of two threads never mix.
    Locked,
    /// Echo by threads that wait for a client at a channel. It shows the cost of the hand-over alone.
    HandOver,
    /// Echo on standard input and output that can be stopped. It asks for readiness before each read.
    Asking,
    /// Echo through TLS.
    Encrypted,
    /// Echo that sleeps for [`NAP`] before it answers a message that begins with [`NAP_MARK`].
    Naps,
}

const PEERS: [(&str, Peer); 4] = [
    ("std", Peer::Std),
    ("tokio", Peer::Tokio),
    ("backport", Peer::Backport),
    ("while-busy", Peer::WhileBusy),
];
const KINDS: [(&str, Kind); 14] = [
    ("echo", Kind::Echo),
    ("crowd", Kind::Crowd),
    ("news", Kind::News),
    ("stdio", Kind::Stdio),
    ("lines", Kind::Lines),
    ("gathered", Kind::Gathered),
    ("alone", Kind::Alone),
    ("promised", Kind::Promised),
    ("bare", Kind::Bare),
    ("locked", Kind::Locked),
    ("hand-over", Kind::HandOver),
    ("asking", Kind::Asking),
    ("encrypted", Kind::Encrypted),
    ("naps", Kind::Naps),
];

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        PEERS.iter().find(|(_, peer)| *peer == self).map_or("rival", |(name, _)| name)
    }
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        KINDS[self as usize].0
    }
}

fn named<T: Copy>(table: &[(&str, T)], name: &str) -> io::Result<T> {
    let found = table.iter().find(|entry| entry.0 == name);
    found.map(|entry| entry.1).ok_or_else(|| io::Error::other(format!("there is no `{name}`")))
}

impl FromStr for Peer {
    type Err = io::Error;

    fn from_str(name: &str) -> io::Result<Peer> {
        named(&PEERS, name)
    }
}

impl FromStr for Kind {
    type Err = io::Error;

    fn from_str(name: &str) -> io::Result<Kind> {
        named(&KINDS, name)
    }
}

/// Accepts connections at a free port on a thread of its own, and returns the address.
fn listen(mut welcome: impl FnMut(TcpStream) + Send + 'static) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => welcome(stream),
                Err(error) => eprintln!("accept: {error}"),
            }
        }
    });
    Ok(address)
}

/// Returns `true` if a message asks for a nap.
fn asks_for_nap(message: &[u8]) -> bool {
    message.first() == Some(&NAP_MARK)
}

/// A server that is listening. Its methods are the commands of the driver.
trait Serving {
    fn address(&self) -> SocketAddr;
    fn broadcast(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Returns the certificate of the server.
    fn certificate(&self) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn fill(&self, _last: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Returns how often another thread had to take over because a callback was too long.
    fn take_overs(&self) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn stop(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}
