//! TLS, from a client's point of view.
//!
//! Each module has one subject. The peers use rustls over sockets of `std`, and do what real programs do.

#![cfg(target_os = "linux")]
#![expect(clippy::tests_outside_test_module, reason = "this is a test binary")]

mod basics;
mod certificates;
mod ends;
mod files;
mod handshakes;
mod injections;
mod openssl;
mod outgoing;
mod random;
mod resources;
mod start_tls;
mod start_tls_scene;
#[path = "../support/mod.rs"]
mod support;
mod tls_peer;
mod traffic;
