//! Standard input and output that are sockets, as under inetd (P6, P12).

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use backport::{Adapter, Client, Closing, Machine, Result, StdioServer};
use socket2::SockRef;

use crate::support::child::{command, exit, is_child, read_all, skip, Process};
use crate::support::{assert_same, pattern, Echo, Peer, DEADLINE};
use crate::{after_begin, begin, BEGIN};

const SIZE: usize = 1_500_000;

/// Writes a lot and closes, and never reads.
struct Sends;

impl Adapter for Sends {
    fn opening(&mut self, client: &Client) -> Result {
        client.write(pattern(SIZE))?;
        client.close();
        Ok(())
    }
}

/// Writes a lot and half-closes. A moment later, another thread closes.
struct HalfCloses;

impl Adapter for HalfCloses {
    fn opening(&mut self, client: &Client) -> Result {
        client.write(pattern(SIZE))?;
        client.close_write();
        let client = client.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            client.close();
        });
        Ok(())
    }
}

/// Is closed after a silence that is longer than any output is in transit.
struct ClosesLate;

impl Adapter for ClosesLate {
    fn opening(&mut self, client: &Client) -> Result {
        client.write("hello")?;
        let client = client.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(1300));
            client.close();
        });
        Ok(())
    }
}

/// Writes its goodbye to a reader that is away.
struct Goodbye;

impl Adapter for Goodbye {
    fn closing(&mut self, client: &Client, _: &Closing) {
        client.write(pattern(SIZE)).unwrap();
    }
}

#[test]
fn child_serves_a_socket() {
    if is_child("sockets::child_serves_a_socket") {
        begin();
        let stdin = std::io::stdin();
        let options = || {
            let socket = SockRef::from(&stdin);
            let timeouts = (socket.read_timeout().ok(), socket.write_timeout().ok());
            (timeouts, socket.tcp_nodelay().ok(), socket.nonblocking().unwrap())
        };
        let before = options();
        let machine = Machine::new();
        match std::env::var("WAY").as_deref() {
            Ok("goodbye") => drop(machine.prepare(StdioServer::new(|| Goodbye)).unwrap()),
            Ok("half") => drop(machine.prepare(StdioServer::new(|| HalfCloses)).unwrap()),
            Ok("late") => drop(machine.prepare(StdioServer::new(|| ClosesLate)).unwrap()),
            Ok("echo") => drop(machine.prepare(StdioServer::new(|| Echo)).unwrap()),
            _ => drop(machine.prepare(StdioServer::new(|| Sends)).unwrap()),
        }
        let result = machine.run();
        assert_eq!(options(), before);
        if std::env::var_os("STAYS").is_some() {
            thread::sleep(DEADLINE * 2);
        }
        exit(result.map_or(3, |()| 0));
    }
}

/// Runs the child with these streams, and keeps no copies of them.
fn spawn(way: &str, stdin: OwnedFd, stdout: OwnedFd) -> Process {
    let mut command = command(&[], "sockets::child_serves_a_socket");
    Process::spawn(command.env("WAY", way).stdin(stdin).stdout(stdout).stderr(Stdio::inherit()))
}

/// Both ends of a TCP connection. The peer has a small receive buffer.
pub(crate) fn connection() -> (Peer, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = Peer::connect_narrow(listener.local_addr().unwrap());
    (peer, listener.accept().unwrap().0)
}

fn copy(stream: &TcpStream) -> OwnedFd {
    stream.try_clone().unwrap().into()
}

#[test]
fn all_output_reaches_a_slow_peer_although_its_input_is_unread() {
    let (peer, socket) = connection();
    peer.send([b'x'; 2000]);
    let mut child = spawn("", copy(&socket), socket.into());
    // The child has closed long before all of this is read.
    let mut all = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        match (&peer.stream).read(&mut piece) {
            Ok(0) => break,
            Ok(count) => all.extend(&piece[..count]),
            Err(error) => panic!("{error} after {} bytes", all.len()),
        }
        thread::sleep(Duration::from_millis(5));
    }
    assert_same(&after_begin(&all), &pattern(SIZE));
    drop(peer);
    child.assert_exit(0);
}

/// The read side is shut down about a second after the close. Input that comes later must not cause a reset.
#[test]
fn all_output_before_a_half_close_reaches_a_slow_peer_that_sends_late() {
    let (peer, socket) = connection();
    let mut child = spawn("half", copy(&socket), socket.into());
    let mut all = Vec::new();
    let mut piece = vec![0; 4 * 1024];
    let mut start = None;
    loop {
        match (&peer.stream).read(&mut piece) {
            Ok(0) => break,
            Ok(count) => all.extend(&piece[..count]),
            Err(error) => panic!("{error} after {} bytes", all.len()),
        }
        let start = *start.get_or_insert_with(std::time::Instant::now);
        if start.elapsed() > Duration::from_millis(1800) {
            drop(std::io::Write::write(&mut &peer.stream, b"x"));
        }
        thread::sleep(Duration::from_millis(8));
    }
    assert_same(&after_begin(&all), &pattern(SIZE));
    drop(peer);
    child.assert_exit(0);
}

