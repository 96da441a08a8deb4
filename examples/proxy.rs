//! A TCP proxy: it passes the bytes of each client on to another server, and the bytes of that server back.
//!
//! Run it:      cargo run --example echo, and in another terminal cargo run --example proxy
//!              (for another server: cargo run --example proxy localhost:9000 example.com:80)
//! Talk to it:  printf hi | nc -N localhost 8001
//! Stop it:     press Ctrl-C
//!
//! Each client has two threads, one for each direction. The two directions end separately. When one side ends
//! its output, the proxy ends its output to the other side, and the other direction continues. When the
//! connection to one side is lost, the proxy aborts the other one.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::time::Duration;

use backport::{Adapter, Backport, Client, Input, Machine, Result, TcpServer};

/// Less than the drain timeout of the machine, because a stop waits for an attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A client of the proxy. Its thread copies from the client to the server.
struct Downstream {
    machine: Machine,
    server: Arc<[SocketAddr]>,
}

impl Adapter for Downstream {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        let stream = connect(&self.server)?;
        let (opening, opened) = channel();
        let (finished, other) = (channel(), channel());
        let upstream = Upstream { client: client.clone(), opening, ends: Some((other.0, finished.1)) };
        self.machine.serve(stream, upstream)?;
        let upstream = opened.recv()?;
        copy(client, input, &upstream, finished.0, &other.1)
    }
}

/// The connection to the server. Its thread copies from the server to the client.
struct Upstream {
    client: Client,
    opening: Sender<Client>,
    ends: Option<(Sender<()>, Receiver<()>)>,
}

impl Adapter for Upstream {
    fn serving(&mut self, upstream: &Client, input: &mut Input) -> Result {
        self.opening.send(upstream.clone())?;
        match self.ends.take() {
            Some((finished, other)) => copy(upstream, input, &self.client, finished, &other),
            None => Ok(()),
        }
    }
}

/// Copies from one side to the other, and then waits until the other direction has finished, too.
///
/// Nothing is sent over the channels. A direction has finished when its sender is dropped.
fn copy(from: &Client, input: &mut Input, to: &Client, finished: Sender<()>, other: &Receiver<()>) -> Result {
    // If `from` ends while this thread waits for `to` to take its output, this ends the wait.
    let copying = Arc::new(AtomicBool::new(true));
    let (still_copying, stuck) = (copying.clone(), to.clone());
    from.on_close(move || {
        if still_copying.load(Ordering::Relaxed) {
            end(&stuck);
        }
    });
    if let Err(error) = input.copy_to(to) {
        end(to);
        end(from);
        return Err(error.into());
    }
    copying.store(false, Ordering::Relaxed);
    to.close_write();
    drop(finished);
    match other.recv() {
        Ok(()) => Err("nothing is sent over this channel".into()),
        Err(_) => Ok(()),
    }
}

/// Ends a connection whose copy is incomplete. After a stop, the copied bytes are still delivered. Otherwise
/// the other connection was lost, so the rest is dropped.
fn end(client: &Client) {
    if client.server().is_stopped() {
        client.close();
    } else {
        client.abort();
    }
}

fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut result = Err(ErrorKind::AddrNotAvailable.into());
    for address in addresses {
        result = TcpStream::connect_timeout(address, CONNECT_TIMEOUT / addresses.len() as u32);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn main() -> Result {
    env_logger::init();
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("localhost:8001".to_owned());
    let server: Arc<[_]> =
        arguments.next().unwrap_or("localhost:8000".to_owned()).to_socket_addrs()?.collect();
    Backport::run(|machine| {
        let own = machine.clone();
        let factory = move || Downstream { machine: own.clone(), server: server.clone() };
        // Each client takes two of the 1,024 files that a process may usually open.
        let proxy = machine.prepare(TcpServer::new(address, factory).max_clients(400))?;
        println!("listening on {}", proxy.local_addr());
        Ok(())
    })
}
