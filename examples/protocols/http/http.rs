//! HTTP/1.1 on one connection (RFC 9112), over the parser of the crate `httparse`.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use backport::{BoxError, Client, Group, Input, Result};

const LONGEST_HEAD: usize = 16 * 1024;
const LARGEST_BODY: usize = 1024 * 1024;
/// How long a client may be idle between two requests, how long a whole head may take, and how long a whole body.
const HEAD_TIME: Duration = Duration::from_secs(10);
const BODY_TIME: Duration = Duration::from_secs(30);

pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    is_http_1_1: bool,
    /// The names are in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Returns the values of the headers with this name, which is in lower case.
    pub(crate) fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(other, _)| other == name).map(|(_, value)| &**value)
    }
}

pub(crate) enum Answer {
    /// A status such as `200 OK`, lines of headers with `\r\n` between them, and the body.
    Page(&'static str, &'static str, Vec<u8>),
    /// The client joins a group, and receives the events that are sent to it.
    Events(Group),
}

/// The client has broken a rule, and the connection ends with this status.
#[derive(Debug)]
struct Refused(&'static str);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the request was answered with {}", self.0)
    }
}

impl std::error::Error for Refused {}

/// Makes an error unless a rule was kept.
fn check(kept: bool, refused: Refused) -> Result<(), Refused> {
    kept.then_some(()).ok_or(refused)
}

const BAD_REQUEST: Refused = Refused("400 Bad Request");
const TOO_LARGE: Refused = Refused("413 Content Too Large");
const TOO_MANY_HEADERS: Refused = Refused("431 Request Header Fields Too Large");

