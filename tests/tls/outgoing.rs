//! Outgoing connections through TLS.

use std::io::Read;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use backport::{receiving, Adapter, Client, Closing, Error, Machine, Result, TcpClient};
use crossbeam_channel::{unbounded, Sender};

use crate::support::{eventually, in_time, next, serve_tcp_with, Echo, DEADLINE};
use crate::tls_peer::{identity, Identity};

/// Says hello, and reports the answer or the end.
struct Caller(Sender<String>);

impl Adapter for Caller {
    fn opening(&mut self, client: &Client) -> Result {
        let tls = client.tls().ok_or("no TLS")?;
        assert_eq!(tls.peer_certificates(), [identity().certificate.clone()]);
        assert_eq!(tls.server_name(), None);
        Ok(client.write("hello")?)
    }

    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        self.0.send(String::from_utf8_lossy(data).into_owned())?;
        client.close();
        Ok(())
    }

    fn closing(&mut self, _: &Client, reason: &Closing) {
        self.0.send(reason.to_string()).unwrap();
    }
}

#[test]
fn a_client_talks_through_tls_again_and_again() {
    let served = serve_tcp_with(|| Echo, |server| server.tls(identity().server()));
    let (sender, said) = unbounded();
    let machine = Machine::new();
    let delay = Duration::from_millis(1);
    let client = TcpClient::new(served.address().to_string(), move || Caller(sender.clone()))
        .reconnect(Some((delay, delay)))
        .tls(identity().client(), "localhost");
    machine.prepare(client).unwrap();
    let running = machine.start().unwrap();
    for _ in 0..3 {
        assert_eq!(next(&said), "hello");
        assert_eq!(next(&said), "closed by the server");
    }
    running.stop().unwrap();
    served.wait_until_empty();
    // A stop may come during a handshake.
    assert!(served.server.stats().handshakes_failed <= 1);
}

/// Makes the only attempt of a client, and returns the error of `run`.
fn fails(address: String, trusted: &Identity, name: &str) -> String {
    let machine = Machine::new();
    let factory = || -> Box<dyn Adapter> { panic!("the factory was called") };
    let client = TcpClient::new(address, factory).reconnect(None).tls(trusted.client(), name);
    let handle = machine.prepare(client).unwrap();
    let error = in_time("the attempt fails", move || machine.run().unwrap_err());
    assert_eq!(handle.stats().accept_errors, 1);
    match error.downcast_ref() {
        Some(Error::Server { source, .. }) => source.to_string(),
        _ => panic!("{error}"),
    }
}

#[test]
fn a_certificate_that_is_not_trusted_or_has_another_name_is_a_failed_attempt() {
    let served = serve_tcp_with(|| Echo, |server| server.tls(identity().server()));
    let address = served.address().to_string();
    let error = fails(address.clone(), &Identity::new(), "localhost");
    assert!(error.contains("invalid peer certificate"), "{error}");
    let error = fails(address.clone(), identity(), "example.com");
    assert!(error.contains("not valid for name"), "{error}");
    // The server speaks no TLS.
    let plain = serve_tcp_with(|| receiving(|client, _| Ok(client.write("plain text")?)), |server| server);
    let error = fails(plain.address().to_string(), identity(), "localhost");
    assert!(error.contains("corrupt message"), "{error}");
    eventually("the server counts them", || served.server.stats().handshakes_failed == 2);
}

#[test]
fn a_name_that_no_certificate_can_have_is_an_error_of_prepare() {
    let client = TcpClient::new("localhost:1", || Echo).tls(identity().client(), "no such name");
    let error = Machine::new().prepare(client).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("\"no such name\""), "{error}");
}

#[test]
fn a_stop_ends_a_handshake_with_a_silent_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let machine = Machine::new();
    let address = listener.local_addr().unwrap().to_string();
    machine.prepare(TcpClient::new(address, || Echo).tls(identity().client(), "localhost")).unwrap();
    let running = machine.start().unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    // The handshake has begun.
    peer.read_exact(&mut [0]).unwrap();
    let stopping = thread::spawn(move || running.stop());
    in_time("the client stops", move || stopping.join().unwrap().unwrap());
}
