//! The transport that the suite runs over: `BACKPORT_TRANSPORT=tcp` (the default), `unix` or, in the package of the
//! tests of TLS, `tls`.
//!
//! A test that calls `serve`, `serve_with` or `prepare` runs over each of them. A test about TCP itself calls
//! `serve_tcp`, and is the same in each run. A further transport is one more value
//! of [`Transport`], one more arm in [`prepare_with`], and one more [`Wire`](super::peer::Wire).

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use backport::{Adapter, Full, Machine, ServerHandle, TcpHandle, TcpServer, Threads};

use super::Peer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    #[cfg(unix)]
    Unix,
    #[cfg(feature = "over-tls")]
    Tls,
}

/// The transport of this run.
pub(crate) fn transport() -> Transport {
    static CHOICE: OnceLock<Transport> = OnceLock::new();
    *CHOICE.get_or_init(|| match std::env::var("BACKPORT_TRANSPORT").as_deref() {
        Err(_) | Ok("tcp") => Transport::Tcp,
        #[cfg(unix)]
        Ok("unix") => Transport::Unix,
        #[cfg(feature = "over-tls")]
        Ok("tls") => Transport::Tls,
        Ok(other) => panic!("there is no transport {other} here"),
    })
}

/// Which clients have threads in this run: `BACKPORT_THREADS=per-client` (the default) or `while-busy`.
pub(crate) fn threads() -> Threads {
    static CHOICE: OnceLock<Threads> = OnceLock::new();
    *CHOICE.get_or_init(|| match std::env::var("BACKPORT_THREADS").as_deref() {
        Err(_) | Ok("per-client") => Threads::PerClient,
        Ok("while-busy") => Threads::WhileBusy,
        Ok(other) => panic!("there is no mode {other}"),
    })
}

/// Whether clients that wait have no threads in this run.
pub(crate) fn is_while_busy() -> bool {
    threads() == Threads::WhileBusy
}

/// Whether the peers of this run can reset a connection.
pub(crate) fn has_resets() -> bool {
    match transport() {
        #[cfg(unix)]
        Transport::Unix => false,
        _ => true,
    }
}

/// Where a server listens. Its text is a part of what the server logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    #[cfg(unix)]
    Unix(&'static Path),
    #[cfg(feature = "over-tls")]
    Tls(SocketAddr),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            #[cfg(unix)]
            Address::Unix(path) => path.display().fmt(f),
            #[cfg(feature = "over-tls")]
            Address::Tls(address) => address.fmt(f),
        }
    }
}

impl Address {
    /// The address of a server that `serve_tcp` has made.
    #[track_caller]
    pub(crate) fn tcp(self) -> SocketAddr {
        match self {
            Address::Tcp(address) => address,
            #[cfg(unix)]
            Address::Unix(path) => panic!("{} is no address of TCP", path.display()),
            #[cfg(feature = "over-tls")]
            Address::Tls(address) => address,
        }
    }

    /// Asserts that nobody listens there, and that somebody else may.
    #[track_caller]
    pub(crate) fn assert_free(self) {
        assert!(self.refuses(), "{self} does not refuse");
        match self {
            Address::Tcp(address) => drop(std::net::TcpListener::bind(address).unwrap()),
            #[cfg(unix)]
            Address::Unix(path) => assert!(!path.exists(), "the path is still there"),
            #[cfg(feature = "over-tls")]
            Address::Tls(address) => drop(std::net::TcpListener::bind(address).unwrap()),
        }
    }

    /// A connect is refused, because nobody listens there.
    pub(crate) fn refuses(self) -> bool {
        use std::io::ErrorKind::{ConnectionRefused, NotFound};
        let nobody = if matches!(self, Address::Tcp(_)) { ConnectionRefused } else { NotFound };
        matches!(Peer::try_connect(self), Err(error) if [nobody, ConnectionRefused].contains(&error.kind()))
    }
}

/// A server on a machine, and where it listens.
#[derive(Clone, Debug)]
pub(crate) struct Listening {
    pub(crate) handle: ServerHandle,
    pub(crate) address: Address,
}

impl Listening {
    pub(crate) fn connect(&self) -> Peer {
        Peer::connect(self.address)
    }
}

/// The handle of a server that listens.
pub(crate) trait Listens: Deref<Target = ServerHandle> + Send + 'static {
    type Address: Into<Address>;
    fn address(&self) -> Self::Address;
}

impl Listens for Listening {
    type Address = Address;

    fn address(&self) -> Address {
        self.address
    }
}

