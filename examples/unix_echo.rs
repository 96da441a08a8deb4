//! Greets each client on a Unix socket with its user, and sends back all data that it gets. Only the user of the
//! server may connect.
//!
//! Run it:      cargo run --example unix_echo     (on another path: add other.sock)
//! Talk to it:  printf hi | nc -NU backport.sock, or: printf hi | socat - UNIX-CONNECT:backport.sock
//! Stop it:     press Ctrl-C; the server removes its path

#[cfg(unix)]
mod echo {
    use backport::{Adapter, Backport, Client, Remote, Result, UnixServer};

    struct Echo;

    impl Adapter for Echo {
        fn opening(&mut self, client: &Client) -> Result {
            if let Remote::Unix { credentials: Some(peer), .. } = client.remote() {
                client.write_line(format!("Hello, user {}!", peer.uid))?;
            }
            Ok(())
        }

        fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
            client.write(data)?;
            Ok(())
        }
    }

    pub(crate) fn run() -> Result {
        env_logger::init();
        let path = std::env::args_os().nth(1).unwrap_or("backport.sock".into());
        Backport::run(|machine| {
            let server = UnixServer::new(&path, || Echo).mode(0o600);
            let server = machine.prepare(server)?;
            println!("listening on {}", server.name());
            Ok(())
        })
    }
}

#[cfg(unix)]
fn main() -> backport::Result {
    echo::run()
}

#[cfg(not(unix))]
fn main() {
    eprintln!("This example needs Unix.");
}
