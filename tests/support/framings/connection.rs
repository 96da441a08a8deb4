//! A framing in a connection: the real worker, `Framed` and `Input`, with pieces as reads.

use std::io::{Read, Write};

use backport::framing::{Endian, Framing, LengthPrefixed};
use backport::{testing, Adapter, Client, Closing, Input, Result};

use super::drive::plain;
use super::wire::Wire;
use super::Outcome;

/// How the frames get to the adapter.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    Framed {
        gathering: bool,
    },
    /// By `Input::frame`, with these framings in turn; after so many frames come raw bytes.
    Input {
        others: Vec<Wire>,
        raw_after: usize,
    },
}

/// Sends each frame back, in a framing that takes whatever is in it.
#[derive(Clone)]
struct Reply {
    wires: Vec<Wire>,
    raw_after: usize,
}

const REPLY: Wire = Wire::LengthPrefixed { width: 4, endian: Endian::Big, limit: 1024 * 1024 };

impl Adapter for Reply {
    fn receiving(&mut self, client: &Client, frame: &[u8]) -> Result {
        Ok(client.write_frame(&LengthPrefixed::default(), frame)?)
    }

    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        let mut framings: Vec<Box<dyn Framing>> = self.wires.iter().map(Wire::framing).collect();
        let count = framings.len();
        for nth in 0..self.raw_after {
            match input.frame(&mut framings[nth % count])? {
                Some(frame) => client.write_frame(&LengthPrefixed::default(), frame)?,
                None => return Ok(()),
            }
        }
        let mut raw = Vec::new();
        input.read_to_end(&mut raw)?;
        self.receiving(client, &raw)
    }
}

/// Asserts that a connection gives what the slow decoder says of the stream.
pub(crate) fn check_connection(wire: &Wire, way: &Way, stream: &[u8], cuts: &[usize]) {
    let reply = Reply { wires: vec![wire.clone()], raw_after: usize::MAX };
    let (client, expected) = match way {
        Way::Framed { gathering } => {
            let framed = reply.framed(wire.framing());
            let framed = if *gathering { framed.gathering() } else { framed };
            (testing::connect(framed), wire.decode_slowly(stream))
        }
        Way::Input { others, raw_after } => {
            let wires = [std::slice::from_ref(wire), others].concat();
            let expected = in_turn(&wires, *raw_after, stream);
            (testing::connect(Reply { wires, raw_after: *raw_after }), expected)
        }
    };
    assert_eq!(converse(client, stream, cuts), expected, "{wire:?} {way:?}, cut at {cuts:?}");
}

fn converse(mut client: testing::TestClient, mut stream: &[u8], cuts: &[usize]) -> Outcome {
    for cut in cuts.iter().cycle() {
        let (piece, rest) = stream.split_at(stream.len().min(1.max(*cut)));
        // After an error nobody reads any more.
        if piece.is_empty() || client.write_all(piece).is_err() {
            break;
        }
        stream = rest;
    }
    client.close_write();
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).unwrap();
    let (frames, broken) = REPLY.decode_slowly(&reply);
    assert_eq!(broken, None, "the replies are whole");
    match client.finish() {
        Closing::ByPeer => (frames, None),
        Closing::Failed(error) => (frames, Some(plain(error))),
        other => panic!("ended for another reason: {other}"),
    }
}

fn in_turn(wires: &[Wire], raw_after: usize, mut stream: &[u8]) -> Outcome {
    let mut frames = Vec::new();
    for wire in wires.iter().cycle().take(raw_after) {
        if stream.is_empty() {
            return (frames, None);
        }
        match wire.first(stream) {
            Ok((frame, used)) => {
                frames.push(frame);
                stream = &stream[used..];
            }
            Err(error) => return (frames, Some(error)),
        }
    }
    frames.push(stream.to_vec());
    (frames, None)
}
