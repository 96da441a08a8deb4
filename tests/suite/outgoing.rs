//! Outgoing connections: `TcpClient` connects, serves, connects again, and ends at once when it is told to.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use backport::{
    receiving, Adapter, Client, ClientHandle, Input, Machine, Remote, Result, Running, TcpClient,
};
use crossbeam_channel::{unbounded, Receiver};
use socket2::{Domain, Socket, Type};

use crate::support::{eventually, gate, in_time, next, nothing, Echo, Peer, Watch, DEADLINE};

const LONG: Duration = Duration::from_secs(3600);
/// Comes back soon.
const SOON: Option<(Duration, Duration)> = Some((Duration::from_millis(1), Duration::from_millis(20)));
/// Comes back, but within no test.
const LATE: Option<(Duration, Duration)> = Some((LONG, LONG));

/// A machine that runs one client.
struct Connected {
    client: ClientHandle,
    running: Running,
}

impl Connected {
    #[track_caller]
    fn stop(self) -> Result {
        in_time("the machine stops", move || self.running.stop())
    }

    #[track_caller]
    fn join(self) -> Result {
        in_time("the machine ends", move || self.running.join())
    }
}

/// Runs a client of this address.
fn connect<A: Adapter, F: Fn() -> A + Send + Sync + 'static>(
    address: SocketAddr,
    factory: F,
    set: impl FnOnce(TcpClient<F>) -> TcpClient<F>,
) -> Connected {
    let machine = Machine::new();
    let client = machine.prepare(set(TcpClient::new(address.to_string(), factory))).unwrap();
    Connected { client, running: machine.start().unwrap() }
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Returns a socket with a port that refuses connections until it listens.
fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// Returns an address that ignores attempts to connect, because the queue of its listener is full.
#[cfg(target_os = "linux")]
fn black_hole() -> (SocketAddr, (Socket, Vec<std::net::TcpStream>)) {
    let (socket, address) = refusing();
    socket.listen(0).unwrap();
    let fill = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
    let queued: Vec<_> = std::iter::from_fn(fill).take(20).collect();
    assert!(queued.len() < 20, "the queue does not fill");
    (address, (socket, queued))
}

#[track_caller]
fn accept(listener: &TcpListener) -> Peer {
    let listener = listener.try_clone().unwrap();
    Peer::new(in_time("the client connects", move || listener.accept().unwrap().0)).unwrap()
}

#[test]
fn a_client_connects_and_is_served_like_any_other() {
    let (listener, address) = listen();
    let watch = Watch::new();
    let watched = watch.clone();
    let connected = connect(address, move || watched.around(Echo), |client| client);
    let peer = accept(&listener);
    peer.assert_echo(b"hello");
    let client = next(&watch.opened);
    let Remote::Tcp { peer: remote, local } = *client.remote() else { panic!("{:?}", client.remote()) };
    assert_eq!((remote, local), (address, peer.stream.peer_addr().unwrap()));
    assert!(connected.client.is_connected());
    assert_eq!(connected.client.client_count(), 1);
    assert_eq!(connected.client.name(), format!("tcp client {address}"));
    assert_eq!(client.server().name(), connected.client.name());
    assert!(format!("{:?}", connected.client.clone()).contains("tcp client"));
    connected.stop().unwrap();
    assert_eq!(next(&watch.closed), "Stopping");
    watch.assert_balanced();
    peer.wait_for_end();
}

#[test]
fn each_connection_has_its_own_adapter_and_its_own_end() {
    let (listener, address) = listen();
    let watch = Watch::new();
    let (watched, made) = (watch.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&made);
    let factory = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        watched.around(Echo)
    };
    let connected = connect(address, factory, |client| client.reconnect(SOON));
    for count in 1..=10 {
        let peer = accept(&listener);
        peer.assert_echo(b"again");
        assert_eq!(made.load(Ordering::SeqCst), count);
        if count % 2 == 0 {
            peer.reset();
            assert_eq!(next(&watch.closed), "Lost");
        } else {
            drop(peer);
            assert_eq!(next(&watch.closed), "ByPeer");
        }
    }
    assert_eq!(connected.client.stats().peak, 1);
    connected.stop().unwrap();
    watch.assert_balanced();
}