#[test]
fn the_peer_sees_the_end_of_output_although_the_process_goes_on() {
    let (peer, socket) = connection();
    let mut command = command(&[], "sockets::child_serves_a_socket");
    command.env("WAY", "late").env("STAYS", "1").stderr(Stdio::inherit());
    let child = Process::spawn(command.stdin(copy(&socket)).stdout(OwnedFd::from(socket)));
    drop(command);
    assert_eq!(after_begin(&peer.read_to_end()), b"hello");
    drop(child);
}

#[test]
fn unread_input_on_a_stdout_that_is_another_connection_destroys_nothing() {
    let ((input, stdin), (output, stdout)) = (connection(), connection());
    output.send([b'x'; 2000]);
    let mut child = spawn("", stdin.into(), stdout.into());
    thread::sleep(Duration::from_millis(300));
    assert_same(&after_begin(&output.read_to_end()), &pattern(SIZE));
    drop((input, output));
    child.assert_exit(0);
}

#[test]
fn a_local_reader_that_pauses_gets_every_byte() {
    let (reader, socket) = UnixStream::pair().unwrap();
    let mut child = spawn("goodbye", socket.try_clone().unwrap().into(), socket.into());
    reader.shutdown(std::net::Shutdown::Write).unwrap();
    // Longer than the limits for a peer on a network. The pause is what the test is about.
    thread::sleep(Duration::from_millis(2500));
    assert_same(&after_begin(&read_all(reader)), &pattern(SIZE));
    child.assert_exit(0);
}

/// It does not notice the end, or does not care.
#[test]
fn a_local_peer_that_goes_on_sending_does_not_keep_the_process() {
    let (peer, socket) = UnixStream::pair().unwrap();
    let mut child = spawn("", socket.try_clone().unwrap().into(), socket.into());
    let mut sending = peer.try_clone().unwrap();
    let sender = thread::spawn(move || {
        while std::io::Write::write(&mut sending, b"x").is_ok() {
            thread::sleep(Duration::from_millis(300));
        }
    });
    assert_same(&after_begin(&read_all(peer.try_clone().unwrap())), &pattern(SIZE));
    child.assert_exit(0);
    sender.join().unwrap();
}

#[test]
fn a_socket_that_others_have_made_non_blocking_works_and_stays_so() {
    let (peer, socket) = connection();
    socket.set_nonblocking(true).unwrap();
    let mut child = spawn("echo", copy(&socket), socket.into());
    let mut begun = Vec::new();
    while !begun.ends_with(BEGIN) {
        begun.push(peer.read(1)[0]);
    }
    peer.assert_echo(b"hello");
    peer.half_close();
    assert_eq!(peer.read_to_end(), b"");
    child.assert_exit(0);
}

#[test]
fn all_output_arrives_through_socat_without_a_fork() {
    if !has_socat() {
        return;
    }
    let program = std::env::current_exe().unwrap();
    // A colon separates the words of an address.
    let words = r"--exact sockets\:\:child_serves_a_socket --nocapture --test-threads=1";
    let mut socat = Command::new("socat");
    socat.args(["-d", "-d", "TCP-LISTEN:0,bind=127.0.0.1,fork"]);
    socat.arg(format!("EXEC:{} {words},nofork", program.display()));
    socat.env("BACKPORT_TEST_ROLE", "sockets::child_serves_a_socket").stderr(Stdio::piped());
    let mut socat = Process::spawn(&mut socat);
    let log = BufReader::new(socat.stderr.take().unwrap());
    let line = log.lines().map_while(|line| line.ok()).find(|line| line.contains("listening on"));
    let line = line.expect("socat listens");
    let address: std::net::SocketAddr = line.rsplit(' ').next().unwrap().parse().unwrap();
    let peer = Peer::connect_narrow(address);
    peer.send([b'x'; 2000]);
    thread::sleep(Duration::from_millis(500));
    assert_same(&after_begin(&peer.read_to_end()), &pattern(SIZE));
}

/// Without socat a test is skipped, loudly, and on CI that is a failure.
fn has_socat() -> bool {
    let there = Command::new("socat").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_ok_and(|status| status.success()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "socat is not there, and CI must not skip tests");
    skip("for want of socat");
    false
}
