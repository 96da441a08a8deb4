//! A server that begins in plain text, in several ways, and what its tests share.

use std::io::{BufRead, Read};
use std::time::Duration;

use backport::framing::Lines;
use backport::{Adapter, Client, Closing, Input, Result};
use crossbeam_channel::{unbounded, Receiver, Sender};

use crate::support::{next, serve_tcp_with, Peer, ServedTcp, Watch};
use crate::tls_peer::{identity, TlsPeer};

/// What a server tells its test: lines that it has got, with whether they came through TLS.
pub(crate) type Told = (Vec<u8>, bool);

/// Answers each line, and switches to TLS after the line `STARTTLS`, in one of three ways.
struct ByLine(Sender<Told>);

/// In straight-line code, with frames.
struct Pulling(ByLine);

/// In straight-line code, with `read_line`.
struct Reading(ByLine);

impl ByLine {
    fn answer(&self, client: &Client, line: &[u8]) -> Result {
        self.0.send((line.to_vec(), client.tls().is_some()))?;
        if line == b"STARTTLS" {
            client.write("220 go ahead\r\n")?;
            client.start_tls()?;
        } else {
            client.write([line, b"\r\n"].concat())?;
        }
        Ok(())
    }
}

impl Adapter for ByLine {
    fn receiving(&mut self, client: &Client, line: &[u8]) -> Result {
        self.answer(client, line)
    }

    fn closing(&mut self, client: &Client, _: &Closing) {
        // Whether that succeeds or not, it must not be in plain text after the command.
        drop(client.write("secret goodbye\r\n"));
    }
}

impl Adapter for Pulling {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        while let Some(line) = input.frame(&mut Lines::default())? {
            self.0.answer(client, line)?;
        }
        Ok(())
    }

    fn closing(&mut self, client: &Client, reason: &Closing) {
        self.0.closing(client, reason);
    }
}

impl Adapter for Reading {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        let mut line = String::new();
        while input.take(1000).read_line(&mut line)? > 0 {
            self.0.answer(client, line.trim_end().as_bytes())?;
            line.clear();
        }
        Ok(())
    }

    fn closing(&mut self, client: &Client, reason: &Closing) {
        self.0.closing(client, reason);
    }
}

pub(crate) struct Scene {
    pub(crate) served: ServedTcp,
    pub(crate) watch: Watch,
    pub(crate) told: Receiver<Told>,
}

/// The ways to find lines, each with a server of its own.
pub(crate) fn scenes(limit: Duration) -> Vec<(&'static str, Scene)> {
    fn make<A: Adapter>(limit: Duration, wrap: impl Fn(ByLine) -> A + Send + Sync + 'static) -> Scene {
        let (sender, told) = unbounded();
        let watch = Watch::new();
        let watched = watch.clone();
        let served = serve_tcp_with(
            move || watched.around_serving(wrap(ByLine(sender.clone()))),
            |server| server.start_tls(identity().server()).handshake_timeout(limit),
        );
        Scene { served, watch, told }
    }
    vec![
        ("framed", make(limit, |lines| lines.framed(Lines::default()))),
        ("gathering", make(limit, |lines| lines.framed(Lines::default()).gathering())),
        ("frame", make(limit, Pulling)),
        ("read_line", make(limit, Reading)),
    ]
}

pub(crate) const LONG: Duration = Duration::from_secs(20);

impl Scene {
    /// Connects and asks for TLS.
    pub(crate) fn begin(&self) -> Peer {
        let peer = self.served.connect();
        peer.send("hello\r\n");
        assert_eq!(peer.read(7), b"hello\r\n");
        assert_eq!(next(&self.told), (b"hello".to_vec(), false));
        peer.send("STARTTLS\r\n");
        assert_eq!(peer.read(14), b"220 go ahead\r\n");
        assert_eq!(next(&self.told), (b"STARTTLS".to_vec(), false));
        peer
    }
}

pub(crate) fn upgraded(peer: Peer) -> TlsPeer {
    TlsPeer::over(peer.stream, identity().client())
}

pub(crate) fn contains(data: &[u8], part: &[u8]) -> bool {
    data.windows(part.len()).any(|window| window == part)
}