impl Listens for TcpHandle {
    type Address = SocketAddr;

    fn address(&self) -> SocketAddr {
        self.local_addr()
    }
}

impl From<TcpHandle> for Listening {
    fn from(server: TcpHandle) -> Listening {
        Listening { address: server.local_addr().into(), handle: (*server).clone() }
    }
}

impl Deref for Listening {
    type Target = ServerHandle;

    fn deref(&self) -> &ServerHandle {
        &self.handle
    }
}

/// The settings that all servers have. What isn't set stays at its default.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    max_clients: Option<usize>,
    idle_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    max_backlog: Option<usize>,
    stack_size: Option<usize>,
    when_full: Option<Full>,
}

macro_rules! setters {
    ($($name:ident: $value:ty),*) => {
        impl Settings {
            $(pub(crate) fn $name(mut self, value: $value) -> Settings {
                self.$name = Some(value);
                self
            })*
        }

        /// Makes the settings on a server of either kind.
        macro_rules! set {
            ($server:expr, $settings:expr) => {{
                let mut server = $server.threads(threads());
                $(if let Some(value) = $settings.$name {
                    server = server.$name(value);
                })*
                server
            }};
        }
    };
}

setters! {
    max_clients: usize,
    idle_timeout: Duration,
    write_timeout: Duration,
    max_backlog: usize,
    stack_size: usize,
    when_full: Full
}

/// Prepares a server that listens at a free address of this run's transport.
#[track_caller]
pub(crate) fn prepare<A: Adapter>(
    machine: &Machine,
    factory: impl Fn() -> A + Send + Sync + 'static,
) -> Listening {
    try_prepare(machine, factory, Settings::default()).unwrap()
}

pub(crate) fn try_prepare<A: Adapter>(
    machine: &Machine,
    factory: impl Fn() -> A + Send + Sync + 'static,
    settings: Settings,
) -> std::io::Result<Listening> {
    prepare_at(machine, free(), factory, settings)
}

/// As `free`, but never over TLS.
pub(crate) fn free_plain() -> Address {
    match free() {
        #[cfg(feature = "over-tls")]
        Address::Tls(address) => Address::Tcp(address),
        address => address,
    }
}

/// An address that nobody uses. A port is chosen later, by the system.
pub(crate) fn free() -> Address {
    match transport() {
        Transport::Tcp => tcp(),
        #[cfg(feature = "over-tls")]
        Transport::Tls => Address::Tls(tcp().tcp()),
        #[cfg(unix)]
        Transport::Unix => {
            use std::sync::atomic::{AtomicUsize, Ordering};
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let (process, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(format!("backport-suite-{process}-{number}.sock"));
            Address::Unix(Box::leak(path.into_boxed_path()))
        }
    }
}

pub(crate) fn prepare_at<A: Adapter>(
    machine: &Machine,
    address: Address,
    factory: impl Fn() -> A + Send + Sync + 'static,
    settings: Settings,
) -> std::io::Result<Listening> {
    prepare_with(address, factory, settings, Plain(machine))
}

/// Prepares a server of any kind. It's not a closure, because it is generic.
pub(crate) trait Prepare {
    fn prepare<S: backport::Server>(self, server: S) -> std::io::Result<S::Handle>;
}

struct Plain<'a>(&'a Machine);

impl Prepare for Plain<'_> {
    fn prepare<S: backport::Server>(self, server: S) -> std::io::Result<S::Handle> {
        self.0.prepare(server)
    }
}

/// Makes the server of a transport, and prepares it with `with`.
pub(crate) fn prepare_with<A: Adapter>(
    address: Address,
    factory: impl Fn() -> A + Send + Sync + 'static,
    settings: Settings,
    with: impl Prepare,
) -> std::io::Result<Listening> {
    match address {
        Address::Tcp(address) => Ok(with.prepare(set!(TcpServer::new(address, factory), settings))?.into()),
        #[cfg(unix)]
        Address::Unix(path) => {
            let server = with.prepare(set!(backport::UnixServer::new(path, factory), settings))?;
            Ok(Listening { address, handle: (*server).clone() })
        }
        #[cfg(feature = "over-tls")]
        Address::Tls(address) => {
            let server = set!(TcpServer::new(address, factory), settings);
            let server = with.prepare(server.tls(super::identity::identity().server()))?;
            Ok(Listening { address: Address::Tls(server.local_addr()), handle: (*server).clone() })
        }
    }
}

pub(crate) fn tcp() -> Address {
    Address::Tcp("127.0.0.1:0".parse().unwrap())
}
