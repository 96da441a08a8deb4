//! A conversation that fails is an error of `run`: exit status 1 and a message, without a logger (P12).

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Stdio, Termination};
use std::time::Duration;

use backport::{Adapter, Backport, Client, Error, Machine, Result, StdioServer};

use crate::support::child::{exit, is_child, read_text, Process};
use crate::support::pattern;
use crate::{begin, command, skip_to_begin};

/// Ends its conversation in the way that the environment names.
struct Ends;

fn way() -> String {
    std::env::var("WAY").unwrap()
}

impl Adapter for Ends {
    fn opening(&mut self, _: &Client) -> Result {
        if way() == "opening fails" {
            return Err("on purpose".into());
        }
        Ok(())
    }

    fn receiving(&mut self, client: &Client, _: &[u8]) -> Result {
        match way().as_str() {
            "receiving fails" => Err("on purpose".into()),
            "an I/O error" => Err(std::fs::read("/nonexistent/on purpose").unwrap_err().into()),
            "receiving panics" => panic!("on purpose\u{1b}[2J"),
            "closes" => {
                client.close();
                Ok(())
            }
            "stops" => {
                Backport::stop();
                Ok(())
            }
            _ => loop {
                client.write(pattern(100_000))?;
            },
        }
    }
}

/// The program that the documentation shows: `main` returns what `run` returns.
#[test]
fn child_ends() {
    if is_child("errors::child_ends") {
        begin();
        if let Some(path) = std::env::var_os("OUTPUT") {
            // Not before the harness has written its own text to the other one.
            rustix::stdio::dup2_stdout(File::options().write(true).open(path).unwrap()).unwrap();
        }
        let program = || -> Result {
            Backport::run(|machine| {
                let factory = || if way() == "factory panics" { panic!("on purpose") } else { Ends };
                let server = StdioServer::new(factory).write_timeout(Duration::from_millis(300));
                machine.prepare(server)?;
                Ok(())
            })
        };
        let result = program();
        let error = result.as_ref().err().map(|error| error.downcast_ref::<Error>());
        assert!(error.is_none_or_server(), "an error of the server");
        // Prints the error like the runtime of a program.
        let status = format!("{:?}", result.report());
        exit(i32::from(status != format!("{:?}", std::process::ExitCode::SUCCESS)));
    }
}

trait NoneOrServer {
    fn is_none_or_server(&self) -> bool;
}

impl NoneOrServer for Option<Option<&Error>> {
    fn is_none_or_server(&self) -> bool {
        match self {
            None => true,
            Some(error) => matches!(error, Some(Error::Server { name, .. }) if name == "stdio"),
        }
    }
}

/// What the program says on standard error after a conversation of this kind, and its exit status.
fn end(way: &str, stdin: Stdio, stdout: Stdio) -> (String, Option<i32>) {
    let mut command = command(&[], "errors::child_ends");
    if way == "writes to a full disk" {
        command.env("OUTPUT", "/dev/full");
    }
    let command = command.env("WAY", way).stdin(stdin).stdout(stdout).stderr(Stdio::piped());
    let mut child = Process::spawn(command);
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(b"go").unwrap();
        drop(stdin);
    }
    let told = read_text(child.stderr.take().unwrap());
    (told, child.wait().code())
}

#[test]
fn a_conversation_that_fails_ends_the_program_with_status_1_and_a_message() {
    let folder = File::open("/").unwrap().into();
    let cases: [(&str, Stdio, Stdio, &str); 8] = [
        ("receiving fails", Stdio::piped(), Stdio::null(), "on purpose"),
        ("opening fails", Stdio::piped(), Stdio::null(), "on purpose"),
        ("an I/O error", Stdio::piped(), Stdio::null(), "(os error 2)"),
        ("receiving panics", Stdio::piped(), Stdio::null(), "a callback panicked: on purpose\\u{1b}[2J"),
        ("factory panics", Stdio::piped(), Stdio::null(), "a callback panicked: on purpose"),
        ("writes", Stdio::piped(), Stdio::piped(), "the reader of standard output reads too slowly"),
        ("writes to a full disk", Stdio::piped(), Stdio::null(), "(os error 28)"),
        ("reads a folder", folder, Stdio::null(), "(os error 21)"),
    ];
    for (way, stdin, stdout, cause) in cases {
        if way == "writes to a full disk" && !Path::new("/dev/full").exists() {
            continue;
        }
        let (told, status) = end(way, stdin, stdout);
        assert_eq!(status, Some(1), "{way}: {told}");
        let error = told.lines().last().unwrap();
        assert_eq!(error.find("Error: the server stdio ended with an error: "), Some(0), "{way}: {told}");
        assert!(error.ends_with(cause) || error.contains(&format!("{cause} (")), "{way}: {told}");
    }
}

#[test]
fn an_end_that_is_no_failure_is_success_and_silence() {
    for way in ["closes", "stops", "ends"] {
        let stdin = if way == "ends" { Stdio::null() } else { Stdio::piped() };
        assert_eq!(end(way, stdin, Stdio::null()), (String::new(), Some(0)), "{way}");
    }
}

/// The reader closes its end before the first byte, or while bytes that it has not read wait for it. A socket
/// reports the second as a reset.
#[test]
fn a_closed_stdout_is_no_failure() {
    for unread in [false, true] {
        let (reader, writer) = UnixStream::pair().unwrap();
        let mut command = command(&[], "errors::child_ends");
        let command = command.env("WAY", "writes").stdin(Stdio::piped());
        let mut child = Process::spawn(command.stdout(OwnedFd::from(writer)).stderr(Stdio::piped()));
        // Another copy of the socket would keep it open.
        command.stdout(Stdio::null());
        skip_to_begin(&mut &reader);
        let mut stdin = child.stdin.take().unwrap();
        if unread {
            stdin.write_all(b"go").unwrap();
            (&reader).read_exact(&mut [0]).unwrap();
            drop(reader);
        } else {
            drop(reader);
            stdin.write_all(b"go").unwrap();
        }
        assert_eq!(read_text(child.stderr.take().unwrap()), "");
        child.assert_exit(0);
    }
}

/// Another server of the machine goes on after the conversation on stdio has failed.
#[test]
fn child_has_another_server() {
    if is_child("errors::child_has_another_server") {
        let machine = Machine::new();
        machine.prepare(StdioServer::new(|| Ends)).unwrap();
        let other = machine.prepare_tcp_server("127.0.0.1:0", || crate::support::Echo).unwrap();
        let stopping = machine.clone();
        std::thread::spawn(move || {
            crate::support::eventually("one server is left", || stopping.servers().len() == 1);
            crate::support::Peer::connect(other.local_addr()).assert_echo(b"still there?");
            stopping.stop();
        });
        let error = machine.run().unwrap_err();
        assert!(error.to_string().contains("stdio"), "{error}");
        exit(0);
    }
}

#[test]
fn the_failure_ends_the_server_alone() {
    let mut command = command(&[], "errors::child_has_another_server");
    command.env("WAY", "receiving fails").stdin(Stdio::piped());
    let mut child = Process::spawn(&mut command);
    child.stdin.take().unwrap().write_all(b"go").unwrap();
    child.assert_exit(0);
}
