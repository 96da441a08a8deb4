//! Echo through TLS: by hand with `rustls::StreamOwned`, in tokio, and with the crate.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use backport::{Machine, Running, TcpServer};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use super::{Peer, Serving, BUFFER};

struct Server {
    address: SocketAddr,
    certificate: Vec<u8>,
    engine: Engine,
}

/// What serves. It is kept until the server stops.
enum Engine {
    Threads,
    Tokio(#[expect(dead_code, reason = "it serves until it is dropped")] Runtime),
    Machine(Running),
}

/// Starts an echo server with a certificate of its own.
pub(super) fn start(peer: Peer) -> io::Result<Box<dyn Serving>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(io::Error::other)?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(io::Error::other)?;
    let certificate = made.cert.der().clone();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.clone()], key).map_err(io::Error::other)?;
    let config = Arc::new(config);
    let (address, engine) = match peer {
        Peer::Std => (by_hand(config)?, Engine::Threads),
        Peer::Tokio => in_tokio(config)?,
        Peer::Backport => with_the_crate(config)?,
        Peer::WhileBusy | Peer::Rival(_) => return Err(io::ErrorKind::Unsupported.into()),
    };
    Ok(Box::new(Server { address, certificate: certificate.to_vec(), engine }))
}

fn by_hand(config: Arc<ServerConfig>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let config = Arc::clone(&config);
            match stream {
                Ok(stream) => drop(thread::spawn(move || echo(stream, config))),
                Err(error) => eprintln!("by hand: accept: {error}"),
            }
        }
    });
    Ok(address)
}

fn echo(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let tls = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(tls, stream);
    let mut buffer = vec![0; BUFFER];
    loop {
        match stream.read(&mut buffer)? {
            0 => {
                stream.conn.send_close_notify();
                return stream.flush();
            }
            count => stream.write_all(&buffer[..count])?,
        }
    }
}

fn in_tokio(config: Arc<ServerConfig>) -> io::Result<(SocketAddr, Engine)> {
    let runtime = Runtime::new()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    let acceptor = TlsAcceptor::from(config);
    runtime.spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(echo_async(stream, acceptor.clone()))),
                Err(error) => eprintln!("tokio: accept: {error}"),
            }
        }
    });
    Ok((address, Engine::Tokio(runtime)))
}

async fn echo_async(stream: tokio::net::TcpStream, acceptor: TlsAcceptor) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return stream.shutdown().await,
            count => {
                stream.write_all(&buffer[..count]).await?;
                stream.flush().await?;
            }
        }
    }
}

fn with_the_crate(config: Arc<ServerConfig>) -> io::Result<(SocketAddr, Engine)> {
    let machine = Machine::new();
    let echo = || backport::receiving(|client, data| Ok(client.write(data)?));
    let server = machine.prepare(TcpServer::new("127.0.0.1:0", echo).max_clients(20_000).tls(config))?;
    let running = machine.start().map_err(io::Error::other)?;
    Ok((server.local_addr(), Engine::Machine(running)))
}

impl Serving for Server {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn certificate(&self) -> io::Result<Vec<u8>> {
        Ok(self.certificate.clone())
    }

    fn stop(self: Box<Self>) -> io::Result<()> {
        match self.engine {
            Engine::Threads | Engine::Tokio(_) => Ok(()),
            Engine::Machine(running) => running.stop().map_err(io::Error::other),
        }
    }
}
