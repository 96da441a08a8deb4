//! The monitor: a server that shows the machine to a browser and to Prometheus.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use backport::{Adapter, Client, Group, Input, Machine, Remote, Result};

use crate::http::Answer::{self, Events, Page};
use crate::{http, numbers};

const TEXT: &str = "Content-Type: text/plain";
const HTML: &str = "Content-Type: text/html\r\nContent-Security-Policy: default-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// Prepares the monitor as one more server of the machine, and returns its address in words. Everybody who reaches
/// it can close clients, so `address` is a loopback address, or on Unix a path, which contains a slash. `name` gives
/// the text that the page shows beside a client.
pub(crate) fn prepare(machine: &Machine, address: &str, name: fn(&Client) -> String) -> Result<String> {
    let monitor = Monitor { machine: machine.clone(), readers: Group::new() };
    let (watched, start) = (monitor.clone(), Instant::now());
    machine.prepare_interval(Duration::from_secs(1), move |_| {
        if !watched.readers.is_empty() {
            // A reader that is too slow ends when its backlog is full. It delays nobody.
            let json = numbers::json(&watched.machine, start.elapsed(), name);
            watched.readers.broadcast(format!("data: {json}\n\n"));
        }
    });
    #[cfg(unix)]
    if address.contains('/') {
        let server = backport::UnixServer::new(address, move || monitor.clone()).mode(0o600);
        return Ok(machine.prepare(server)?.name());
    }
    let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    if let Some(public) = addresses.iter().find(|address| !address.ip().is_loopback()) {
        let advice = "use a loopback address such as localhost:8080, or a path such as ./monitor.sock";
        return Err(format!("other computers could close clients through {public}; {advice}").into());
    }
    let server = machine.prepare_tcp_server(&*addresses, move || monitor.clone())?;
    Ok(format!("http://{}/", server.local_addr()))
}

#[derive(Clone)]
struct Monitor {
    machine: Machine,
    readers: Group,
}

impl Adapter for Monitor {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        let ok = |kind, text: &str| Page("200 OK", kind, text.into());
        http::serve(client, input, |request| match (&*request.method, &*request.path) {
            _ if !is_own(client, &request) => Page("403 Forbidden", TEXT, "Open localhost.\n".into()),
            ("GET", "/") => ok(HTML, include_str!("page.html")),
            ("GET", "/page.css") => ok("Content-Type: text/css", include_str!("page.css")),
            ("GET", "/page.js") => ok("Content-Type: text/javascript", include_str!("page.js")),
            ("GET", "/metrics") => {
                ok("Content-Type: text/plain; version=0.0.4", &numbers::text(&self.machine))
            }
            ("GET", "/events") => Events(self.readers.clone()),
            ("POST", path) if path.starts_with("/close/") => close(&self.machine, &path["/close/".len()..]),
            (_, path) if path.starts_with("/close/") => Page("405 Method Not Allowed", "Allow: POST", vec![]),
            ("GET", _) => Page("404 Not Found", TEXT, "There is nothing.\n".into()),
            _ => Page("405 Method Not Allowed", "Allow: GET", vec![]),
        })
    }
}

fn close(machine: &Machine, id: &str) -> Answer {
    let mut clients = machine.servers().into_iter().flat_map(|server| server.clients());
    let Some(client) = clients.find(|client| client.id().to_string() == id) else {
        return Page("404 Not Found", TEXT, "This client has already ended.\n".into());
    };
    log::info!("the monitor closes client {id}, {}", client.remote());
    client.close();
    Page("202 Accepted", TEXT, "The client ends after its callback and its output.\n".into())
}

/// Returns `true` unless the request may come from a foreign page. A browser lets every page send requests to here.
fn is_own(client: &Client, request: &http::Request) -> bool {
    // The name of a foreign page can lead to this computer (DNS rebinding). The host has that name then.
    let host = request.headers("host").next().unwrap_or_default();
    let (name, port) = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).unwrap_or((host, "80"));
    // A Unix socket has no port. The port is that of a program in front of it, for example of ssh. Only a browser
    // sends the other two headers. With `none`, the user has typed the address.
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
        && !matches!(client.remote(), Remote::Tcp { local, .. } if port != local.port().to_string())
        && request.headers("sec-fetch-site").all(|site| matches!(site, "same-origin" | "none"))
        && request.headers("origin").all(|origin| origin.strip_prefix("http://") == Some(host))
}
