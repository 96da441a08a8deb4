//! An echo of lines whose listener can come from outside. systemd passes it on when the first client connects
//! (socket activation), and a process passes it on to its successor. A restart of that kind loses no connection.
//!
//! Run it:      cargo run -p protocol-examples --example handover   (on another address: add -- localhost:9000)
//!              or: systemd-socket-activate -l 8000 target/debug/examples/handover
//! Talk to it:  echo hi | nc -N localhost 8000
//! Restart it:  kill -USR2 PID, after you have replaced the program by a new version
//! Stop it:     press Ctrl-C, or kill PID; clients may finish within ten seconds
//!
//! As a service of systemd, it needs `Type=notify` and `NotifyAccess=all`.

#[cfg(unix)]
mod server;

#[cfg(unix)]
fn main() -> backport::Result {
    server::run()
}

#[cfg(not(unix))]
fn main() {
    eprintln!("Only Unix passes a listener on in this way.");
}
