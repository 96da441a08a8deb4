//! The poll of a crew, on top of `mio`: epoll(7) or kqueue(2), edge-triggered.

use std::io;
use std::time::Duration;

use mio::{Events, Interest, Poll, Registry, Token, Waker};

use crate::transport::Descriptor;

const WAKE: Token = Token(usize::MAX);
/// How many events one poll reports at most.
const EVENTS: usize = 128;

/// The part of a poll that waits. It belongs to the leader.
pub(super) struct Poller {
    poll: Poll,
    events: Events,
}

/// The part of a poll that all threads use.
pub(super) struct Watcher {
    registry: Registry,
    waker: Waker,
}

/// # Errors
/// `Unsupported` if the sockets of other crates cannot be watched edge-triggered on this system, or the error of the
/// operating system.
pub(super) fn new() -> io::Result<(Poller, Watcher)> {
    if cfg!(not(unix)) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let poll = Poll::new()?;
    let registry = poll.registry().try_clone()?;
    let waker = Waker::new(&registry, WAKE)?;
    Ok((Poller { poll, events: Events::with_capacity(EVENTS) }, Watcher { registry, waker }))
}

impl Poller {
    /// Waits until something is ready, until a wake-up or for this long.
    pub(super) fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, limit) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }

    /// Returns what has become readable: the token of each descriptor, and whether its peer may have ended its output.
    pub(super) fn ready(&self) -> impl Iterator<Item = (usize, bool)> + '_ {
        let events = self.events.iter().filter(|event| event.token() != WAKE);
        events.map(|event| (event.token().0, event.is_read_closed() || event.is_error()))
    }
}

impl Watcher {
    /// Reports from now on when the descriptor becomes readable. If it is readable already, that is reported, too.
    pub(super) fn register(&self, descriptor: Descriptor, token: usize) -> io::Result<()> {
        self.registry.register(&mut source(&descriptor), Token(token), Interest::READABLE)
    }

    pub(super) fn deregister(&self, descriptor: Descriptor) -> io::Result<()> {
        self.registry.deregister(&mut source(&descriptor))
    }

    pub(super) fn wake(&self) -> io::Result<()> {
        self.waker.wake()
    }
}

#[cfg(unix)]
fn source(descriptor: &Descriptor) -> mio::unix::SourceFd<'_> {
    mio::unix::SourceFd(descriptor)
}

#[cfg(not(unix))]
fn source(descriptor: &Descriptor) -> mio::net::TcpStream {
    match *descriptor {}
}
