//! The header of a proxy, in connections to a server. The checks are those of the long tests.

#![no_main]

#[path = "../../tests/support/framings/mod.rs"]
mod framings;

libfuzzer_sys::fuzz_target!(|data: &[u8]| framings::targets::proxy_header(data));
