//! The level of each record, the escaping, and the limit of warnings (P13, P18).

use std::net::SocketAddr;
use std::sync::Once;
use std::thread;
use std::time::Duration;

use backport::{Adapter, Client, Closing, Machine, Result, TcpClient};
use log::Level;
use parking_lot::Mutex;

use crate::support::{eventually, next, serve, serve_with, Echo, Served, Watch};

/// Every record since the first call of `capture`, from all tests. Each test looks for its own records.
static RECORDS: Mutex<Vec<(Level, String)>> = Mutex::new(Vec::new());

struct Capture;

impl log::Log for Capture {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        RECORDS.lock().push((record.level(), record.args().to_string()));
    }
    fn flush(&self) {}
}

pub(crate) fn capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Capture).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
    });
}

/// Waits for a record at `level` that contains `part`, and returns every record that contains it.
#[track_caller]
pub(crate) fn records(level: Level, part: &str) -> Vec<(Level, String)> {
    let mut found = Vec::new();
    eventually("it is logged", || {
        found = RECORDS.lock().iter().filter(|record| record.1.contains(part)).cloned().collect();
        found.iter().any(|record| record.0 == level)
    });
    found
}

/// Fails or panics with the text that the client sent.
struct Parrot;

impl Adapter for Parrot {
    fn receiving(&mut self, _: &Client, data: &[u8]) -> Result {
        let said = String::from_utf8_lossy(data).into_owned();
        assert!(!said.starts_with("panic"), "{said}");
        Err(said.into())
    }
    fn closing(&mut self, client: &Client, reason: &Closing) {
        drop(client.write(reason.to_string()));
    }
}

fn parrots() -> (Served, Watch) {
    let watch = Watch::new();
    let watched = watch.clone();
    (serve(move || watched.around(Parrot)), watch)
}

/// Returns the client's name in the log. Another test may have a client with the same address, so the
/// address alone does not tell them apart.
fn name(client: &Client) -> String {
    format!("client {} from {}", client.id(), client.remote())
}

#[test]
fn what_a_client_sent_is_escaped_in_the_log() {
    capture();
    let (served, watch) = parrots();
    for (text, level) in
        [("fail\r\nERROR forged \x1b[31m\0", Level::Warn), ("panic\nERROR forged\x07", Level::Error)]
    {
        let peer = served.connect();
        let client = name(&next(&watch.opened));
        peer.send(text);
        // The reason that the adapter has sent is escaped too.
        assert!(!peer.read_to_end().iter().any(u8::is_ascii_control));
        let found = records(level, &client);
        let (_, said) = found.iter().find(|record| record.0 == level).unwrap();
        assert!(said.contains("ERROR forged"), "{said}");
        assert!(said.contains("\\n"), "{said}");
        assert!(!said.chars().any(char::is_control), "{said:?}");
    }
}

#[test]
fn an_error_is_logged_at_warn_a_panic_at_error_and_a_departure_at_debug() {
    capture();
    let (served, watch) = parrots();
    let highest = |part: &str, level| records(level, part).into_iter().map(|record| record.0).min().unwrap();
    let peer = served.connect();
    let client = name(&next(&watch.opened));
    peer.send("fail");
    peer.read_to_end();
    assert_eq!(highest(&format!("{client}: failed"), Level::Warn), Level::Warn);

    let peer = served.connect();
    let client = name(&next(&watch.opened));
    peer.send("panic");
    peer.read_to_end();
    assert_eq!(highest(&format!("{client}: panicked"), Level::Error), Level::Error);

    let mut departed = Vec::new();
    for reset in [false, true] {
        let peer = served.connect();
        departed.push(name(&next(&watch.opened)));
        if reset {
            peer.reset();
        } else {
            drop(peer);
        }
        served.wait_until_empty();
    }
    // When the stop has returned, every record has been logged.
    served.stop().unwrap();
    for client in departed {
        let found = records(Level::Debug, &client);
        assert!(found.iter().any(|record| record.1.contains(" after ")), "{found:?}");
        assert!(found.iter().all(|record| record.0 >= Level::Debug), "{found:?}");
    }
}

#[test]
fn clients_that_wait_for_a_place_are_one_warning() {
    capture();
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve_with(move || watched.around(Echo), |server| server.max_clients(1));
    let name = served.server.name();
    for _ in 0..10 {
        let first = served.connect();
        let second = served.connect();
        first.assert_echo(b"in");
        drop(first);
        second.assert_echo(b"in");
        thread::sleep(Duration::from_millis(5));
    }
    next(&watch.opened);
    // When the stop has returned, every record has been logged.
    served.stop().unwrap();
    let warnings = records(Level::Warn, &name);
    let warnings: Vec<_> = warnings.into_iter().filter(|record| record.0 == Level::Warn).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].1.contains("max_clients"), "{warnings:?}");
    assert!(!warnings[0].1.contains('('), "nothing was left out: {warnings:?}");
}

