//! [`Race`]: connects to the first of several addresses that answers, in a way that a stop can interrupt.
//!
//! The rules are those of RFC 8305 ("happy eyeballs"). The families of the addresses alternate, in the order of
//! the system. An attempt begins when the one before it has failed, or has taken [`BETWEEN`]. The first
//! connection wins, and the sockets of all others are closed.
//!
//! The sockets are non-blocking. The thread waits for all of them and for a waker together.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream as Connecting;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::server::outgoing::deadline::Deadline;

/// How long an attempt may take before the next one begins beside it (RFC 8305, 8: *Connection Attempt Delay*).
const BETWEEN: Duration = Duration::from_millis(250);
/// The token of the waker. The tokens of the sockets count up from zero.
const WAKER: Token = Token(usize::MAX);

/// The attempts to connect to the addresses of one host.
pub(super) struct Race {
    poll: Poll,
    waker: Arc<Waker>,
    /// The addresses that were not tried yet.
    left: VecDeque<SocketAddr>,
    running: Vec<Attempt>,
    /// The errors of the attempts that have failed.
    failed: Vec<(SocketAddr, io::Error)>,
    started: usize,
    /// When the next attempt begins.
    next: Instant,
}

struct Attempt {
    token: Token,
    address: SocketAddr,
    stream: Connecting,
}

impl Race {
    pub(super) fn new(addresses: Vec<SocketAddr>) -> io::Result<Race> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok(Race {
            poll,
            waker,
            left: interleave(addresses),
            running: Vec::new(),
            failed: Vec::new(),
            started: 0,
            next: Instant::now(),
        })
    }

    /// Returns the waker that makes `run` check whether it has to stop.
    pub(super) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Blocks until a connection is established, and returns its stream, which is non-blocking. Returns `None`
    /// if `is_stopping` returns `true` first.
    ///
    /// # Errors
    /// Returns an error if every address has failed, or `TimedOut` at the deadline.
    pub(super) fn run(
        mut self,
        deadline: Deadline,
        is_stopping: impl Fn() -> bool,
    ) -> io::Result<Option<TcpStream>> {
        let mut events = Events::with_capacity(16);
        loop {
            if is_stopping() {
                return Ok(None);
            }
            let now = Instant::now();
            if now >= deadline.at {
                return Err(self.timed_out(deadline));
            }
            self.start_due(now);
            if self.running.is_empty() {
                return Err(self.failure());
            }
            let until = if self.left.is_empty() { deadline.at } else { deadline.at.min(self.next) };
            match self.poll.poll(&mut events, Some(until.saturating_duration_since(now))) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                if let Some(stream) = self.finish(event.token()) {
                    return Ok(Some(stream));
                }
            }
        }
    }

    /// Starts the attempts that are due: one after each [`BETWEEN`], and one for each that has failed.
    fn start_due(&mut self, now: Instant) {
        while self.running.is_empty() || now >= self.next {
            let Some(address) = self.left.pop_front() else { return };
            let token = Token(self.started);
            self.started += 1;
            self.next = now + BETWEEN;
            let registry = self.poll.registry();
            let started = Connecting::connect(address).and_then(|mut stream| {
                registry.register(&mut stream, token, Interest::WRITABLE)?;
                Ok(stream)
            });
            match started {
                Ok(stream) => self.running.push(Attempt { token, address, stream }),
                Err(error) => self.fail(address, error),
            }
        }
    }

    fn fail(&mut self, address: SocketAddr, error: io::Error) {
        self.failed.push((address, error));
        self.next = Instant::now();
    }

    /// Reacts to an event of an attempt. Returns its stream if it is connected.
    fn finish(&mut self, token: Token) -> Option<TcpStream> {
        let index = self.running.iter().position(|attempt| attempt.token == token)?;
        match self.running[index].is_connected() {
            Ok(false) => None,
            Ok(true) => {
                let mut stream = self.running.swap_remove(index).stream;
                // The stream outlives this poll. If this fails, the stream is still usable.
                drop(self.poll.registry().deregister(&mut stream));
                Some(stream.into())
            }
            Err(error) => {
                let attempt = self.running.swap_remove(index);
                self.fail(attempt.address, error);
                None
            }
        }
    }

    fn timed_out(&self, deadline: Deadline) -> io::Error {
        let (waiting, failed) = (self.running.iter(), self.failed.iter());
        let waiting: Vec<_> = waiting.map(|attempt| attempt.address.to_string()).collect();
        let failed: String = failed.map(|(address, error)| format!("{address}: {error}; ")).collect();
        let answer = if waiting.is_empty() { "no attempt" } else { "no answer from " };
        deadline.passed(format_args!("{failed}{answer}{}", waiting.join(", ")))
    }

    /// Returns the error of all addresses together.
    fn failure(self) -> io::Error {
        let kind = self.failed.first().map_or(io::ErrorKind::AddrNotAvailable, |(_, error)| error.kind());
        let failed = self.failed.iter();
        let errors: Vec<_> = failed.map(|(address, error)| format!("{address}: {error}")).collect();
        io::Error::new(kind, errors.join("; "))
    }
}

