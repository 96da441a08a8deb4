//! Upgrades: steps between the registration of a client and its `opening`, such as a handshake.
//!
//! An upgrade reads and writes through the transport that it gets, and returns the transport to use from then
//! on. Until the last upgrade has finished, no other thread can write to the client. A new upgrade is a new
//! file with an implementation of [`Upgrade`]. The server that uses it passes it to its sessions.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::state::Upgraded;
use crate::limits::YEAR;
use crate::transport::Transport;

/// How long all upgrades of one client may take together, unless the server has another limit.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// One step between the registration of a client and its `opening`.
pub(crate) trait Upgrade: fmt::Debug + Send + Sync {
    /// Upgrades a connection, on the client's thread. May block until `deadline`.
    ///
    /// A stop or a close interrupts the transport. A read then returns
    /// [`Interrupted`](crate::transport::Received::Interrupted), and this method must return soon.
    ///
    /// # Errors
    /// Returns an error if the peer does not do its part. The connection then ends before `opening`.
    fn upgrade(&self, connection: Connection, deadline: Instant) -> io::Result<Connection>;

    /// Returns `true` if a connection is encrypted from its beginning, so that no plain text may be sent.
    fn encrypts(&self) -> bool {
        false
    }
}

/// The transport of a client, and the facts about the connection.
pub(crate) struct Connection {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) facts: Upgraded,
}

/// The upgrades of a server, in order, and their time limit.
pub(crate) struct Upgrades {
    pub(crate) steps: Vec<Arc<dyn Upgrade>>,
    pub(crate) timeout: Duration,
}

