//! The streams of the server: pipes, files, sockets, and their ends.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use backport::{Adapter, Backport, Client, Closing, Machine, Result};

use crate::support::child::{command, exit, is_child, read_all, read_text, Process};
use crate::support::{assert_same, eventually, in_time, pattern, Echo, Peer};
use crate::{after_begin, begin, piped, skip_to_begin};

/// An echo that tells its end on standard error.
struct Tell;

impl Adapter for Tell {
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        Ok(client.write(data)?)
    }
    fn closing(&mut self, client: &Client, reason: &Closing) {
        assert_eq!((client.remote().to_string().as_str(), client.remote().address()), ("stdio", None));
        eprintln!("closing: {reason}");
    }
}

#[test]
fn child_echoes() {
    if is_child("streams::child_echoes") {
        begin();
        let result =
            Backport::run(|machine| machine.prepare_stdio_server(|| Tell).map(drop).map_err(Into::into));
        exit(result.map_or(3, |()| 0));
    }
}

/// The echo's output for this input, and what it told on standard error.
fn echo(stdin: Stdio, stdout: Stdio) -> (Option<Vec<u8>>, String) {
    let mut command = command(&[], "streams::child_echoes");
    let mut child = Process::spawn(command.stdin(stdin).stdout(stdout).stderr(Stdio::piped()));
    let output = child.stdout.take().map(read_all).map(|all| after_begin(&all));
    let told = read_text(child.stderr.take().unwrap());
    child.assert_exit(0);
    (output, told)
}

fn temporary(contents: &[u8]) -> File {
    let name = format!("backport-test-{}-{:?}", std::process::id(), thread::current().id());
    let path = std::env::temp_dir().join(name);
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file.write_all(contents).unwrap();
    file.rewind().unwrap();
    file
}

#[test]
fn input_reaches_the_adapter_and_its_end_ends_the_server_and_the_machine() {
    let (mut child, mut stdin, mut stdout, stderr) = piped("streams::child_echoes");
    skip_to_begin(&mut stdout);
    for line in [&b"hello\n"[..], b"\0\xff no line feed"] {
        stdin.write_all(line).unwrap();
        let mut back = vec![0; line.len()];
        stdout.read_exact(&mut back).unwrap();
        assert_eq!(back, line);
    }
    drop(stdin);
    assert_eq!(read_all(stdout), b"");
    assert_eq!(read_text(stderr), "closing: closed by the peer\n");
    child.assert_exit(0);
}

#[test]
fn an_end_of_input_right_behind_the_last_bytes_is_seen() {
    let mut writer =
        std::process::Command::new("printf").arg("hello").stdout(Stdio::piped()).spawn().unwrap();
    // Bytes and end are there before the child is: one event tells of both.
    assert!(writer.wait().unwrap().success());
    let (output, told) = echo(writer.stdout.take().unwrap().into(), Stdio::piped());
    assert_eq!((output.unwrap().as_slice(), told.as_str()), (&b"hello"[..], "closing: closed by the peer\n"));
}

#[test]
fn a_file_is_read_to_its_end() {
    let data = pattern(3_000_000);
    let (output, told) = echo(temporary(&data).into(), Stdio::piped());
    assert_same(&output.unwrap(), &data);
    assert_eq!(told, "closing: closed by the peer\n");
}

#[test]
fn dev_null_is_an_end_of_input() {
    let (output, told) = echo(Stdio::null(), Stdio::piped());
    assert_eq!((output.unwrap().len(), told.as_str()), (0, "closing: closed by the peer\n"));
    let (_, told) = echo(temporary(b"to nowhere").into(), Stdio::null());
    assert_eq!(told, "closing: closed by the peer\n");
}

#[test]
fn a_file_as_output_is_appended_to() {
    let mut file = temporary(b"");
    echo(temporary(b"into a file").into(), file.try_clone().unwrap().into());
    let mut all = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut all).unwrap();
    assert_eq!(after_begin(&all), b"into a file");
}

#[test]
fn a_socket_as_both_ends_works_as_under_inetd() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = Peer::connect(listener.local_addr().unwrap());
    let (socket, _) = listener.accept().unwrap();
    let (input, output) = (socket.try_clone().unwrap(), socket);
    let (input, output): (OwnedFd, OwnedFd) = (input.into(), output.into());
    let mut command = command(&[], "streams::child_echoes");
    let mut child = Process::spawn(command.stdin(input).stdout(output));
    // Its own copies of the socket would keep it open.
    drop(command);
    skip_to_begin(&mut &peer.stream);
    let (data, stream) = (pattern(2_000_000), peer.stream.try_clone().unwrap());
    let sender = thread::spawn(move || {
        (&stream).write_all(&data).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    });
    assert_same(&peer.read_to_end(), &pattern(2_000_000));
    sender.join().unwrap();
    child.assert_exit(0);
}

