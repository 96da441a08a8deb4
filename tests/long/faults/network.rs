//! A network of its own whose link goes down: a peer that is gone and says nothing (P10, P17, P24).

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, SocketAddrV6};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use backport::{Adapter, Client, Closing, Machine, Remote, Result, Running, TcpServer};
use crossbeam_channel::{unbounded, Receiver, Sender};
use nix::sched::{setns, CloneFlags};

use crate::host::{Host, Setup};
use crate::support::child::skip;
use crate::support::{assert_same, in_time, next, pattern, Peer};

/// Two namespaces with a cable between them.
struct Network {
    names: [String; 2],
}

const SERVER: &str = "10.77.0.1";
const KEEPALIVE: Duration = Duration::from_secs(2);
/// More than all buffers on the way take.
const FLOOD: usize = 30_000_000;

/// The bytes of a flood, which take a while to make.
static SUPPLY: LazyLock<Vec<u8>> = LazyLock::new(|| pattern(FLOOD));

/// What an adapter does to its client.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    Nothing,
    /// Writes a line each half second.
    Lines,
    /// Writes more than the peer takes.
    Write,
    /// Posts more than the peer takes.
    Post,
}

/// What a test hears of an adapter.
enum Seen {
    Opened(Client),
    Closed(String),
}

struct Teller {
    told: Told,
    seen: Sender<Seen>,
}

impl Adapter for Teller {
    fn opening(&mut self, client: &Client) -> Result {
        self.seen.send(Seen::Opened(client.clone()))?;
        match self.told {
            Told::Nothing => {}
            Told::Lines => {
                let client = client.clone();
                thread::spawn(move || {
                    while client.write_line("a line").is_ok() {
                        thread::sleep(KEEPALIVE / 4);
                    }
                });
            }
            Told::Write => client.write(&*SUPPLY)?,
            Told::Post => client.post(&*SUPPLY)?,
        }
        Ok(())
    }

    fn closing(&mut self, _: &Client, closing: &Closing) {
        drop(self.seen.send(Seen::Closed(format!("{closing:?}"))));
    }
}

#[track_caller]
fn opened(seen: &Receiver<Seen>) -> Client {
    match next(seen) {
        Seen::Opened(client) => client,
        Seen::Closed(reason) => panic!("closed: {reason}"),
    }
}

