//! `Group`: clients of any server, which leave by themselves.

use std::thread;

use backport::framing::Lines;
use backport::{Adapter, Client, Closing, Group, Machine, Result};

use crate::support::{eventually, prepare, serve, Peer};

/// Joins in `opening`, and leaves or speaks as its lines say.
struct Member(Group);

impl Adapter for Member {
    fn opening(&mut self, client: &Client) -> Result {
        self.0.join(client);
        self.0.join(client);
        Ok(client.write_line("in")?)
    }
    fn receiving(&mut self, client: &Client, line: &[u8]) -> Result {
        match line {
            b"leave" => self.0.leave(client),
            b"half" => client.close_write(),
            line => drop(self.0.broadcast([line, b"\n"].concat())),
        }
        Ok(())
    }
    fn closing(&mut self, client: &Client, _: &Closing) {
        // It is no member any more, and does not become one again.
        assert!(self.0.clients().iter().all(|member| member.id() != client.id()));
        self.0.join(client);
    }
}

#[test]
fn a_broadcast_reaches_the_members_of_two_servers_and_nobody_else() {
    let (group, machine) = (Group::new(), Machine::new());
    let servers: Vec<_> = (0..2)
        .map(|_| {
            let group = group.clone();
            let factory = move || Member(group.clone()).framed(Lines::default());
            prepare(&machine, factory)
        })
        .collect();
    let running = machine.start().unwrap();
    let peers: Vec<_> = (0..6).map(|i| servers[i % 2].connect()).collect();
    peers.iter().for_each(|peer| assert_eq!(peer.read_line(), "in"));
    assert_eq!(group.len(), 6);
    peers[0].send("hello\n");
    peers.iter().for_each(|peer| assert_eq!(peer.read_line(), "hello"));
    peers[5].send("leave\n");
    eventually("it has left", || group.len() == 5);
    peers[0].send("again\n");
    peers[..5].iter().for_each(|peer| assert_eq!(peer.read_line(), "again"));
    peers[5].assert_silent();
    peers[4].send("half\n");
    eventually("who half-closes leaves", || group.len() == 4);
    let mut peers = peers;
    peers.remove(0).reset();
    eventually("who is lost leaves", || group.len() == 3);
    servers[1].stop();
    eventually("who is stopped leaves", || {
        group.clients().iter().all(|client| client.server().name() == servers[0].name())
    });
    assert_eq!(group.broadcast("last\n"), 1);
    running.stop().unwrap();
    assert!(group.is_empty());
    assert_eq!(group.broadcast("to nobody\n"), 0);
}

#[test]
fn joins_and_leaves_of_many_threads_leave_nobody_behind() {
    let group = Group::new();
    let own = group.clone();
    let served = serve(move || Member(own.clone()).framed(Lines::default()));
    let address = served.address();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                for _ in 0..100 {
                    let peer = Peer::connect(address);
                    peer.send("hello\n");
                    // A broadcast of another peer may come first.
                    assert!(["in", "hello"].contains(&&*peer.read_line()));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    served.wait_until_empty();
    assert!(group.is_empty());
    served.stop().unwrap();
}
