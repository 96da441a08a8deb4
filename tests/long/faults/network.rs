//! A network of its own whose link goes down: a peer that is gone and says nothing (P10, P17).

use std::fs::File;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{setns, CloneFlags};

use crate::host::{Host, Setup};
use crate::support::child::skip;
use crate::support::{in_time, Peer};

/// Two namespaces with a cable between them.
struct Network {
    names: [String; 2],
}

const SERVER: &str = "10.77.0.1";

fn ip(words: &[&str]) -> bool {
    let command = Command::new("ip").args(words).stderr(Stdio::null()).status();
    command.is_ok_and(|status| status.success())
}

impl Network {
    /// `None` where the machine doesn't allow it.
    fn new(name: &str) -> Option<Network> {
        let there = Command::new("ip").arg("-V").stdout(Stdio::null()).status().is_ok();
        assert!(there || std::env::var_os("CI").is_none(), "ip is not there, and CI must not skip tests");
        let names = ["server", "peer"].map(|end| format!("backport-{name}-{}-{end}", std::process::id()));
        let network = Network { names };
        let [server, peer] = &network.names;
        let made = ip(&["netns", "add", server])
            && ip(&["netns", "add", peer])
            && ip(&[
                "-n", server, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", peer,
            ])
            && network.configure(server, SERVER)
            && network.configure(peer, "10.77.0.2");
        if !made {
            skip("since this machine lets us make no network namespaces");
            return None;
        }
        Some(network)
    }

    fn configure(&self, end: &str, address: &str) -> bool {
        ip(&["-n", end, "address", "add", &format!("{address}/30"), "dev", "cable"])
            && ip(&["-n", end, "link", "set", "cable", "up"])
    }

    fn start(&self, setup: Setup) -> Host {
        let listen = format!("{SERVER}:0");
        setup.behind(&["ip", "netns", "exec", &self.names[0]]).set("LISTEN", listen).start()
    }

    /// A peer at the other end of the cable: a socket stays in the namespace that it was made in.
    fn connect(&self, host: &Host) -> Peer {
        let space = File::open(format!("/run/netns/{}", self.names[1])).unwrap();
        let address = host.address();
        in_time("the peer connects", move || {
            // For this thread alone.
            setns(space, CloneFlags::CLONE_NEWNET).unwrap();
            Peer::connect(address)
        })
    }

    /// Pulls the cable out at the peer's end, or puts it in.
    fn set(&self, state: &str) {
        assert!(ip(&["-n", &self.names[1], "link", "set", "cable", state]));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&["netns", "delete", name]);
        }
    }
}

#[test]
fn a_peer_whose_link_goes_down_is_idle_at_the_idle_timeout() {
    let Some(network) = Network::new("idle") else { return };
    let host = network.start(Setup::new().set("IDLE_TIMEOUT", 2000));
    let peer = network.connect(&host);
    peer.assert_echo(b"up");
    let start = Instant::now();
    network.set("down");
    host.eventually("it is idle", |report| report.get("Idle") == 1);
    let took = start.elapsed();
    assert!(took > Duration::from_millis(1700) && took < Duration::from_millis(3500), "{took:?}");
    // The goodbye can't be delivered, and keeps no thread and no descriptor.
    host.assert_settled();
    network.set("up");
    network.connect(&host).assert_echo(b"up again");
    drop(peer);
    host.end();
}

#[test]
fn a_write_into_a_dead_link_is_too_slow_at_the_write_timeout() {
    let Some(network) = Network::new("write") else { return };
    let host = network.start(Setup::new().set("WRITE_TIMEOUT", 1500));
    let peer = network.connect(&host);
    peer.send("!flood 20000000");
    peer.read(100_000);
    let start = Instant::now();
    network.set("down");
    host.eventually("it is too slow", |report| report.get("TooSlow") == 1);
    let took = start.elapsed();
    assert!(took < Duration::from_millis(3500), "{took:?}");
    host.assert_settled();
    drop(peer);
    host.end();
}

#[test]
fn a_stop_with_a_dead_link_ends_within_the_linger() {
    let Some(network) = Network::new("stop") else { return };
    let host = network.start(Setup::new());
    let peers: Vec<_> = (0..3).map(|_| network.connect(&host)).collect();
    peers.iter().for_each(|peer| peer.assert_echo(b"up"));
    network.set("down");
    let (said, took) = host.stop();
    assert_eq!(said, "ended ok");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_link_that_comes_back_in_time_costs_nothing() {
    let Some(network) = Network::new("back") else { return };
    let host = network.start(Setup::new().set("IDLE_TIMEOUT", 10_000));
    let peer = network.connect(&host);
    peer.assert_echo(b"up");
    network.set("down");
    thread::sleep(Duration::from_millis(300));
    network.set("up");
    peer.assert_echo(b"up again");
    drop(peer);
    host.end();
}
