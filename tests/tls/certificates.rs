//! Certificates of clients, certificates that are replaced under load, and sessions that are resumed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use backport::{receiving, Client};
use crossbeam_channel::unbounded;
use rustls::crypto::ring::Ticketer;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::support::{eventually, next, nothing, serve_tcp_with, Echo, Watch};
use crate::tls_peer::{identity, tcp, Identity, TlsPeer};

/// A server that wants certificates of its clients, and the identity that it trusts.
fn mutual() -> (Arc<ServerConfig>, Identity) {
    let trusted = Identity::new();
    let mut roots = RootCertStore::empty();
    roots.add(trusted.certificate.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let config = ServerConfig::builder().with_client_cert_verifier(verifier);
    (
        Arc::new(config.with_single_cert(vec![identity().certificate.clone()], identity().key()).unwrap()),
        trusted,
    )
}

/// A client that shows its certificate.
fn showing(shown: &Identity, version: &'static rustls::SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(identity().certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots);
    Arc::new(config.with_client_auth_cert(vec![shown.certificate.clone()], shown.key()).unwrap())
}

#[test]
fn the_certificate_of_a_client_is_known_and_a_client_without_one_is_refused() {
    let (config, trusted) = mutual();
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve_tcp_with(move || watched.around(Echo), |server| server.tls(config));
    for version in [&TLS12, &TLS13] {
        let config = showing(&trusted, version);
        for resumed in [false, true] {
            let mut peer = TlsPeer::over(tcp(served.address()), config.clone());
            peer.assert_echo(b"hello");
            let client = next(&watch.opened);
            let session = client.tls().unwrap();
            assert_eq!(session.is_resumed(), resumed);
            assert_eq!(session.peer_certificates(), std::slice::from_ref(&trusted.certificate));
            peer.close_notify();
            drop(peer.read_to_end());
            // The facts stay after the end.
            served.wait_until_empty();
            assert_eq!(client.tls().unwrap().peer_certificates().len(), 1);
        }
    }
    let before = served.server.stats().handshakes_failed;
    for config in [identity().client(), showing(&Identity::new(), &TLS13), showing(&Identity::new(), &TLS12)]
    {
        // In TLS 1.3, the client has finished before the server refuses it.
        if let Ok(mut peer) = TlsPeer::try_over(tcp(served.address()), config) {
            assert!(std::io::Read::read(&mut peer.stream, &mut [0]).is_err());
        }
    }
    eventually("the failures are counted", || served.server.stats().handshakes_failed == before + 3);
    nothing(&watch.opened);
}

#[test]
fn a_ticketer_lets_clients_resume_also_after_the_certificate_is_replaced() {
    let (sender, resumed) = unbounded();
    let with_tickets = |identity: &Identity| {
        let mut config = ServerConfig::clone(&identity.server());
        config.ticketer = Ticketer::new().unwrap();
        config
    };
    let first = with_tickets(identity());
    let (ticketer, storage) = (Arc::clone(&first.ticketer), Arc::clone(&first.session_storage));
    let served = serve_tcp_with(
        move || {
            let sender = sender.clone();
            receiving(move |client: &Client, data| {
                sender.send(client.tls().ok_or("no TLS")?.is_resumed())?;
                Ok(client.write(data)?)
            })
        },
        |server| server.tls(Arc::new(first)),
    );
    for version in [&TLS12, &TLS13] {
        let client = identity().client_with(&[version]);
        let ask = || {
            TlsPeer::over(tcp(served.address()), client.clone()).assert_echo(b"hello");
            next(&resumed)
        };
        assert_eq!([ask(), ask(), ask()], [false, true, true], "{version:?}");
        // The fields are carried over, as the documentation says.
        let mut renewed = ServerConfig::clone(&identity().server());
        (renewed.ticketer, renewed.session_storage) = (Arc::clone(&ticketer), Arc::clone(&storage));
        served.server.set_tls(Arc::new(renewed));
        assert!(ask(), "{version:?}");
        // Without them, the next handshake is a full one, and nothing fails.
        served.server.set_tls(Arc::new(with_tickets(identity())));
        assert!(!ask(), "{version:?}");
        let mut renewed = ServerConfig::clone(&identity().server());
        (renewed.ticketer, renewed.session_storage) = (Arc::clone(&ticketer), Arc::clone(&storage));
        served.server.set_tls(Arc::new(renewed));
    }
    assert_eq!(served.server.stats().handshakes_failed, 0);
}

/// Every connection gets one of the certificates, and none fails.
#[test]
fn certificates_are_replaced_under_load() {
    let served = serve_tcp_with(|| Echo, |server| server.tls(identity().server()));
    let other = Identity::new();
    let mut roots = RootCertStore::empty();
    roots.add(identity().certificate.clone()).unwrap();
    roots.add(other.certificate.clone()).unwrap();
    let client = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    let (running, seen) = (AtomicBool::new(true), [AtomicUsize::new(0), AtomicUsize::new(0)]);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..60 {
                    let mut peer = TlsPeer::over(tcp(served.address()), client.clone());
                    peer.assert_echo(b"hello");
                    let shown = peer.stream.conn.peer_certificates().unwrap();
                    let index = usize::from(shown[0] == other.certificate);
                    seen[index].fetch_add(1, Ordering::Relaxed);
                    peer.close_notify();
                    drop(peer.read_to_end());
                }
                running.store(false, Ordering::Relaxed);
            });
        }
        scope.spawn(|| {
            for round in 0..10_000 {
                if !running.load(Ordering::Relaxed) {
                    return;
                }
                served.server.set_tls(if round % 2 == 0 { other.server() } else { identity().server() });
                thread::sleep(Duration::from_millis(1));
            }
        });
    });
    let seen = seen.map(AtomicUsize::into_inner);
    assert!(seen[0] > 0 && seen[1] > 0 && seen[0] + seen[1] == 180, "{seen:?}");
    assert_eq!(served.server.stats().handshakes_failed, 0);
}
