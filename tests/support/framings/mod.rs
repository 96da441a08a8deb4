//! Checks that hold of each framing and of any bytes. The suite, the long tests and the fuzz targets include
//! this folder by its path.
//!
//! - [`wire`] has the framings as data, each with a second decoder that is written by hand and slow.
//! - [`drive`] feeds a framing as the crate does.
//! - [`connection`] has the crate itself feed it.
//! - [`proxy_header`] checks the header of a proxy in the same way.
//! - [`targets`] turns the bytes of a fuzzer into such checks.

#![allow(dead_code, reason = "each crate that includes it uses its part of it")]

pub(crate) mod connection;
pub(crate) mod drive;
pub(crate) mod proxy_header;
pub(crate) mod targets;
pub(crate) mod wire;

use backport::framing::FrameError;

use drive::{as_framed, as_input, encode};
use wire::Wire;

/// The frames of a stream, and what ended it, unless it ended well.
pub(crate) type Outcome = (Vec<Vec<u8>>, Option<FrameError>);

/// Asserts that `stream` gives what the slow decoder says, in one piece, byte by byte, and in pieces
/// of these sizes over and over; and that what can be encoded comes back.
pub(crate) fn check(wire: &Wire, stream: &[u8], cuts: &[usize]) {
    check_decoding(wire, stream, &[1]);
    let (mut payloads, _) = check_decoding(wire, stream, cuts);
    payloads.push(stream.to_vec());
    payloads.extend(stream.chunks(cuts.first().copied().unwrap_or(1).max(1)).map(<[u8]>::to_vec));
    check_payloads(wire, &payloads, cuts);
}

/// Asserts that `stream` gives what the slow decoder says, in one piece and in pieces of these sizes.
pub(crate) fn check_decoding(wire: &Wire, stream: &[u8], cuts: &[usize]) -> Outcome {
    let expected = wire.decode_slowly(stream);
    for frame in &expected.0 {
        assert!(frame.len() <= wire.limit(), "a frame of {} bytes: {wire:?}", frame.len());
    }
    for cuts in [&[usize::MAX][..], cuts] {
        assert_eq!(as_framed(wire, stream, cuts), expected, "{wire:?}, framed, cut at {cuts:?}");
        assert_eq!(as_input(wire, stream, cuts), expected, "{wire:?}, input.frame, cut at {cuts:?}");
    }
    expected
}

/// Asserts that the payloads that fit come back from their encoding, and that the others are refused.
pub(crate) fn check_payloads(wire: &Wire, payloads: &[Vec<u8>], cuts: &[usize]) {
    let (mut stream, mut fitting) = (Vec::new(), Vec::new());
    for payload in payloads {
        let encoded = encode(wire, payload);
        assert_eq!(encoded.is_some(), wire.fits(payload), "{wire:?} and {payload:?}");
        if let Some(encoded) = encoded {
            stream.extend(encoded);
            fitting.push(payload.clone());
        }
    }
    assert_eq!(check_decoding(wire, &stream, cuts), (fitting, None), "{wire:?}: decode(encode(x))");
}
