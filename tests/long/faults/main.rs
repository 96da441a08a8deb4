//! Faults: what a server meets in the world, done to a process of its own on purpose.
//!
//! [`subject`] is that process, which this binary runs itself as; [`host`] starts it (behind strace,
//! with a limit lowered, in a network of its own), and checks after each scenario what must hold after
//! all of them. Then a module a kind of fault, with tests named for what must be seen from outside.

#![cfg(target_os = "linux")]

#[path = "../../support/mod.rs"]
mod support;

mod host;
mod subject;

mod accept;
mod clock;
mod logger;
mod memory;
mod network;
mod panics;
mod races;
mod read;
mod signals;
mod stdio;
mod stop;
mod threads;
mod waiting;
mod write;
