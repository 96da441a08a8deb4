//! Standard streams that are closed, full, or somebody else's.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use backport::{Adapter, Backport, Client, Closing, Result};

use crate::support::child::{command, exit, is_child, Process};
use crate::support::in_time;

const ROLE: &str = "stdio::child_echoes_stdio";

/// An echo that leaves its end in a file, since its standard streams may be gone.
struct Tell;

impl Adapter for Tell {
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        log::warn!("got {} bytes", data.len());
        Ok(client.write(data)?)
    }
    fn closing(&mut self, _: &Client, reason: &Closing) {
        let mut told = File::options().append(true).open(std::env::var_os("TOLD").unwrap()).unwrap();
        writeln!(told, "{reason}").unwrap();
    }
}

#[test]
fn child_echoes_stdio() {
    if is_child(ROLE) {
        if let Some(path) = std::env::var_os("OUTPUT") {
            // Not before the harness has said its own there.
            nix::unistd::dup2_stdout(File::options().write(true).open(path).unwrap()).unwrap();
        }
        env_logger::builder().filter_level(log::LevelFilter::Trace).init();
        let result =
            Backport::run(|machine| machine.prepare_stdio_server(|| Tell).map(drop).map_err(Into::into));
        exit(result.map_or(3, |()| 0));
    }
}

/// The echo behind a shell that does this with its streams; what it told of its end.
#[track_caller]
fn closing_behind(script: &str, input: &[u8]) -> String {
    closing_and_status_behind(script, input, 0)
}

/// As `closing_behind`, of a child that ends with this status.
#[track_caller]
fn closing_and_status_behind(script: &str, input: &[u8], status: i32) -> String {
    let name = format!("backport-told-{}-{:?}", std::process::id(), std::thread::current().id());
    let path = std::env::temp_dir().join(name);
    File::create(&path).unwrap();
    let script = format!("{script} \"$0\" \"$@\"");
    let mut command: Command = command(&["sh", "-c", &script], ROLE);
    command.env("TOLD", &path).current_dir(std::env::temp_dir());
    let mut child =
        Process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut stdin = child.stdin.take().unwrap();
    // It may be gone, or not want it.
    drop(stdin.write_all(input));
    drop(stdin);
    let mut stdout = child.stdout.take().unwrap();
    in_time("its output ends", move || drop(stdout.read_to_end(&mut Vec::new())));
    child.assert_exit(status);
    let told = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    told
}

const BY_PEER: &str = "closed by the peer\n";

#[test]
fn stdin_that_is_closed_at_the_start_is_an_end_of_input() {
    assert_eq!(closing_behind("exec <&-; exec", b""), BY_PEER);
}

#[test]
fn stdout_that_is_closed_at_the_start_takes_what_is_written() {
    // std opens /dev/null in its place.
    assert_eq!(closing_behind("exec >&-; exec", b"to nobody"), BY_PEER);
}

#[test]
fn stdout_that_is_full_is_a_loss_and_an_error_of_the_run() {
    let told = closing_and_status_behind("OUTPUT=/dev/full exec", b"to a full disk", 3);
    assert!(told.starts_with("connection lost: ") && told.contains("28"), "{told}");
}

#[test]
fn stdin_that_cannot_be_read_is_a_loss_and_an_error_of_the_run() {
    // A directory.
    let told = closing_and_status_behind("exec </; exec", b"", 3);
    assert!(told.starts_with("connection lost: "), "{told}");
}

#[test]
fn stderr_that_is_closed_or_full_costs_a_logging_program_nothing() {
    for redirection in ["exec 2>&-; exec", "exec 2>/dev/full; exec"] {
        assert_eq!(closing_behind(redirection, b"logged in vain"), BY_PEER);
    }
}

#[test]
fn all_streams_closed_at_the_start_are_an_end_of_input() {
    assert_eq!(closing_behind("exec <&- >&- 2>&-; exec", b""), BY_PEER);
}

#[test]
fn nohup_and_a_session_of_its_own_change_nothing() {
    assert_eq!(closing_behind("exec nohup", b"under nohup"), BY_PEER);
    assert_eq!(closing_behind("exec setsid --wait", b"in a session"), BY_PEER);
}

/// The default write timeout of other servers is 30 s, and a pipe takes 64 KiB.
#[test]
fn a_reader_that_pauses_for_longer_than_any_write_timeout_gets_every_byte() {
    let mut command: Command = command(&[], ROLE);
    command.env("TOLD", "/dev/null").stderr(Stdio::null());
    let mut child = Process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let sender = std::thread::spawn(move || stdin.write_all(&[b'\n'; 3_000_000]).unwrap());
    std::thread::sleep(Duration::from_secs(36));
    let output = in_time("its output ends", move || {
        let mut output = Vec::new();
        stdout.read_to_end(&mut output).unwrap();
        output
    });
    sender.join().unwrap();
    // The harness has said something before.
    assert!(output.len() >= 3_000_000, "{}", output.len());
    child.assert_exit(0);
}
