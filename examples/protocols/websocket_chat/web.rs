//! The page, and the handshake that makes a request a WebSocket.

use backport::Result;
use tungstenite::handshake::server::{create_response, write_response, Request};
use tungstenite::http::header::{HeaderValue, HOST, ORIGIN};
use tungstenite::{handshake::machine::TryParse, Error};

/// The page loads and connects to nothing that is not from this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Parses the head of a request, for `Input::parse`.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>> {
    match Request::try_parse(bytes)? {
        Some((length, request)) => Ok(Some((request, length))),
        None if bytes.len() < 16 * 1024 => Ok(None),
        None => Err(Error::AttackAttempt.into()),
    }
}

/// Returns the answer to a request. If the connection becomes a WebSocket, also returns the name of the room.
pub(crate) fn answer(request: &Request) -> (Vec<u8>, Option<&str>) {
    let (path, mut head) = (request.uri().path(), Vec::new());
    let ok = |kind, body| (page("200 OK", kind, body), None);
    match (path, path.strip_prefix("/chat/").filter(|room| is_name(room))) {
        ("/", _) => ok("text/html", include_str!("page.html")),
        ("/page.css", _) => ok("text/css", include_str!("page.css")),
        ("/page.js", _) => ok("text/javascript", include_str!("page.js")),
        (_, None) => (short("404 Not Found"), None),
        (_, Some(_)) if !is_own_page(request) => (short("403 Forbidden"), None),
        (_, Some(room)) => match create_response(request).and_then(|it| write_response(&mut head, &it)) {
            Ok(()) => (head, Some(room)),
            _ => (short("426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"), None),
        },
    }
}

/// Returns `true` if the request comes from this server's own page, or from a program that is no browser. A browser
/// lets every page of the web connect to this server, and sends the origin of that page.
fn is_own_page(request: &Request) -> bool {
    let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    let Some(host) = header(HOST) else { return false };
    let schemes = [b"http://".as_slice(), b"https://"];
    let is_own = |origin: &[u8]| schemes.iter().any(|scheme| origin.strip_prefix(*scheme) == Some(host));
    header(ORIGIN).is_none_or(is_own)
}

fn is_name(room: &str) -> bool {
    (1..=32).contains(&room.len()) && room.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Returns a page that says the first line of `status`. More lines are headers.
pub(crate) fn short(status: &str) -> Vec<u8> {
    page(status, "text/plain", status.lines().next().unwrap_or_default())
}

fn page(status: &str, kind: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\n\
        Content-Security-Policy: {POLICY}\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-cache\r\n\
        Connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
