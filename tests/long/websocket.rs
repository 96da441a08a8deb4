//! A WebSocket library on a client's stream, as the documentation of `Stream` promises.

#[path = "../support/mod.rs"]
mod support;

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use backport::testing::{self, TestClient};
use backport::{Adapter, Client, Input, Result, Stream};
use tungstenite::{Error, Message};

use support::{assert_same, in_time, pattern};

struct Echo;

impl Adapter for Echo {
    fn serving(&mut self, _: &Client, input: &mut Input) -> Result {
        echo(input)
    }
}

/// Sends each message back. If nothing comes for a moment, a ping asks `still there?`.
fn echo(input: &mut Input) -> Result {
    let mut socket = tungstenite::accept(input.stream()).map_err(|error| error.to_string())?;
    let set_deadline = |stream: &mut Stream<'_>| {
        stream.input().set_deadline(Some(Instant::now() + Duration::from_millis(50)));
    };
    loop {
        set_deadline(socket.get_mut());
        match socket.read() {
            Ok(message) if message.is_text() || message.is_binary() => socket.send(message)?,
            Ok(_) => {}
            Err(Error::ConnectionClosed) => return Ok(()),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::TimedOut => {
                socket.send(Message::Ping("still there?".into()))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A peer that sends its bytes a few at a time.
struct Dripping(TestClient);

impl Read for Dripping {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Dripping {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(&data[..data.len().min(7)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_websocket_library_runs_on_it_with_deadlines_between() {
    let client = testing::connect(Echo);
    let (mut socket, _) = tungstenite::client("ws://localhost/", Dripping(client)).unwrap();
    for _ in 0..2 {
        let Message::Ping(said) = socket.read().unwrap() else { panic!("not a ping") };
        assert_eq!(said, "still there?");
    }
    socket.send(Message::text("hello")).unwrap();
    socket.send(Message::binary(pattern(20_000))).unwrap();
    let mut echoes = std::iter::from_fn(|| Some(socket.read().unwrap())).filter(|message| !message.is_ping());
    assert_eq!(echoes.next(), Some(Message::text("hello")));
    assert_same(&echoes.next().unwrap().into_data(), &pattern(20_000));
    socket.close(None).unwrap();
    let end = in_time("the closing handshake", move || loop {
        match socket.read() {
            Ok(_) => {}
            Err(end) => return (end, socket),
        }
    });
    assert!(matches!(end.0, Error::ConnectionClosed), "{}", end.0);
}
