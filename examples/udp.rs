//! A server of your own: UDP, each datagram sent back.
//!
//! Run it:      cargo run --example udp           (or on another address: … udp 127.0.0.1:9000)
//! Talk to it:  printf hi | nc -u -w 1 127.0.0.1 8000
//! Stop it:     Ctrl-C

use std::io;
use std::net::UdpSocket;

use backport::{Backport, Control, Result, Server};

struct UdpEcho {
    socket: UdpSocket,
}

impl Server for UdpEcho {
    type Handle = ();

    fn prepare(self, control: Control) -> io::Result<()> {
        let (address, waker) = (self.socket.local_addr()?, self.socket.try_clone()?);
        control.set_name(format!("udp {address}"));
        // A datagram to itself gets the thread out of recv_from. Anyone can send one, so it says
        // nothing by itself: the loop asks is_stopping.
        control.on_stop(move || {
            if let Err(error) = waker.send_to(&[], address) {
                log::error!("cannot wake the UDP server: {error}");
            }
        });
        control.clone().spawn("udp", move || self.serve(&control, address.port()))
    }
}

impl UdpEcho {
    fn serve(&self, control: &Control, port: u16) {
        let mut datagram = [0; 65_536];
        while !control.is_stopping() {
            let echoed = match self.socket.recv_from(&mut datagram) {
                // Senders can be forged. An answer to another echo server, or to this one, would go
                // back and forth for ever.
                Ok((_, peer)) if peer.port() == port => continue,
                Ok((size, peer)) => self.socket.send_to(&datagram[..size], peer),
                Err(error) => Err(error),
            };
            // It is about one datagram, or a peer that has gone: the others go on.
            if let Err(error) = echoed {
                log::debug!("a datagram was lost: {error}");
            }
        }
    }
}

fn main() -> Result {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".to_owned());
    Backport::run(|machine| {
        let socket = UdpSocket::bind(address)?;
        machine.prepare(UdpEcho { socket })?;
        Ok(())
    })
}
