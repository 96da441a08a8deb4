//! The servers under test, one file each, and what a server process does beside serving: it
//! answers the driver, over the socket that it has for its standard input.
//!
//! | the driver says | the process answers |
//! |---|---|
//! | (nothing) | `127.0.0.1:41234`: where it listens |
//! | `cpu` | its CPU time so far, in nanoseconds |
//! | `broadcast` | `done`, when 100 bytes were sent to every client |
//! | `fill 50` | `done`, when the kernel takes no more for the 50 clients that came last |
//! | `stop` or the end | nothing: stops and exits |

mod backport;
mod std_loop;
mod tokio;

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::str::FromStr;
use std::time::Duration;

use nix::time::{clock_gettime, ClockId};

/// The buffer of the hand-written peers.
const BUFFER: usize = 64 * 1024;
/// What is broadcast.
pub(crate) const NEWS: [u8; 100] = [b'n'; 100];

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Std,
    Tokio,
    Backport,
}

/// What is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What comes is sent back.
    Echo,
    /// The same, for more clients than the crate takes by default.
    Crowd,
    /// The same, for clients who are told something all at once.
    News,
    /// Echo on the process's own standard input and output.
    Stdio,
    /// Echo line by line, each line sent back as it is taken.
    Lines,
    /// The same, the answers to one read sent in one piece.
    Gathered,
    /// Echo by one thread, for one client after another: what connections cost without a hand-over.
    Alone,
    /// Echo on standard input and output that can be stopped: it asks for readiness before each read.
    Asking,
}

const PEERS: [(&str, Peer); 3] = [("std", Peer::Std), ("tokio", Peer::Tokio), ("backport", Peer::Backport)];
const KINDS: [(&str, Kind); 8] = [
    ("echo", Kind::Echo),
    ("crowd", Kind::Crowd),
    ("news", Kind::News),
    ("stdio", Kind::Stdio),
    ("lines", Kind::Lines),
    ("gathered", Kind::Gathered),
    ("alone", Kind::Alone),
    ("asking", Kind::Asking),
];

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        PEERS[self as usize].0
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

/// A server that listens already, as the driver's commands see it.
trait Serving {
    fn address(&self) -> SocketAddr;
    fn broadcast(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn fill(&self, _last: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn stop(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

/// The server process.
pub(crate) fn serve(peer: Peer, kind: Kind) -> io::Result<()> {
    let serving = match (peer, kind) {
        (Peer::Std, Kind::Stdio) => return std_loop::stdio(),
        (Peer::Std, Kind::Asking) => return std_loop::stdio_asking(),
        (Peer::Backport, Kind::Stdio) => return backport::stdio(),
        (Peer::Std, Kind::News) => std_loop::start_news()?,
        (Peer::Std, Kind::Alone) => std_loop::start_alone()?,
        (Peer::Std, Kind::Echo | Kind::Crowd) => std_loop::start()?,
        (Peer::Tokio, Kind::Echo | Kind::Crowd) => tokio::start()?,
        (Peer::Backport, Kind::Echo | Kind::Crowd | Kind::News | Kind::Lines | Kind::Gathered) => {
            backport::start(kind)?
        }
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    let driver = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let commands = BufReader::new(driver.try_clone()?).lines();
    answer(&driver, serving.address())?;
    for command in commands {
        let command = command?;
        match command.split(' ').collect::<Vec<_>>()[..] {
            ["cpu"] => answer(&driver, cpu_time()?.as_nanos())?,
            ["broadcast"] => {
                serving.broadcast()?;
                answer(&driver, "done")?;
            }
            ["fill", last] => {
                serving.fill(last.parse().map_err(io::Error::other)?)?;
                answer(&driver, "done")?;
            }
            ["stop"] => break,
            _ => return Err(io::Error::other(format!("what is `{command}`?"))),
        }
    }
    serving.stop()
}

fn answer(mut driver: &UnixStream, what: impl std::fmt::Display) -> io::Result<()> {
    driver.write_all(format!("{what}\n").as_bytes())
}

/// The CPU time of this process so far, threads that have ended included.
fn cpu_time() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}