impl Attempt {
    /// Returns `false` if the attempt still waits. The steps are those of the documentation of mio.
    fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(peer) => {
                refuse_self(peer, self.stream.local_addr()?)?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            #[cfg(unix)]
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Refuses a connection of a socket to itself. The system makes one if it chooses the port of the peer as the
/// local port, which can happen on the same computer while nothing listens on that port.
fn refuse_self(peer: SocketAddr, local: SocketAddr) -> io::Result<()> {
    if peer != local {
        return Ok(());
    }
    let message = "nothing listens on the port, so the socket has connected to itself";
    Err(io::Error::new(io::ErrorKind::ConnectionRefused, message))
}

/// Orders addresses so that the families alternate, beginning with the family of the first. Drops repetitions.
fn interleave(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut ordered = VecDeque::new();
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            return ordered;
        }
        for address in pair.into_iter().flatten() {
            if !ordered.contains(&address) {
                ordered.push_back(address);
            }
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    #[cfg(unix)]
    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn parse(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    /// Returns an address that refuses connections, and the socket that keeps the port.
    fn refusing() -> (SocketAddr, Socket) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        (socket.local_addr().unwrap().as_socket().unwrap(), socket)
    }

    /// Returns an address that does not answer, because the queue of its listener is full. Linux then ignores
    /// SYN.
    #[cfg(target_os = "linux")]
    fn black_hole() -> (SocketAddr, Vec<Socket>) {
        let (address, listener) = refusing();
        listener.listen(0).unwrap();
        let fill = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let connected = socket.connect_timeout(&address.into(), Duration::from_millis(100));
            (socket, connected.is_ok())
        };
        let mut sockets = vec![listener];
        for _ in 0..20 {
            let (socket, connected) = fill();
            sockets.push(socket);
            if !connected {
                return (address, sockets);
            }
        }
        panic!("the queue does not fill");
    }

    fn run(addresses: Vec<SocketAddr>) -> io::Result<Option<TcpStream>> {
        Race::new(addresses).unwrap().run(Deadline::after(LONG), || false)
    }

    #[test]
    fn the_families_alternate_beginning_with_the_first() {
        let found = ["[::1]:1", "[::2]:1", "[::1]:1", "10.0.0.1:1", "[::3]:1", "10.0.0.2:1"];
        let ordered = ["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "[::3]:1"];
        assert_eq!(interleave(parse(&found)), parse(&ordered));
        assert_eq!(interleave(parse(&["10.0.0.1:1", "[::1]:1"])), parse(&["10.0.0.1:1", "[::1]:1"]));
        assert!(interleave(Vec::new()).is_empty());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_address_that_does_not_answer_is_overtaken_by_the_next() {
        let (hole, _sockets) = black_hole();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let start = Instant::now();
        let stream = run(vec![hole, address]).unwrap().unwrap();
        assert!(start.elapsed() >= BETWEEN, "the first address gets its time");
        assert_eq!(stream.peer_addr().unwrap(), address);
    }

    #[test]
    #[cfg(unix)] // Windows needs two seconds to notice a refusal.
    fn an_address_that_refuses_is_followed_by_the_next_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // With a pause after each of them, the race would come to its deadline.
        let refusing: Vec<_> = (0..100).map(|_| refusing()).collect();
        let addresses = refusing.iter().map(|(address, _)| *address).chain([address]).collect();
        let stream = run(addresses).unwrap().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
    }

    #[test]
    fn the_error_names_every_address_and_its_cause() {
        let ((one, _one), (other, _other)) = (refusing(), refusing());
        let error = run(vec![one, other]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let message = error.to_string();
        for address in [one, other] {
            assert!(message.contains(&format!("{address}: ")), "{message}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_deadline_and_a_stop_end_the_wait_for_an_answer() {
        let (hole, _sockets) = black_hole();
        let soon = Deadline::after(Duration::from_millis(50));
        let error = Race::new(vec![hole]).unwrap().run(soon, || false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(error.to_string(), format!("no answer from {hole} within 50ms (connect_timeout)"));

        let (refusing, _socket) = refusing();
        let soon = Deadline::after(Duration::from_millis(50));
        let error = Race::new(vec![refusing, hole]).unwrap().run(soon, || false).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{refusing}: ")) && error.contains(&hole.to_string()), "{error}");
        let never = Deadline::after(Duration::ZERO);
        let error = Race::new(vec![hole]).unwrap().run(never, || false).unwrap_err();
        assert_eq!(error.to_string(), "no attempt within 0ns (connect_timeout)");

        let race = Race::new(vec![hole]).unwrap();
        let (waker, (keeper, stopping)) = (race.waker(), crossbeam_channel::bounded::<()>(0));
        let is_stopping = move || stopping.try_recv().is_err_and(|error| error.is_disconnected());
        let thread = std::thread::spawn(move || race.run(Deadline::after(LONG), is_stopping));
        drop(keeper);
        let start = Instant::now();
        waker.wake().unwrap();
        assert!(thread.join().unwrap().unwrap().is_none());
        assert!(start.elapsed() < LONG, "the stop ends the wait, not the deadline");
    }

    #[test]
    #[cfg(unix)]
    fn a_connection_to_itself_counts_as_refused() {
        let (address, socket) = refusing();
        // A socket that connects to its own port is connected to itself.
        socket.connect(&address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_nonblocking(true).unwrap();
        let attempt = Attempt { token: Token(0), address, stream: Connecting::from_std(stream) };
        let error = attempt.is_connected().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
