//! Unix sockets: how a server takes its path and removes it, who the peer is, and what differs from TCP.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use backport::{receiving, Client, Closing, Control, Full, Machine, Remote, Running, Server, UnixServer};
use crossbeam_channel::unbounded;

use crate::support::{assert_same, eventually, in_time, next, pattern, threads, Echo, Watch, DEADLINE};

/// A directory of its own for each test, which is removed in the end.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("backport-{}-{number}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        Dir(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.join("x.sock")
    }

    /// The names of what is in it.
    fn content(&self) -> Vec<String> {
        fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

#[track_caller]
fn assert_echoes(mut stream: UnixStream) {
    stream.write_all(b"hello").unwrap();
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello");
}

fn prepare(path: &Path) -> io::Result<Machine> {
    let machine = Machine::new();
    machine.prepare_unix_server(path, || Echo).map(|_| machine)
}

fn serve(path: &Path) -> Running {
    prepare(path).unwrap().start().unwrap()
}

/// The error of listening there. It must name the path.
#[track_caller]
fn refusal(path: &Path) -> io::Error {
    let error = prepare(path).expect_err("it is refused");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    error
}

/// A socket that no server uses.
fn make_stale(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
    assert!(fs::symlink_metadata(path).unwrap().file_type().is_socket());
}

#[test]
fn a_server_echoes_and_removes_its_path_at_the_stop() {
    let dir = Dir::new();
    let machine = Machine::new();
    let server = machine.prepare_unix_server(dir.path(), || Echo).unwrap();
    assert_eq!(server.path(), Some(&*dir.path()));
    assert_eq!(server.name(), format!("unix {}", dir.path().display()));
    let running = machine.start().unwrap();
    assert_echoes(connect(&dir.path()));
    assert_eq!(dir.content(), ["x.sock"], "no lock is left");
    running.stop().unwrap();
    assert_eq!(dir.content(), [""; 0]);
}

#[test]
fn a_path_with_a_server_is_an_error_and_the_server_goes_on() {
    let dir = Dir::new();
    let running = serve(&dir.path());
    assert_eq!(refusal(&dir.path()).kind(), io::ErrorKind::AddrInUse);
    assert_echoes(connect(&dir.path()));
    running.stop().unwrap();

    // Nobody accepts there, and the queue is full.
    let full = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    full.bind(&socket2::SockAddr::unix(dir.path()).unwrap()).unwrap();
    full.listen(0).unwrap();
    let mut queued = Vec::new();
    while queued.len() < 16 {
        let peer = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        peer.set_nonblocking(true).unwrap();
        match peer.connect(&socket2::SockAddr::unix(dir.path()).unwrap()) {
            Ok(()) => queued.push(peer),
            Err(_) => break,
        }
    }
    // Elsewhere a full queue cannot be told from a stale socket.
    if cfg!(target_os = "linux") {
        let error = refusal(&dir.path());
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains("queue is full"), "{error}");
        assert_eq!(dir.content(), ["x.sock"]);
    }
}

#[test]
fn a_stale_socket_is_replaced() {
    let dir = Dir::new();
    make_stale(&dir.path());
    let running = serve(&dir.path());
    assert_echoes(connect(&dir.path()));
    running.stop().unwrap();
    assert_eq!(dir.content(), [""; 0]);
}

#[test]
fn what_is_no_socket_of_a_server_is_an_error_and_stays() {
    let dir = Dir::new();
    let path = dir.path();
    let refused = |kind: io::ErrorKind, what: &str| {
        let error = refusal(&path);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(fs::symlink_metadata(&path).is_ok(), "it stays: {what}");
        assert!(!dir.content().contains(&"x.sock.lock".to_owned()));
    };

    fs::write(&path, "precious").unwrap();
    refused(io::ErrorKind::AlreadyExists, "a regular file");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    fs::remove_file(&path).unwrap();

    fs::create_dir(&path).unwrap();
    refused(io::ErrorKind::AlreadyExists, "a directory");
    fs::remove_dir(&path).unwrap();

    // A link to a stale socket, and a link to nothing.
    let other = dir.0.join("other");
    std::os::unix::fs::symlink(&other, &path).unwrap();
    refused(io::ErrorKind::AlreadyExists, "a symbolic link");
    make_stale(&other);
    refused(io::ErrorKind::AlreadyExists, "a symbolic link");
    assert!(other.exists());
    fs::remove_file(&path).unwrap();

    let _datagrams = UnixDatagram::bind(&path).unwrap();
    refused(io::ErrorKind::AddrInUse, "another type");
}

