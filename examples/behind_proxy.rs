//! Serves clients behind a load balancer, and tells each of them its own address. The balancer must run on this
//! computer and send the PROXY protocol, for example HAProxy with `server one localhost:8000 send-proxy-v2`.
//!
//! Run it:      cargo run --example behind_proxy  (on another address: add localhost:9000)
//! Talk to it:  printf 'PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n' | nc -N localhost 8000
//! Stop it:     press Ctrl-C

use backport::{Adapter, Backport, Client, Result, TcpServer};

struct Mirror;

impl Adapter for Mirror {
    fn opening(&mut self, client: &Client) -> Result {
        let proxy = client.proxy().map_or("no proxy".to_owned(), |proxy| format!("the proxy {proxy}"));
        client.write_line(format!("You are {}, by {proxy}.", client.remote()))?;
        Ok(())
    }
}

fn main() -> Result {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or("localhost:8000".to_owned());
    Backport::run(|machine| {
        // Everybody else could claim any address, so only a proxy on this computer is believed.
        let server = TcpServer::new(address, || Mirror).proxy_protocol(|ip| ip.is_loopback());
        println!("listening on {}", machine.prepare(server)?.local_addr());
        Ok(())
    })
}
