//! The framings against other decoders, against every split of their bytes, and their costs.
//!
//! - `splits` has generated streams and the corpus of the fuzz targets.
//! - `python` has decoders in Python.
//! - `headers` has the header of a proxy, in connections.
//! - `costs` checks that no byte is searched twice.

#[path = "../../support/framings/mod.rs"]
mod framings;
#[path = "../../support/mod.rs"]
mod support;

mod costs;
mod headers;
#[cfg(unix)]
mod python;
mod splits;