impl Upgrades {
    /// Takes a connection through all upgrades, in order and with one deadline.
    pub(crate) fn upgrade(&self, connection: Connection) -> io::Result<Connection> {
        let deadline = Instant::now() + self.timeout.min(YEAR);
        self.steps.iter().try_fold(connection, |connection, step| step.upgrade(connection, deadline))
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use crossbeam_channel::{bounded, unbounded, Receiver};

    use super::*;
    use crate::adapter::Adapter;
    use crate::client::Client;
    use crate::closing::Closing;
    use crate::error::Result;
    use crate::event::ServerId;
    use crate::reactor::Waited;
    use crate::remote::Remote;
    use crate::server::control::{Control, Engine};
    use crate::server::listener::Accepted;
    use crate::server::permit::Permit;
    use crate::server::session::Sessions;
    use crate::server::state::ServerState;
    use crate::threads::pool::Job;
    use crate::threads::MachineThreads;
    use crate::transport::memory::{MemoryTransport, Pipe};
    use crate::transport::Received;

    const LONG: Duration = Duration::from_secs(20);

    /// An upgrade from a function.
    struct Step<F>(F);

    impl<F> fmt::Debug for Step<F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Step")
        }
    }

    impl<F: Fn(Connection, Instant) -> io::Result<Connection> + Send + Sync> Upgrade for Step<F> {
        fn upgrade(&self, connection: Connection, deadline: Instant) -> io::Result<Connection> {
            (self.0)(connection, deadline)
        }
    }

    fn step<F>(f: F) -> Arc<dyn Upgrade>
    where
        F: Fn(Connection, Instant) -> io::Result<Connection> + Send + Sync + 'static,
    {
        Arc::new(Step(f))
    }

    /// Returns a transport, and its pipe to the peer.
    fn memory() -> (MemoryTransport, Arc<Pipe>) {
        let (inward, outward) = (Pipe::new(100), Pipe::new(100));
        inward.end();
        (MemoryTransport { inward, outward: Arc::clone(&outward), flush: Arc::default() }, outward)
    }

    fn control() -> Control {
        let engine = Engine::new(MachineThreads::new());
        Control::new(ServerState::new(ServerId(1), "test".to_owned(), unbounded().0), engine)
    }

    /// Serves one client on this thread, and returns the reason of its end.
    fn serve<A: Adapter>(
        control: &Control,
        socket: MemoryTransport,
        steps: Vec<Arc<dyn Upgrade>>,
        factory: impl Fn() -> A + Send + Sync + 'static,
    ) -> Closing {
        let (reports, reason): (_, Receiver<Closing>) = bounded(1);
        let connect = |socket: MemoryTransport| -> Arc<dyn Transport> { Arc::new(socket) };
        let sessions = Sessions::new(control, factory, connect)
            .upgrades(Upgrades { steps, timeout: LONG })
            .reporting(reports);
        let permit = Permit::take(control.state()).expect("the server is not stopping");
        Arc::new(sessions).session(permit, Accepted { socket, remote: Remote::Memory }).run();
        reason.try_recv().expect("the session has ended")
    }

    /// Writes the remote side of its client in `opening`.
    struct Greeter;

    impl Adapter for Greeter {
        fn opening(&mut self, client: &Client) -> Result {
            Ok(client.write(client.remote().to_string())?)
        }
    }

    #[test]
    fn an_upgrade_passes_on_another_transport_and_another_remote_side() {
        let ((first, raw), (second, outward)) = (memory(), memory());
        let second: Arc<dyn Transport> = Arc::new(second);
        let upgrade = step(move |_, _| {
            let facts = Upgraded::new(Remote::Stdio);
            Ok(Connection { transport: Arc::clone(&second), facts })
        });
        assert!(matches!(serve(&control(), first, vec![upgrade], || Greeter), Closing::ByPeer));
        let mut said = [0; 10];
        assert_eq!(outward.read(&mut said, Instant::now()).unwrap(), 5);
        assert_eq!(&said[..5], b"stdio");
        assert_eq!(raw.read(&mut said, Instant::now()).unwrap(), 0, "the first transport is dropped");
    }

    #[test]
    fn a_failed_upgrade_ends_the_connection_without_an_adapter() {
        let (socket, outward) = memory();
        let upgrade = step(|_, _| Err(io::Error::new(io::ErrorKind::InvalidData, "no hello")));
        let control = control();
        let factory = || -> Box<dyn Adapter> { panic!("the factory was called") };
        let Closing::Lost(error) = serve(&control, socket, vec![upgrade], factory) else { panic!() };
        assert_eq!(error.to_string(), "no hello");
        assert_eq!(outward.read(&mut [0], Instant::now()).unwrap(), 0, "the peer sees the end");
        let stats = control.state().stats();
        assert_eq!((stats.accepted, stats.current, stats.failures, stats.panics), (1, 0, 0, 0));
        assert_eq!(stats.handshakes_failed, 1);
    }

    #[test]
    fn a_panic_in_an_upgrade_ends_that_client_alone() {
        let upgrade = step(|_, _| panic!("on purpose"));
        let reason = serve(&control(), memory().0, vec![upgrade], || Greeter);
        assert!(matches!(reason, Closing::Panicked(message) if message == "on purpose"));
    }

    #[test]
    fn upgrades_run_in_order_and_share_one_deadline() {
        let (sender, seen) = unbounded();
        let upgrades = ["one", "two"].map(|name| {
            let sender = sender.clone();
            step(move |connection, deadline| {
                sender.send((name, deadline)).unwrap();
                Ok(connection)
            })
        });
        drop(serve(&control(), memory().0, Vec::from(upgrades), || Greeter));
        let seen: Vec<_> = seen.try_iter().collect();
        assert_eq!((seen[0].0, seen[1].0), ("one", "two"));
        assert_eq!(seen[0].1, seen[1].1);
        assert!(seen[0].1 > Instant::now());
    }

    #[test]
    fn a_client_is_not_shown_during_its_upgrades() {
        let (control, (socket, outward)) = (control(), memory());
        let server = Arc::clone(control.state());
        let upgrade = step(move |connection, _| {
            // It takes a place, and no output gets into the upgrade.
            assert_eq!((server.clients().len(), server.client_count()), (0, 1));
            Ok(connection)
        });
        assert!(matches!(serve(&control, socket, vec![upgrade], || Greeter), Closing::ByPeer));
        let mut said = [0; 10];
        let count = outward.read(&mut said, Instant::now()).unwrap();
        assert_eq!(&said[..count], b"memory");
    }

    #[test]
    fn a_stop_ends_an_upgrade_that_waits() {
        let control = control();
        let socket = MemoryTransport { inward: Pipe::new(1), outward: Pipe::new(1), flush: Arc::default() };
        let server = Arc::clone(control.state());
        let upgrade = step(move |connection, _| {
            // The client is registered before its first wait.
            server.end_clients();
            assert_eq!(connection.transport.wait_writable(Instant::now() + LONG), Waited::Interrupted);
            match connection.transport.read(&mut [0], Some(LONG))? {
                Received::Interrupted => Err(io::ErrorKind::ConnectionAborted.into()),
                other => panic!("{other:?}"),
            }
        });
        let factory = || -> Box<dyn Adapter> { panic!("the factory was called") };
        assert!(matches!(serve(&control, socket, vec![upgrade], factory), Closing::Stopping));
    }
}
