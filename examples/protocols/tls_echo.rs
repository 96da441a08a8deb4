//! An echo over TLS. It answers a browser or curl with a page about the connection. The certificate is made on
//! the spot.
//!
//! Run it:      cargo run -p protocol-examples --example tls_echo   (on another address: add localhost:9000)
//!              To run it behind a load balancer on this computer that sends the PROXY protocol, add:
//!              localhost:8443 behind-proxy
//! Talk to it:  openssl s_client -connect localhost:8443 -CAfile FILE -verify_return_error
//!              curl --cacert FILE https://localhost:8443/
//!              The program prints the name of the file with its certificate.
//! Stop it:     press Ctrl-C

use std::sync::Arc;

use backport::tls::rustls::ServerConfig;
use backport::{Adapter, Backport, Client, Closing, Result, TcpServer};

struct Echo;

impl Adapter for Echo {
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        // A short request is usually in one piece. For real HTTP, use a parser.
        if data.starts_with(b"GET ") {
            let page = format!("You are {}.\n{:#?}\n", client.remote(), client.tls());
            let head =
                format!("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}", page.len());
            write!(client, "{head}\r\n\r\n{page}")?;
            client.close();
            return Ok(());
        }
        Ok(client.write(data)?)
    }

    fn closing(&mut self, client: &Client, reason: &Closing) {
        log::info!("client {}: {reason}", client.id());
    }
}

fn main() -> Result {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "localhost:8443".to_owned());
    let behind_proxy = std::env::args().nth(2).is_some_and(|word| word == "behind-proxy");
    // A public server has a certificate in two files. It uses `backport::tls::server_config`.
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = made.signing_key.serialize_der().try_into()?;
    let config = ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![made.cert.der().clone()], key)?);
    let file = std::env::temp_dir().join(format!("tls-echo-{}.pem", std::process::id()));
    std::fs::write(&file, made.cert.pem())?;
    let result = Backport::run(|machine| {
        let mut server = TcpServer::new(&*address, || Echo).tls(config);
        if behind_proxy {
            // The header comes before TLS. Only a balancer on this computer is believed.
            server = server.proxy_protocol(|ip| ip.is_loopback());
        }
        let server = machine.prepare(server)?;
        println!("listening on {}", server.local_addr());
        println!("certificate {}", file.display());
        Ok(())
    });
    std::fs::remove_file(file)?;
    result
}
