//! The echo server in tokio: a task per connection, on the default runtime. That runtime has a worker
//! thread for each CPU that the process may use, which is one CPU here.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::{Serving, BUFFER};

struct Server {
    address: SocketAddr,
    _runtime: Runtime,
}

pub(super) fn start() -> io::Result<Box<dyn Serving>> {
    let runtime = Runtime::new()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(accept(listener));
    Ok(Box::new(Server { address, _runtime: runtime }))
}

async fn accept(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(echo(stream))),
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

impl Serving for Server {
    fn address(&self) -> SocketAddr {
        self.address
    }
}
