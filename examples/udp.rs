//! A kind of server that the crate does not have: a UDP server, which sends each datagram back.
//!
//! Run it:      cargo run --example udp           (on another address: add 127.0.0.1:9000)
//! Talk to it:  printf hi | nc -u -w 1 127.0.0.1 8000
//! Stop it:     press Ctrl-C

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
        // The server wakes its thread from recv_from by sending a datagram to itself. Anyone can send such a
        // datagram, so the loop checks is_stopping.
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
                // The address of a sender can be forged. If it is the address of this server or of another
                // echo server, the two would answer each other forever. Therefore datagrams from this port
                // number are ignored.
                Ok((_, peer)) if peer.port() == port => continue,
                Ok((size, peer)) => self.socket.send_to(&datagram[..size], peer),
                Err(error) => Err(error),
            };
            // The error is about one datagram or one peer. The server continues.
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
        println!("listening on {}", socket.local_addr()?);
        machine.prepare(UdpEcho { socket })?;
        Ok(())
    })
}
