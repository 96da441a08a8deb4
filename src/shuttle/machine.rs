//! Tests of a whole machine: acceptors, sessions, upgrades, workers, the stop and its deadline. The
//! transports of the clients need no kernel.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shuttle::thread;

use super::transport::Wire;
use super::{explore, pick, Time};
use crate::adapter::Adapter;
use crate::client::Client;
use crate::closing::Closing;
use crate::error::Result;
use crate::machine::Machine;
use crate::remote::Remote;
use crate::server::acceptor::Acceptor;
use crate::server::control::Control;
use crate::server::handle::ServerHandle;
use crate::server::listener::{Accepted, Listener, Refuse};
use crate::server::session::Sessions;
use crate::server::threads::Threads;
use crate::server::upgrade::{Connection, Upgrade, Upgrades, HANDSHAKE_TIMEOUT};
use crate::server::Server;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::channel::{unbounded, Receiver, Sender};
use crate::sync::Mutex;
use crate::transport::Received;

/// Counts the calls of all adapters of a server.
#[derive(Default)]
struct Seen {
    accepted: AtomicUsize,
    opened: AtomicUsize,
    closed: AtomicUsize,
    dropped: AtomicUsize,
    /// The number of open listeners.
    listeners: AtomicUsize,
    /// The number of clients that a stop has closed while a listener was open.
    closed_early: AtomicUsize,
}

struct Echo(Arc<Seen>);

impl Adapter for Echo {
    fn opening(&mut self, _: &Client) -> Result {
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        Ok(client.write(data)?)
    }

