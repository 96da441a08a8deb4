//! Frames don't depend on how their bytes come: every framing against every split, by generated
//! streams and by the corpus that fuzzing left (`fuzz/corpus`; CONTRIBUTING says how to fuzz).

use std::fs;
use std::path::Path;

use backport::framing::Endian;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::framings::connection::{check_connection, Way};
use crate::framings::drive::encode;
use crate::framings::targets::TARGETS;
use crate::framings::wire::{Ends, Wire};
use crate::framings::{check, check_payloads};

fn any_wire() -> impl Strategy<Value = Wire> {
    any_wire_with(4)
}

/// With the first so many of the ends of lines.
fn any_wire_with(ends: usize) -> impl Strategy<Value = Wire> {
    let endian = prop_oneof![Just(Endian::Big), Just(Endian::Little)];
    let width = prop_oneof![Just(1usize), Just(2), Just(4), Just(8)];
    prop_oneof![
        (0..ends, 0..60usize).prop_map(|(ends, limit)| Wire::Lines { ends: Ends::ALL[ends], limit }),
        (vec(0..3u8, 1..5), 0..60usize).prop_map(|(delimiter, limit)| Wire::Delimited { delimiter, limit }),
        (width, endian, prop_oneof![0..60usize, 250..300usize])
            .prop_map(|(width, endian, limit)| Wire::LengthPrefixed { width, endian, limit }),
        (0..60usize).prop_map(|limit| Wire::ContentLength { limit }),
    ]
}

/// Pieces of which frames are made, and bytes of which they are not.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let word = |word: &'static str| Just(word.as_bytes().to_vec());
    prop_oneof![
        vec(any::<u8>(), 0..60),
        vec(0..4u8, 0..60),
        vec(any::<u8>(), 250..300),
        word("\n"),
        word("\r"),
        word("\r\0"),
        word("x\r\n\r\0y\r"),
        word("{\"jsonrpc\":\"2.0\"}\n"),
        word("\r\n\r\n"),
        word("Content-Length: "),
        word("content-length:"),
        word("Content-Type: x\r\n"),
        (0..70u32).prop_map(|number| number.to_string().into_bytes()),
    ]
}

/// Fragments, those marked within a frame of the wire if they fit one.
fn stream(wire: &Wire, fragments: Vec<(bool, Vec<u8>)>) -> Vec<u8> {
    let lay = |(framed, fragment): (bool, Vec<u8>)| {
        framed.then(|| encode(wire, &fragment)).flatten().unwrap_or(fragment)
    };
    fragments.into_iter().flat_map(lay).collect()
}

fn fragments() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    vec((prop::bool::weighted(0.8), fragment()), 0..10)
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1..4usize, 1..100usize], 1..8)
}

proptest! {
    #[test]
    fn any_split_of_any_bytes_gives_the_same_frames_and_the_same_error(
        wire in any_wire(), fragments in fragments(), cuts in cuts()
    ) {
        check(&wire, &stream(&wire, fragments), &cuts);
    }

    #[test]
    fn what_fits_comes_back_from_its_encoding_and_what_does_not_is_refused(
        wire in any_wire(), payloads in vec(fragment(), 0..10), cuts in cuts()
    ) {
        check_payloads(&wire, &payloads, &cuts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_framed_adapter_gets_the_same_frames_from_any_split(
        wire in any_wire(), gathering in any::<bool>(), fragments in fragments(), cuts in cuts()
    ) {
        check_connection(&wire, &Way::Framed { gathering }, &stream(&wire, fragments), &cuts);
    }

    #[test]
    fn framings_may_take_turns_and_raw_bytes_follow_whatever_the_split(
        // A LF after a CR belongs to nobody if another framing has the turn, so here CR ends no line.
        wires in vec(any_wire_with(2), 1..4), raw_after in 0..12usize, fragments in fragments(), cuts in cuts()
    ) {
        // Fragments in the framing whose turn it is.
        let turns = wires.iter().cycle().zip(fragments);
        let stream: Vec<u8> = turns.flat_map(|(wire, fragment)| stream(wire, vec![fragment])).collect();
        let way = Way::Input { others: wires[1..].to_vec(), raw_after };
        check_connection(&wires[0], &way, &stream, &cuts);
    }
}

#[test]
fn what_fuzzing_found_still_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    assert_eq!(fs::read_dir(&corpus).unwrap().count(), TARGETS.len(), "a corpus that is not replayed");
    for (target, check) in TARGETS {
        let entries = fs::read_dir(corpus.join(target)).unwrap();
        let mut count = 0;
        for entry in entries {
            let path = entry.unwrap().path();
            // Shown if the check fails.
            println!("{}", path.display());
            check(&fs::read(path).unwrap());
            count += 1;
        }
        assert!(count > 0, "no corpus of {target}");
    }
}
