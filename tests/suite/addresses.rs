//! Addresses: what is listened on, who is at the far end, and errors that name the address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Duration;

use backport::{Adapter, Client, Machine, Result, TcpServer};
use crossbeam_channel::{unbounded, Sender};
use socket2::SockRef;

use crate::support::{next, nothing, Echo, Peer, Watch};

/// The error of listening there.
#[track_caller]
fn refusal(address: impl ToSocketAddrs + std::fmt::Debug) -> io::Error {
    Machine::new().prepare_tcp_server(address, || Echo).unwrap_err()
}

#[test]
fn a_port_in_use_is_an_error_that_names_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = refusal(address);
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    // Also a port of our own.
    let machine = Machine::new();
    let ours = machine.prepare_tcp_server("127.0.0.1:0", || Echo).unwrap();
    assert_eq!(refusal(ours.local_addr()).kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn addresses_that_cannot_be_listened_on_have_distinct_errors_that_name_them() {
    // TEST-NET-1, which is nobody's (RFC 5737).
    let foreign = refusal("192.0.2.1:0");
    assert_eq!(foreign.kind(), io::ErrorKind::AddrNotAvailable);
    assert!(foreign.to_string().contains("192.0.2.1"), "{foreign}");

    // A name that never resolves (RFC 6761).
    let host = refusal("no-such-host.invalid:80");
    assert!(host.to_string().contains("no-such-host.invalid:80"), "{host}");

    for bad in ["127.0.0.1:not-a-port", "127.0.0.1:99999", "127.0.0.1", ""] {
        let error = refusal(bad);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad}: {error}");
        assert!(error.to_string().contains(&format!("{bad:?}")), "{bad}: {error}");
    }

    let none = refusal(&[][..] as &[SocketAddr]);
    assert_eq!(none.kind(), io::ErrorKind::AddrNotAvailable);
    assert!(none.to_string().contains("no address"), "{none}");
}

#[test]
fn a_keepalive_of_any_length_is_no_error() {
    for time in [Duration::ZERO, Duration::from_millis(1), Duration::from_secs(40_000), Duration::MAX] {
        let machine = Machine::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpServer::new("127.0.0.1:0", || Echo).keepalive(Some(time));
        let others = TcpServer::from_listener(listener, || Echo).keepalive(Some(time));
        let servers = [machine.prepare(ours).unwrap(), machine.prepare(others).unwrap()];
        let running = machine.start().unwrap();
        servers.iter().for_each(|server| Peer::connect(server.local_addr()).assert_echo(b"served"));
        running.stop().unwrap();
    }
}

#[test]
fn a_failed_prepare_leaves_the_machine_usable_and_without_a_server() {
    let machine = Machine::new();
    machine.prepare_tcp_server("192.0.2.1:0", || Echo).unwrap_err();
    assert!(machine.servers().is_empty());
    let server = machine.prepare_tcp_server("127.0.0.1:0", || Echo).unwrap();
    let running = machine.start().unwrap();
    Peer::connect(server.local_addr()).assert_echo(b"fine");
    running.stop().unwrap();
}

#[test]
fn localhost_answers_on_both_families_on_one_port() {
    let resolved: Vec<SocketAddr> = "localhost:0".to_socket_addrs().unwrap().collect();
    let machine = Machine::new();
    let server = machine.prepare_tcp_server("localhost:0", || Echo).unwrap();
    let _running = machine.start().unwrap();
    let port = server.local_addr().port();
    assert_ne!(port, 0);
    let mut families = 0;
    for address in server.local_addrs() {
        assert_eq!(address.port(), port);
        Peer::connect(*address).assert_echo(b"family");
        families += 1;
    }
    let v6 = TcpListener::bind("[::1]:0").is_ok() && resolved.iter().any(SocketAddr::is_ipv6);
    let v4 = resolved.iter().any(SocketAddr::is_ipv4);
    assert_eq!(families, usize::from(v4) + usize::from(v6), "{resolved:?}");
    assert!(server.name().contains(&port.to_string()), "{}", server.name());
}

