//! Every way to answer while a stop comes, over standard input and output (P9, P12).

use std::io::{BufRead, Write};
use std::thread;

use backport::framing::Lines;
use backport::{receiving, Adapter, Backport, Client, Closing, Input, Result};

use crate::support::child::{exit, is_child, read_all};
use crate::{after_begin, begin, spawn_piped};

const ANSWER: &str = "first half, second half\n";

/// The ways to write the answer.
const WRITES: [&str; 5] = ["write", "post", "two writes", "cork", "vectored"];
/// The ways to receive the request.
const STYLES: [&str; 9] =
    ["receiving", "framed", "gathering", "chunk", "line", "frame", "stream", "opening", "hold"];

/// Stops the machine, and returns when the stop has reached the client.
fn stop(client: &Client) {
    Backport::stop();
    while !client.is_stopping() {
        thread::yield_now();
    }
}

fn answer(client: &Client, way: &str) -> Result {
    let (one, two) = ANSWER.split_at(ANSWER.len() / 2);
    match way {
        "write" => client.write(ANSWER)?,
        "post" => client.post(ANSWER)?,
        "two writes" => {
            client.write(one)?;
            client.write(two)?;
        }
        "cork" => {
            let corked = client.cork();
            client.write(one)?;
            client.write(two)?;
            corked.flush()?;
        }
        _ => client.write_vectored_all(&[one.as_bytes(), two.as_bytes()])?,
    }
    Ok(())
}

/// Answers the first request during a stop, and then says goodbye.
struct Answers {
    style: String,
    way: String,
}

impl Answers {
    fn answer(&self, client: &Client) -> Result {
        stop(client);
        answer(client, &self.way)
    }
}

impl Adapter for Answers {
    fn opening(&mut self, client: &Client) -> Result {
        if self.style == "opening" {
            self.answer(client)?;
        }
        Ok(())
    }

    fn receiving(&mut self, client: &Client, _: &[u8]) -> Result {
        if self.style == "hold" {
            let (hold, way) = (client.hold(), self.way.clone());
            thread::spawn(move || {
                stop(&hold);
                // The conversation goes on, so the error of a failed write is not lost.
                answer(&hold, &way).expect("a hold keeps the output open");
            });
            return Ok(());
        }
        self.answer(client)
    }

    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        let mut line = String::new();
        match self.style.as_str() {
            "chunk" => drop(input.chunk()?),
            "line" => drop(input.read_line(&mut line)?),
            "frame" => drop(input.frame(&mut Lines::default())?),
            "stream" => {
                let mut stream = input.stream();
                stream.read_line(&mut line)?;
                stop(client);
                return Ok(stream.write_all(ANSWER.as_bytes())?);
            }
            _ => {
                while let Some(data) = input.chunk()? {
                    self.receiving(client, data)?;
                }
                return Ok(());
            }
        }
        self.answer(client)
    }

    fn closing(&mut self, client: &Client, reason: &Closing) {
        client.write_line(format!("goodbye: {reason}")).expect("the output is open");
    }
}

#[test]
fn child_answers_during_a_stop() {
    if !is_child("variants::child_answers_during_a_stop") {
        return;
    }
    begin();
    let [style, way] = ["STYLE", "WAY"].map(|name| std::env::var(name).unwrap());
    let adapter = move || -> Box<dyn Adapter> {
        let answers = Answers { style: style.clone(), way: way.clone() };
        match style.as_str() {
            "framed" => Box::new(answers.framed(Lines::default())),
            "gathering" => Box::new(answers.framed(Lines::default()).gathering()),
            "receiving" => {
                let mut answers = answers;
                Box::new(Closes(receiving(move |client, data| answers.receiving(client, data))))
            }
            _ => Box::new(answers),
        }
    };
    let ended = Backport::run(|machine| {
        machine.prepare_stdio_server(adapter)?;
        Ok(())
    });
    exit(ended.map_or(3, |()| 0));
}

/// Says goodbye for an adapter from a closure.
struct Closes<A>(A);

impl<A: Adapter> Adapter for Closes<A> {
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        self.0.receiving(client, data)
    }

    fn closing(&mut self, client: &Client, reason: &Closing) {
        client.write_line(format!("goodbye: {reason}")).expect("the output is open");
    }
}

/// The whole answer arrives, then the goodbye, and a request that is queued behind is not started.
#[test]
fn an_answer_during_a_stop_arrives_whole_in_every_way_and_style() {
    for style in STYLES {
        for way in WRITES {
            for half_closed in [false, true] {
                let mut command = crate::command(&[], "variants::child_answers_during_a_stop");
                let (mut child, mut stdin, stdout, _) =
                    spawn_piped(command.env("STYLE", style).env("WAY", way));
                // A request is queued behind, unless each chunk is one request.
                stdin.write_all(b"request\nqueued\n").unwrap();
                let kept = (!half_closed).then_some(stdin);
                let said = String::from_utf8(after_begin(&read_all(stdout))).unwrap();
                let expected = format!("{ANSWER}goodbye: the server is stopping\n");
                // The peer has ended its input before the stop, which is then the reason, unless the callback
                // still runs.
                let by_peer = format!("{ANSWER}goodbye: closed by the peer\n");
                assert!(said == expected || (half_closed && said == by_peer), "{style}, {way}: {said:?}");
                child.assert_exit(0);
                drop(kept);
            }
        }
    }
}