#[test]
fn a_server_that_cannot_be_prepared_is_not_said_to_stop() {
    capture();
    let machine = Machine::new();
    machine.prepare_tcp_server("198.51.100.8:0", || Echo).unwrap_err();
    machine.prepare_tcp_server("no-such-host.invalid:80", || Echo).unwrap_err();
    // Records keep their order, so an earlier record has been logged by then.
    let served = serve(|| Echo);
    records(Level::Info, &served.server.name());
    let said = RECORDS.lock();
    let about = |text: &str| said.iter().filter(|record| record.1.contains(text)).count();
    assert_eq!((about("198.51.100.8"), about("server TcpServer"), about("no-such-host")), (0, 0, 0));
}

#[test]
fn an_address_that_is_left_out_is_a_warning_that_names_it() {
    capture();
    // The second address is from TEST-NET-2, so no computer has it (RFC 5737). No other test uses it.
    let addresses: [SocketAddr; 2] = ["127.0.0.1:0".parse().unwrap(), "198.51.100.7:0".parse().unwrap()];
    let machine = Machine::new();
    // If it is the only address, the result is an error, and no warning.
    machine.prepare_tcp_server(addresses[1], || Echo).unwrap_err();
    let server = machine.prepare_tcp_server(&addresses[..], || Echo).unwrap();
    assert_eq!(server.local_addrs(), [server.local_addr()]);
    let told = records(Level::Warn, "198.51.100.7");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].1.contains("left out"), "{told:?}");
}

#[test]
fn an_interval_on_a_machine_that_has_stopped_is_no_error() {
    capture();
    let machine = Machine::new();
    machine.stop();
    assert!(machine.prepare_interval(Duration::from_secs(1), |_| ()).is_stopped());
    // Records keep their order, so an earlier record has been logged by then.
    let served = serve(|| Echo);
    records(Level::Info, &served.server.name());
    let said = RECORDS.lock();
    let about: Vec<_> = said.iter().filter(|record| record.1.contains("the intervals")).collect();
    assert!(about.is_empty(), "{about:?}");
}

#[test]
fn the_start_and_the_stop_of_a_server_are_logged() {
    capture();
    let served = serve(|| Echo);
    let name = served.server.name();
    assert!(records(Level::Info, &name)[0].1.contains("ready"));
    served.stop().unwrap();
    assert!(records(Level::Info, &name).iter().any(|record| record.1.contains("stops")));
}

#[test]
fn the_first_failure_of_an_outgoing_client_is_a_warning_and_its_recovery_is_logged() {
    capture();
    let delay = Duration::from_millis(300);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let machine = Machine::new();
    let client = TcpClient::new(address.to_string(), || Echo).reconnect(Some((delay, delay)));
    let client = machine.prepare(client).unwrap();
    let running = machine.start().unwrap();
    eventually("attempts fail", || client.stats().accept_errors >= 3);
    socket.listen(8).unwrap();
    let failed = format!("server tcp client {address}: cannot connect: {address}: ");
    let recovered = format!("server tcp client {address} is connected; attempts that failed before: ");
    assert_eq!(records(Level::Info, &recovered).len(), 1);
    let levels: Vec<_> = records(Level::Debug, &failed).into_iter().map(|(level, _)| level).collect();
    assert_eq!((levels[0], levels.iter().filter(|level| **level == Level::Warn).count()), (Level::Warn, 1));
    // A connection that ends at once is another trouble, which has its own warning.
    let ended = format!("server tcp client {address}: the connection has ended after ");
    socket.set_nonblocking(true).unwrap();
    eventually("a connection that ends at once is a warning", || {
        drop(socket.accept());
        RECORDS.lock().iter().any(|(level, text)| *level == Level::Warn && text.contains(&ended))
    });
    assert_eq!(records(Level::Warn, &ended).iter().filter(|(level, _)| *level == Level::Warn).count(), 1);
    running.stop().unwrap();
}

#[test]
fn the_host_of_an_outgoing_client_is_escaped_in_the_log() {
    capture();
    let machine = Machine::new();
    let client = TcpClient::new("a\r\nERROR forged.invalid:1", || Echo);
    machine.prepare(client).unwrap();
    let running = machine.start().unwrap();
    let warnings = records(Level::Warn, "forged.invalid:1: cannot connect: ");
    assert!(warnings[0].1.starts_with("server tcp client a\\r\\nERROR"), "{warnings:?}");
    running.stop().unwrap();
}

/// A proxy would log two lines for each of its connections otherwise.
#[test]
fn the_end_of_a_connection_that_is_served_alone_is_logged_like_that_of_a_client() {
    capture();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = crate::support::Peer::connect(listener.local_addr().unwrap());
    let machine = Machine::new();
    machine.serve(listener.accept().unwrap().0, Echo).unwrap();
    let running = machine.start().unwrap();
    let name = format!("server connection {} ", peer.address());
    drop(peer);
    let ends = records(Level::Debug, &format!("{name}has ended"));
    assert_eq!(ends.len(), 1);
    assert!(records(Level::Debug, &name).iter().all(|(level, _)| *level == Level::Debug));
    running.join().unwrap();
}
