//! Other code of the process, and child processes, cannot damage the protocol (P12).

use std::io::{BufRead, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use backport::{Adapter, Client, Error, Machine, Result, StdioServer};

use crate::support::child::{exit, is_child, read_all, read_text, Process};
use crate::support::eventually;
use crate::{after_begin, begin, command, piped, spawn_piped};

fn way() -> String {
    std::env::var("WAY").unwrap_or_default()
}

/// Set by the job, which prints first.
static JOB_HAS_RUN: AtomicBool = AtomicBool::new(false);

/// An echo whose other actions use the standard streams, too.
struct Noisy;

impl Adapter for Noisy {
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        // Nothing promises that a job which is due runs before the end of a machine.
        eventually("the job has run", || JOB_HAS_RUN.load(Ordering::Acquire));
        println!("printed in a callback");
        print!("a part of a line, ");
        // Both inherit the standard streams. The first reads its input to the end.
        assert!(Command::new("cat").status()?.success());
        assert!(Command::new("sh").args(["-c", "echo printed by a child"]).status()?.success());
        client.write(data)?;
        match way().as_str() {
            "fails" => Err("on purpose".into()),
            "panics" => panic!("on purpose"),
            "hangs" => loop {
                thread::park();
            },
            _ => Ok(()),
        }
    }
}

impl Drop for Noisy {
    fn drop(&mut self) {
        println!("printed while the adapter is dropped");
    }
}

#[test]
fn child_is_noisy() {
    if is_child("descriptors::child_is_noisy") {
        begin();
        print!("before the preparation, ");
        let machine = Machine::new();
        machine.set_drain_timeout(Duration::from_millis(200));
        let noisy_factory = Loud;
        let factory = move || {
            let _ = &noisy_factory;
            Noisy
        };
        machine.prepare(StdioServer::new(factory).keep_descriptors(way() == "keeps")).unwrap();
        // A job that is due at once does not run before the descriptors are guarded.
        machine.prepare_timeout(Duration::ZERO, || {
            println!("printed by a job");
            JOB_HAS_RUN.store(true, Ordering::Release);
        });
        if way() == "hangs" {
            let stopping = machine.clone();
            machine.prepare_timeout(Duration::from_millis(500), move || stopping.stop());
        }
        print!("before the run;");
        let result = machine.run();
        println!(";after the run");
        if way() == "hangs" {
            let error = result.as_ref().unwrap_err();
            assert!(matches!(error.downcast_ref(), Some(Error::Stuck { .. })), "{error:?}");
        } else {
            let mut rest = String::new();
            std::io::stdin().read_to_string(&mut rest).unwrap();
            println!("the rest of the input: {rest}");
        }
        exit(result.map_or(1, |()| 0));
    }
}

/// A value in the factory that prints when it is dropped.
struct Loud;

impl Drop for Loud {
    fn drop(&mut self) {
        println!("printed while the factory is dropped");
    }
}

/// What a noisy child writes to stdout and stderr.
fn noise(way: &str, status: i32) -> (String, String) {
    let mut command = command(&[], "descriptors::child_is_noisy");
    let (mut child, mut stdin, stdout, stderr) = spawn_piped(command.env("WAY", way));
    stdin.write_all(b"hello").unwrap();
    drop(stdin);
    let output = after_begin(&read_all(stdout));
    let told = read_text(stderr);
    child.assert_exit(status);
    (String::from_utf8(output).unwrap(), told)
}

#[test]
fn children_and_println_leave_the_protocol_alone_and_the_descriptors_come_back() {
    for (way, status) in [("", 0), ("fails", 1), ("panics", 1)] {
        let (output, told) = noise(way, status);
        let expected =
            "before the preparation, before the run;hello;after the run\nthe rest of the input: \n";
        assert_eq!(output, expected, "{way:?}: {told}");
        for printed in [
            "printed in a callback\n",
            "a part of a line, ",
            "printed by a child\n",
            "printed by a job\n",
            "printed while the adapter is dropped\n",
            "printed while the factory is dropped\n",
        ] {
            assert!(told.contains(printed), "{way:?}: {told}");
        }
    }
}

#[test]
fn the_descriptors_come_back_after_a_run_that_gives_up_on_a_stuck_callback() {
    let (output, told) = noise("hangs", 1);
    assert_eq!(output, "before the preparation, before the run;hello;after the run\n", "{told}");
}

#[test]
fn a_server_that_keeps_the_descriptors_shares_them() {
    let (output, _) = noise("keeps", 0);
    for printed in ["printed in a callback\n", "printed by a child\n", "hello", ";after the run\n"] {
        assert!(output.contains(printed), "{output}");
    }
}

