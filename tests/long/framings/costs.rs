//! Bytes that were seen are not looked at again, and not copied again and again: a frame that comes
//! byte by byte costs time in proportion to its length.

use backport::framing::{ContentLength, Delimited, Framing, Lines};

/// Feeds `stream`, a whole frame, byte by byte, from byte `from` on. All that was seen already is
/// overwritten with `trap`, apart from the last `kept` bytes: who looks again finds another frame.
fn feed(framing: &mut impl Framing, stream: &[u8], from: usize, kept: usize, trap: &[u8]) {
    for end in from..stream.len() {
        let seen = (end - 1).saturating_sub(kept);
        let mut input: Vec<u8> = trap.iter().copied().cycle().take(seen).collect();
        input.extend_from_slice(&stream[seen..end]);
        assert_eq!(framing.decode(&input).unwrap(), None, "with {end} bytes, {seen} of them seen");
    }
}

#[test]
fn bytes_once_searched_are_not_searched_again() {
    let line = [&[b'x'; 3000], &b"\r\n"[..]].concat();
    let mut lines = Lines::default();
    feed(&mut lines, &line, 1, 0, b"\n");
    assert_eq!(lines.decode(&line).unwrap().unwrap().used, line.len());

    let mut lines = Lines::default().carriage_returns();
    assert_eq!(lines.decode(b"first\r").unwrap().unwrap().used, 6);
    let line = [b"\n", &line[..]].concat();
    assert_eq!(lines.decode(b"\n").unwrap(), None);
    // The LF before the line is looked at again, since it belongs to no line.
    let last = line.len() - 2;
    for end in 2..last {
        let seen = [b"\n", &b"\r".repeat(end - 2)[..], b"x"].concat();
        assert_eq!(lines.decode(&seen).unwrap(), None, "with {end} bytes");
    }
    assert_eq!(lines.decode(&line).unwrap().unwrap().payload, 1..last);

    // A delimiter may have begun in what was seen, so all but one of its bytes are looked at again.
    let delimiter = b"\r\n.\r\n";
    let message = [&b"\r\n.\r.".repeat(500), &delimiter[..]].concat();
    let mut delimited = Delimited::new(delimiter);
    feed(&mut delimited, &message, 1, 4, delimiter);
    assert_eq!(delimited.decode(&message).unwrap().unwrap().used, message.len());
}

#[test]
fn a_head_is_searched_once_and_forgotten_when_it_was_read() {
    let head = [b"Content-Length: 3000\r\nX-Padding: ", &[b'x'; 3000][..], b"\r\n\r\n"].concat();
    let message = [&head[..], &[b'y'; 3000]].concat();
    let mut framing = ContentLength::default();
    feed(&mut framing, &head, 1, 0, b"\r\n\r\n");
    assert_eq!(framing.decode(&head).unwrap(), None, "the head is there, and no body");
    feed(&mut framing, &message, head.len() + 1, 0, b"\r\n\r\n");
    assert_eq!(framing.decode(&message).unwrap().unwrap().payload, head.len()..message.len());
}

#[cfg(target_os = "linux")]
mod time {
    //! By the CPU time of the one thread that does the work, so that others don't count.

    use std::io::Write;
    use std::time::Duration;

    use backport::framing::LengthPrefixed;
    use backport::{receiving, testing, Adapter, Client, Input, Result};
    use crossbeam_channel::{bounded, Sender};
    use nix::time::{clock_gettime, ClockId};

    use super::*;
    use crate::support::{gate, next, Gate};

    fn cpu_time() -> Duration {
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
    }

    /// Asserts that four times as much takes about four times as long, and not sixteen times. Up to
    /// `most`, from little on, so that it doesn't take for ever to fail.
    #[track_caller]
    fn in_proportion(most: usize, cost: impl Fn(usize) -> Duration) {
        for size in [most / 64, most / 16, most / 4] {
            let mut costs = Vec::new();
            // What else the computer does disturbs even a thread's own time, but not three times.
            let fine = (0..3).any(|_| {
                costs.push((cost(size), cost(4 * size)));
                costs.last().is_some_and(|(one, four)| *four < 8 * *one)
            });
            assert!(fine, "{size} bytes, and four times as many, take {costs:?}");
        }
    }

