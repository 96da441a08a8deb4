//! The header of a proxy: the addresses that a server believes, and the connections that it closes.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backport::{Adapter, Client, Remote, Result, ServerStats};
use crossbeam_channel::unbounded;
use log::Level;

use crate::logging::{capture, records};
use crate::support::{
    assert_same, eventually, next, pattern, serve as serve_plainly, serve_tcp_with, Echo, Peer, ServedTcp,
    Watch,
};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, for a connection that a proxy passes on, and for one of its own.
const PROXY: u8 = 0x21;
const LOCAL: u8 = 0x20;

/// Says which addresses it sees, and then sends back all data.
struct Addresses;

impl Adapter for Addresses {
    fn opening(&mut self, client: &Client) -> Result {
        let Remote::Tcp { peer, local } = client.remote() else { panic!("{}", client.remote()) };
        let proxy = client.proxy().expect("a proxy has brought every client");
        Ok(client.write_line(format!("{peer} {local} {proxy}"))?)
    }

    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        Ok(client.write(data)?)
    }
}

/// A server that believes proxies on this computer.
fn serve() -> (ServedTcp, Watch) {
    serve_believing(Duration::from_secs(20), |ip| ip.is_loopback())
}

fn serve_believing(
    limit: Duration,
    from: impl Fn(IpAddr) -> bool + Send + Sync + 'static,
) -> (ServedTcp, Watch) {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve_tcp_with(
        move || watched.around(Addresses),
        |server| server.proxy_protocol(from).handshake_timeout(limit),
    );
    (served, watch)
}

fn version_2(command: u8, protocol: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, protocol], &length, body].concat()
}

/// The body of a header of version 2 for IPv6 addresses.
fn body_of_ipv6(source: &str, destination: &str, ports: [u8; 4]) -> Vec<u8> {
    let octets = |ip: &str| ip.parse::<Ipv6Addr>().unwrap().octets();
    [&octets(source)[..], &octets(destination), &ports].concat()
}

/// Sends the pieces, and asserts which addresses the server sees. Then the server sends back all data.
#[track_caller]
fn assert_named(served: &ServedTcp, pieces: &[&[u8]], expected: Option<(&str, &str)>) {
    let peer = served.connect();
    pieces.iter().for_each(|piece| peer.send(piece));
    let real = (peer.address().to_string(), served.address().to_string());
    let expected = expected.map_or(real.clone(), |(peer, local)| (peer.to_owned(), local.to_owned()));
    assert_eq!(peer.read_line(), format!("{} {} {}", expected.0, expected.1, real.0), "{pieces:?}");
    peer.assert_echo(b"as sent");
}

const NAMED: Option<(&str, &str)> = Some(("192.0.2.1:4660", "198.51.100.2:80"));
const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 4660 80\r\n";
const IPV4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x34, 0, 80];

#[test]
fn the_remote_side_is_the_one_that_the_proxy_names() {
    let (served, _) = serve();
    let named_v6 = Some(("[2001:db8::1]:4660", "[2001:db8::2]:80"));
    assert_named(&served, &[LINE], NAMED);
    assert_named(&served, &[b"PROXY TCP6 2001:db8::1 2001:db8::2 4660 80\r\n"], named_v6);
    assert_named(&served, &[&version_2(PROXY, 0x11, &IPV4)], NAMED);
    let body = body_of_ipv6("2001:db8::1", "2001:db8::2", [0x12, 0x34, 0, 80]);
    assert_named(&served, &[&version_2(PROXY, 0x21, &body)], named_v6);
    let with_fields = [&IPV4[..], &[2, 0, 4], b"name", &[0xff; 900]].concat();
    assert_named(&served, &[&version_2(PROXY, 0x11, &with_fields)], NAMED);
}