#[test]
fn a_client_connects_when_its_server_comes_back() {
    let (socket, address) = refusing();
    let connected = connect(address, || Echo, |client| client.reconnect(SOON));
    eventually("attempts fail", || connected.client.stats().accept_errors >= 3);
    assert!(!connected.client.is_connected());
    assert_eq!(connected.client.broadcast("into the void"), 0);
    socket.listen(8).unwrap();
    let listener = TcpListener::from(socket);
    accept(&listener).assert_echo(b"at last");
    connected.stop().unwrap();
}

/// The default delays allow about five attempts in this time. A client without a back-off makes thousands.
#[test]
fn neither_a_server_that_refuses_nor_one_that_closes_at_once_is_hammered() {
    const TIME: Duration = Duration::from_millis(1500);
    const MOST: u64 = 40;
    let (_socket, address) = refusing();
    let refused = connect(address, || Echo, |client| client);
    let (listener, address) = listen();
    let closed = connect(address, || Echo, |client| client);
    listener.set_nonblocking(true).unwrap();
    let start = Instant::now();
    while start.elapsed() < TIME {
        drop(listener.accept());
        thread::sleep(Duration::from_millis(1));
    }
    let (refusals, closes) = (refused.client.stats().accept_errors, closed.client.stats().accepted);
    // Windows itself tries again for two seconds.
    let least = if cfg!(windows) { 0 } else { 2 };
    assert!((least..=MOST).contains(&refusals), "{refusals} attempts in {TIME:?}");
    assert!((2..=MOST).contains(&closes), "{closes} connections in {TIME:?}");
    refused.stop().unwrap();
    closed.stop().unwrap();
}

