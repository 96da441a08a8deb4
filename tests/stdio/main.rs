//! The stdio server, each test with a process of its own.

#![cfg(unix)]

#[path = "../support/mod.rs"]
mod support;

mod descriptors;
mod endings;
mod errors;
mod reader;
mod sockets;
mod streams;
mod variants;

use std::io::{Read, Write};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

use support::child::{command, Process};

/// Said by a child before it begins: what the harness says comes before it.
const BEGIN: &[u8] = b"\n<begin>\n";

fn begin() {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(BEGIN).unwrap();
    stdout.flush().unwrap();
}

#[track_caller]
fn after_begin(all: &[u8]) -> Vec<u8> {
    let at = all.windows(BEGIN.len()).position(|part| part == BEGIN).expect("the child has begun");
    all[at + BEGIN.len()..].to_vec()
}

/// Takes what the harness says off the front.
fn skip_to_begin(from: &mut impl Read) {
    let mut seen = Vec::new();
    while !seen.ends_with(BEGIN) {
        let mut byte = [0];
        from.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
}

/// A child with a pipe at each end.
fn piped(role: &str) -> (Process, ChildStdin, ChildStdout, ChildStderr) {
    spawn_piped(&mut command(&[], role))
}

fn spawn_piped(command: &mut Command) -> (Process, ChildStdin, ChildStdout, ChildStderr) {
    let mut child =
        Process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let ends = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    (child, ends.0.unwrap(), ends.1.unwrap(), ends.2.unwrap())
}
