//! The whole machine, with a server whose clients are links without a kernel: adapters, workers,
//! the pool, the stop, the drain and its deadline.

use std::io;
use std::sync::Arc;

use shuttle::thread;

use super::transport::Wire;
use super::{explore, Time};
use crate::adapter::Adapter;
use crate::client::Client;
use crate::closing::Closing;
use crate::error::Result;
use crate::machine::Machine;
use crate::remote::Remote;
use crate::server::acceptor::{Acceptor, Listener};
use crate::server::control::Control;
use crate::server::handle::ServerHandle;
use crate::server::session::Sessions;
use crate::server::Server;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::channel::{unbounded, Receiver, Sender};
use crate::sync::Mutex;

/// What the adapters of a server have seen.
#[derive(Default)]
struct Seen {
    accepted: AtomicUsize,
    opened: AtomicUsize,
    closed: AtomicUsize,
    dropped: AtomicUsize,
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

    fn closing(&mut self, _: &Client, _: &Closing) {
        self.0.closed.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// Two listeners, at each of which a client comes.
struct Wires {
    wires: Vec<Arc<Wire>>,
    seen: Arc<Seen>,
}

impl Server for Wires {
    type Handle = ServerHandle;

    fn prepare(self, control: Control) -> io::Result<ServerHandle> {
        let (core, engine, seen) = (control.core(), control.engine(), Arc::clone(&self.seen));
        let (pool, threads) = (Arc::clone(&engine.pool), Arc::clone(&engine.threads));
        let factory = move || Echo(Arc::clone(&seen));
        let host = Arc::new(Sessions::new(Arc::clone(core), pool, threads, factory, None));
        for wire in self.wires {
            let queue = Queue::new(wire, Arc::clone(&self.seen));
            let (acceptor, host) = (Acceptor::new(core, queue), Arc::clone(&host));
            control.spawn("acceptor", move || {
                acceptor.run(|seat, wire| host.welcome(seat, move || (wire.transport(), Remote::Memory)));
            })?;
        }
        Ok(control.handle())
    }
}

/// Someone comes, and then nobody.
struct Queue {
    queue: Receiver<Arc<Wire>>,
    sender: Arc<Mutex<Option<Sender<Arc<Wire>>>>>,
    seen: Arc<Seen>,
}

impl Queue {
    fn new(wire: Arc<Wire>, seen: Arc<Seen>) -> Queue {
        let (sender, queue) = unbounded();
        sender.send(wire).expect("we hold the receiver");
        Queue { queue, sender: Arc::new(Mutex::new(Some(sender))), seen }
    }
}

impl Listener for Queue {
    type Arrival = Arc<Wire>;

    fn interrupter(&self) -> Box<dyn FnOnce() + Send> {
        let sender = Arc::clone(&self.sender);
        Box::new(move || drop(sender.lock().take()))
    }

    fn accept(&mut self) -> io::Result<Arc<Wire>> {
        let wire = self.queue.recv().map_err(|_| io::Error::from(io::ErrorKind::Interrupted))?;
        self.seen.accepted.fetch_add(1, Ordering::SeqCst);
        Ok(wire)
    }
}

/// What the peers do once they have said something.
#[derive(Clone, Copy)]
enum Peers {
    /// One takes its reply and ends, one waits for the end.
    Live,
    /// They do nothing, and time passes.
    Hang,
    /// They do nothing, and no time passes that could end a wait for them.
    Stall,
}

/// Runs a machine with two clients, one place for them, and these who meddle; what `run` said.
fn run(peers: Peers, meddlers: Vec<fn(&Machine, &ServerHandle)>) -> std::result::Result<(), String> {
    let (machine, seen) = (Machine::new(), Arc::new(Seen::default()));
    let wires = vec![Wire::new(2, true), Wire::new(2, true)];
    let server = Wires { wires: wires.clone(), seen: Arc::clone(&seen) };
    let server = machine.prepare(server).expect("a machine that was just made takes a server");
    server.set_max_clients(1);
    let threads: Vec<_> = wires
        .iter()
        .enumerate()
        .map(|(number, wire)| {
            let wire = Arc::clone(wire);
            thread::spawn(move || {
                wire.send(b"ping");
                match (peers, number) {
                    (Peers::Hang, _) => wire.hang(),
                    (Peers::Stall, _) => {}
                    (Peers::Live, 0) => {
                        wire.read(4);
                        wire.end();
                    }
                    (Peers::Live, _) => drop(wire.read_to_end()),
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
        assert_eq!(seen.closed.load(Ordering::SeqCst), opened, "closing comes once for each opening");
        assert_eq!(seen.dropped.load(Ordering::SeqCst), opened);
        let stats = server.stats();
        assert!(stats.accepted >= opened as u64, "who found no thread was not opened");
        let accepted = seen.accepted.load(Ordering::SeqCst) as u64;
        assert_eq!(stats.accepted + stats.refused, accepted, "whoever was accepted is counted once");
        assert!(machine.servers().is_empty());
    }
    // Those whom nobody has accepted would wait for ever.
    wires.iter().for_each(|wire| wire.transport().abort());
    for thread in threads {
        thread.join().unwrap();
    }
    outcome
}

#[test]
fn a_stop_ends_everything() {
    explore(Time::Stands, || run(Peers::Live, vec![|machine, _| machine.stop()]).unwrap());
}

#[test]
fn the_end_of_the_last_server_ends_the_machine() {
    explore(Time::Stands, || run(Peers::Live, vec![|_, server| server.stop()]).unwrap());
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

/// A second stop doesn't wait for peers, and neither does one that is told so.
#[test]
fn a_hard_stop_waits_for_nobody() {
    explore(Time::Stands, || run(Peers::Stall, vec![|machine, _| machine.stop_now()]).unwrap());
    explore(Time::Stands, || {
        run(Peers::Stall, vec![|machine, _| machine.stop(), |machine, _| machine.stop()]).unwrap();
    });
}

#[test]
fn what_a_server_has_counted_stays_when_it_leaves() {
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

/// It is refused, or it is stopped with the others: the stop waits for no one.
#[test]
fn a_server_that_is_prepared_during_a_stop_holds_up_nobody() {
    explore(Time::Stands, || {
        let meddlers: Vec<fn(&Machine, &ServerHandle)> = vec![|machine, _| machine.stop(), |machine, _| {
            let server = Wires { wires: vec![Wire::new(2, true)], seen: Arc::default() };
            drop(machine.prepare(server));
        }];
        run(Peers::Live, meddlers).unwrap();
    });
}

/// Deadlines pass at any time: what comes late is aborted, and what is later still is an error that
/// says so. Nobody waits for ever.
#[test]
fn the_drain_deadline_ends_the_wait_for_a_peer_that_hangs() {
    explore(Time::Passes, || {
        if let Err(error) = run(Peers::Hang, vec![|machine, _| machine.stop()]) {
            assert!(error.contains("stuck") || error.contains("thread"), "{error}");
        }
    });
}