#[test]
fn a_stop_ends_the_wait_for_the_next_attempt() {
    let (_socket, address) = refusing();
    let connected = connect(address, || Echo, |client| client.reconnect(LATE));
    eventually("the first attempt fails", || connected.client.stats().accept_errors == 1);
    connected.stop().unwrap();
    // A stop of the server alone does the same, and ends the machine with its last server.
    let (listener, address) = listen();
    let connected = connect(address, || Echo, |client| client.reconnect(LATE));
    accept(&listener).assert_echo(b"once");
    eventually("it has ended", || !connected.client.is_connected());
    connected.client.stop();
    connected.join().unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_stop_and_a_drain_end_an_attempt_that_gets_no_answer() {
    for stop in [Machine::stop as fn(&Machine), |machine| machine.drain(LONG)] {
        let (address, _sockets) = black_hole();
        let connected = connect(address, || Echo, |client| client.connect_timeout(LONG));
        // Its socket is in the state SYN-SENT.
        let port = format!("{:04X} 02", address.port());
        eventually("it connects", || {
            std::fs::read_to_string("/proc/self/net/tcp").unwrap().lines().any(|line| line.contains(&port))
        });
        stop(connected.running.machine());
        connected.join().unwrap();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_attempt_without_an_answer_fails_at_the_connect_timeout() {
    let (address, _sockets) = black_hole();
    let limit = Duration::from_millis(50);
    let connected = connect(address, || Echo, |client| client.connect_timeout(limit).reconnect(None));
    let error = connected.join().unwrap_err();
    let error = format!("{:?}", error.downcast_ref::<backport::Error>().unwrap());
    let cause =
        format!("cannot connect to {address}: no answer from {address} within 50ms (connect_timeout)");
    assert!(error.contains(&cause), "{error}");
}

#[test]
fn without_reconnects_the_server_ends_with_its_connection() {
    let (listener, address) = listen();
    let watch = Watch::new();
    let watched = watch.clone();
    let connected = connect(address, move || watched.around(Echo), |client| client.reconnect(None));
    let peer = accept(&listener);
    peer.assert_echo(b"once");
    drop(peer);
    connected.join().unwrap();
    assert_eq!(next(&watch.closed), "ByPeer");
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "there was one attempt");
}

#[test]
fn without_reconnects_a_failed_attempt_is_the_error_of_run() {
    let (_socket, address) = refusing();
    let connected = connect(address, || Echo, |client| client.reconnect(None));
    let error = connected.join().unwrap_err();
    let Some(backport::Error::Server { name, source }) = error.downcast_ref() else { panic!("{error}") };
    assert_eq!(*name, format!("tcp client {address}"));
    assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
    assert!(source.to_string().starts_with(&format!("cannot connect to {address}: ")), "{source}");
}

#[test]
fn an_address_without_host_or_port_is_refused_by_prepare() {
    let machine = Machine::new();
    for address in ["localhost", ":80", "localhost:0", "localhost:http"] {
        let error = machine.prepare(TcpClient::new(address, || Echo)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(address), "{error}");
    }
    assert!(machine.servers().is_empty());
}

#[test]
fn a_host_name_is_looked_up() {
    let (listener, address) = listen();
    let machine = Machine::new();
    machine.prepare(TcpClient::new(format!("localhost:{}", address.port()), || Echo)).unwrap();
    let running = machine.start().unwrap();
    accept(&listener).assert_echo(b"by name");
    in_time("the machine stops", || running.stop()).unwrap();
}

/// Keeps its client from ending until the gate opens.
struct Late(crate::support::Gate);

impl Adapter for Late {
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        let (hold, gate, data) = (client.hold(), self.0.clone(), data.to_vec());
        thread::spawn(move || {
            gate.wait();
            hold.write(data).unwrap();
        });
        Ok(())
    }
}

#[test]
fn other_threads_write_to_the_connection_hold_it_and_close_it() {
    let (listener, address) = listen();
    let (keeper, gate) = gate();
    let connected = connect(address, move || Late(gate.clone()), |client| client.reconnect(SOON));
    let peer = accept(&listener);
    eventually("it is connected", || connected.client.is_connected());
    assert_eq!(connected.client.broadcast("to all "), 1);
    connected.client.clients()[0].post("to one").unwrap();
    assert_eq!(peer.read(13), b"to all to one");
    // The hold delays the end, although the peer ends its output.
    peer.send("held");
    peer.half_close();
    peer.assert_silent();
    drop(keeper);
    assert_eq!(peer.read_to_end(), b"held");
    // A close ends only this connection.
    let peer = accept(&listener);
    eventually("it is connected again", || connected.client.is_connected());
    connected.client.clients()[0].close();
    assert_eq!(peer.read_to_end(), b"");
    drop(accept(&listener));
    connected.stop().unwrap();
}

#[test]
fn a_drain_lets_the_connection_live_and_makes_no_other() {
    type Drain = fn(&Connected);
    let drains: [Drain; 2] = [|it| it.running.machine().drain(LONG), |it| it.client.drain(LONG)];
    for drain in drains {
        let (listener, address) = listen();
        let connected = connect(address, || Echo, |client| client.reconnect(SOON));
        let peer = accept(&listener);
        peer.assert_echo(b"before");
        drain(&connected);
        eventually("it drains", || connected.client.is_stopped());
        peer.assert_echo(b"after");
        drop(peer);
        connected.join().unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn a_drain_stops_the_connection_at_its_limit() {
    let (listener, address) = listen();
    let connected = connect(address, || Echo, |client| client);
    let peer = accept(&listener);
    peer.assert_echo(b"before");
    connected.client.drain(Duration::from_millis(100));
    assert_eq!(peer.read_to_end(), b"");
    connected.join().unwrap();
}

#[test]
fn a_suspended_client_makes_no_attempt_until_it_is_resumed() {
    let (listener, address) = listen();
    let machine = Machine::new();
    let client = machine.prepare(TcpClient::new(address.to_string(), || Echo).reconnect(SOON)).unwrap();
    client.suspend();
    let running = machine.start().unwrap();
    let (sender, accepted) = unbounded();
    let own = listener.try_clone().unwrap();
    thread::spawn(move || own.incoming().try_for_each(|stream| sender.send(stream.unwrap()).map_err(drop)));
    nothing(&accepted);
    client.resume();
    let peer = Peer::new(next(&accepted)).unwrap();
    client.suspend();
    peer.assert_echo(b"the connection goes on");
    drop(peer);
    nothing(&accepted);
    in_time("a suspended client stops", || running.stop()).unwrap();
    drop(accepted);
    // Ends the thread that accepts.
    drop(Peer::try_connect(address));
}

#[test]
fn a_callback_that_fails_or_panics_ends_its_connection_and_the_next_one_is_served() {
    let (listener, address) = listen();
    let watch = Watch::new();
    let watched = watch.clone();
    let factory = move || {
        watched.around(receiving(|client, data| match data {
            b"fail" => Err("on purpose".into()),
            b"panic" => panic!("on purpose"),
            data => Ok(client.write(data)?),
        }))
    };
    let connected = connect(address, factory, |client| client.reconnect(SOON));
    for (what, reason) in [("fail", "Failed"), ("panic", "Panicked"), ("fail", "Failed")] {
        let peer = accept(&listener);
        peer.send(what);
        assert_eq!(next(&watch.closed), reason);
        peer.wait_for_end();
    }
    accept(&listener).assert_echo(b"still there");
    connected.stop().unwrap();
    watch.assert_balanced();
}

/// A descriptor for each attempt would fill the table of a process in a day.
#[test]
#[cfg(target_os = "linux")]
fn no_attempt_leaves_anything_behind() {
    /// The descriptors for events: a waker has one.
    fn wakers() -> usize {
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
        let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        targets.filter(|target| target.to_string_lossy().contains("eventfd")).count()
    }
    let (_socket, address) = refusing();
    let at_once = Some((Duration::from_millis(1), Duration::from_millis(1)));
    let connected = connect(address, || Echo, |client| client.reconnect(at_once));
    let first = wakers();
    eventually("attempts fail", || connected.client.stats().accept_errors >= 400);
    // Other tests of this process use some, too.
    assert!(wakers() < first + 300, "{first} at first, then {}", wakers());
    connected.stop().unwrap();
}

/// Reads a line and returns.
struct OneLine(crossbeam_channel::Sender<Vec<u8>>);

impl Adapter for OneLine {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        client.write_line("hello")?;
        let mut line = Vec::new();
        input.take(5).read_to_end(&mut line)?;
        self.0.send(line)?;
        Ok(())
    }
}

#[test]
fn settings_apply_to_each_connection() {
    let (listener, address) = listen();
    let (sender, lines): (_, Receiver<Vec<u8>>) = unbounded();
    let factory = move || OneLine(sender.clone());
    let connected = connect(address, factory, |client| {
        client
            .reconnect(SOON)
            .idle_timeout(Duration::from_millis(50))
            .write_timeout(DEADLINE)
            .max_backlog(3)
            .handshake_timeout(DEADLINE)
            .stack_size(256 * 1024)
            .nodelay(false)
            .keepalive(None)
    });
    // This connection ends by the idle timeout, so another one follows.
    assert_eq!(accept(&listener).read_to_end(), b"hello\n");
    // On a busy computer, some connections end before the bytes arrive.
    eventually("a connection gets its bytes in time", || {
        drop((&accept(&listener).stream).write_all(b"bytes"));
        lines.recv_timeout(Duration::from_millis(100)).is_ok_and(|line| line == b"bytes")
    });
    connected.stop().unwrap();
    let error = Machine::new().prepare(TcpClient::new("a:1", || Echo).stack_size(1)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}
