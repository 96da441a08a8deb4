//! Looks up the addresses of a host, in a way that a stop can interrupt.
//!
//! No other thread can end `getaddrinfo(3)`. Therefore a thread of its own calls it, and nothing ever joins that
//! thread. It is no thread of the machine. A client has at most one such thread, also if the system takes longer
//! than several attempts to connect.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;

use crossbeam_channel::{at, bounded, select, Receiver};

use crate::server::outgoing::deadline::Deadline;

/// Looks up an address like `example.com:80`. May block for long.
pub(super) type Lookup = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// The lookup of the system.
pub(super) fn system_lookup(address: &str) -> io::Result<Vec<SocketAddr>> {
    address.to_socket_addrs().map(Iterator::collect)
}

/// Looks up the addresses of one client. Its own thread uses it.
pub(super) struct Resolver {
    lookup: Lookup,
    /// The result of a lookup that an attempt has not waited for to the end.
    pending: Option<Receiver<io::Result<Vec<SocketAddr>>>>,
}

impl Resolver {
    pub(super) fn new(lookup: Lookup) -> Resolver {
        Resolver { lookup, pending: None }
    }

    /// Returns the addresses, or `None` if `stopping` is disconnected first.
    ///
    /// # Errors
    /// Returns an error if the system finds no address, or `TimedOut` at the deadline.
    pub(super) fn resolve(
        &mut self,
        address: &str,
        stopping: &Receiver<()>,
        deadline: Deadline,
    ) -> io::Result<Option<Vec<SocketAddr>>> {
        if let Ok(address) = address.parse() {
            return Ok(Some(vec![address]));
        }
        // A result that is there already is from an earlier time.
        let running = self.pending.take().filter(Receiver::is_running);
        let result = match running {
            Some(result) => result,
            None => self.start(address)?,
        };
        select! {
            recv(result) -> found => match found {
                Ok(Ok(found)) if found.is_empty() => {
                    Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "the host has no address"))
                }
                Ok(found) => found.map(Some),
                Err(_) => Err(io::Error::other("the lookup of the address has panicked")),
            },
            recv(stopping) -> _ => Ok(None),
            recv(at(deadline.at)) -> _ => {
                self.pending = Some(result);
                Err(deadline.passed("the system has not resolved the name"))
            }
        }
    }

    fn start(&self, address: &str) -> io::Result<Receiver<io::Result<Vec<SocketAddr>>>> {
        let (sender, result) = bounded(1);
        let (lookup, address) = (self.lookup, address.to_owned());
        let thread = thread::Builder::new().name("backport-resolver".to_owned()).spawn(move || {
            // After a stop, nobody wants the result.
            drop(sender.send(lookup(&address)));
        })?;
        // Nothing joins the thread.
        drop(thread);
        Ok(result)
    }
}

/// Whether the thread that sends the result still runs.
trait IsRunning {
    fn is_running(&self) -> bool;
}

impl<T> IsRunning for Receiver<T> {
    fn is_running(&self) -> bool {
        matches!(self.try_recv(), Err(crossbeam_channel::TryRecvError::Empty))
    }
}

/// Checks that an address has a host and a port.
///
/// # Errors
/// Returns an error of kind `InvalidInput` that names the address.
pub(super) fn check(address: &str) -> io::Result<()> {
    let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains('\0'));
    match port.and_then(|(_, port)| port.parse::<u16>().ok()) {
        Some(1..) => Ok(()),
        _ => {
            let message = format!("{address:?} is not an address like \"example.com:80\" with a port over 0");
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    static RUNNING: AtomicUsize = AtomicUsize::new(0);

    /// Never returns.
    fn hanging(_: &str) -> io::Result<Vec<SocketAddr>> {
        RUNNING.fetch_add(1, Ordering::SeqCst);
        loop {
            thread::park();
        }
    }

    #[test]
    fn a_stop_and_the_deadline_end_the_wait_and_there_is_at_most_one_thread() {
        let mut resolver = Resolver::new(hanging);
        let (keeper, stopping) = bounded(0);
        for _ in 0..3 {
            let soon = Deadline::after(Duration::from_millis(20));
            let error = resolver.resolve("host:1", &stopping, soon).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            let message = "the system has not resolved the name within 20ms (connect_timeout)";
            assert_eq!(error.to_string(), message);
        }
        drop(keeper);
        assert!(resolver.resolve("host:1", &stopping, Deadline::after(LONG)).unwrap().is_none());
        assert_eq!(RUNNING.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn each_attempt_looks_up_the_address_again() {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let mut resolver = Resolver::new(|_| match CALLS.fetch_add(1, Ordering::SeqCst) {
            0 => Err(io::Error::other("no such host")),
            1 => Ok(Vec::new()),
            2 => panic!("on purpose"),
            call => Ok(vec![SocketAddr::from(([127, 0, 0, call as u8], 80))]),
        });
        let (_keeper, stopping) = bounded(0);
        let mut resolve = || resolver.resolve("host:80", &stopping, Deadline::after(LONG));
        assert_eq!(resolve().unwrap_err().to_string(), "no such host");
        assert_eq!(resolve().unwrap_err().to_string(), "the host has no address");
        assert_eq!(resolve().unwrap_err().to_string(), "the lookup of the address has panicked");
        assert_eq!(resolve().unwrap(), Some(vec!["127.0.0.3:80".parse().unwrap()]));
        assert_eq!(resolve().unwrap(), Some(vec!["127.0.0.4:80".parse().unwrap()]));
    }

    #[test]
    fn an_ip_address_needs_no_lookup() {
        let mut resolver = Resolver::new(|_| panic!("a lookup"));
        let (_keeper, stopping) = bounded(0);
        for address in ["127.0.0.1:80", "[::1]:80"] {
            let found = resolver.resolve(address, &stopping, Deadline::after(LONG)).unwrap();
            assert_eq!(found, Some(vec![address.parse().unwrap()]));
        }
    }

    #[test]
    fn an_address_needs_a_host_and_a_port() {
        for address in ["localhost:80", "127.0.0.1:1", "[::1]:65535", "a.example:443"] {
            check(address).unwrap();
        }
        for address in
            ["", "localhost", ":80", "localhost:", "localhost:0", "localhost:http", "a\0:80", "a:65536"]
        {
            let error = check(address).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{address}");
            assert!(error.to_string().starts_with(&format!("{address:?} is not")), "{error}");
        }
    }
}
