//! A second opinion: decoders in Python, written from the specifications, see the same frames over
//! TCP and take our encoding for what it is (`decoders.py`).

use std::process::Command;

use backport::framing::{Endian, Framing};
use backport::{Adapter, Client, Closing, Input, Machine, Result};

use crate::framings::drive::encode;
use crate::framings::wire::{Ends, Wire};
use crate::support::child::has;

/// Answers each frame with the frame (`F`) and its encoding (`E`, or `R` if it is refused), and the
/// end of the stream with what it was (`.`).
#[derive(Clone)]
struct Witness(Wire);

fn record(client: &Client, kind: u8, data: &[u8]) -> std::io::Result<()> {
    client.write_vectored_all(&[&[kind], &u32::try_from(data.len()).unwrap().to_be_bytes(), data])
}

impl Adapter for Witness {
    fn receiving(&mut self, client: &Client, frame: &[u8]) -> Result {
        record(client, b'F', frame)?;
        match encode(&self.0, frame) {
            Some(encoded) => record(client, b'E', &encoded)?,
            None => record(client, b'R', b"")?,
        }
        Ok(())
    }

    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        let mut framing: Box<dyn Framing> = self.0.framing();
        while let Some(frame) = input.frame(&mut framing)? {
            let frame = frame.to_vec();
            self.receiving(client, &frame)?;
        }
        Ok(())
    }

    fn closing(&mut self, client: &Client, reason: &Closing) {
        use backport::framing::FrameError::{Malformed, TooLong, Truncated};
        let end = match reason {
            Closing::ByPeer => "end",
            Closing::Failed(error) => match error.downcast_ref() {
                Some(TooLong { .. }) => "too long",
                Some(Truncated) => "truncated",
                Some(Malformed(_)) => "malformed",
                _ => "another error",
            },
            _ => "another reason",
        };
        record(client, b'.', end.as_bytes()).unwrap();
    }
}

/// Framings, and their names in Python.
fn wires() -> Vec<(String, Wire)> {
    let mut wires = vec![
        ("lines:60".to_owned(), Wire::Lines { ends: Ends::Lf, limit: 60 }),
        ("returns:60".to_owned(), Wire::Lines { ends: Ends::CrOrLf, limit: 60 }),
        ("content-length:200".to_owned(), Wire::ContentLength { limit: 200 }),
    ];
    for delimiter in ["--", "\r\n.\r\n", "\0"] {
        let hex: String = delimiter.bytes().map(|byte| format!("{byte:02x}")).collect();
        let delimiter = delimiter.as_bytes().to_vec();
        wires.push((format!("delimited:60:{hex}"), Wire::Delimited { delimiter, limit: 60 }));
    }
    for (width, limit) in [(1, 200), (2, 300), (4, 300), (8, 300)] {
        for (order, endian) in [("big", Endian::Big), ("little", Endian::Little)] {
            let wire = Wire::LengthPrefixed { width, endian, limit };
            wires.push((format!("length:{limit}:{width}:{order}"), wire));
        }
    }
    wires
}

#[test]
fn decoders_in_python_see_the_same_frames() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let mut servers = Vec::new();
    for (name, wire) in wires() {
        let witness = Witness(wire.clone());
        let input = machine.prepare_tcp_server("127.0.0.1:0", move || witness.clone()).unwrap();
        servers.push(format!("input:{name}={}", input.local_addr().port()));
        let framed = move || Witness(wire.clone()).framed(wire.framing());
        let framed = machine.prepare_tcp_server("127.0.0.1:0", framed).unwrap();
        servers.push(format!("framed:{name}={}", framed.local_addr().port()));
    }
    let running = machine.start().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/framings/decoders.py");
    let seed = std::env::var("BACKPORT_SEED").unwrap_or_else(|_| "1".to_owned());
    let output = Command::new("python3").args([script, &seed, "40"]).args(servers).output().unwrap();
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the decoders differ, with BACKPORT_SEED={seed}");
    running.stop().unwrap();
}
