//! `Lines` against every split of any bytes. What is checked is the suite's own.

#![no_main]

#[path = "../../tests/support/framings/mod.rs"]
mod framings;

libfuzzer_sys::fuzz_target!(|data: &[u8]| framings::targets::lines(data));
