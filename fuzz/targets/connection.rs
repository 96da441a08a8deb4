//! The framings in connections in memory: `Framed`, and `Input::frame` with one framing or with two in turn.

#![no_main]

#[path = "../../tests/support/framings/mod.rs"]
mod framings;

libfuzzer_sys::fuzz_target!(|data: &[u8]| framings::targets::connection(data));