#[test]
fn megabytes_through_pipes_are_intact() {
    let (mut child, mut stdin, stdout, _stderr) = piped("streams::child_echoes");
    let sender = thread::spawn(move || stdin.write_all(&pattern(5_000_000)).unwrap());
    assert_same(&after_begin(&read_all(stdout)), &pattern(5_000_000));
    sender.join().unwrap();
    child.assert_exit(0);
}

#[test]
fn a_closed_output_is_a_broken_pipe_and_a_closing() {
    let (mut child, mut stdin, mut stdout, stderr) = piped("streams::child_echoes");
    skip_to_begin(&mut stdout);
    drop(stdout);
    // More than once: another test's child may hold the pipe for a moment, between fork and exec.
    eventually("the child is gone", || stdin.write_all(b"to nobody").is_err());
    let told = read_text(stderr);
    assert!(told.starts_with("closing: connection lost: "), "{told}");
    child.assert_exit(0);
}

/// Stops itself after a while, whatever its standard streams do.
#[test]
fn child_stops_itself() {
    if is_child("streams::child_stops_itself") {
        begin();
        let machine = Machine::new();
        machine.set_drain_timeout(Duration::from_secs(1));
        machine.prepare_stdio_server(|| Tell).unwrap();
        let stopping = machine.clone();
        machine.prepare_timeout(Duration::from_millis(600), move || stopping.stop());
        let start = Instant::now();
        let result = machine.run();
        eprintln!("returned within a second and a half of the stop: {}", start.elapsed().as_millis() < 3100);
        exit(result.map_or(3, |()| 0));
    }
}

#[test]
fn a_stop_takes_effect_with_stdin_idle() {
    let (mut child, _stdin, _stdout, stderr) = piped("streams::child_stops_itself");
    // Both are open, and silent.
    let told = read_text(stderr);
    assert!(told.starts_with("closing: the server is stopping\n"), "{told}");
    assert!(told.contains(": true"), "{told}");
    child.assert_exit(0);
}

#[test]
fn a_stop_takes_effect_with_stdout_unread() {
    let (mut child, mut stdin, _unread, stderr) = piped("streams::child_stops_itself");
    // Ends with an error when the child does.
    let sender = thread::spawn(move || drop(stdin.write_all(&pattern(5_000_000))));
    let told = read_text(stderr);
    assert!(told.starts_with("closing: "), "{told}");
    assert!(told.contains(": true"), "{told}");
    child.assert_exit(0);
    sender.join().unwrap();
}

#[test]
fn child_prepares_two() {
    if is_child("streams::child_prepares_two") {
        let machine = Machine::new();
        machine.prepare_stdio_server(|| Echo).unwrap();
        let error = machine.prepare_stdio_server(|| Echo).unwrap_err();
        assert!(error.to_string().contains("stdio server"), "{error}");
        let error = Machine::new().prepare_stdio_server(|| Echo).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
        assert_eq!(machine.servers().len(), 1);
        // Its end makes room for another.
        machine.run().unwrap();
        let machine = Machine::new();
        machine.prepare_stdio_server(|| Echo).unwrap();
        drop(machine);
        Machine::new().prepare_stdio_server(|| Echo).unwrap();
        exit(0);
    }
}

#[test]
fn a_second_stdio_server_is_an_error_while_there_is_one() {
    let mut child = Process::spawn(command(&[], "streams::child_prepares_two").stdin(Stdio::null()));
    child.assert_exit(0);
}

/// Errors, panics, signals and refusals, with a logger that logs all of it.
#[test]
fn child_logs() {
    if is_child("streams::child_logs") {
        env_logger::builder().filter_level(log::LevelFilter::Trace).init();
        begin();
        let result = Backport::run(|machine| {
            let server = machine.prepare_tcp_server("127.0.0.1:0", || {
                backport::receiving(|_, data| match data {
                    b"panic" => panic!("on purpose"),
                    _ => Err("on purpose".into()),
                })
            })?;
            let machine = machine.clone();
            thread::spawn(move || {
                for word in ["panic", "fail"] {
                    let peer = Peer::connect(server.local_addr());
                    peer.send(word);
                    peer.wait_for_end();
                }
                machine.stop();
            });
            Ok(())
        });
        exit(result.map_or(3, |()| 0));
    }
}

#[test]
fn nothing_is_logged_to_stdout() {
    let output = in_time("the child ends", || {
        let mut command: Command = command(&[], "streams::child_logs");
        command.stdin(Stdio::null()).output().unwrap()
    });
    assert_eq!(output.status.code(), Some(0));
    let stdout = after_begin(&output.stdout);
    assert!(stdout.is_empty(), "{}", String::from_utf8_lossy(&stdout));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("on purpose") && stderr.contains("stop"), "{stderr}");
}