    fn closing(&mut self, _: &Client, reason: &Closing) {
        if matches!(reason, Closing::Stopping) && self.0.listeners.load(Ordering::SeqCst) > 0 {
            self.0.closed_early.fetch_add(1, Ordering::SeqCst);
        }
        self.0.closed.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// A handshake, which consists of one byte from the peer.
#[derive(Debug)]
struct Hello;

impl Upgrade for Hello {
    fn upgrade(&self, connection: Connection, _: Instant) -> io::Result<Connection> {
        match connection.transport.read(&mut [0], None)? {
            Received::Bytes(1) => Ok(connection),
            other => Err(io::Error::new(io::ErrorKind::ConnectionAborted, format!("{other:?}"))),
        }
    }
}

/// A server with two listeners. One client connects to each of them.
struct Wires {
    wires: Vec<Arc<Wire>>,
    upgraded: bool,
    threads: Threads,
    seen: Arc<Seen>,
}

impl Server for Wires {
    type Handle = ServerHandle;

    fn prepare(self, control: Control) -> io::Result<ServerHandle> {
        let seen = Arc::clone(&self.seen);
        let factory = move || Echo(Arc::clone(&seen));
        let steps: Vec<Arc<dyn Upgrade>> = if self.upgraded { vec![Arc::new(Hello)] } else { Vec::new() };
        let upgrades = Upgrades { steps, timeout: HANDSHAKE_TIMEOUT };
        let sessions =
            Sessions::new(&control, factory, |wire: Arc<Wire>| wire.transport()).upgrades(upgrades);
        let sessions = Arc::new(sessions.crews(self.threads.crews(&control, None)));
        for wire in self.wires {
            let queue = Queue::new(wire, Arc::clone(&self.seen));
            let (acceptor, sessions) = (Acceptor::new(control.state(), queue), Arc::clone(&sessions));
            let serve = move |permit, accepted| sessions.start(permit, accepted);
            control.spawn("acceptor", move || acceptor.run(serve))?;
        }
        Ok(control.handle())
    }
}

/// A listener to which one client connects.
struct Queue {
    queue: Receiver<Arc<Wire>>,
    sender: Arc<Mutex<Option<Sender<Arc<Wire>>>>>,
    seen: Arc<Seen>,
}

impl Queue {
    fn new(wire: Arc<Wire>, seen: Arc<Seen>) -> Queue {
        seen.listeners.fetch_add(1, Ordering::SeqCst);
        let (sender, queue) = unbounded();
        sender.send(wire).expect("the receiver exists");
        Queue { queue, sender: Arc::new(Mutex::new(Some(sender))), seen }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.seen.listeners.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Listener for Queue {
    type Socket = Arc<Wire>;

    fn interrupter(&self) -> Box<dyn FnOnce() + Send> {
        let sender = Arc::clone(&self.sender);
        Box::new(move || drop(sender.lock().take()))
    }

    fn accept(&mut self, _: Option<Instant>) -> io::Result<Option<Accepted<Arc<Wire>>>> {
        let socket = self.queue.recv().map_err(|_| io::Error::from(io::ErrorKind::Interrupted))?;
        self.seen.accepted.fetch_add(1, Ordering::SeqCst);
        Ok(Some(Accepted { socket, remote: Remote::Memory }))
    }
}

impl Refuse for Arc<Wire> {
    fn refuse(&self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn drop_input(&self) {}
}

/// The behaviour of the two peers. Each of them sends something first.
#[derive(Clone, Copy)]
enum Peers {
    /// One peer reads its reply and ends its output, and the other waits for the end of the connection.
    Live,
    /// The same as `Live`, after a handshake.
    Upgraded,
    /// The peers do nothing more, and deadlines pass.
    Hang,
    /// The peers do nothing more, and no deadline passes that could end a wait for them.
    Stall,
    /// The same as `Stall`, in the middle of a handshake.
    StallInUpgrade,
}

/// Returns one of the modes.
fn threads() -> Threads {
    [Threads::PerClient, Threads::WhileBusy][pick(2)]
}

/// Runs a machine with two clients and one permit, while the functions `meddlers` run on other threads.
/// Returns the result of `run`, with the number of clients that were closed while a listener was open. Only a
/// second stop or `stop_now` may close a client so early.
fn run(peers: Peers, meddlers: Vec<fn(&Machine, &ServerHandle)>) -> std::result::Result<usize, String> {
    let (machine, seen) = (Machine::new(), Arc::new(Seen::default()));
    let wires = vec![Wire::new(2, true), Wire::new(2, true)];
    let upgraded = matches!(peers, Peers::Upgraded | Peers::StallInUpgrade);
    let server = Wires { wires: wires.clone(), upgraded, threads: threads(), seen: Arc::clone(&seen) };
    let server = machine.prepare(server).expect("a new machine takes a server");
    server.set_max_clients(1);
    let threads: Vec<_> = wires
        .iter()
        .enumerate()
        .map(|(number, wire)| {
            let (wire, server) = (Arc::clone(wire), server.clone());
            thread::spawn(move || {
                match peers {
                    Peers::StallInUpgrade => return,
                    Peers::Upgraded => {
                        while server.client_count() == 0 && !server.is_stopped() {
                            thread::yield_now();
                        }
                        (0..pick(8)).for_each(|_| thread::yield_now());
                        assert!(!wire.has_unread(), "output got into the handshake");
                        wire.send(b"h");
                    }
                    Peers::Live | Peers::Hang | Peers::Stall => {}
                }
                wire.send(b"ping");
                match (peers, number) {
                    (Peers::Hang, _) => wire.hang(),
                    (Peers::Live | Peers::Upgraded, 0) => {
                        wire.read(4);
                        wire.end();
                    }
                    (Peers::Live | Peers::Upgraded, _) => drop(wire.read_to_end()),
                    (Peers::Stall | Peers::StallInUpgrade, _) => {}
                }
            })
        })
        .collect();
    let meddlers: Vec<_> = meddlers
        .into_iter()
        .map(|meddle| {
            let (machine, server) = (machine.clone(), server.clone());
            thread::spawn(move || meddle(&machine, &server))
        })
        .collect();
    let outcome = machine.run().map_err(|error| error.to_string());
    for meddler in meddlers {
        meddler.join().unwrap();
    }
    assert!(machine.is_stopped() && server.is_stopped());
    if outcome.is_ok() {
        assert_eq!(machine.stats().threads, 0, "a thread has outlived the machine");
        assert_eq!(server.client_count(), 0);
        let opened = seen.opened.load(Ordering::SeqCst);
        assert_eq!(seen.closed.load(Ordering::SeqCst), opened, "closing is called once for each opening");
        assert_eq!(seen.dropped.load(Ordering::SeqCst), opened);
        let stats = server.stats();
        assert!(stats.accepted >= opened as u64, "a client was opened that was not accepted");
        let accepted = seen.accepted.load(Ordering::SeqCst) as u64;
        assert_eq!(stats.accepted + stats.refused, accepted, "each connection is counted once");
        assert!(machine.servers().is_empty());
    }
    // Without this, a peer whose connection was not accepted would wait forever.
    wires.iter().for_each(|wire| wire.transport().abort());
    for thread in threads {
        thread.join().unwrap();
    }
    outcome.map(|()| seen.closed_early.load(Ordering::SeqCst))
}

#[test]
fn a_stop_ends_everything() {
    explore(Time::Stands, || assert_eq!(run(Peers::Live, vec![|machine, _| machine.stop()]), Ok(0)));
}

/// The handshake has finished, has begun, or has not begun.
#[test]
fn a_stop_ends_clients_in_every_stage_of_an_upgrade() {
    explore(Time::Stands, || assert_eq!(run(Peers::Upgraded, vec![|machine, _| machine.stop()]), Ok(0)));
    explore(Time::Stands, || assert!(run(Peers::StallInUpgrade, vec![|machine, _| machine.stop()]).is_ok()));
    explore(Time::Stands, || assert!(run(Peers::StallInUpgrade, vec![|_, server| server.stop()]).is_ok()));
}

/// A broadcast reaches a client as soon as the client is registered.
#[test]
fn a_broadcast_gets_into_no_handshake() {
    explore(Time::Stands, || {
        let meddlers: Vec<fn(&Machine, &ServerHandle)> = vec![
            |_, server| {
                while server.client_count() == 0 && !server.is_stopped() {
                    thread::yield_now();
                }
                server.broadcast("n");
            },
            |machine, _| machine.stop(),
        ];
        assert!(run(Peers::Upgraded, meddlers).is_ok());
    });
}

#[test]
fn the_end_of_the_last_server_ends_the_machine() {
    explore(Time::Stands, || assert_eq!(run(Peers::Live, vec![|_, server| server.stop()]), Ok(0)));
}

#[test]
fn stops_of_all_kinds_at_once_end_everything() {
    explore(Time::Stands, || {
        let meddlers: Vec<fn(&Machine, &ServerHandle)> = vec![
            |machine, _| machine.stop(),
            |machine, _| machine.stop_now(),
            |_, server| server.stop(),
            |_, server| server.clients().iter().for_each(Client::close),
        ];
        run(Peers::Live, meddlers).unwrap();
    });
}

/// `stop_now` does not wait for peers, whether it comes first or ends a graceful stop.
#[test]
fn a_stop_that_escalates_waits_for_no_peer() {
    explore(Time::Stands, || assert!(run(Peers::Stall, vec![|machine, _| machine.stop_now()]).is_ok()));
    explore(Time::Stands, || {
        run(Peers::Stall, vec![|machine, _| machine.stop(), |machine, _| machine.stop_now()]).unwrap();
    });
}

/// Repeated stops are one graceful stop: no client is closed before the listeners.
#[test]
fn repeated_stops_do_not_escalate() {
    explore(Time::Stands, || {
        let stop: fn(&Machine, &ServerHandle) = |machine, _| machine.stop();
        assert_eq!(run(Peers::Live, vec![stop, stop, stop]), Ok(0));
    });
}

/// After a drain, both clients are served to their end, unless a stop comes.
#[test]
fn a_drain_and_a_stop_end_everything() {
    explore(Time::Stands, || {
        let meddlers: Vec<fn(&Machine, &ServerHandle)> =
            vec![|machine, _| machine.drain(Duration::from_secs(60)), |machine, _| machine.stop()];
        assert_eq!(run(Peers::Live, meddlers), Ok(0));
    });
    explore(Time::Stands, || {
        let meddlers: Vec<fn(&Machine, &ServerHandle)> =
            vec![|_, server| server.drain(Duration::from_secs(60)), |_, server| server.stop()];
        assert_eq!(run(Peers::Live, meddlers), Ok(0));
    });
    // The limit of the drain passes at any time.
    explore(Time::Passes, || {
        let meddlers: Vec<fn(&Machine, &ServerHandle)> =
            vec![|machine, _| machine.drain(Duration::from_secs(60)), |machine, _| machine.stop_now()];
        if let Err(error) = run(Peers::Hang, meddlers) {
            assert!(error.contains("stuck") || error.contains("thread"), "{error}");
        }
    });
}

#[test]
fn the_statistics_of_a_server_stay_when_it_ends() {
    explore(Time::Stands, || {
        let meddlers: Vec<fn(&Machine, &ServerHandle)> = vec![|_, server| server.stop(), |machine, _| {
            let mut accepted = 0;
            while !machine.is_stopped() {
                let now = machine.stats().clients.accepted;
                assert!(now >= accepted, "{now} after {accepted}");
                accepted = now;
                thread::yield_now();
            }
        }];
        run(Peers::Live, meddlers).unwrap();
    });
}

fn prepare_another(machine: &Machine, _: &ServerHandle) {
    let wires = vec![Wire::new(2, true)];
    let server = Wires { wires, upgraded: false, threads: threads(), seen: Arc::default() };
    drop(machine.prepare(server));
}

/// The new server is refused, or it is stopped together with the others.
#[test]
fn a_server_that_is_prepared_during_a_stop_does_not_delay_it() {
    explore(Time::Stands, || {
        run(Peers::Live, vec![|machine, _| machine.stop(), prepare_another]).unwrap();
    });
    explore(Time::Stands, || {
        run(Peers::Live, vec![|machine, _| machine.stop_now(), prepare_another]).unwrap();
    });
}

/// Deadlines may pass at any time in this test. If clients end too late, they are aborted. If they do not end
/// even then, `run` returns an error. No thread waits forever.
#[test]
fn the_drain_deadline_ends_the_wait_for_a_peer_that_hangs() {
    explore(Time::Passes, || {
        if let Err(error) = run(Peers::Hang, vec![|machine, _| machine.stop()]) {
            assert!(error.contains("stuck") || error.contains("thread"), "{error}");
        }
    });
}