    /// `size` bytes in one frame.
    fn one_frame(framing: &impl Framing, size: usize) -> Vec<u8> {
        let mut stream = Vec::new();
        let mut send = |parts: &[&[u8]]| {
            stream = parts.concat();
            Ok(())
        };
        framing.encode(&vec![b'x'; size], &mut send).unwrap();
        stream
    }

    /// What `Framed` takes for these chunks, with an adapter that does nothing.
    fn framed<'a>(framing: impl Framing, chunks: impl Iterator<Item = &'a [u8]>, frames: usize) -> Duration {
        let (sender, came) = bounded(frames);
        let count = move |_: &Client, _: &[u8]| Ok(sender.send(())?);
        let mut framed = receiving(count).framed(framing);
        let peer = testing::connect(receiving(|_, _| Ok(())));
        let client = &peer.server().clients()[0];
        let before = cpu_time();
        for chunk in chunks {
            framed.receiving(client, chunk).unwrap();
        }
        let spent = cpu_time() - before;
        assert_eq!(came.len(), frames);
        spent
    }

    /// Takes frames until the end of input, and tells how many there were and what that took.
    struct Taking<F> {
        framing: F,
        gate: Gate,
        taken: Sender<(usize, Duration)>,
    }

    impl<F: Framing> Adapter for Taking<F> {
        fn serving(&mut self, _: &Client, input: &mut Input) -> Result {
            self.gate.wait();
            let (before, mut count) = (cpu_time(), 0);
            while input.frame(&mut self.framing)?.is_some() {
                count += 1;
            }
            Ok(self.taken.send((count, cpu_time() - before))?)
        }
    }

    /// What `Input::frame` takes for these chunks, all of which are there when it begins.
    fn input<'a>(framing: impl Framing, chunks: impl Iterator<Item = &'a [u8]>, frames: usize) -> Duration {
        let (keeper, gate) = gate();
        let (taken, result) = bounded(1);
        let setup = testing::Setup::new().window(usize::MAX);
        let mut peer = setup.connect(Taking { framing, gate, taken });
        for chunk in chunks {
            peer.write_all(chunk).unwrap();
        }
        peer.close_write();
        drop(keeper);
        let (count, spent) = next(&result);
        assert_eq!(count, frames);
        spent
    }

    const MEBIBYTE: usize = 1024 * 1024;

    fn byte_by_byte<F: Framing + Clone>(framing: &F) {
        in_proportion(MEBIBYTE, |size| framed(framing.clone(), one_frame(framing, size).chunks(1), 1));
        // Through the pipe of a test each byte takes longer.
        in_proportion(MEBIBYTE / 4, |size| input(framing.clone(), one_frame(framing, size).chunks(1), 1));
    }

    #[test]
    fn a_line_of_a_mebibyte_may_come_byte_by_byte() {
        byte_by_byte(&Lines::with_limit(MEBIBYTE));
    }

    #[test]
    fn a_long_delimited_frame_may_come_byte_by_byte() {
        byte_by_byte(&Delimited::new("xxx.").limit(MEBIBYTE));
    }

    #[test]
    fn a_counted_body_may_come_byte_by_byte() {
        byte_by_byte(&LengthPrefixed::default());
        byte_by_byte(&ContentLength::default());
    }

    #[test]
    fn many_small_frames_may_come_behind_the_beginning_of_one() {
        let many = |size| [b"x", &b"\n".repeat(size)[..]].concat();
        in_proportion(MEBIBYTE / 4, |size| {
            let stream = many(size);
            let (start, rest) = stream.split_at(1);
            framed(Lines::default(), [start, rest].into_iter(), size)
        });
        // Each chunk ends within a frame.
        in_proportion(MEBIBYTE / 4, |size| {
            framed(Delimited::new("ab"), b"ab".repeat(size).chunks(60_001), size)
        });
        in_proportion(MEBIBYTE / 4, |size| input(Lines::default(), many(size).chunks(60_001), size));
    }
}