#[test]
fn a_v4_peer_of_a_dual_stack_listener_is_shown_as_v4() {
    let watch = Watch::new();
    let watched = watch.clone();
    let machine = Machine::new();
    let Ok(server) = machine.prepare_tcp_server("[::]:0", move || watched.around(Echo)) else {
        assert!(TcpListener::bind("[::1]:0").is_err(), "there is IPv6, and [::] is refused");
        return;
    };
    let _running = machine.start().unwrap();
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let peer = Peer::connect(SocketAddr::from((loopback, server.local_addr().port())));
    peer.assert_echo(b"v4");
    let client = next(&watch.opened);
    assert_eq!(client.remote().ip(), Some(loopback));
    assert_eq!(client.remote().to_string(), peer.address().to_string());
    let backport::Remote::Tcp { local, .. } = client.remote() else { panic!("not TCP") };
    assert_eq!(local.ip(), loopback);
    if let Ok(peer) = Peer::try_connect(SocketAddr::new("::1".parse().unwrap(), server.local_addr().port())) {
        peer.assert_echo(b"v6");
    }
}

#[test]
fn both_wildcards_share_a_port() {
    let machine = Machine::new();
    let addresses: [SocketAddr; 2] = ["0.0.0.0:0".parse().unwrap(), "[::]:0".parse().unwrap()];
    let server = machine.prepare_tcp_server(&addresses[..], || Echo).unwrap();
    let _running = machine.start().unwrap();
    let port = server.local_addr().port();
    assert!(server.local_addrs().iter().all(|address| address.port() == port));
    Peer::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).assert_echo(b"v4");
}

#[test]
fn a_listener_that_is_bound_already_is_served_from() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It waits in the queue of what another process handed over, say.
    let early = Peer::connect(address);
    early.send(b"early");
    let machine = Machine::new();
    let server = machine.prepare(TcpServer::from_listener(listener, || Echo)).unwrap();
    assert_eq!(server.local_addr(), address);
    let running = machine.start().unwrap();
    assert_eq!(early.read(5), b"early");
    Peer::connect(address).assert_echo(b"late");
    running.stop().unwrap();
    assert!(Peer::try_connect(address).is_err());
}

/// Tells how a write that its peer never reads has ended.
struct Pouring(Sender<io::Error>);

impl Adapter for Pouring {
    fn opening(&mut self, client: &Client) -> Result {
        self.0.send(client.write(vec![0; 50_000_000]).unwrap_err()).unwrap();
        Ok(())
    }
}

#[test]
fn who_waits_at_a_listener_before_it_is_ours_has_the_settings_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let early = Peer::connect(address);
    let (sender, outcomes) = unbounded();
    let machine = Machine::new();
    let server = TcpServer::from_listener(listener, move || Pouring(sender.clone()));
    machine.prepare(server.write_timeout(Duration::from_millis(100))).unwrap();
    let running = machine.start().unwrap();
    let error = next(&outcomes);
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    let late = Peer::connect(address);
    assert_eq!(next(&outcomes).kind(), io::ErrorKind::TimedOut);
    drop((early, late));
    running.stop().unwrap();
}

#[test]
#[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
fn a_port_is_shared_where_both_ask_for_it_and_not_by_default() {
    let machine = Machine::new();
    let first = machine.prepare(TcpServer::new("127.0.0.1:0", || Echo).reuse_port(true)).unwrap();
    let address = first.local_addr();
    machine.prepare(TcpServer::new(address, || Echo).reuse_port(true)).unwrap();
    assert_eq!(refusal(address).kind(), io::ErrorKind::AddrInUse);
    assert_eq!(machine.servers().len(), 2);
}

#[test]
fn handles_show_themselves() {
    let machine = Machine::new();
    let server = machine.prepare_tcp_server("127.0.0.1:0", || Echo).unwrap();
    assert_eq!(server.name(), format!("tcp {}", server.local_addr()));
    assert!(format!("{machine:?}").contains(&server.name()));
    assert!(format!("{server:?}").contains(&server.local_addr().to_string()));
    drop(format!("{:?}", TcpServer::new("127.0.0.1:0", || Echo)));
}