#[test]
fn an_ipv4_address_in_ipv6_form_is_shown_as_ipv4() {
    let (served, _) = serve();
    assert_named(&served, &[b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 4660 80\r\n"], NAMED);
    let body = body_of_ipv6("::ffff:192.0.2.1", "::ffff:198.51.100.2", [0x12, 0x34, 0, 80]);
    assert_named(&served, &[&version_2(PROXY, 0x21, &body)], NAMED);
}

#[test]
fn a_header_without_addresses_keeps_the_real_ones() {
    let (served, watch) = serve();
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 192.0.2.1 198.51.100.2 4660 80\r\n".to_vec(),
        b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n".to_vec(),
        b"PROXY TCP6 :: ::ffff:0.0.0.0 0 0\r\n".to_vec(),
        version_2(PROXY, 0x00, b""),
        version_2(PROXY, 0x00, &[4, 0, 1, 0]),
        version_2(PROXY, 0x31, &[b'/'; 216]),
        version_2(LOCAL, 0x00, b""),
        // The rest of such a header is ignored.
        version_2(LOCAL, 0x11, &IPV4),
        version_2(LOCAL, 0x22, b"?"),
    ] {
        assert_named(&served, &[&header], None);
    }
    let local = served.address().to_string();
    assert_named(&served, &[b"PROXY TCP4 192.0.2.1 0.0.0.0 4660 80\r\n"], Some(("192.0.2.1:4660", &local)));
    watch.assert_settled(&served);
}

#[test]
fn data_behind_the_header_belongs_to_the_client_wherever_it_is_split() {
    let (served, watch) = serve();
    let data = pattern(100_000);
    for header in [LINE.to_vec(), version_2(PROXY, 0x11, &IPV4)] {
        let all = [&header, &data[..1000]].concat();
        for split in 0..=header.len() + 1 {
            let peer = served.connect();
            peer.send(&all[..split]);
            peer.send(&all[split..]);
            assert_eq!(peer.read_line().split(' ').next(), Some("192.0.2.1:4660"));
            assert_same(&peer.read(1000), &data[..1000]);
        }
        let peer = served.connect();
        for byte in &header {
            peer.send([*byte]);
        }
        peer.send(&data);
        assert_eq!(peer.read_line().split(' ').next(), Some("192.0.2.1:4660"));
        assert_same(&peer.read(data.len()), &data);
        peer.half_close();
        assert_eq!(peer.read_to_end(), b"");
    }
    watch.assert_settled(&served);
}

/// Waits until the server has ended so many connections before `opening`, and asserts that none was opened.
#[track_caller]
fn assert_refused(served: &ServedTcp, watch: &Watch, count: u64) {
    eventually("they are counted", || served.server.stats().handshakes_failed == count);
    served.wait_until_empty();
    let ServerStats { accepted, failures, panics, .. } = served.server.stats();
    assert_eq!((accepted, failures, panics), (count, 0, 0));
    assert!(watch.opened.is_empty(), "one was opened");
    watch.assert_balanced();
}

#[test]
fn bytes_that_are_no_header_end_the_connection_before_opening() {
    let (served, watch) = serve();
    let too_long = [b"PROXY UNKNOWN".to_vec(), vec![b' '; 200]].concat();
    let mut count = 0;
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"x".to_vec(),
        pattern(5000),
        too_long,
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4660 65536\r\n".to_vec(),
        version_2(PROXY, 0x12, &IPV4),
        version_2(PROXY, 0x22, &[1; 36]),
        version_2(PROXY, 0x32, &[b'/'; 216]),
        version_2(PROXY, 0x11, &[1; 11]),
        version_2(0x31, 0x11, &IPV4),
        version_2(PROXY, 0x00, &[0; 5000]),
    ] {
        let peer = served.connect();
        peer.send(&bytes);
        peer.wait_for_end();
        count += 1;
    }
    assert_refused(&served, &watch, count);
}

#[test]
fn an_end_within_the_header_ends_the_connection_before_opening() {
    let (served, watch) = serve();
    let header = version_2(PROXY, 0x11, &IPV4);
    for end in 0..header.len() {
        let peer = served.connect();
        peer.send(&header[..end]);
        peer.half_close();
        peer.wait_for_end();
    }
    assert_refused(&served, &watch, header.len() as u64);
}

#[test]
fn a_header_that_does_not_arrive_within_the_handshake_timeout_ends_the_connection() {
    let (served, watch) = serve_believing(Duration::from_millis(200), |ip| ip.is_loopback());
    let header = version_2(PROXY, 0x11, &IPV4);
    let peers: Vec<_> = [0, 1, 12, 16, 27]
        .into_iter()
        .map(|end| {
            let peer = served.connect();
            peer.send(&header[..end]);
            peer
        })
        .collect();
    peers.iter().for_each(Peer::wait_for_end);
    assert_refused(&served, &watch, 5);
}

