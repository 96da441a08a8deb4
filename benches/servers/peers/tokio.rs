//! The echo server in tokio: a task per connection, on the default runtime. That runtime has a worker
//! thread for each CPU that the process may use, which is one CPU here.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::{asks_for_nap, Serving, BUFFER, NAP};

struct Server {
    address: SocketAddr,
    _runtime: Runtime,
}

/// Starts an echo server.
pub(super) fn start() -> io::Result<Box<dyn Serving>> {
    start_with(echo)
}

/// Starts an echo server that sleeps when a client asks for it. It sleeps on a thread for blocking work.
pub(super) fn start_naps() -> io::Result<Box<dyn Serving>> {
    start_with(echo_with_naps)
}

fn start_with<T>(serve: fn(TcpStream) -> T) -> io::Result<Box<dyn Serving>>
where
    T: Future<Output = io::Result<()>> + Send + 'static,
{
    let runtime = Runtime::new()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(accept(listener, serve));
    Ok(Box::new(Server { address, _runtime: runtime }))
}

async fn accept<T>(listener: TcpListener, serve: fn(TcpStream) -> T)
where
    T: Future<Output = io::Result<()>> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream))),
            Err(error) => eprintln!("tokio: accept: {error}"),
        }
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count]).await?,
        }
    }
}

async fn echo_with_naps(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        if asks_for_nap(&buffer[..count]) {
            tokio::task::spawn_blocking(|| thread::sleep(NAP)).await?;
        }
        stream.write_all(&buffer[..count]).await?;
    }
}

impl Serving for Server {
    fn address(&self) -> SocketAddr {
        self.address
    }
}
