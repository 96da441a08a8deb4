//! The end of the conversation on standard input and output: holds, stops and half-closes (P9, P12, P21).

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use backport::framing::Lines;
use backport::{receiving, Adapter, Backport, Client, Closing, Machine, Result};

use crate::support::child::{exit, is_child, read_all};
use crate::{after_begin, begin, piped, skip_to_begin};

/// Serves an adapter on stdio until the machine ends.
fn run<A: Adapter>(factory: impl Fn() -> A + Send + Sync + 'static) -> ! {
    begin();
    let ended = Backport::run(|machine: &Machine| {
        machine.prepare_stdio_server(factory)?;
        Ok(())
    });
    exit(ended.map_or(3, |()| 0))
}

#[test]
fn child_answers_from_threads() {
    if is_child("endings::child_answers_from_threads") {
        run(|| {
            receiving(|client: &Client, line: &[u8]| {
                let (reply, line) = (client.hold(), line.to_vec());
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(20));
                    reply.write_line([b"answer to ".to_vec(), line].concat())
                });
                Ok(())
            })
            .framed(Lines::default())
        });
    }
}

#[test]
fn answers_of_threads_arrive_after_the_end_of_stdin() {
    let (mut child, mut stdin, stdout, _) = piped("endings::child_answers_from_threads");
    stdin.write_all(b"a\nb\nc\n").unwrap();
    drop(stdin);
    let said = String::from_utf8(after_begin(&read_all(stdout))).unwrap();
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["answer to a", "answer to b", "answer to c"]);
    child.assert_exit(0);
}

/// Stops the machine while it computes, and writes the answer in two parts.
struct Computes;

impl Adapter for Computes {
    fn receiving(&mut self, client: &Client, _: &[u8]) -> Result {
        Backport::stop();
        while !client.is_stopping() {
            thread::yield_now();
        }
        client.write("first half, ")?;
        client.post("second half")?;
        Ok(client.write_line("")?)
    }

    fn closing(&mut self, client: &Client, reason: &Closing) {
        client.write_line(format!("goodbye: {reason}")).unwrap();
    }
}

#[test]
fn child_computes_during_a_stop() {
    if is_child("endings::child_computes_during_a_stop") {
        run(|| Computes);
    }
}

#[test]
fn an_answer_that_is_computed_during_a_stop_arrives_whole() {
    let (mut child, mut stdin, stdout, _) = piped("endings::child_computes_during_a_stop");
    stdin.write_all(b"go").unwrap();
    let said = String::from_utf8(after_begin(&read_all(stdout))).unwrap();
    assert_eq!(said, "first half, second half\ngoodbye: the server is stopping\n");
    child.assert_exit(0);
}

#[test]
fn child_half_closes() {
    if is_child("endings::child_half_closes") {
        run(|| {
            let mut closed = false;
            receiving(move |client: &Client, data: &[u8]| {
                if !closed {
                    client.write("last words")?;
                    client.close_write();
                    closed = true;
                }
                assert!(client.is_closed() && client.write("late").is_err());
                eprintln!("got {}", String::from_utf8_lossy(data));
                Ok(())
            })
        });
    }
}

#[test]
fn a_half_close_ends_stdout_and_leaves_stdin_open() {
    let (mut child, mut stdin, mut stdout, stderr) = piped("endings::child_half_closes");
    skip_to_begin(&mut stdout);
    stdin.write_all(b"first").unwrap();
    let mut said = String::new();
    stdout.read_to_string(&mut said).unwrap();
    assert_eq!(said, "last words");
    stdin.write_all(b"second").unwrap();
    drop(stdin);
    let told = String::from_utf8(read_all(stderr)).unwrap();
    assert!(told.contains("got first") && told.contains("got second"), "{told}");
    child.assert_exit(0);
}
