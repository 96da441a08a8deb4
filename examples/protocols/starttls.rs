//! A mail server (SMTP) that takes no mail. It begins in plain text and switches to TLS when the client asks for
//! it (STARTTLS).
//!
//! Run it:      cargo run -p protocol-examples --example starttls   (on another address: add localhost:9000)
//! Talk to it:  openssl s_client -connect localhost:8025 -starttls smtp -crlf -quiet
//!              Then type NOOP and QUIT.
//! Stop it:     press Ctrl-C

use std::sync::Arc;

use backport::framing::Lines;
use backport::tls::rustls::ServerConfig;
use backport::{Adapter, Backport, Client, Input, Result, TcpServer};

struct Mail;

impl Adapter for Mail {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        client.write("220 mail.example ESMTP\r\n")?;
        // Nothing that the client says before the switch is kept after it.
        while let Some(line) = input.frame(&mut Lines::with_limit(512))? {
            let line = line.to_ascii_uppercase();
            match line.split(|byte| *byte == b' ').next().unwrap_or_default() {
                b"EHLO" if client.tls().is_some() => client.write("250-mail.example\r\n250 HELP\r\n")?,
                b"EHLO" => client.write("250-mail.example\r\n250 STARTTLS\r\n")?,
                b"STARTTLS" if client.tls().is_none() => {
                    client.write("220 go ahead\r\n")?;
                    client.start_tls()?;
                }
                b"NOOP" => client.write(format!("250 {:?}\r\n", client.tls().map(|tls| tls.version())))?,
                b"QUIT" => {
                    client.write("221 goodbye\r\n")?;
                    return Ok(());
                }
                _ => client.write("502 not here\r\n")?,
            }
        }
        Ok(())
    }
}

fn main() -> Result {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "localhost:8025".to_owned());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = made.signing_key.serialize_der().try_into()?;
    let config = ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![made.cert.der().clone()], key)?);
    Backport::run(|machine| {
        let server = machine.prepare(TcpServer::new(&*address, || Mail).start_tls(config))?;
        println!("listening on {}", server.local_addr());
        Ok(())
    })
}