/// Answers requests until either side ends the connection.
pub(crate) fn serve(client: &Client, input: &mut Input, mut answer: impl FnMut(Request) -> Answer) -> Result {
    loop {
        let next = request(client, input).or_else(|error| refuse(client, input, error))?;
        let Some((request, keep_alive)) = next else { return Ok(()) };
        let is_head = request.method == "HEAD";
        match answer(request) {
            Answer::Page(status, headers, body) => {
                // After a stop, no further request is read.
                let keep_alive = keep_alive && !client.is_stopping();
                send(client, (status, headers, &body), keep_alive, is_head)?;
                if !keep_alive {
                    return Ok(());
                }
            }
            // Events are sent until the client leaves or the server stops.
            Answer::Events(group) => {
                let head = "Content-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close";
                client.write(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"))?;
                group.join(client);
                input.set_deadline(None);
                while input.chunk()?.is_some() {}
                return Ok(());
            }
        }
    }
}

/// Ends the connection after an error, with an answer if the client expects one.
fn refuse<T>(client: &Client, input: &Input, error: BoxError) -> Result<Option<T>> {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    let status = match error.downcast_ref() {
        Some(Refused(status)) => status,
        None if kind != Some(ErrorKind::TimedOut) => return Err(error),
        // Nothing has begun, so the client is only idle.
        None if input.buffered().is_empty() => return Ok(None),
        None => "408 Request Timeout",
    };
    send(client, (status, "Content-Type: text/plain", &status.as_bytes()[4..]), false, false)?;
    Err(Refused(status).into())
}

/// Waits for a request. Returns it, and whether the connection goes on after the answer.
fn request(client: &Client, input: &mut Input) -> Result<Option<(Request, bool)>> {
    input.set_deadline(Some(Instant::now() + HEAD_TIME));
    let Some(mut request) = input.parse(head)? else { return Ok(None) };
    input.set_deadline(Some(Instant::now() + BODY_TIME));
    check(!request.is_http_1_1 || request.headers("host").count() == 1, BAD_REQUEST)?;
    let has = |wanted: &str| {
        let mut words = request.headers("connection").flat_map(|value| value.split(','));
        words.any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    let keep_alive = (request.is_http_1_1 || has("keep-alive")) && !has("close");
    let values = |name| request.headers(name).collect::<Vec<_>>();
    // A body without a length comes in chunks.
    let length = match (&values("content-length")[..], &values("transfer-encoding")[..]) {
        ([], []) => Some(0),
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(length.parse().ok().filter(|&length| length <= LARGEST_BODY).ok_or(TOO_LARGE)?)
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => None,
        ([], [_, ..]) => return Err(Refused("501 Not Implemented").into()),
        // If two ends read two lengths, a part of the body is a request for one of them (RFC 9112, 11.2).
        _ => return Err(BAD_REQUEST.into()),
    };
    for value in request.headers("expect").filter(|_| request.is_http_1_1) {
        check(value.eq_ignore_ascii_case("100-continue"), Refused("417 Expectation Failed"))?;
        client.write("HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    match length {
        Some(length) => more(input, &mut request.body, length)?,
        None => chunks(input, &mut request.body)?,
    }
    Ok(Some((request, keep_alive)))
}

/// Parses all of a request except its body.
fn head(bytes: &[u8]) -> Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut parsed = httparse::Request::new(&mut headers);
    let used = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(used)) if used <= LONGEST_HEAD => used,
        Ok(httparse::Status::Partial) if bytes.len() <= LONGEST_HEAD => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(TOO_MANY_HEADERS.into()),
        Err(httparse::Error::Version) => return Err(Refused("505 HTTP Version Not Supported").into()),
        Err(_) => return Err(BAD_REQUEST.into()),
    };
    let [method, path] = [parsed.method, parsed.path].map(|word| word.unwrap_or_default().to_owned());
    let mut headers = Vec::new();
    for header in parsed.headers.iter() {
        let value = std::str::from_utf8(header.value).map_err(|_| BAD_REQUEST)?;
        headers.push((header.name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Some((Request { method, path, is_http_1_1: parsed.version == Some(1), headers, body: vec![] }, used)))
}

/// Reads a body in chunks. Its trailer is dropped.
fn chunks(input: &mut Input, body: &mut Vec<u8>) -> Result {
    loop {
        let size = input.parse(|bytes| match httparse::parse_chunk_size(bytes) {
            Ok(httparse::Status::Complete((used, size))) => Ok(Some((size, used))),
            Ok(httparse::Status::Partial) if bytes.len() < 1024 => Ok(None),
            _ => Err(BAD_REQUEST.into()),
        })?;
        let size = size.ok_or(BAD_REQUEST)?;
        check(size <= (LARGEST_BODY - body.len()) as u64, TOO_LARGE)?;
        if size == 0 {
            break;
        }
        more(input, body, size as usize + 2)?;
        check(body.ends_with(b"\r\n"), BAD_REQUEST)?;
        body.truncate(body.len() - 2);
    }
    input.parse(|bytes| match httparse::parse_headers(bytes, &mut [httparse::EMPTY_HEADER; 100]) {
        Ok(httparse::Status::Complete((used, _))) => Ok(Some(((), used))),
        Ok(httparse::Status::Partial) if bytes.len() <= LONGEST_HEAD => Ok(None),
        _ => Err(TOO_MANY_HEADERS.into()),
    })?;
    Ok(())
}

/// Reads `count` bytes of a body.
fn more(input: &mut Input, body: &mut Vec<u8>, count: usize) -> Result {
    let read = input.by_ref().take(count as u64).read_to_end(body)?;
    Ok(check(read == count, BAD_REQUEST)?)
}

fn send(client: &Client, page: (&str, &str, &[u8]), keep_alive: bool, is_head: bool) -> Result {
    let (status, headers, body) = page;
    let (length, connection) = (body.len(), if keep_alive { "keep-alive" } else { "close" });
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}\r\nContent-Length: {length}\r\nConnection: {connection}\r\n\r\n"
    );
    Ok(client.write([head.as_bytes(), if is_head { b"" } else { body }].concat())?)
}
