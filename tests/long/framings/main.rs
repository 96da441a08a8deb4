//! The framings against other decoders and against every split of their bytes.
//!
//! `splits` has generated streams and the corpus of the fuzz targets. `python` has decoders in Python.

#[path = "../../support/framings/mod.rs"]
mod framings;
#[cfg(unix)]
#[path = "../../support/mod.rs"]
mod support;

#[cfg(unix)]
mod python;
mod splits;
