//! The crate from outside: a module a subject, each test named for the promise that it keeps.
//!
//! Tests that need a process of their own are beside this folder: signals, standard input, loggers. Tests
//! that take long or need more crates are in `tests/long`.

#[path = "../support/framings/mod.rs"]
mod framings;
#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod callbacks;
mod clock;
mod closing;
mod corks;
mod custom_server;
mod endings;
mod framing;
mod gem;
mod input;
mod intervals;
mod logging;
mod memory;
mod notice;
mod outgoing;
mod overload;
mod panics;
mod parsing;
mod posting;
mod proxy_protocol;
mod serving_one;
mod slow_peers;
mod statistics;
mod stopping;
mod stream;
mod stuck;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
mod while_busy;
mod writing;

use parking_lot::Mutex;

/// Held around `Backport::run`, of which a process may run one at a time.
static FRONT_DOOR: Mutex<()> = Mutex::new(());
