//! The server, its signals and its successor.

use std::io::{self, BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{self, Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, thread};

use backport::framing::Lines;
use backport::{receiving, Adapter, Machine, Result, TcpServer};
use listenfd::ListenFd;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;

/// How long a successor may take until it serves.
const START: Duration = Duration::from_secs(10);
/// How long the clients may take to finish after the listener has been passed on or closed.
const DRAIN: Duration = Duration::from_secs(10);

pub(crate) fn run() -> Result {
    // This removes variables from the environment, so it must come before the first thread.
    let passed_on = ListenFd::from_env().take_tcp_listener(0)?;
    env_logger::init();
    let listener = match passed_on {
        Some(listener) => listener,
        None => TcpListener::bind(env::args().nth(1).unwrap_or("localhost:8000".to_owned()))?,
    };
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR2])?;

    let machine = Machine::new();
    let adapter = || {
        let answer = |line: &[u8]| format!("{}: {}", process::id(), String::from_utf8_lossy(line));
        receiving(move |client, line| Ok(client.write_line(answer(line))?)).framed(Lines::default())
    };
    // The copy is for a successor.
    let server = machine.prepare(TcpServer::from_listener(listener.try_clone()?, adapter))?;
    let running = machine.start()?;
    notify(NotifyState::Ready);
    println!("listening on {}", server.local_addr());
    // A process that starts this one as its successor waits for this line. Nothing is printed after it, because
    // the pipe ends with that process.
    println!("ready");

    for signal in signals.forever() {
        if signal != SIGUSR2 {
            notify(NotifyState::Stopping);
            break;
        }
        match start_successor(&listener) {
            Ok(successor) => {
                notify(NotifyState::MainPid(successor.id()));
                break;
            }
            Err(error) => log::error!("no successor, so this process goes on: {error}"),
        }
    }
    machine.drain(DRAIN);
    // With the last copy of the listener, the kernel would refuse clients. The successor has one.
    drop(listener);
    running.join()
}

/// Tells systemd what happens. Does nothing if systemd has not started this program.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::warn!("cannot notify systemd: {error}");
    }
}

/// Starts this program again, with the listener as its standard input, and waits until it serves.
fn start_successor(listener: &TcpListener) -> io::Result<Child> {
    // The path by which this program was started. `env::current_exe` would name the old file on Linux.
    let program = env::args_os().next().ok_or(io::ErrorKind::NotFound)?;
    let mut successor = Command::new(program)
        .args(env::args_os().skip(1))
        .stdin(OwnedFd::from(listener.try_clone()?))
        .stdout(Stdio::piped())
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDS_FIRST_FD", "0")
        // With systemd this is the process that gets the listener. A parent does not know its child's number.
        .env_remove("LISTEN_PID")
        .spawn()?;
    let output = successor.stdout.take().expect("it is a pipe");
    let (sender, ready) = mpsc::channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(output).lines().map_while(io::Result::ok);
        if sender.send(lines.any(|line| line == "ready")).is_err() {
            log::debug!("the successor was given up before");
        }
    });
    let problem = match ready.recv_timeout(START) {
        Ok(true) => return Ok(successor),
        Ok(false) => "it has ended before it was ready",
        Err(_) => "it is not ready in time",
    };
    if let Err(error) = successor.kill() {
        log::debug!("cannot kill the successor: {error}");
    }
    Err(io::Error::other(format!("{problem}: {}", successor.wait()?)))
}