#[test]
fn a_stop_leaves_a_listener_that_others_have_too_as_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, others) = (listener.local_addr().unwrap(), listener.try_clone().unwrap());
    let machine = Machine::new();
    let watch = Watch::new();
    let watched = watch.clone();
    let factory = move || watched.around(Echo);
    let server = machine.prepare(TcpServer::from_listener(listener, factory)).unwrap();
    let running = machine.start().unwrap();
    for _ in 0..3 {
        Peer::connect(address).assert_echo(b"ours");
    }
    server.suspend();
    let outside = Peer::connect(address);
    outside.send(b"knock");
    (0..3).for_each(|_| drop(next(&watch.opened)));
    nothing(&watch.opened);
    server.resume();
    assert_eq!(outside.read(5), b"knock");
    running.stop().unwrap();
    // As a new process would go on with it, that had it from the old one.
    others.set_nonblocking(false).unwrap();
    let peer = Peer::connect(address);
    let (stream, _) = others.accept().unwrap();
    for socket in [SockRef::from(&others), SockRef::from(&stream)] {
        assert_eq!(socket.write_timeout().unwrap(), None);
        assert!(!socket.tcp_nodelay().unwrap() && !socket.keepalive().unwrap());
    }
    std::io::Write::write_all(&mut &stream, b"theirs").unwrap();
    assert_eq!(peer.read(6), b"theirs");
}

/// Whoever else has a listener may end it for all.
#[test]
#[cfg(target_os = "linux")]
fn a_listener_that_goes_bad_ends_its_server_and_is_the_machines_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let others = socket2::Socket::from(listener.try_clone().unwrap());
    let machine = Machine::new();
    let server = machine.prepare(TcpServer::from_listener(listener, || Echo)).unwrap();
    let running = machine.start().unwrap();
    let peer = Peer::connect(server.local_addr());
    peer.assert_echo(b"as yet");
    others.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(peer.read_to_end(), b"");
    let error = crate::support::in_time("the machine ends", move || running.join()).unwrap_err();
    let Some(backport::Error::Server { name, source }) = error.downcast_ref() else { panic!("{error}") };
    assert_eq!(*name, server.name());
    assert!(source.raw_os_error().is_some(), "{source}");
}

#[test]
fn the_limit_on_clients_holds_over_all_addresses_of_a_server() {
    let watch = Watch::new();
    let watched = watch.clone();
    let machine = Machine::new();
    let server = machine
        .prepare(TcpServer::new(&*two_addresses(), move || watched.around(Echo)).max_clients(1))
        .unwrap();
    let running = machine.start().unwrap();
    let peers: Vec<_> = server.local_addrs().iter().map(|address| Peer::connect(*address)).collect();
    let first = next(&watch.opened);
    nothing(&watch.opened);
    assert_eq!(server.client_count(), 1);
    first.close();
    let second = next(&watch.opened);
    assert_eq!(server.stats().peak, 1);
    assert_ne!(first.remote(), second.remote());
    drop(peers);
    running.stop().unwrap();
}

/// Two addresses of this computer, port 0 on each.
fn two_addresses() -> Vec<SocketAddr> {
    // On Linux the whole of 127.0.0.0/8 is loopback; elsewhere there is IPv6 beside it.
    let second = if cfg!(target_os = "linux") { "127.0.0.2:0" } else { "[::1]:0" };
    vec!["127.0.0.1:0".parse().unwrap(), second.parse().unwrap()]
}

/// An address of this computer that is only valid together with the number of an interface.
#[cfg(target_os = "linux")]
fn link_local_address() -> Option<SocketAddr> {
    let table = std::fs::read_to_string("/proc/net/if_inet6").ok()?;
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ip = u128::from_str_radix(words[0], 16).ok()?;
        let scope = u32::from_str_radix(words[1], 16).ok()?;
        let ip = std::net::Ipv6Addr::from(ip);
        let address = std::net::SocketAddrV6::new(ip, 0, 0, scope);
        (ip.segments()[0] == 0xfe80 && TcpListener::bind(address).is_ok()).then(|| address.into())
    })
}

#[test]
#[cfg(target_os = "linux")]
fn the_address_of_a_link_local_peer_keeps_its_interface() {
    // The long tests have a network with such an address everywhere.
    let Some(address) = link_local_address() else { return };
    let watch = Watch::new();
    let watched = watch.clone();
    let machine = Machine::new();
    let server = machine.prepare_tcp_server(address, move || watched.around(Echo)).unwrap();
    let _running = machine.start().unwrap();
    let peer = Peer::connect(server.local_addr());
    peer.assert_echo(b"link-local");
    let client = next(&watch.opened);
    assert_eq!(client.remote().address(), Some(peer.address()));
    let backport::Remote::Tcp { local, .. } = client.remote() else { panic!("not TCP") };
    assert_eq!(*local, server.local_addr());
}
