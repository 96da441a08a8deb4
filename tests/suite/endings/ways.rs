//! The ways to stop, and the peers that see the stop, over sockets and over memory.

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use backport::testing::{Setup, TestClient};
use backport::{Adapter, Client, Control, Machine, Result, Running, Server, ServerHandle};
use crossbeam_channel::{bounded, Sender};

use crate::support::{
    eventually, free, in_time, next, prepare_with, Listening, Peer, Prepare, Settings, DEADLINE,
};

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

/// A server that gives its control to the test.
struct Controlled<S>(S, Sender<Control>);

impl<S: Server> Server for Controlled<S> {
    type Handle = S::Handle;

    fn prepare(self, control: Control) -> std::io::Result<S::Handle> {
        self.1.send(control.clone()).expect("the test waits for it");
        self.0.prepare(control)
    }
}

struct WithControl<'a>(&'a Machine, Sender<Control>);

impl Prepare for WithControl<'_> {
    fn prepare<S: Server>(self, server: S) -> std::io::Result<S::Handle> {
        self.0.prepare(Controlled(server, self.1))
    }
}

/// A server with one peer.
pub(super) enum Scene {
    Socket(Box<OverSocket>),
    Memory(TestClient),
}

pub(super) struct OverSocket {
    peer: Peer,
    machine: Machine,
    server: Listening,
    control: Control,
    /// `None` while another thread drops it.
    running: Option<Running>,
    dropped: Option<JoinHandle<()>>,
}

impl Scene {
    /// Serves one peer over a socket. `here` gets the stop that a callback makes.
    pub(super) fn socket<A: Adapter>(
        factory: impl Fn() -> A + Send + Sync + 'static,
        way: Way,
        here: &StopHere,
    ) -> Scene {
        let machine = Machine::new();
        let (sender, control) = bounded(1);
        let settings = Settings::default().max_backlog(8_000_000);
        let server = prepare_with(free(), factory, settings, WithControl(&machine, sender)).unwrap();
        let own = machine.clone();
        set(here, way, move |_| own.stop());
        let running = Some(machine.start().unwrap());
        let (peer, control) = (server.connect(), next(&control));
        Scene::Socket(Box::new(OverSocket { peer, machine, server, control, running, dropped: None }))
    }

    /// Serves one peer over memory.
    pub(super) fn memory(adapter: impl Adapter, way: Way, here: &StopHere) -> Scene {
        set(here, way, |_| unreachable!("this way needs the machine"));
        Scene::Memory(Setup::new().deadline(DEADLINE).max_backlog(8_000_000).connect(adapter))
    }

    pub(super) fn send(&mut self, data: &[u8]) {
        match self {
            Scene::Socket(open) => open.peer.send(data),
            Scene::Memory(client) => client.write_all(data).unwrap(),
        }
    }

    pub(super) fn half_close(&self) {
        match self {
            Scene::Socket(open) => open.peer.half_close(),
            Scene::Memory(client) => client.close_write(),
        }
    }

    /// Stops in this way from outside. It returns before the stop has reached the client.
    pub(super) fn stop(&mut self, way: Way) {
        let server = match self {
            Scene::Socket(open) => {
                match way {
                    Way::Machine => open.machine.stop(),
                    Way::DrainMachine => open.machine.drain(TINY),
                    Way::Control => open.control.stop(),
                    Way::DropRunning => {
                        let running = open.running.take();
                        open.dropped = Some(thread::spawn(move || drop(running)));
                    }
                    _ => {}
                }
                ServerHandle::clone(&open.server)
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
            Scene::Socket(open) => {
                let OverSocket { peer, running, dropped, .. } = *open;
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
