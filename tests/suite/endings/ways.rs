//! The ways to stop, and the peers that see the stop, over TCP and over memory.

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use backport::testing::{Setup, TestClient};
use backport::{
    Adapter, Client, Control, Machine, Result, Running, Server, ServerHandle, TcpHandle, TcpServer,
};
use crossbeam_channel::{bounded, Sender};

use crate::support::{eventually, in_time, next, Peer, DEADLINE};

/// A function that a callback calls to stop its own machine or server.
pub(super) type StopHere = Arc<OnceLock<Box<dyn Fn(&Client) + Send + Sync>>>;

/// A way to stop that is asked for from outside of the callbacks, or within one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Machine,
    Server,
    DropRunning,
    Control,
    DrainServer,
    DrainMachine,
    MachineInCallback,
    ServerInCallback,
}

impl Way {
    pub(super) const ALL: [Way; 8] = [
        Way::Machine,
        Way::Server,
        Way::DropRunning,
        Way::Control,
        Way::DrainServer,
        Way::DrainMachine,
        Way::MachineInCallback,
        Way::ServerInCallback,
    ];
    /// The ways that a connection in memory has, which has its machine to itself.
    pub(super) const IN_MEMORY: [Way; 3] = [Way::Server, Way::DrainServer, Way::ServerInCallback];

    pub(super) fn is_in_callback(self) -> bool {
        matches!(self, Way::MachineInCallback | Way::ServerInCallback)
    }
}

/// A limit for a drain that has passed at once.
const TINY: Duration = Duration::from_millis(1);

/// A TCP server that gives its control to the test.
struct Controlled<S>(S, Sender<Control>);

impl<S: Server> Server for Controlled<S> {
    type Handle = S::Handle;

    fn prepare(self, control: Control) -> std::io::Result<S::Handle> {
        self.1.send(control.clone()).expect("the test waits for it");
        self.0.prepare(control)
    }
}

/// A server with one peer.
pub(super) enum Scene {
    Tcp(Box<Tcp>),
    Memory(TestClient),
}

pub(super) struct Tcp {
    peer: Peer,
    machine: Machine,
    server: TcpHandle,
    control: Control,
    /// `None` while another thread drops it.
    running: Option<Running>,
    dropped: Option<JoinHandle<()>>,
}

impl Scene {
    /// Serves one peer over TCP. `here` gets the stop that a callback makes.
    pub(super) fn tcp<A: Adapter>(
        factory: impl Fn() -> A + Send + Sync + 'static,
        way: Way,
        here: &StopHere,
    ) -> Scene {
        let machine = Machine::new();
        let (sender, control) = bounded(1);
        let server = TcpServer::new("127.0.0.1:0", factory).max_backlog(8_000_000);
        let server = machine.prepare(Controlled(server, sender)).unwrap();
        let own = machine.clone();
        set(here, way, move |_| own.stop());
        let running = Some(machine.start().unwrap());
        let (peer, control) = (Peer::connect(server.local_addr()), next(&control));
        Scene::Tcp(Box::new(Tcp { peer, machine, server, control, running, dropped: None }))
    }

    /// Serves one peer over memory.
    pub(super) fn memory(adapter: impl Adapter, way: Way, here: &StopHere) -> Scene {
        set(here, way, |_| unreachable!("this way needs the machine"));
        Scene::Memory(Setup::new().deadline(DEADLINE).max_backlog(8_000_000).connect(adapter))
    }

    pub(super) fn send(&mut self, data: &[u8]) {
        match self {
            Scene::Tcp(tcp) => tcp.peer.send(data),
            Scene::Memory(client) => client.write_all(data).unwrap(),
        }
    }

    pub(super) fn half_close(&self) {
        match self {
            Scene::Tcp(tcp) => tcp.peer.half_close(),
            Scene::Memory(client) => client.close_write(),
        }
    }

    /// Stops in this way from outside. It returns before the stop has reached the client.
    pub(super) fn stop(&mut self, way: Way) {
        let server = match self {
            Scene::Tcp(tcp) => {
                match way {
                    Way::Machine => tcp.machine.stop(),
                    Way::DrainMachine => tcp.machine.drain(TINY),
                    Way::Control => tcp.control.stop(),
                    Way::DropRunning => {
                        let running = tcp.running.take();
                        tcp.dropped = Some(thread::spawn(move || drop(running)));
                    }
                    _ => {}
                }
                ServerHandle::clone(&tcp.server)
            }
            Scene::Memory(client) => client.server().clone(),
        };
        match way {
            Way::Server => server.stop(),
            Way::DrainServer => server.drain(TINY),
            _ => {}
        }
    }

    /// Reads what the peer gets, up to the end of input. Returns it and the result of `run`, if there is one.
    #[track_caller]
    pub(super) fn finish(self) -> (Vec<u8>, Result) {
        match self {
            Scene::Tcp(tcp) => {
                let Tcp { peer, running, dropped, .. } = *tcp;
                let said = peer.read_to_end();
                drop(peer);
                let ended = in_time("the machine ends", move || {
                    dropped.map(JoinHandle::join);
                    running.map_or(Ok(()), Running::join)
                });
                (said, ended)
            }
            Scene::Memory(mut client) => {
                let mut said = Vec::new();
                client.read_to_end(&mut said).unwrap();
                client.close();
                drop(in_time("the connection ends", move || client.ended()));
                (said, Ok(()))
            }
        }
    }
}

fn set(here: &StopHere, way: Way, machine: impl Fn(&Client) + Send + Sync + 'static) {
    let stop: Box<dyn Fn(&Client) + Send + Sync> = match way {
        Way::MachineInCallback => Box::new(machine),
        Way::ServerInCallback => Box::new(|client| {
            client.server().stop();
            eventually("the stop has reached the client", || client.is_stopping());
        }),
        _ => Box::new(|_| ()),
    };
    assert!(here.set(stop).is_ok(), "it is set once");
}
