//! `Machine::serve`: one connection that the program has made itself.

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use backport::{receiving, Adapter, Client, Closing, Machine, Remote, Result};
use crossbeam_channel::{unbounded, Sender};

use crate::support::{eventually, in_time, next, serve, serve_tcp, Echo, Peer, Served, Watch};

const LONG: Duration = Duration::from_secs(3600);

/// Returns both ends of a connection.
fn pair() -> (TcpStream, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = Peer::connect(listener.local_addr().unwrap());
    (listener.accept().unwrap().0, peer)
}

#[test]
fn a_connection_is_served_before_the_run_and_during_it() {
    let machine = Machine::new();
    let watch = Watch::new();
    let (stream, first) = pair();
    let handle = machine.serve(stream, watch.around(Echo)).unwrap();
    assert_eq!(handle.name(), format!("connection {}", first.address()));
    let running = machine.start().unwrap();
    first.assert_echo(b"before the run");
    let (stream, second) = pair();
    machine.serve(stream, watch.around(Echo)).unwrap();
    second.assert_echo(b"during the run");
    let client = next(&watch.opened);
    let Remote::Tcp { peer, local } = *client.remote() else { panic!("{:?}", client.remote()) };
    assert_eq!((peer, local), (first.address(), first.stream.peer_addr().unwrap()));
    assert_eq!((handle.client_count(), machine.servers().len()), (1, 2));
    // Each conversation is a server, and the machine stops with the last one.
    drop(first);
    eventually("the first server has ended", || machine.servers().len() == 1);
    second.assert_echo(b"still there");
    second.half_close();
    assert_eq!(second.read_to_end(), b"");
    in_time("the machine ends with the last conversation", || running.join()).unwrap();
    watch.assert_balanced();
    assert_eq!(machine.stats().clients.accepted, 2);
}

#[test]
fn a_machine_with_another_server_goes_on_after_its_connections() {
    let served = serve(|| Echo);
    for _ in 0..20 {
        let (stream, peer) = pair();
        served.machine().serve(stream, Echo).unwrap();
        peer.assert_echo(b"hello");
    }
    eventually("only the listener is left", || served.machine().servers().len() == 1);
    served.assert_echoes();
    served.stop().unwrap();
}

/// Connects its client to a server, as a proxy does.
struct Dial {
    machine: Machine,
    server: std::net::SocketAddr,
}

impl Adapter for Dial {
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        let stream = TcpStream::connect(self.server)?;
        let (client, data) = (client.clone(), data.to_vec());
        self.machine.serve(stream, Say { client, data })?;
        Ok(())
    }
}

struct Say {
    client: Client,
    data: Vec<u8>,
}

impl Adapter for Say {
    fn opening(&mut self, client: &Client) -> Result {
        Ok(client.write(&self.data)?)
    }
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        self.client.write(data)?;
        client.close();
        Ok(())
    }
}

/// Serves `Dial`, which dials an echo.
fn dialling() -> (Served, Served) {
    let echo = serve_tcp(|| Echo);
    let (machine, server) = (Machine::new(), echo.address().tcp());
    let own = machine.clone();
    let handle =
        machine.prepare_tcp_server("127.0.0.1:0", move || Dial { machine: own.clone(), server }).unwrap();
    (Served::new(handle, machine.start().unwrap()), echo)
}

#[test]
fn a_callback_serves_another_connection_also_in_a_drain() {
    let (served, echo) = dialling();
    let peer = served.connect();
    peer.assert_echo(b"before");
    served.machine().drain(LONG);
    eventually("it drains", || served.server.is_stopped());
    peer.assert_echo(b"in the drain");
    drop(peer);
    served.join().unwrap();
    echo.stop().unwrap();
}

#[test]
fn a_stopped_machine_serves_no_connection_and_closes_it() {
    let served = serve(|| Echo);
    let machine = served.machine().clone();
    served.stop().unwrap();
    let (stream, peer) = pair();
    let (sender, dropped) = unbounded::<()>();
    let adapter = receiving(move |_, _| Ok(sender.send(())?));
    let error = machine.serve(stream, adapter).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Other);
    peer.wait_for_end();
    assert!(dropped.recv().is_err(), "the adapter is dropped");
}

