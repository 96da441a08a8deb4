//! The loads over TLS: messages, streams, handshakes and idle clients. One thread is all clients, with blocking
//! calls.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{micros_per, Metrics, MESSAGE};
use crate::peers::{Kind, Peer};
use crate::server::{Server, PATIENCE};

/// How many bytes a stream has under way. The buffers of the sockets hold them.
const WINDOW: usize = 256 * 1024;
const SILENCE: Duration = Duration::from_secs(1);

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Has each client send `size` bytes and wait for as many.
///
/// `micros`: CPU time per message.
pub(crate) fn messages(peer: Peer, clients: usize, size: usize, span: Duration) -> io::Result<Metrics> {
    let driver = Driver::start(peer, false)?;
    let mut clients = driver.connect(clients)?;
    let message = MESSAGE.repeat(size / MESSAGE.len());
    exchange(&mut clients, &message, span / 10)?;
    let before = driver.server.cpu_time()?;
    let count = exchange(&mut clients, &message, span)?;
    let spent = driver.server.cpu_time()? - before;
    Ok(vec![("micros", micros_per(spent, count)?)])
}

/// Has each client send data and read it back.
///
/// `micros`: CPU time per MB (10⁶ bytes) that was sent back.
pub(crate) fn stream(peer: Peer, clients: usize, span: Duration) -> io::Result<Metrics> {
    let metrics = messages(peer, clients, WINDOW, span)?;
    Ok(metrics.into_iter().map(|(name, micros)| (name, micros * 1e6 / WINDOW as f64)).collect())
}

/// Makes one connection after another, each with a handshake and one message.
///
/// `micros`: CPU time per connection.
pub(crate) fn handshakes(peer: Peer, resume: bool, span: Duration) -> io::Result<Metrics> {
    let driver = Driver::start(peer, resume)?;
    driver.visits(span / 10)?;
    let before = driver.server.cpu_time()?;
    let count = driver.visits(span)?;
    // The server's threads for the last clients need a moment to finish.
    thread::sleep(Duration::from_millis(2));
    let spent = driver.server.cpu_time()? - before;
    Ok(vec![("micros", micros_per(spent, count)?)])
}

/// Measures clients that have had one answer each and then are silent.
///
/// `kib`: resident memory per client.
pub(crate) fn idle(peer: Peer, clients: usize) -> io::Result<Metrics> {
    let driver = Driver::start(peer, false)?;
    driver.visits(Duration::from_millis(10))?;
    thread::sleep(SILENCE);
    let empty = driver.server.status("VmRSS")?;
    let crowd = driver.connect(clients)?;
    thread::sleep(SILENCE);
    let kib = driver.server.status("VmRSS")?.saturating_sub(empty) as f64 / crowd.len() as f64;
    Ok(vec![("kib", kib)])
}

struct Driver {
    server: Server,
    config: Arc<ClientConfig>,
}

impl Driver {
    fn start(peer: Peer, resume: bool) -> io::Result<Driver> {
        let mut server = Server::start(peer, Kind::Encrypted)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(server.certificate()?)).map_err(io::Error::other)?;
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        if !resume {
            config.resumption = Resumption::disabled();
        }
        Ok(Driver { server, config: Arc::new(config) })
    }

    fn connect(&self, count: usize) -> io::Result<Vec<Stream>> {
        (0..count).map(|_| self.connect_one()).collect()
    }

    /// Connects, and has one answer.
    fn connect_one(&self) -> io::Result<Stream> {
        let socket = TcpStream::connect(self.server.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let tls = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(tls, socket);
        stream.write_all(&MESSAGE)?;
        stream.read_exact(&mut [0; MESSAGE.len()])?;
        Ok(stream)
    }

    fn visits(&self, span: Duration) -> io::Result<u64> {
        let (mut count, end) = (0, Instant::now() + span);
        while Instant::now() < end {
            let mut stream = self.connect_one()?;
            stream.conn.send_close_notify();
            stream.flush()?;
            if stream.read(&mut [0])? > 0 {
                return Err(io::Error::other("more came back than was sent"));
            }
            count += 1;
        }
        Ok(count)
    }
}

/// Has every client send a message, and then reads all answers, again and again. Returns the number of answers.
fn exchange(clients: &mut [Stream], message: &[u8], span: Duration) -> io::Result<u64> {
    let (mut count, end) = (0, Instant::now() + span);
    let mut answer = vec![0; message.len()];
    while Instant::now() < end {
        for client in &mut *clients {
            client.write_all(message)?;
        }
        for client in &mut *clients {
            client.read_exact(&mut answer)?;
            count += 1;
        }
    }
    Ok(count)
}
