//! `Input::parse` and `Input::buffered`.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use backport::framing::{FrameError, Lines};
use backport::{testing, Adapter, Client, Input, Result};
use crossbeam_channel::unbounded;

use crate::support::{eventually, next, serve, Served};

/// The most bytes of a word.
const LIMIT: usize = 100_000;

/// A word that ends with a space.
fn word(bytes: &[u8]) -> Result<Option<(String, usize)>> {
    assert!(!bytes.is_empty(), "the parser got nothing");
    match bytes.iter().position(|byte| *byte == b' ') {
        Some(at) => Ok(Some((std::str::from_utf8(&bytes[..at])?.to_owned(), at + 1))),
        None if bytes.len() > LIMIT => Err("the word is too long".into()),
        None => Ok(None),
    }
}

/// A conversation.
struct Talk<F>(F);

impl<F: FnMut(&Client, &mut Input) -> Result + Send + 'static> Adapter for Talk<F> {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        (self.0)(client, input)
    }
}

/// Says each word in brackets, and the end in its own words.
fn words() -> Served {
    serve(|| {
        Talk(|client: &Client, input: &mut Input| loop {
            match input.parse(word) {
                Ok(Some(word)) => client.write(format!("<{word}>"))?,
                Ok(None) => return Ok(client.write("end")?),
                Err(error) => return Ok(client.write(format!("{error}"))?),
            }
        })
    })
}

#[test]
fn messages_are_parsed_whole_however_they_arrive() {
    for size in [1, 2, 5, 1000] {
        let served = words();
        let peer = served.connect();
        let long = "x".repeat(3000);
        for part in format!("one  two {long} ").as_bytes().chunks(size) {
            peer.send(part);
        }
        peer.half_close();
        let said = String::from_utf8(peer.read_to_end()).unwrap();
        assert_eq!(said, format!("<one><><two><{long}>end"), "in parts of {size}");
    }
}

#[test]
fn half_a_message_at_the_end_is_an_error() {
    let served = words();
    let peer = served.connect();
    peer.send("whole half");
    peer.half_close();
    let expected = format!("<whole>{}", FrameError::Truncated);
    assert_eq!(peer.read_to_end(), expected.as_bytes());
}

#[test]
fn the_error_of_the_parser_and_its_limit_reach_the_adapter() {
    let served = words();
    let peer = served.connect();
    peer.send("fine \u{ff}".as_bytes());
    peer.send([0xff, b' ']);
    assert!(String::from_utf8(peer.read_to_end()).unwrap().starts_with("<fine>invalid utf-8"));
    let peer = served.connect();
    peer.send(vec![b'x'; LIMIT + 1]);
    peer.half_close();
    assert_eq!(peer.read_to_end(), b"the word is too long");
}

#[test]
fn a_parser_that_returns_an_impossible_size_is_an_error_and_no_endless_loop() {
    for used in [0, 3, usize::MAX] {
        let (sender, results) = unbounded();
        let mut client = testing::connect(Talk(move |_: &Client, input: &mut Input| {
            sender.send(input.parse(|_| Ok(Some(((), used)))).unwrap_err().to_string())?;
            Ok(())
        }));
        client.write_all(b"ab").unwrap();
        let said = next(&results);
        assert!(said.contains(&format!("a message of {used} bytes")), "{said}");
    }
}

#[test]
fn no_byte_is_lost_at_a_deadline_and_other_reads_go_on_after_a_message() {
    let mut client = testing::connect(Talk(|client: &Client, input: &mut Input| {
        input.set_deadline(Some(Instant::now() + Duration::from_millis(50)));
        let error = input.parse(word).unwrap_err();
        client.write(format!("{:?}, ", error.downcast_ref::<std::io::Error>().map(std::io::Error::kind)))?;
        input.set_deadline(None);
        let word = input.parse(word)?.ok_or("no word")?;
        let line = input.frame(&mut Lines::default())?.ok_or("no line")?.to_vec();
        let rest = input.chunk()?.unwrap_or_default().to_vec();
        Ok(client.write(format!("{word:?} {line:?} {rest:?}"))?)
    }));
    client.write_all(b"ha").unwrap();
    let mut said = [0; 16];
    client.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"Some(TimedOut), ");
    client.write_all(b"lf A\nB").unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert_eq!(said, "\"half\" [65] [66]");
}

/// The answers to all words that have arrived are one write.
#[test]
fn what_is_buffered_tells_when_to_send_the_answers() {
    let (sender, writes) = unbounded();
    let served = serve(move || {
        let (sender, mut answers) = (sender.clone(), String::new());
        Talk(move |client: &Client, input: &mut Input| {
            assert!(input.buffered().is_empty());
            while let Some(word) = input.parse(word)? {
                answers.push_str(&word);
                if input.buffered().is_empty() {
                    client.write(&answers)?;
                    sender.send(std::mem::take(&mut answers))?;
                }
            }
            Ok(())
        })
    });
    let peer = served.connect();
    peer.send("a b c d ");
    assert_eq!(peer.read(4), b"abcd");
    assert_eq!(next(&writes), "abcd");
    peer.send("e ");
    assert_eq!(peer.read(1), b"e");
}

#[test]
fn nothing_is_buffered_or_parsed_after_a_close() {
    let (sender, results) = unbounded();
    let served = serve(move || {
        let sender = sender.clone();
        Talk(move |client: &Client, input: &mut Input| {
            sender.send((input.parse(word)?, input.buffered().len()))?;
            client.close();
            sender.send((input.parse(word)?, input.buffered().len()))?;
            Ok(())
        })
    });
    let peer = served.connect();
    peer.send("one two ");
    assert_eq!(next(&results), (Some("one".to_owned()), 4));
    assert_eq!(next(&results), (None, 0));
    assert_eq!(peer.read_to_end(), b"");
}

/// A stop ends the wait for the rest of a message.
#[test]
fn a_stop_ends_a_wait_within_a_message() {
    let served = words();
    let peer = served.connect();
    peer.send("half");
    eventually("it has arrived", || {
        served.server.clients().iter().any(|client| client.stats().bytes_in == 4)
    });
    let reader = thread::spawn(move || peer.read_to_end());
    served.stop().unwrap();
    assert_eq!(reader.join().unwrap(), b"end");
}