/// Tells why it ends, and how.
struct Told(Sender<&'static str>);

impl Adapter for Told {
    fn opening(&mut self, _: &Client) -> Result {
        Ok(self.0.send("opened")?)
    }
    fn closing(&mut self, client: &Client, reason: &Closing) {
        self.0.send(crate::support::watch::reason(reason)).unwrap();
        drop(client.write("goodbye"));
    }
}

#[test]
fn a_stop_ends_a_connection_like_that_of_any_client() {
    let machine = Machine::new();
    let (sender, told) = unbounded();
    let peers: Vec<Peer> = (0..3)
        .map(|_| {
            let (stream, peer) = pair();
            machine.serve(stream, Told(sender.clone())).unwrap();
            peer
        })
        .collect();
    let handle = machine.servers().remove(0);
    let running = machine.start().unwrap();
    // A client that is asked to end before its opening has no closing either.
    peers.iter().for_each(|_| assert_eq!(next(&told), "opened"));
    handle.stop();
    assert_eq!(next(&told), "Stopping");
    assert_eq!(peers[0].read_to_end(), b"goodbye");
    in_time("the machine stops", || running.stop()).unwrap();
    for peer in &peers[1..] {
        assert_eq!(next(&told), "Stopping");
        assert_eq!(peer.read_to_end(), b"goodbye");
    }
}

#[test]
fn a_machine_that_never_runs_drops_the_connection_and_its_adapter() {
    let machine = Machine::new();
    let (stream, peer) = pair();
    let (sender, told) = unbounded();
    machine.serve(stream, Told(sender)).unwrap();
    machine.stop();
    drop(machine);
    peer.wait_for_end();
    assert!(told.recv().is_err(), "the adapter is dropped without a callback");
}

#[test]
fn the_timeouts_and_the_mode_of_the_stream_do_not_matter() {
    let machine = Machine::new();
    let (stream, peer) = pair();
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    stream.set_nonblocking(true).unwrap();
    // With these settings, a read without a limit would be a loop.
    #[cfg(target_os = "linux")]
    let clone = stream.try_clone().unwrap();
    machine.serve(stream, Echo).unwrap();
    #[cfg(target_os = "linux")]
    {
        let clone = socket2::SockRef::from(&clone);
        assert!(!clone.nonblocking().unwrap());
        assert_eq!(clone.read_timeout().unwrap(), None);
        assert!(clone.keepalive().unwrap() && clone.tcp_nodelay().unwrap());
    }
    let running = machine.start().unwrap();
    peer.assert_echo(b"one");
    peer.assert_silent();
    peer.assert_echo(b"two");
    in_time("the machine stops", || running.stop()).unwrap();
}

#[test]
fn a_stream_that_is_not_connected_is_an_error() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let error = Machine::new().serve(TcpStream::from(socket), Echo).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    assert!(error.to_string().starts_with("cannot serve the connection: "), "{error}");
}

/// The peer that gets the copy, and the end of the adapter that copies.
#[test]
fn a_copy_ends_with_the_input_and_is_aborted_by_a_stop() {
    struct Copy {
        to: Client,
        told: Sender<io::Result<u64>>,
    }
    impl Adapter for Copy {
        fn serving(&mut self, _: &Client, input: &mut backport::Input) -> Result {
            let mut head = [0; 3];
            input.read_exact(&mut head)?;
            self.told.send(input.copy_to(&self.to)).map_err(|_| "the test has ended")?;
            Ok(())
        }
    }
    let served = serve(|| Echo);
    let watch = Watch::new();
    let (stream, target) = pair();
    served.machine().serve(stream, watch.around(Echo)).unwrap();
    let to = next(&watch.opened);
    let (sender, told) = unbounded();
    let copy = || {
        let (stream, source) = pair();
        served.machine().serve(stream, Copy { to: to.clone(), told: sender.clone() }).unwrap();
        source
    };
    let source = copy();
    // The bytes that come together with the head are copied, too.
    let data = crate::support::pattern(300_000);
    source.send([b"abc", &data[..]].concat());
    source.half_close();
    crate::support::assert_same(&target.read(data.len()), &data);
    assert_eq!(next(&told).unwrap(), data.len() as u64);

    let source = copy();
    source.send("abcdef");
    assert_eq!(target.read(3), b"def");
    served.stop().unwrap();
    assert_eq!(next(&told).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    drop(source);
}

#[test]
fn a_copy_to_a_client_that_has_ended_fails() {
    let served = serve(|| Echo);
    let watch = Watch::new();
    let (stream, target) = pair();
    served.machine().serve(stream, watch.around(Echo)).unwrap();
    let to = next(&watch.opened);
    drop(target);
    assert_eq!(next(&watch.closed), "ByPeer");
    struct Copy(Client, Sender<io::Result<u64>>);
    impl Adapter for Copy {
        fn serving(&mut self, _: &Client, input: &mut backport::Input) -> Result {
            Ok(self.1.send(input.copy_to(&self.0)).map_err(|_| "the test has ended")?)
        }
    }
    let (sender, told) = unbounded();
    let (stream, source) = pair();
    served.machine().serve(stream, Copy(to, sender)).unwrap();
    source.send("lost");
    assert_eq!(next(&told).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    served.stop().unwrap();
}

#[test]
#[cfg(unix)]
fn a_unix_socket_is_served_too() {
    use std::io::Write;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use crate::support::DEADLINE;

    let (ours, mut peer) = UnixStream::pair().unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    // The setting of the caller has no effect on the conversation.
    ours.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let machine = Machine::new();
    let answer = receiving(|client: &Client, _| Ok(write!(client, "{:?}", client.remote())?));
    machine.serve(ours, answer).unwrap();
    let running = machine.start().unwrap();
    thread::sleep(Duration::from_millis(20));
    peer.write_all(b"?").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let mut remote = String::new();
    peer.read_to_string(&mut remote).unwrap();
    assert!(remote.starts_with("Unix { path: None, credentials: "), "{remote}");
    running.join().unwrap();
}