#[test]
fn a_stop_ends_the_wait_for_a_header_at_once() {
    let (served, watch) = serve_believing(Duration::from_secs(3600), |ip| ip.is_loopback());
    // The machine would name these clients as stuck, or cut them, after this time.
    served.machine().set_drain_timeout(Duration::from_secs(3600));
    let peers: Vec<_> = (0..50)
        .map(|nth| {
            let peer = served.connect();
            peer.send(&LINE[..nth % LINE.len()]);
            peer
        })
        .collect();
    eventually("all wait", || served.server.client_count() == 50);
    let stats = served.server.clone();
    served.stop().unwrap();
    peers.iter().for_each(Peer::wait_for_end);
    // A stop is no failure of a handshake.
    assert_eq!(stats.stats().handshakes_failed, 0);
    assert!(watch.opened.is_empty());
}

#[test]
fn a_sender_that_is_not_trusted_is_closed_and_many_are_one_warning() {
    capture();
    let (served, watch) = serve_believing(Duration::from_secs(20), |_| false);
    for nth in 0..20 {
        let peer = served.connect();
        // Some have already sent a header, and some send nothing.
        if nth % 2 == 0 {
            peer.send(LINE);
        }
        peer.wait_for_end();
    }
    assert_refused(&served, &watch, 20);
    let to = format!("to {} is closed", served.address());
    // When the stop has returned, every record has been logged.
    served.stop().unwrap();
    let warnings = records(Level::Warn, &to);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].1.contains("proxy_protocol does not trust 127.0.0.1"), "{warnings:?}");
}

#[test]
fn a_malformed_header_is_logged_at_debug_and_escaped() {
    capture();
    let (served, _) = serve();
    let peer = served.connect();
    let address = peer.address();
    peer.send(b"HELLO\r\nERROR forged \x1b[31m\n");
    peer.wait_for_end();
    served.wait_until_empty();
    served.stop().unwrap();
    let said = records(Level::Debug, &format!("from {address}: the connection does not begin"));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].1.ends_with(r#"with a PROXY header: "HELLO\r\nERROR""#), "{said:?}");
    assert!(!said[0].1.chars().any(char::is_control));
}

#[test]
fn health_checks_are_clients_and_cause_no_warning() {
    capture();
    let (served, watch) = serve();
    let mut names = Vec::new();
    for check in [version_2(LOCAL, 0, b""), LINE.to_vec()] {
        let peer = served.connect();
        peer.send(check);
        let client = next(&watch.opened);
        names.push(format!("client {} ", client.id()));
        // A check may end with a reset, because it does not read what the server says.
        peer.reset();
        next(&watch.closed);
    }
    watch.assert_settled(&served);
    assert_eq!(served.server.stats().handshakes_failed, 0);
    served.stop().unwrap();
    for name in names {
        let said = records(Level::Debug, &name);
        assert!(said.iter().all(|record| record.0 == Level::Debug), "{said:?}");
    }
}

#[test]
fn a_panic_of_the_function_ends_that_client_alone() {
    let first = AtomicBool::new(true);
    let (served, watch) = serve_believing(Duration::from_secs(20), move |ip| {
        assert!(!first.swap(false, Ordering::SeqCst), "on purpose");
        ip.is_loopback()
    });
    let peer = served.connect();
    peer.send(LINE);
    peer.wait_for_end();
    eventually("it is counted", || served.server.stats().panics == 1);
    assert_named(&served, &[LINE], NAMED);
    assert_eq!(watch.opened.len(), 1);
    assert_eq!(served.server.stats().handshakes_failed, 0);
}

#[test]
fn the_function_gets_the_address_of_the_sender() {
    let (sender, asked) = unbounded();
    let (served, _) = serve_believing(Duration::from_secs(20), move |ip| sender.send(ip).is_ok());
    assert_named(&served, &[LINE], NAMED);
    assert_eq!(next(&asked), served.address().ip());
    assert!(asked.is_empty(), "once for each connection");
}

#[test]
fn a_client_without_a_proxy_has_none() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve_plainly(move || watched.around(Echo));
    let _peer = served.connect();
    let client = next(&watch.opened);
    assert_eq!(client.proxy(), None);
}
