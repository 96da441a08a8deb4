//! What a fuzzer's bytes mean: the first few are settings, the rest is the stream.

use backport::framing::Endian;

use super::connection::{check_connection, Way};
use super::wire::{Ends, Wire};
use super::{check, check_decoding, proxy_header as header};

/// What a target does with a fuzzer's bytes.
type Check = fn(&[u8]);

/// The targets, by the names of their binaries and of their folders in the corpus.
pub(crate) const TARGETS: [(&str, Check); 6] = [
    ("lines", lines),
    ("delimited", delimited),
    ("length_prefixed", length_prefixed),
    ("content_length", content_length),
    ("connection", connection),
    ("proxy_header", proxy_header),
];

/// Settings: a limit, a choice, and two sizes of pieces.
fn settings(data: &[u8]) -> Option<([usize; 2], [usize; 2], &[u8])> {
    let (&[limit, choice, one, two], stream) = data.split_first_chunk()?;
    Some(([limit, choice].map(usize::from), [one, two].map(usize::from), stream))
}

pub(crate) fn lines(data: &[u8]) {
    let Some(([limit, choice], cuts, stream)) = settings(data) else { return };
    check(&Wire::Lines { ends: Ends::ALL[choice % 4], limit }, stream, &cuts);
}

pub(crate) fn delimited(data: &[u8]) {
    let Some(([limit, choice], cuts, stream)) = settings(data) else { return };
    let Some((delimiter, stream)) = stream.split_at_checked(1 + choice % 4) else { return };
    check(&Wire::Delimited { delimiter: delimiter.to_vec(), limit }, stream, &cuts);
}

pub(crate) fn length_prefixed(data: &[u8]) {
    let Some(([limit, choice], cuts, stream)) = settings(data) else { return };
    check(&a_length_prefixed(limit, choice), stream, &cuts);
}

fn a_length_prefixed(limit: usize, choice: usize) -> Wire {
    let width = [1, 2, 4, 8][choice % 4];
    let endian = if choice & 4 == 0 { Endian::Big } else { Endian::Little };
    // A length of one byte can be over the one, and never over most of the others.
    let limit = if choice & 8 == 0 { limit } else { limit * 8 };
    Wire::LengthPrefixed { width, endian, limit }
}

pub(crate) fn content_length(data: &[u8]) {
    let Some(([limit, choice], cuts, stream)) = settings(data) else { return };
    let wire = Wire::ContentLength { limit };
    if choice % 16 != 0 {
        check(&wire, stream, &cuts);
    } else {
        // A head that is just too long, or just isn't: a fuzzer doesn't get there by itself.
        let padding = 8 * 1024 - 40 + cuts[0] % 80;
        let stream = [b"X: ", &vec![b'x'; padding][..], stream].concat();
        check_decoding(&wire, &stream, &[cuts[0] * 16 + 1, cuts[1] + 1]);
    }
}

/// Any of the framings in a connection, or two of them in turn.
pub(crate) fn connection(data: &[u8]) {
    let Some(([limit, choice], cuts, stream)) = settings(data) else { return };
    let Some((&way, stream)) = stream.split_first() else { return };
    // What is sent back must fit the window: nobody reads it before all was sent.
    let stream = &stream[..stream.len().min(4 * 1024)];
    // A LF after a CR belongs to nobody if another framing has the turn, so there CR ends no line.
    let ends = if way % 4 < 2 { Ends::ALL[usize::from(way >> 6)] } else { Ends::Lf };
    let mut wires = [
        Wire::Lines { ends, limit },
        Wire::Delimited { delimiter: b"--".to_vec(), limit },
        a_length_prefixed(limit, choice / 4),
        Wire::ContentLength { limit },
    ];
    wires.rotate_left(choice % 4);
    let [wire, other, ..] = &wires;
    let raw_after = if way & 4 == 0 { usize::MAX } else { usize::from(way >> 3) };
    let way = match way % 4 {
        0 => Way::Framed { gathering: false },
        1 => Way::Framed { gathering: true },
        2 => Way::Input { others: Vec::new(), raw_after },
        _ => Way::Input { others: vec![other.clone()], raw_after },
    };
    check_connection(wire, &way, stream, &cuts);
}

/// The header of a proxy. A choice saves the fuzzer from having to find the beginning of a header.
pub(crate) fn proxy_header(data: &[u8]) {
    let Some(([choice, _], cuts, stream)) = settings(data) else { return };
    let beginning: &[u8] = match choice % 8 {
        0 => b"",
        1 => b"PROXY ",
        2 => b"PROXY TCP4 192.0.2.1 ",
        3 => b"PROXY TCP6 ::1 ",
        4 => b"\r\n\r\n\0\r\nQUIT\n",
        5 => b"\r\n\r\n\0\r\nQUIT\n\x21",
        6 => b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
        _ => b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24",
    };
    header::check(&[beginning, &stream[..stream.len().min(8 * 1024)]].concat(), &cuts);
}