#[track_caller]
fn closed(seen: &Receiver<Seen>) -> String {
    match next(seen) {
        Seen::Opened(client) => panic!("another client: {client:?}"),
        Seen::Closed(reason) => reason,
    }
}

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
        self.connect_to(host.address())
    }

    fn connect_to(&self, address: SocketAddr) -> Peer {
        self.within(1, move || Peer::connect(address))
    }

    /// Calls `f` on a thread in the first or the second namespace. The sockets that it makes stay there.
    fn within<T: Send + 'static>(&self, end: usize, f: impl FnOnce() -> T + Send + 'static) -> T {
        let space = File::open(format!("/run/netns/{}", self.names[end])).unwrap();
        in_time("a call in a namespace", move || {
            // For this thread alone.
            setns(space, CloneFlags::CLONE_NEWNET).unwrap();
            f()
        })
    }

    /// Serves in this process.
    fn serve(
        &self,
        told: Told,
        keepalive: Duration,
        address: &'static str,
    ) -> (Receiver<Seen>, SocketAddr, Running) {
        let (sender, seen) = unbounded();
        let (address, running) = self.within(0, move || {
            let machine = Machine::new();
            let server = TcpServer::new(address, move || Teller { told, seen: sender.clone() });
            let server = server.keepalive(Some(keepalive)).max_backlog(FLOOD);
            let server = machine.prepare(server).unwrap();
            (server.local_addr(), machine.start().unwrap())
        });
        (seen, address, running)
    }

    /// The number of the cable in a namespace.
    fn index(&self, end: usize) -> u32 {
        let shown = Command::new("ip").args(["-n", &self.names[end], "-o", "link", "show", "cable"]).output();
        let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
        shown.split(':').next().unwrap().parse().unwrap()
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

/// The link of a peer goes down when it has read so much. Its connection is lost in time.
#[track_caller]
fn assert_lost_in_time(name: &str, told: Told, read: usize, goes_on: bool) {
    let Some(network) = Network::new(name) else { return };
    // When the neighbour of a link that is down is given up after 3 s, the kernel sends once more and starts
    // its timer of up to 1.6 s again. Therefore writes and backlogs notice the time themselves.
    let keepalive = KEEPALIVE;
    LazyLock::force(&SUPPLY);
    let (seen, address, running) = network.serve(told, keepalive, "10.77.0.1:0");
    let peer = network.connect_to(address);
    opened(&seen);
    peer.read(read);
    let stream = peer.stream.try_clone().unwrap();
    // Until the link is down, this one takes what comes, not too fast.
    let reader = goes_on.then(|| {
        thread::spawn(move || {
            let (mut buffer, mut got) = (vec![0; 64 * 1024], 0);
            while let Ok(count @ 1..) = (&stream).read(&mut buffer) {
                got += count;
                thread::sleep(Duration::from_millis(5));
            }
            got
        })
    });
    if goes_on {
        thread::sleep(KEEPALIVE / 20);
    }
    let start = Instant::now();
    network.set("down");
    let reason = closed(&seen);
    let took = start.elapsed();
    assert!(reason.starts_with("Lost("), "{reason}");
    assert!(took < 2 * keepalive, "lost after {took:?}");
    running.stop().unwrap();
    drop(peer.stream.shutdown(std::net::Shutdown::Both));
    let got = reader.map_or(0, |reader| reader.join().unwrap());
    assert!(got < FLOOD / 2, "the link was down too late");
}

#[test]
fn an_idle_peer_that_has_vanished_is_lost_within_twice_the_keepalive_time() {
    assert_lost_in_time("kept", Told::Nothing, 0, false);
}

#[test]
fn a_peer_that_vanishes_while_lines_are_written_to_it_is_lost_within_twice_the_keepalive_time() {
    // Right after a line, so that the next one is half a second away.
    assert_lost_in_time("lines", Told::Lines, 14, false);
}

#[test]
fn a_peer_that_vanishes_during_a_large_write_is_lost_within_twice_the_keepalive_time() {
    assert_lost_in_time("large", Told::Write, 100_000, false);
    assert_lost_in_time("flow", Told::Write, 100_000, true);
}

#[test]
fn a_peer_that_vanishes_with_a_backlog_is_lost_within_twice_the_keepalive_time() {
    assert_lost_in_time("posts", Told::Post, 100_000, false);
    assert_lost_in_time("postflow", Told::Post, 100_000, true);
}

#[test]
fn a_live_peer_that_takes_nothing_for_twice_the_keepalive_time_is_lost_and_a_shorter_pause_is_no_vanishing() {
    let Some(network) = Network::new("pause") else { return };
    thread::scope(|scope| {
        for told in [Told::Write, Told::Post] {
            let network = &network;
            scope.spawn(move || {
                let (seen, address, running) = network.serve(told, KEEPALIVE, "10.77.0.1:0");
                let peer = network.connect_to(address);
                opened(&seen);
                let mut got = peer.read(1000);
                for _ in 0..2 {
                    thread::sleep(KEEPALIVE * 3 / 2);
                    got.extend(peer.read(10_000_000));
                }
                got.extend(peer.read(FLOOD - got.len()));
                assert_same(&got, &SUPPLY);
                // It has read all, so it is only idle now, and answers the probes.
                assert!(seen.recv_timeout(3 * KEEPALIVE).is_err(), "an idle peer that lives is no loss");
                let stays = network.connect_to(address);
                opened(&seen);
                let start = Instant::now();
                let reason = closed(&seen);
                assert!(reason.starts_with("Lost("), "{reason}");
                assert!(start.elapsed() < 2 * KEEPALIVE, "{:?}", start.elapsed());
                drop((peer, stays));
                running.stop().unwrap();
            });
        }
    });
}

#[test]
fn the_remote_of_a_link_local_peer_names_the_interface() {
    let Some(network) = Network::new("scope") else { return };
    for (name, address) in network.names.iter().zip(["fe80::77:1/64", "fe80::77:2/64"]) {
        assert!(ip(&["-n", name, "address", "add", address, "dev", "cable", "nodad"]));
    }
    let (seen, address, running) = network.serve(Told::Nothing, KEEPALIVE, "[::]:0");
    let ip = "fe80::77:1".parse().unwrap();
    let peer = network.connect_to(SocketAddrV6::new(ip, address.port(), 0, network.index(1)).into());
    let client = opened(&seen);
    let index = network.index(0);
    let expected = |ip: &str, port| SocketAddr::V6(SocketAddrV6::new(ip.parse().unwrap(), port, 0, index));
    let Remote::Tcp { peer: far, local } = client.remote() else { panic!("not TCP") };
    assert_eq!(*local, expected("fe80::77:1", address.port()));
    assert_eq!(far.ip(), peer.address().ip());
    assert_eq!(*far, expected(&far.ip().to_string(), peer.address().port()));
    drop(peer);
    assert_eq!(closed(&seen), "ByPeer");
    running.stop().unwrap();
}
