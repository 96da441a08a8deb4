//! The parts of the crate that need no socket, each by itself: `cargo bench --bench parts`.
//!
//! The benchmark `servers` measures the whole cost of a server. This one is for people who change a part.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

#[cfg(target_os = "linux")]
mod parts {
    use std::io::{self, Read, Write};

    use backport::framing::{ContentLength, Delimited, Framing, LengthPrefixed, Lines};
    use backport::{receiving, testing, Adapter, Client};
    use criterion::{BatchSize, Criterion, Throughput};

    const FRAMES: usize = 1_000;

    /// Returns [`FRAMES`] frames of 32 bytes in one piece.
    fn stream(framing: &impl Framing) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..FRAMES {
            let sent = framing.encode(&[b'x'; 32], &mut |parts| {
                parts.iter().for_each(|part| bytes.extend_from_slice(part));
                io::Result::Ok(())
            });
            sent.unwrap();
        }
        bytes
    }

    fn decode<F: Framing>(criterion: &mut Criterion, name: &str, framing: impl Fn() -> F) {
        let bytes = stream(&framing());
        let mut group = criterion.benchmark_group("decode");
        group.throughput(Throughput::Elements(FRAMES as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let (mut framing, mut used, mut frames) = (framing(), 0, 0);
                while let Ok(Some(frame)) = framing.decode(&bytes[used..]) {
                    used += frame.used;
                    frames += 1;
                    if used == bytes.len() {
                        break;
                    }
                }
                assert_eq!(frames, FRAMES);
            });
        });
        group.finish();
    }

    pub(super) fn framings(criterion: &mut Criterion) {
        decode(criterion, "lines", Lines::default);
        decode(criterion, "delimited", || Delimited::new(b"\r\n--\r\n"));
        decode(criterion, "length-prefixed", LengthPrefixed::default);
        decode(criterion, "content-length", ContentLength::default);
    }

    /// Measures a message and its answer in memory, with a thread at each end.
    pub(super) fn round_trip(criterion: &mut Criterion) {
        fn echo(client: &Client, data: &[u8]) -> backport::Result {
            Ok(client.write(data)?)
        }
        let mut group = criterion.benchmark_group("round trip in memory");
        let mut measure = |name, mut peer: testing::TestClient| {
            group.bench_function(name, |bencher| {
                let mut line = *b"a line of 32 bytes, its end too\n";
                bencher.iter(|| peer.write_all(&line).and_then(|()| peer.read_exact(&mut line)));
            });
        };
        measure("raw", testing::connect(receiving(echo)));
        let lines = receiving(|client, line| Ok(client.write_line(line)?));
        measure("lines", testing::connect(lines.framed(Lines::default())));
        group.finish();
    }

    /// Measures a hundred records of 32 bytes to a peer that has room for all of them.
    pub(super) fn records(criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("100 records");
        group.throughput(Throughput::Elements(100));
        let mut measure = |name, send: fn(&Client)| {
            group.bench_function(name, |bencher| {
                bencher.iter_batched_ref(
                    || {
                        let peer = testing::connect(receiving(|_, _| Ok(())));
                        let client = peer.server().clients().remove(0);
                        (peer, client)
                    },
                    |(_, client)| send(client),
                    BatchSize::PerIteration,
                );
            });
        };
        measure("write", |client| (0..100).for_each(|_| client.write([b'x'; 32]).unwrap()));
        measure("post", |client| (0..100).for_each(|_| client.post([b'x'; 32]).unwrap()));
        measure("corked", |client| {
            let corked = client.cork();
            (0..100).for_each(|_| client.write([b'x'; 32]).unwrap());
            drop(corked);
        });
        group.finish();
    }
}

#[cfg(target_os = "linux")]
criterion::criterion_group!(benches, parts::framings, parts::round_trip, parts::records);
#[cfg(target_os = "linux")]
criterion::criterion_main!(benches);

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("measured on Linux alone");
}