#[test]
fn a_path_that_is_too_long_is_an_error_with_the_limit_and_the_length() {
    let limit = if cfg!(target_os = "linux") { 107 } else { 103 };
    let dir = Dir::new();
    let longest = |length: usize| {
        let name = "x".repeat(length - dir.0.as_os_str().len() - 1);
        dir.0.join(name)
    };
    let running = serve(&longest(limit));
    assert_echoes(connect(&longest(limit)));
    running.stop().unwrap();
    let error = refusal(&longest(limit + 1));
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let (length, limit) = ((limit + 1).to_string(), limit.to_string());
    assert!(error.to_string().contains(&limit) && error.to_string().contains(&length), "{error}");

    for bad in ["", "a\0b"] {
        let error = prepare(Path::new(bad)).expect_err("it is no path");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    }
    assert_eq!(dir.content(), [""; 0]);
}

#[test]
fn a_directory_that_is_missing_is_an_error() {
    let dir = Dir::new();
    assert_eq!(refusal(&dir.0.join("missing/x.sock")).kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_file_of_others_in_the_place_of_the_lock_stays() {
    let dir = Dir::new();
    let lock = dir.0.join("x.sock.lock");
    fs::write(&lock, "precious").unwrap();
    let running = serve(&dir.path());
    assert_echoes(connect(&dir.path()));
    running.stop().unwrap();
    assert_eq!(fs::read(&lock).unwrap(), b"precious");
    fs::remove_file(&lock).unwrap();

    fs::create_dir(&lock).unwrap();
    assert!(refusal(&dir.path()).to_string().contains("x.sock.lock"));
    fs::remove_dir(&lock).unwrap();
    std::os::unix::fs::symlink(dir.0.join("victim"), &lock).unwrap();
    assert!(refusal(&dir.path()).to_string().contains("x.sock.lock"));
    assert_eq!(dir.content(), ["x.sock.lock"]);
}

#[test]
fn the_mode_is_set_before_a_peer_can_connect() {
    let dir = Dir::new();
    for mode in [0o600, 0o666, 0o770] {
        for _ in 0..100 {
            let path = dir.path();
            let (ready, go) = unbounded();
            let observer = thread::spawn(move || {
                ready.send(()).unwrap();
                let start = Instant::now();
                while UnixStream::connect(&path).is_err() {
                    assert!(start.elapsed() < DEADLINE);
                }
                fs::metadata(&path).unwrap().permissions().mode() & 0o777
            });
            next(&go);
            let machine = Machine::new();
            machine.prepare(UnixServer::new(dir.path(), || Echo).mode(mode)).unwrap();
            assert_eq!(observer.join().unwrap(), mode);
        }
    }
}

#[test]
fn a_mode_that_is_impossible_is_an_error() {
    let dir = Dir::new();
    let listener = UnixListener::bind(dir.path()).unwrap();
    let echo: fn() -> Echo = || Echo;
    let servers = [
        UnixServer::new(dir.0.join("y"), echo).mode(0o1777),
        UnixServer::from_listener(listener, echo).mode(0o600),
        #[cfg(target_os = "linux")]
        UnixServer::abstract_name("backport-mode", echo).mode(0o600),
    ];
    for server in servers {
        let error = Machine::new().prepare(server).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("mode"), "{error}");
    }
}

#[test]
fn a_path_that_was_replaced_stays() {
    let dir = Dir::new();
    let running = serve(&dir.path());
    let client = connect(&dir.path());
    fs::remove_file(dir.path()).unwrap();
    let successor = serve(&dir.path());
    running.stop().unwrap();
    drop(client);
    assert_echoes(connect(&dir.path()));
    successor.stop().unwrap();
    assert_eq!(dir.content(), [""; 0]);
}

/// The inode number of a removed file is given to the next file at once, unless the socket is still open.
#[test]
fn fifty_servers_at_one_path_take_turns() {
    let dir = Dir::new();
    for _ in 0..50 {
        let running = serve(&dir.path());
        assert_echoes(connect(&dir.path()));
        running.stop().unwrap();
        assert_eq!(dir.content(), [""; 0]);
    }
}

#[test]
fn of_servers_that_start_at_once_exactly_one_serves() {
    const STARTERS: usize = 3;
    let dir = Dir::new();
    for round in 0..150 {
        if round % 2 == 0 {
            make_stale(&dir.path());
        }
        let barrier = Arc::new(Barrier::new(STARTERS));
        let starters: Vec<_> = (0..STARTERS)
            .map(|_| {
                let (barrier, path) = (Arc::clone(&barrier), dir.path());
                thread::spawn(move || {
                    barrier.wait();
                    prepare(&path)
                })
            })
            .collect();
        let results: Vec<_> = starters.into_iter().map(|starter| starter.join().unwrap()).collect();
        let (prepared, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(|result| result.is_ok());
        for error in refused.into_iter().map(|result| result.err().unwrap()) {
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
        }
        assert_eq!(prepared.len(), 1, "round {round}");
        let running = prepared.into_iter().next().unwrap().unwrap().start().unwrap();
        assert_echoes(connect(&dir.path()));
        running.stop().unwrap();
        assert_eq!(dir.content(), [""; 0]);
    }
}

/// A successor may start at any moment of the stop, and must not lose its path.
#[test]
fn a_server_that_starts_while_another_stops_keeps_its_path() {
    let dir = Dir::new();
    let mut running = serve(&dir.path());
    for _ in 0..100 {
        let machine = running.machine().clone();
        let (path, start) = (dir.path(), Instant::now());
        let successor = thread::spawn(move || loop {
            match prepare(&path) {
                Ok(machine) => return machine,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}"),
            }
            assert!(start.elapsed() < DEADLINE);
        });
        machine.stop();
        running.join().unwrap();
        running = successor.join().unwrap().start().unwrap();
        assert_echoes(connect(&dir.path()));
    }
    running.stop().unwrap();
}

#[test]
fn the_path_is_removed_whatever_becomes_of_the_machine() {
    let dir = Dir::new();
    let removed = || assert_eq!(dir.content(), [""; 0]);
    drop(prepare(&dir.path()).unwrap());
    removed();

    let machine = prepare(&dir.path()).unwrap();
    machine.stop();
    removed();
    machine.run().unwrap();
    drop(machine);

    /// Asks for its own stop, so that its threads cannot start.
    struct Stopped<S>(S);
    impl<S: Server> Server for Stopped<S> {
        type Handle = S::Handle;
        fn prepare(self, control: Control) -> io::Result<S::Handle> {
            control.stop();
            self.0.prepare(control)
        }
    }
    let machine = Machine::new();
    machine.prepare(Stopped(UnixServer::new(dir.path(), || Echo))).unwrap_err();
    removed();

    // A prepared server listens, and a peer waits in its queue until the machine runs.
    let machine = prepare(&dir.path()).unwrap();
    let peer = connect(&dir.path());
    let running = machine.start().unwrap();
    assert_echoes(peer);
    running.stop().unwrap();
    removed();
}

#[test]
fn a_drain_removes_the_path_and_lets_clients_go_on() {
    let dir = Dir::new();
    let machine = Machine::new();
    let server = machine.prepare_unix_server(dir.path(), || Echo).unwrap();
    let running = machine.start().unwrap();
    let peer = connect(&dir.path());
    assert_echoes(peer.try_clone().unwrap());
    server.drain(DEADLINE);
    eventually("the path is removed", || !dir.path().exists());
    assert_echoes(peer.try_clone().unwrap());
    peer.shutdown(Shutdown::Both).unwrap();
    in_time("the machine ends with its last client", move || running.join()).unwrap();
}

#[test]
fn a_listener_of_others_is_served_and_stays_as_it_is() {
    let dir = Dir::new();
    let listener = UnixListener::bind(dir.path()).unwrap();
    let machine = Machine::new();
    let server = machine.prepare(UnixServer::from_listener(listener.try_clone().unwrap(), || Echo)).unwrap();
    assert_eq!(server.path(), Some(&*dir.path()));
    let running = machine.start().unwrap();
    assert_echoes(connect(&dir.path()));
    running.stop().unwrap();
    assert_eq!(dir.content(), ["x.sock"]);
    let _peer = connect(&dir.path());
    listener.accept().unwrap();
}

#[test]
fn the_remote_has_the_path_and_the_process_and_the_user_of_the_peer() {
    let dir = Dir::new();
    let watch = Watch::new();
    let watched = watch.clone();
    let machine = Machine::new();
    machine.prepare_unix_server(dir.path(), move || watched.around(Echo)).unwrap();
    let _running = machine.start().unwrap();
    let _peer = connect(&dir.path());
    let client = next(&watch.opened);
    let Remote::Unix { path, credentials } = client.remote() else { panic!("{:?}", client.remote()) };
    assert_eq!(path.as_deref(), Some(&*dir.path()));
    let me = fs::metadata(&dir.0).unwrap();
    let credentials = credentials.expect("the system tells them");
    assert_eq!((credentials.uid, credentials.gid), (me.uid(), me.gid()));
    if cfg!(any(target_os = "linux", target_vendor = "apple")) {
        assert_eq!(credentials.pid, Some(std::process::id()));
    }
    assert_eq!(client.remote().address(), None);
}

#[test]
#[cfg(target_os = "linux")]
fn an_abstract_name_is_served_and_needs_no_file() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    let machine = Machine::new();
    let mut name = format!("backport-{}-", std::process::id()).into_bytes();
    name.resize(107, b'\0');
    let watch = Watch::new();
    let watched = watch.clone();
    let server = machine.prepare(UnixServer::abstract_name(&name, move || watched.around(Echo))).unwrap();
    assert_eq!((server.path(), server.abstract_name()), (None, Some(&*name)));
    assert!(server.name().starts_with("unix @backport-"), "{}", server.name());
    let running = machine.start().unwrap();
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    assert_echoes(UnixStream::connect_addr(&address).unwrap());
    let Remote::Unix { path: None, credentials: Some(_) } = next(&watch.opened).remote() else { panic!() };

    let again = Machine::new().prepare(UnixServer::abstract_name(&name, || Echo)).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
    assert!(again.to_string().contains("@backport-"), "{again}");
    running.stop().unwrap();
    // The name is free again.
    Machine::new().prepare(UnixServer::abstract_name(&name, || Echo)).unwrap();

    name.push(b'x');
    for bad in [&name[..], b""] {
        let error = Machine::new().prepare(UnixServer::abstract_name(bad, || Echo)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    }
}

/// Serves one machine whose clients a test holds.
fn watched(dir: &Dir, set: impl FnOnce(UnixServer<Factory>) -> UnixServer<Factory>) -> (Running, Watch) {
    let watch = Watch::new();
    let watched = watch.clone();
    let factory: Factory = Box::new(move || Box::new(watched.around(receiving(|_, _| Ok(())))));
    let machine = Machine::new();
    machine.prepare(set(UnixServer::new(dir.path(), factory).threads(threads()))).unwrap();
    (machine.start().unwrap(), watch)
}

type Factory = Box<dyn Fn() -> Box<dyn backport::Adapter> + Send + Sync>;

#[test]
fn output_survives_a_close_and_an_abort_and_a_late_reader_sees_the_end() {
    let dir = Dir::new();
    for end in [Client::close, Client::abort] {
        let (running, watch) = watched(&dir, |server| server);
        let mut peer = connect(&dir.path());
        let client = next(&watch.opened);
        client.write(pattern(100_000)).unwrap();
        end(&client);
        next(&watch.closed);
        running.stop().unwrap();
        let mut read = Vec::new();
        peer.read_to_end(&mut read).unwrap();
        assert_same(&read, &pattern(100_000));
    }
}

#[test]
fn a_close_with_unread_input_is_a_clean_end_for_the_peer() {
    let dir = Dir::new();
    for reply in [0, 100_000] {
        let (gate, arrived) = unbounded::<()>();
        let machine = Machine::new();
        let factory = move || {
            let arrived = arrived.clone();
            receiving(move |client, _| {
                next(&arrived);
                if reply > 0 {
                    client.write(pattern(reply))?;
                }
                client.close();
                Ok(())
            })
        };
        machine.prepare_unix_server(dir.path(), factory).unwrap();
        let _running = machine.start().unwrap();
        let mut peer = connect(&dir.path());
        peer.write_all(&[b'x'; 100_000]).unwrap();
        gate.send(()).unwrap();
        let mut read = Vec::new();
        peer.read_to_end(&mut read).expect("the end, and no reset");
        assert_same(&read, &pattern(reply));
    }
}

/// The kernel reports room only when three quarters of the send buffer are free.
#[test]
fn a_peer_that_reads_slowly_gets_everything_after_a_close() {
    let dir = Dir::new();
    let (_running, watch) = watched(&dir, |server| server);
    let mut peer = connect(&dir.path());
    let client = next(&watch.opened);
    client.post(pattern(350_000)).unwrap();
    client.close();
    let mut read = Vec::new();
    let mut part = [0; 1000];
    loop {
        match peer.read(&mut part) {
            Ok(0) => break,
            Ok(count) => read.extend_from_slice(&part[..count]),
            Err(error) => panic!("{error} after {} bytes", read.len()),
        }
        thread::sleep(Duration::from_millis(12));
    }
    assert_same(&read, &pattern(350_000));
    assert_eq!(next(&watch.closed), "ByServer");
}

/// A send that blocks would begin its timeout again with each buffer that the peer takes.
#[test]
fn a_peer_that_reads_slowly_does_not_extend_the_write_timeout() {
    let dir = Dir::new();
    let (_running, watch) = watched(&dir, |server| server.write_timeout(Duration::from_secs(1)));
    let mut peer = connect(&dir.path());
    let client = next(&watch.opened);
    let reader = thread::spawn(move || {
        let mut part = vec![0; 250_000];
        while peer.read_exact(&mut part).is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let start = Instant::now();
    let error = client.write(vec![0; 200_000_000]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(next(&watch.closed), "TooSlow");
    reader.join().unwrap();
}

#[test]
fn a_silent_peer_is_woken_by_a_stop_and_by_a_close_of_another_thread() {
    let dir = Dir::new();
    let (running, watch) = watched(&dir, |server| server);
    let mut peers: Vec<_> = (0..3).map(|_| connect(&dir.path())).collect();
    let clients: Vec<Client> = peers.iter().map(|_| next(&watch.opened)).collect();
    clients[0].close();
    clients[1].abort();
    assert_eq!(next(&watch.closed), "ByServer");
    assert_eq!(next(&watch.closed), "ByServer");
    in_time("the machine stops", move || running.stop()).unwrap();
    assert_eq!(next(&watch.closed), "Stopping");
    for peer in &mut peers {
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        assert_eq!(peer.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}

#[test]
fn a_peer_that_is_gone_with_unread_output_ends_as_lost() {
    let dir = Dir::new();
    let (_running, watch) = watched(&dir, |server| server);
    let peer = connect(&dir.path());
    next(&watch.opened).write("nobody reads this").unwrap();
    drop(peer);
    assert_eq!(next(&watch.closed), "Lost");

    // Without a reader in the crate, because a hold is all that is left.
    let (sender, holds) = unbounded();
    let (closing, closed) = unbounded();
    struct Holds<S, C>(S, C);
    impl<S, C> backport::Adapter for Holds<S, C>
    where
        S: Fn(backport::Hold) + Send + 'static,
        C: Fn(String) + Send + 'static,
    {
        fn receiving(&mut self, client: &Client, _: &[u8]) -> backport::Result {
            client.write("unread")?;
            (self.0)(client.hold());
            Ok(())
        }
        fn closing(&mut self, _: &Client, reason: &Closing) {
            (self.1)(crate::support::watch::reason(reason).to_owned());
        }
    }
    let path = dir.0.join("y.sock");
    let machine = Machine::new();
    machine
        .prepare_unix_server(&path, move || {
            let (sender, closing) = (sender.clone(), closing.clone());
            Holds(move |hold| sender.send(hold).unwrap(), move |reason| closing.send(reason).unwrap())
        })
        .unwrap();
    let _running = machine.start().unwrap();
    let mut peer = connect(&path);
    peer.write_all(b"?").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let _hold = next(&holds);
    drop(peer);
    assert_eq!(next(&closed), "Lost");
}

#[test]
fn a_full_server_refuses_with_a_message() {
    let dir = Dir::new();
    let (_running, watch) = watched(&dir, |server| server.max_clients(1).when_full(Full::refuse("busy\n")));
    let _first = connect(&dir.path());
    next(&watch.opened);
    for _ in 0..3 {
        let mut peer = connect(&dir.path());
        peer.write_all(b"a request").unwrap();
        let mut said = String::new();
        peer.read_to_string(&mut said).unwrap();
        assert_eq!(said, "busy\n");
    }
}
