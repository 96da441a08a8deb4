//! A message that a stop cuts never looks whole (P9).

use std::io::{self, BufRead, Read, Write};

use backport::framing::Lines;
use backport::testing::{self, TestClient};
use backport::{Adapter, Client, Closing, Input, Result};
use crossbeam_channel::{unbounded, Sender};

use crate::support::{eventually, next, serve};

type End = fn(&TestClient);
type Read1 = fn(&mut Input) -> Result<String>;

/// Reads a message in its own way, and reports the result and the reason.
struct Reader(Read1, Sender<String>);

impl Adapter for Reader {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        client.write("ready")?;
        let result = (self.0)(input);
        let said = match &result {
            Ok(text) => format!("Ok({text})"),
            Err(error) => match error.downcast_ref::<io::Error>() {
                Some(error) => format!("{:?}", error.kind()),
                None => error.to_string(),
            },
        };
        self.1.send(said)?;
        result.map(drop)
    }
    fn closing(&mut self, _: &Client, reason: &Closing) {
        self.1.send(reason.to_string()).unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ways() -> Vec<(&'static str, Read1, &'static str)> {
    vec![
        (
            "read_to_end",
            |input| {
                let mut all = Vec::new();
                input.read_to_end(&mut all)?;
                Ok(text(&all))
            },
            "ConnectionAborted",
        ),
        (
            "read_line",
            |input| {
                let mut line = String::new();
                input.read_line(&mut line)?;
                Ok(line)
            },
            "ConnectionAborted",
        ),
        (
            "read_until",
            |input| {
                let mut line = Vec::new();
                input.read_until(b'\n', &mut line)?;
                Ok(text(&line))
            },
            "ConnectionAborted",
        ),
        (
            "read_exact",
            |input| {
                let mut all = [0; 1000];
                input.read_exact(&mut all)?;
                Ok(text(&all))
            },
            "ConnectionAborted",
        ),
        (
            "take and read_line",
            |input| {
                let mut line = String::new();
                input.take(1024).read_line(&mut line)?;
                Ok(line)
            },
            "ConnectionAborted",
        ),
        (
            "take and read_to_end",
            |input| {
                let mut all = Vec::new();
                input.take(1024).read_to_end(&mut all)?;
                Ok(text(&all))
            },
            "ConnectionAborted",
        ),
        (
            "io::copy",
            |input| {
                let mut all = Vec::new();
                io::copy(input, &mut all)?;
                Ok(text(&all))
            },
            "ConnectionAborted",
        ),
        (
            "stream",
            |input| {
                let mut line = String::new();
                input.stream().read_line(&mut line)?;
                Ok(line)
            },
            "ConnectionAborted",
        ),
        ("lines", |input| Ok(input.lines().next().ok_or("no line")??), "ConnectionAborted"),
        (
            "frame",
            |input| Ok(input.frame(&mut Lines::default())?.map_or("none".to_owned(), text)),
            "Ok(none)",
        ),
        (
            "parse",
            |input| {
                let newline = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n');
                let line = |bytes: &[u8]| Ok(newline(bytes).map(|at| (text(&bytes[..at]), at + 1)));
                Ok(input.parse(line)?.unwrap_or("none".to_owned()))
            },
            "Ok(none)",
        ),
        (
            "chunk",
            |input| {
                let first = input.chunk()?.map_or("none".to_owned(), text);
                Ok(format!("{first}, {}", input.chunk()?.map_or("none".to_owned(), text)))
            },
            "Ok(delete data/a, none)",
        ),
    ]
}

#[test]
fn a_stop_in_the_middle_of_a_message_is_an_error_over_tcp() {
    for (name, read, expected) in ways() {
        let (sender, said) = unbounded();
        let served = serve(move || Reader(read, sender.clone()));
        let peer = served.connect();
        assert_eq!(peer.read(5), b"ready");
        peer.send("delete data/a");
        eventually("it has arrived", || served.server.clients()[0].stats().bytes_in == 13);
        served.machine().stop();
        assert_eq!(next(&said), expected, "{name}");
        assert_eq!(next(&said), "the server is stopping", "{name}");
        assert_eq!(peer.read_to_end(), b"", "{name}");
        drop(peer);
        served.join().unwrap();
    }
}

#[test]
fn a_stop_and_a_close_in_the_middle_of_a_message_are_errors_over_memory() {
    for (name, read, expected) in ways() {
        let ends: [(End, &str); 2] = [
            (|client| client.server().stop(), "the server is stopping"),
            (|client| client.server().clients()[0].close(), "closed by the server"),
        ];
        for (end, reason) in ends {
            let (sender, said) = unbounded();
            let mut client = testing::connect(Reader(read, sender));
            client.read_exact(&mut [0; 5]).unwrap();
            client.write_all(b"delete data/a").unwrap();
            eventually("it has arrived", || client.server().clients()[0].stats().bytes_in == 13);
            end(&client);
            assert_eq!(next(&said), expected, "{name}");
            assert_eq!(next(&said), reason, "{name}");
        }
    }
}

#[test]
fn a_message_that_the_peer_has_ended_is_whole_also_at_a_stop() {
    let (sender, said) = unbounded();
    let read: Read1 = |input| {
        let mut all = Vec::new();
        input.read_to_end(&mut all)?;
        Ok(text(&all))
    };
    let mut client = testing::connect(Reader(read, sender));
    client.write_all(b"delete data/abc").unwrap();
    client.close_write();
    assert_eq!(next(&said), "Ok(delete data/abc)");
    client.server().stop();
    next(&said);
}

#[test]
fn a_partial_frame_at_a_stop_is_not_delivered() {
    let (sender, lines) = unbounded();
    struct Lined(Sender<String>);
    impl Adapter for Lined {
        fn receiving(&mut self, _: &Client, line: &[u8]) -> Result {
            Ok(self.0.send(text(line))?)
        }
        fn closing(&mut self, _: &Client, reason: &Closing) {
            self.0.send(format!("closing: {reason}")).unwrap();
        }
    }
    let served = serve(move || Lined(sender.clone()).framed(Lines::default()));
    let peer = served.connect();
    peer.send("whole\ndelete data/a");
    assert_eq!(next(&lines), "whole");
    served.machine().stop();
    assert_eq!(next(&lines), "closing: the server is stopping");
    peer.wait_for_end();
    drop(peer);
    served.join().unwrap();
}
