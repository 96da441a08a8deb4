//! Endings with peers that read slowly but steadily: everything that was accepted arrives (P6, P9).
//!
//! [`readers`] plays the peers. [`network`] has a link with a delay. [`delivery`] crosses the ways to write and
//! to end with the peers. The cases run at the same time, because they mostly wait. [`lateness`] notices a
//! computer that has no time for them.

#![cfg(target_os = "linux")]

#[path = "../../support/mod.rs"]
mod support;

mod delivery;
mod drain_timeout;
mod lateness;
mod network;
mod readers;
