//! Outgoing connections: [`TcpClient`] is a server whose only client is the peer that it connects to.
//!
//! - [`connector`] is its thread, which connects, serves and connects again.
//! - [`resolve`] looks up the addresses of the peer, and [`race`] connects to the first that answers.
//! - [`back_off`] determines the pauses between attempts, and [`deadline`] limits one attempt.

mod back_off;
mod connector;
mod deadline;
mod race;
mod resolve;

use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::adapter::Adapter;
use crate::server::control::Control;
use crate::server::handle::ServerHandle;
use crate::server::listener::tcp::TcpOptions;
use crate::server::outgoing::back_off::BackOff;
use crate::server::outgoing::connector::{Connector, Troubles};
use crate::server::outgoing::resolve::{check, system_lookup, Lookup, Resolver};
use crate::server::session::Sessions;
use crate::server::settings::{client_setters, tcp_setters, ClientSettings};
#[cfg(feature = "tls")]
use crate::server::tls::ClientTls;
use crate::server::upgrade::Upgrade;
use crate::server::Server;
use crate::transport::socket::SocketTransport;
use crate::transport::Transport;

/// The first and the longest delay between two attempts.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// How long one attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An outgoing TCP connection that is made again when it has ended, for
/// [`Machine::prepare`](crate::Machine::prepare).
///
/// It is a server with at most one client: the peer that it connects to. The adapter is the same as for a server
/// that listens. The factory makes a new adapter for each connection, and
/// [`closing`](crate::Adapter::closing) is called at the end of each. All callbacks run on the server's own
/// thread.
///
/// ```
/// use std::io::{BufRead, BufReader};
/// use std::net::TcpListener;
/// use backport::{Adapter, Client, Machine, Result, TcpClient};
///
/// /// Introduces itself, and prints what the peer says.
/// struct Sensor;
///
/// impl Adapter for Sensor {
///     fn opening(&mut self, client: &Client) -> Result {
///         client.write_line("sensor 7")?;
///         Ok(())
///     }
///     fn receiving(&mut self, _: &Client, data: &[u8]) -> Result {
///         print!("{}", String::from_utf8_lossy(data));
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result {
/// let listener = TcpListener::bind("localhost:0")?; // stands for the other program
/// let machine = Machine::new();
/// machine.prepare(TcpClient::new(listener.local_addr()?.to_string(), || Sensor))?;
/// let running = machine.start()?;
/// // The client connects again after the first connection has ended.
/// for _ in 0..2 {
///     let mut line = String::new();
///     BufReader::new(listener.accept()?.0).read_line(&mut line)?;
///     assert_eq!(line, "sensor 7\n");
/// }
/// running.stop()?;
/// # Ok(())
/// # }
/// ```
///
/// # Connecting
///
/// An attempt looks up the host and connects to its addresses. If there are several, IPv6 and IPv4 addresses
/// alternate. An address that does not answer within a quarter of a second gets company from the next one, and
/// the first connection is used (RFC 8305). An attempt fails after
/// [`connect_timeout`](TcpClient::connect_timeout). The first attempt is made when the machine runs, so
/// `prepare` does not fail if the peer cannot be reached.
///
/// When an attempt has failed, or a connection has ended for any reason, the client waits and connects again.
/// [`reconnect`](TcpClient::reconnect) describes the wait. The first failure in a row is logged as a warning,
/// and later ones at level debug. [`ServerStats::accept_errors`](crate::ServerStats::accept_errors) counts the
/// attempts that have failed.
///
/// # Suspending and stopping
///
/// A [suspended](ServerHandle::suspend) client begins no attempt. An attempt or a connection that has begun
/// continues.
///
/// A stop ends a wait or an attempt at once, also while the system looks up a name. It ends a connection as it
/// does with any other server. A [drain](ServerHandle::drain) makes no new attempts, and lets the connection
/// live until it ends by itself or the limit has passed. Closing the
/// [`Client`](crate::Client) ends only the current connection.
#[must_use = "a server does nothing until it is prepared on a machine"]
pub struct TcpClient<F> {
    address: String,
    factory: F,
    clients: ClientSettings,
    options: TcpOptions,
    reconnect: Option<(Duration, Duration)>,
    connect_timeout: Duration,
    /// The upgrade of each connection, which encrypts it.
    tls: Option<io::Result<Arc<dyn Upgrade>>>,
    lookup: Lookup,
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static> TcpClient<F> {
    /// Creates a client that connects to `address`, which is a host and a port, for example `example.com:80`,
    /// `192.0.2.1:80` or `[2001:db8::1]:80`. Each attempt looks up the host again.
    ///
    /// `factory` makes the adapter of each connection, on the client's thread. `prepare` returns an error of
    /// kind [`InvalidInput`](io::ErrorKind::InvalidInput) if the host or the port is missing.
    pub fn new(address: impl Into<String>, factory: F) -> TcpClient<F> {
        TcpClient {
            address: address.into(),
            factory,
            clients: ClientSettings::default(),
            options: TcpOptions::default(),
            reconnect: Some(RECONNECT),
            connect_timeout: CONNECT_TIMEOUT,
            tls: None,
            lookup: system_lookup,
        }
    }

    /// Sets the delays between two attempts: the first and the longest. Default: 100 ms and 30 s.
    ///
    /// The delay doubles with each attempt. The client waits for a random part of the delay, so that many
    /// clients do not come back at once. The delay starts again with the first one after a connection that has
    /// lived for as long as the current delay. A first delay under 1 ms counts as 1 ms.
    ///
    /// With `None` there is only one attempt. If it succeeds, the server ends with the connection. If it fails,
    /// the server ends, and `run` returns [`Error::Server`](crate::Error::Server).
    pub fn reconnect(mut self, delays: Option<(Duration, Duration)>) -> Self {
        self.reconnect = delays;
        self
    }

    /// Sets how long one attempt may take in total, for all addresses of the host and including the lookup of
    /// the host. Default: 10 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Encrypts every connection with TLS. Needs the feature `tls`. Default: plain text.
    ///
    /// `name` is the name that the certificate of the peer must have, usually the host of the address.
    /// `config` says which certificates are trusted. The handshake comes before
    /// [`opening`](crate::Adapter::opening), within the [`handshake_timeout`](TcpClient::handshake_timeout). If it
    /// fails, the attempt has failed. `prepare` returns an error of kind
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if `name` is neither a domain name nor an IP address.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: Arc<rustls::ClientConfig>, name: impl Into<String>) -> Self {
        self.tls = Some(ClientTls::new(config, name.into()).map(|tls| Arc::new(tls) as Arc<dyn Upgrade>));
        self
    }

    client_setters!(clients);
    tcp_setters!();
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static> Server for TcpClient<F> {
    type Handle = ClientHandle;

    fn prepare(self, control: Control) -> io::Result<ClientHandle> {
        check(&self.address)?;
        self.clients.check()?;
        let steps = self.tls.transpose()?.into_iter().collect();
        control.set_name(format!("tcp client {}", self.address));
        let server = control.state();
        self.clients.limits.set_stall_timeout(self.options.stall_timeout());
        self.clients.limits.set_max_clients(1);
        server.limits().take(&self.clients.limits);
        let reactor = Arc::clone(&control.engine().reactor);
        reactor.prepare();
        let transport =
            move |socket| -> Arc<dyn Transport> { SocketTransport::new(socket, Arc::clone(&reactor)) };
        let (reports, endings) = bounded(1);
        // The factory is called when a handshake has finished, so the connection can be used now.
        let (factory, troubles) = (self.factory, Arc::new(Troubles::default()));
        let (connected, server) = (Arc::clone(&troubles), Arc::clone(server));
        let factory = move || {
            connected.end(&server);
            factory()
        };
        let sessions = Sessions::new(&control, factory, transport).reporting(reports);
        let connector = Connector {
            sessions: Arc::new(self.clients.apply(sessions, steps)),
            endings,
            control: control.clone(),
            address: self.address,
            options: self.options,
            timeout: self.connect_timeout,
            back_off: self.reconnect.map(|(first, longest)| BackOff::new(first, longest)),
            resolver: Resolver::new(self.lookup),
            troubles,
            ends_soon: false,
        };
        let name = format!("client-{}", control.state().id().0);
        control.spawn_own(name, self.clients.stack, move || connector.run())?;
        Ok(ClientHandle { server: control.handle() })
    }
}

impl<F> fmt::Debug for TcpClient<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpClient")
            .field("address", &self.address)
            .field("clients", &self.clients)
            .field("options", &self.options)
            .field("reconnect", &self.reconnect)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

/// A handle of a [`TcpClient`] on a machine: a [`ServerHandle`] that says whether it is connected.
///
/// Its [`clients`](ServerHandle::clients) are the [`Client`](crate::Client) of the current connection, or
/// nothing. Its [`broadcast`](ServerHandle::broadcast) posts to the current connection, and returns 0 if there is
/// none.
#[derive(Clone, Debug)]
pub struct ClientHandle {
    server: ServerHandle,
}

impl ClientHandle {
    /// Returns `true` if there is a connection that takes output. It is `false` during a handshake, and from the
    /// moment in which the connection is closed.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.server.clients().iter().any(|client| !client.shared().is_output_ended())
    }
}

impl Deref for ClientHandle {
    type Target = ServerHandle;

    fn deref(&self) -> &ServerHandle {
        &self.server
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::thread;
    use std::time::Instant;

    use crossbeam_channel::{Receiver, Sender};

    use super::*;
    use crate::adapter::receiving;
    use crate::machine::Machine;
    use crate::server::upgrade::Connection;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_client_has_the_documented_defaults_and_takes_settings() {
        let client = TcpClient::new("host:1", || receiving(|_, _| Ok(())));
        let delays = (Duration::from_millis(100), Duration::from_secs(30));
        assert_eq!((client.reconnect, client.connect_timeout), (Some(delays), Duration::from_secs(10)));
        let client = client.reconnect(None).connect_timeout(LONG);
        assert_eq!((client.reconnect, client.connect_timeout), (None, LONG));
        assert!(format!("{client:?}").contains("host:1"));
    }

    #[test]
    fn a_stop_does_not_wait_for_a_lookup_that_hangs() {
        let (sender, looks) = bounded(1);
        static LOOKS: std::sync::OnceLock<crossbeam_channel::Sender<()>> = std::sync::OnceLock::new();
        LOOKS.get_or_init(|| sender);
        let machine = Machine::new();
        let mut client = TcpClient::new("host:1", || receiving(|_, _| Ok(()))).connect_timeout(LONG);
        client.lookup = |_| {
            LOOKS.get().expect("it was set above").send(()).expect("the test waits");
            loop {
                thread::park();
            }
        };
        let handle = machine.prepare(client).unwrap();
        let running = machine.start().unwrap();
        looks.recv_timeout(Duration::from_secs(20)).expect("the lookup begins");
        let start = Instant::now();
        assert!(!handle.is_connected());
        assert_eq!(machine.max_clients(), 1, "the limit of open files counts one client");
        running.stop().unwrap();
        assert!(start.elapsed() < Duration::from_secs(4), "less than the drain timeout");
        assert_eq!(machine.stats().threads, 0);
    }

    /// An upgrade that says when it begins, and waits until it may end.
    #[derive(Debug)]
    struct Handshake(Sender<()>, Receiver<()>);

    impl Upgrade for Handshake {
        fn upgrade(&self, connection: Connection, _: Instant) -> io::Result<Connection> {
            self.0.send(()).expect("the test waits");
            assert!(self.1.recv().is_err(), "nothing is sent");
            Ok(connection)
        }
    }

    #[test]
    fn a_client_is_connected_only_after_its_handshake() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (sender, begins) = bounded(1);
        let (keeper, ends) = bounded(0);
        let (sends, opened) = bounded(1);
        let factory = move || {
            sends.send(()).expect("the test waits");
            receiving(|_, _| Ok(()))
        };
        let mut client = TcpClient::new(listener.local_addr().unwrap().to_string(), factory);
        client.tls = Some(Ok(Arc::new(Handshake(sender, ends))));
        let machine = Machine::new();
        let handle = machine.prepare(client).unwrap();
        let running = machine.start().unwrap();
        let long = Duration::from_secs(20);
        begins.recv_timeout(long).expect("the handshake begins");
        assert_eq!((handle.client_count(), handle.is_connected()), (1, false));
        assert_eq!(handle.broadcast("too early"), 0);
        drop(keeper);
        opened.recv_timeout(long).expect("the handshake ends");
        assert!(handle.is_connected());
        handle.clients()[0].close();
        assert!(!handle.is_connected());
        running.stop().unwrap();
    }
}