/// If stderr is the same pipe, it is no place for noise either.
#[test]
fn noise_is_dropped_if_stderr_is_the_same_pipe_as_stdout() {
    let mut command = command(&["sh", "-c", r#"exec "$0" "$@" 2>&1"#], "descriptors::child_is_noisy");
    let (mut child, mut stdin, stdout, _stderr) = spawn_piped(&mut command);
    stdin.write_all(b"hello").unwrap();
    drop(stdin);
    let output = String::from_utf8(after_begin(&read_all(stdout))).unwrap();
    let expected = "before the preparation, before the run;hello;after the run\nthe rest of the input: \n";
    assert_eq!(output, expected);
    child.assert_exit(0);
}

/// std opens `/dev/null` in the place of a stderr that is closed at the start.
#[test]
fn noise_is_dropped_if_stderr_is_closed() {
    let mut command = command(&["sh", "-c", r#"exec "$0" "$@" 2>&-"#], "descriptors::child_is_noisy");
    let (mut child, mut stdin, stdout, _stderr) = spawn_piped(&mut command);
    stdin.write_all(b"hello").unwrap();
    drop(stdin);
    let output = String::from_utf8(after_begin(&read_all(stdout))).unwrap();
    let expected = "before the preparation, before the run;hello;after the run\nthe rest of the input: \n";
    assert_eq!(output, expected);
    child.assert_exit(0);
}

/// Reads a line before the run, with the lock of stdin held until the process ends if `WAY` says so.
#[test]
fn child_reads_a_line_first() {
    if is_child("descriptors::child_reads_a_line_first") {
        let (mut stdin, mut line) = (std::io::stdin().lock(), String::new());
        stdin.read_line(&mut line).unwrap();
        assert_eq!(line, "a line for the setup\n");
        begin();
        let held = (way() == "holds locks").then(|| (stdin, std::io::stdout().lock()));
        let machine = Machine::new();
        if held.is_some() {
            // Only the preparation can flush it: the thread that engages the guard does not get the lock.
            print!("a prompt;");
        }
        machine.prepare_stdio_server(|| crate::support::Echo).unwrap();
        let result = if held.is_some() {
            // On another thread than the one that holds the locks.
            machine.start().and_then(|running| running.join())
        } else {
            machine.run()
        };
        drop(held);
        exit(result.map_or(1, |()| 0));
    }
}

#[test]
fn input_that_std_has_buffered_before_the_run_is_the_first_input() {
    let (mut child, mut stdin, stdout, _stderr) = piped("descriptors::child_reads_a_line_first");
    // In one piece, so that the first read of std takes all of it.
    stdin.write_all(b"a line for the setup\nfirst\nsecond\n").unwrap();
    stdin.write_all(b"third\n").unwrap();
    drop(stdin);
    assert_eq!(after_begin(&read_all(stdout)), b"first\nsecond\nthird\n");
    child.assert_exit(0);
}

#[test]
fn input_that_std_has_buffered_from_a_socket_is_the_first_input() {
    let (peer, socket) = crate::sockets::connection();
    peer.send("a line for the setup\nfirst\n");
    let mut command = command(&[], "descriptors::child_reads_a_line_first");
    command.stdin(OwnedFd::from(socket.try_clone().unwrap())).stdout(OwnedFd::from(socket));
    let mut child = Process::spawn(&mut command);
    // Its own copies of the socket would keep it open.
    drop(command);
    peer.send("second\n");
    peer.half_close();
    assert_eq!(after_begin(&peer.read_to_end()), b"first\nsecond\n");
    child.assert_exit(0);
}

#[test]
fn a_lock_of_a_standard_stream_that_is_held_during_the_run_hangs_nothing() {
    let mut command = command(&[], "descriptors::child_reads_a_line_first");
    let (mut child, mut stdin, mut stdout, _stderr) = spawn_piped(command.env("WAY", "holds locks"));
    stdin.write_all(b"a line for the setup\n").unwrap();
    crate::skip_to_begin(&mut stdout);
    // The child has read the first line, so std buffers none of these.
    stdin.write_all(b"first\nsecond\n").unwrap();
    drop(stdin);
    assert_eq!(String::from_utf8(read_all(stdout)).unwrap(), "a prompt;first\nsecond\n");
    child.assert_exit(0);
}

/// Answers with the descriptors that a child process gets.
struct ListsDescriptors;

impl Adapter for ListsDescriptors {
    fn receiving(&mut self, client: &Client, _: &[u8]) -> Result {
        Ok(client.write(inherited())?)
    }
}

fn inherited() -> Vec<u8> {
    let mut list = Command::new("sh");
    list.args(["-c", "echo /proc/self/fd/*"]).stderr(Stdio::inherit()).output().unwrap().stdout
}

#[test]
fn child_lists_descriptors() {
    if is_child("descriptors::child_lists_descriptors") {
        begin();
        let before = inherited();
        std::io::stdout().write_all(&before).unwrap();
        let machine = Machine::new();
        machine.prepare(StdioServer::new(|| ListsDescriptors)).unwrap();
        exit(machine.run().map_or(1, |()| 0));
    }
}

/// The duplicates of the server stay in this process.
#[cfg(target_os = "linux")]
#[test]
fn a_child_process_inherits_no_other_descriptor_than_before() {
    let (mut child, mut stdin, stdout, _stderr) = piped("descriptors::child_lists_descriptors");
    stdin.write_all(b"go").unwrap();
    drop(stdin);
    let lists = String::from_utf8(after_begin(&read_all(stdout))).unwrap();
    let lists: Vec<&str> = lists.lines().collect();
    assert!(lists.len() == 2 && lists[0] == lists[1], "{lists:?}");
    child.assert_exit(0);
}

#[test]
fn child_never_runs() {
    if is_child("descriptors::child_never_runs") {
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let (before, machine) = (count(), Machine::new());
        let handle = machine.prepare_stdio_server(|| Noisy).unwrap();
        drop(machine);
        assert_eq!(count(), before);
        drop(handle);
        exit(0);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_handle_of_a_server_that_never_ran_keeps_no_descriptors() {
    let (mut child, _stdin, _stdout, _stderr) = piped("descriptors::child_never_runs");
    child.assert_exit(0);
}
