//! [`Full`]: the reaction of a server that serves as many clients as it may, and the connections that it has
//! refused.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::logging::debug;
use crate::server::listener::Refuse;

/// How long a refused connection stays open after its message.
const HOLD: Duration = Duration::from_secs(1);
/// How many refused connections an acceptor keeps open at once.
const MOST: usize = 32;

/// The reaction of a server to a new client while it serves
/// [`max_clients`](crate::TcpServer::max_clients). [`TcpServer::when_full`](crate::TcpServer::when_full) sets
/// it.
///
/// ```
/// use backport::{receiving, Full, Machine, TcpServer};
///
/// # fn main() -> backport::Result {
/// # let machine = Machine::new();
/// let echo = || receiving(|client, data| Ok(client.write(data)?));
/// let server = TcpServer::new("localhost:0", echo)
///     .max_clients(100)
///     .when_full(Full::Refuse(b"421 too many clients, try again later\r\n".to_vec()));
/// machine.prepare(server)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Full {
    /// New clients wait in the kernel's queue until there is room.
    #[default]
    Wait,
    /// New clients get this message, and their connection is closed. The message may be empty.
    Refuse(Vec<u8>),
}

impl Full {
    /// Makes a [`Full::Refuse`] from a string, a slice or a vector.
    ///
    /// ```
    /// use backport::Full;
    ///
    /// assert_eq!(Full::refuse("busy\n"), Full::Refuse(b"busy\n".to_vec()));
    /// ```
    #[must_use]
    pub fn refuse(message: impl Into<Vec<u8>>) -> Full {
        Full::Refuse(message.into())
    }
}

/// The refused connections of one acceptor that are still open.
///
/// A connection must not be closed at once. If the peer's request came after that, the kernel would answer
/// with RST, which could destroy the message. Therefore the socket is kept for [`HOLD`], and the input is
/// dropped when the socket closes. There are at most [`MOST`] sockets, so that refused peers cannot take the
/// descriptors of clients. If there are more, the oldest closes.
pub(crate) struct Refused<S: Refuse> {
    /// The sockets with the times at which they close, in order.
    open: VecDeque<(Instant, S)>,
}

impl<S: Refuse> Refused<S> {
    pub(crate) fn new() -> Refused<S> {
        Refused { open: VecDeque::new() }
    }

    /// Sends the message and the end of output to a peer. Never blocks.
    pub(crate) fn add(&mut self, socket: S, message: &[u8], now: Instant) {
        if let Err(error) = socket.refuse(message) {
            debug!("a client that was refused is already gone: {error}");
            return;
        }
        if self.open.len() >= MOST {
            self.close_oldest();
        }
        self.open.push_back((now + HOLD, socket));
    }

    /// Returns when [`close_until`](Refused::close_until) is due. Returns `None` if no socket is open.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.open.front().map(|(until, _)| *until)
    }

    /// Closes the sockets whose time is over.
    pub(crate) fn close_until(&mut self, now: Instant) {
        while self.deadline().is_some_and(|until| until <= now) {
            self.close_oldest();
        }
    }

    /// Closes all sockets.
    pub(crate) fn close_all(&mut self) {
        while !self.open.is_empty() {
            self.close_oldest();
        }
    }

    fn close_oldest(&mut self) {
        if let Some((_, socket)) = self.open.pop_front() {
            socket.drop_input();
        }
    }
}

impl<S: Refuse> Drop for Refused<S> {
    fn drop(&mut self) {
        self.close_all();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;
    use std::rc::Rc;

    use super::*;

    /// Counts the sockets that are open, and asserts that the input is dropped before a socket closes.
    struct Fake {
        open: Rc<Cell<usize>>,
        dropped: Cell<bool>,
    }

    impl Fake {
        fn new(open: &Rc<Cell<usize>>) -> Fake {
            open.set(open.get() + 1);
            Fake { open: Rc::clone(open), dropped: Cell::new(false) }
        }
    }

    impl Refuse for Fake {
        fn refuse(&self, message: &[u8]) -> io::Result<()> {
            self.dropped.set(message.is_empty());
            if message.is_empty() {
                Err(io::ErrorKind::NotConnected.into())
            } else {
                Ok(())
            }
        }

        fn drop_input(&self) {
            self.dropped.set(true);
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            assert!(self.dropped.get(), "closed with unread input");
            self.open.set(self.open.get() - 1);
        }
    }

    #[test]
    fn refused_connections_close_after_their_time_and_are_never_too_many() {
        let (open, start) = (Rc::new(Cell::new(0)), Instant::now());
        let mut refused = Refused::new();
        assert_eq!(refused.deadline(), None);
        for _ in 0..MOST {
            refused.add(Fake::new(&open), b"busy", start);
        }
        let later = start + HOLD / 2;
        refused.close_until(later);
        assert_eq!((open.get(), refused.deadline()), (MOST, Some(start + HOLD)));
        refused.add(Fake::new(&open), b"busy", later);
        assert_eq!(open.get(), MOST);
        refused.add(Fake::new(&open), b"", later);
        assert_eq!(open.get(), MOST, "a peer that is gone takes no place");
        refused.close_until(start + HOLD);
        assert_eq!((open.get(), refused.deadline()), (1, Some(later + HOLD)));
        drop(refused);
        assert_eq!(open.get(), 0);
    }
}
