//! A reader of stdout that pauses is waited for. Only a stop has a limit (P12).

use std::process::{ChildStderr, ChildStdin};
use std::thread;
use std::time::{Duration, Instant};

use backport::{Adapter, Client, Closing, Machine, Result, StdioServer};

use crate::support::child::{exit, is_child, read_all, read_text, Process};
use crate::support::{assert_same, pattern};
use crate::{after_begin, begin, command, piped, spawn_piped};

/// How long a reader stays away: longer than each limit for clients on a network that applies after a close.
const AWAY: Duration = Duration::from_millis(2500);

const SIZE: usize = 200_000;

/// Writes more than a pipe takes, in the way that the environment names.
struct Writes(Machine);

impl Adapter for Writes {
    fn receiving(&mut self, client: &Client, _: &[u8]) -> Result {
        let way = std::env::var("WAY").unwrap();
        eprintln!("began");
        match way.as_str() {
            "post" => client.post(pattern(SIZE))?,
            "post, then close" => {
                client.post(pattern(SIZE))?;
                client.close();
            }
            "close while a thread writes" => {
                let writer = client.clone();
                let thread = thread::spawn(move || writer.write(pattern(SIZE)).unwrap());
                while client.stats().bytes_out == 0 {
                    thread::yield_now();
                }
                client.close();
                drop(thread);
            }
            "write, then stop" => {
                let (machine, writer) = (self.0.clone(), client.clone());
                thread::spawn(move || {
                    while writer.stats().bytes_out == 0 {
                        thread::yield_now();
                    }
                    machine.stop();
                });
                client.write(pattern(SIZE))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn closing(&mut self, client: &Client, _: &Closing) {
        if std::env::var("WAY").unwrap() == "write in closing" {
            client.write(pattern(SIZE)).unwrap();
        }
    }
}

#[test]
fn child_writes() {
    if is_child("reader::child_writes") {
        begin();
        let machine = Machine::new();
        let limit = std::env::var("DRAIN").map_or(60_000, |limit| limit.parse().unwrap());
        machine.set_drain_timeout(Duration::from_millis(limit));
        let stopping = machine.clone();
        machine.prepare(StdioServer::new(move || Writes(stopping.clone()))).unwrap();
        let start = Instant::now();
        let result = machine.run();
        eprintln!("ran for {} ms", start.elapsed().as_millis());
        exit(result.map_or(3, |()| 0));
    }
}

/// Sends one message, and waits until the child begins to answer it. With `end`, ends its input after that.
fn ask(stdin: ChildStdin, mut stderr: ChildStderr, end: bool) -> (Option<ChildStdin>, ChildStderr) {
    use std::io::{Read, Write};

    (&stdin).write_all(b"go").unwrap();
    let mut said = [0; 6];
    stderr.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"began\n");
    ((!end).then_some(stdin), stderr)
}

#[test]
fn every_byte_reaches_a_reader_that_pauses_whatever_ends_the_conversation() {
    let ways = [
        ("write in closing", true),
        ("post", true),
        ("post, then close", false),
        ("close while a thread writes", false),
        ("write, then stop", false),
    ];
    let tests = ways.map(|(way, end)| {
        thread::spawn(move || {
            let mut command = command(&[], "reader::child_writes");
            let (mut child, stdin, stdout, stderr) = spawn_piped(command.env("WAY", way));
            let streams = ask(stdin, stderr, end);
            // The pause is what the test is about.
            thread::sleep(AWAY);
            let all = after_begin(&read_all(stdout));
            assert_eq!(all.len(), SIZE, "{way}");
            assert_same(&all, &pattern(SIZE));
            drop(streams);
            child.assert_exit(0);
        })
    });
    for test in tests {
        test.join().unwrap();
    }
}

#[test]
fn at_a_stop_the_drain_timeout_cuts_what_the_reader_does_not_take() {
    let mut command = command(&[], "reader::child_writes");
    let command = command.env("WAY", "write, then stop").env("DRAIN", "700");
    let (mut child, stdin, unread, stderr) = spawn_piped(command);
    let (_stdin, stderr) = ask(stdin, stderr, false);
    let told = read_text(stderr);
    let ran: u64 = told.strip_prefix("ran for ").unwrap().strip_suffix(" ms\n").unwrap().parse().unwrap();
    // Not before the drain timeout. The upper bound leaves room for a busy computer.
    assert!((700..5000).contains(&ran), "{told}");
    child.assert_exit(0);
    drop(unread);
}

/// A write that blocks is ended by another thread.
struct Blocked;

impl Adapter for Blocked {
    fn receiving(&mut self, client: &Client, _: &[u8]) -> Result {
        let aborting = client.clone();
        thread::spawn(move || {
            while aborting.stats().bytes_out == 0 {
                thread::yield_now();
            }
            aborting.abort();
        });
        eprintln!("{}", client.write(pattern(SIZE)).unwrap_err().kind());
        Ok(())
    }
}

#[test]
fn child_aborts() {
    if is_child("reader::child_aborts") {
        begin();
        let machine = Machine::new();
        machine.prepare(StdioServer::new(|| Blocked)).unwrap();
        exit(machine.run().map_or(3, |()| 0));
    }
}

#[test]
fn an_abort_ends_a_write_that_waits_for_the_reader() {
    use std::io::Write;

    let (mut child, mut stdin, unread, stderr): (Process, _, _, _) = piped("reader::child_aborts");
    stdin.write_all(b"go").unwrap();
    assert_eq!(read_text(stderr), "broken pipe\n");
    child.assert_exit(0);
    drop(unread);
}
