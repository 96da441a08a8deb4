//! TLS, from a client's point of view.
//!
//! Each module has one subject. The peers use rustls over sockets of `std`, and do what real programs do.

#![cfg(target_os = "linux")]
#![expect(clippy::tests_outside_test_module, reason = "this is a test binary")]

mod basics;
mod files;
mod outgoing;
#[path = "../support/mod.rs"]
mod support;
mod tls_peer;
