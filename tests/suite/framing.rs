//! Frames: what each framing says of its bytes, its limits, and the ends of streams.

use std::io::{Read, Write};
use std::time::Duration;

use backport::framing::{ContentLength, Delimited, Endian, FrameError, Framing, LengthPrefixed, Lines};
use backport::{receiving, testing, Adapter, BoxError, Client, Closing, Input, Result};
use crossbeam_channel::{unbounded, Receiver};

use crate::framings::drive::as_framed;
use crate::framings::wire::Wire;
use crate::support::next;

#[test]
fn a_line_of_exactly_the_limit_is_whole_and_one_more_is_too_long() {
    let wire = Wire::Lines { crlf: false, limit: 10 };
    for end in ["\n", "\r\n", ""] {
        let exact = format!("{}{end}", "x".repeat(10));
        let over = format!("{}{end}", "x".repeat(11));
        for cut in [1, 3, 100] {
            let whole = (vec![b"xxxxxxxxxx".to_vec()], None);
            assert_eq!(as_framed(&wire, exact.as_bytes(), &[cut]), whole);
            let too_long = (Vec::new(), Some(FrameError::TooLong { limit: 10 }));
            assert_eq!(as_framed(&wire, over.as_bytes(), &[cut]), too_long);
        }
    }
}

#[test]
fn headers_are_read_as_the_protocols_specify() {
    let decode = |stream: &[u8]| as_framed(&Wire::ContentLength { limit: 10 }, stream, &[7]);
    let refused = |error: FrameError| (Vec::new(), Some(error));
    for head in [
        "Content-Length: 2",
        "content-length:2\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8",
        "X-Other: a:b\r\nContent-Length: \t0002 ",
        "X-Name: Zoë\r\nContent-Length: 2\r\nContent-Length: 2",
    ] {
        assert_eq!(decode(format!("{head}\r\n\r\nhi").as_bytes()), (vec![b"hi".to_vec()], None), "{head}");
    }
    let too_long = FrameError::TooLong { limit: 10 };
    assert_eq!(decode(b"Content-Length: 11\r\n\r\n"), refused(too_long.clone()));
    assert_eq!(decode(b"Content-Length: 99999999999999999999999\r\n\r\n"), refused(too_long));
    assert_eq!(decode(b"Content-Length: 2\r\n\r\nh"), refused(FrameError::Truncated));
    assert_eq!(decode(b"Content-Length: 2\r\n"), refused(FrameError::Truncated));
    for bad in [
        "Content-Length: -1",
        "Content-Length: +1",
        "Content-Length:",
        "Content-Length : 2",
        "Length: 2",
        "no colon",
        "Content-Length: 1\r\nContent-Length: 2",
        // Both over what an integer holds: found by fuzzing.
        "Content-Length: 99999999999999999998\r\nContent-Length: 99999999999999999999",
    ] {
        let malformed = FrameError::Malformed(String::new());
        assert_eq!(decode(format!("{bad}\r\n\r\nhi").as_bytes()), refused(malformed), "{bad}");
    }
    // A head part of exactly its limit, and of one byte more.
    let head = |padding| format!("Content-Length: 2\r\nX: {}\r\n\r\nhi", "x".repeat(padding));
    let most = 8 * 1024 - head(0).len() + 2;
    assert_eq!(decode(head(most).as_bytes()), (vec![b"hi".to_vec()], None));
    assert_eq!(decode(head(most + 1).as_bytes()), refused(FrameError::TooLong { limit: 8 * 1024 }));
}

#[test]
fn a_payload_that_cannot_be_framed_is_refused() {
    let refused = |framing: &dyn Framing, payload: &[u8]| {
        let error = framing.encode(payload, &mut |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    };
    refused(&Lines::default(), b"two\nlines");
    refused(&Lines::default(), b"ends in cr\r");
    refused(&Lines::with_limit(3), b"four");
    refused(&Delimited::new("--"), b"a--b");
    refused(&Delimited::new("--"), b"a-");
    refused(&LengthPrefixed::new(1, Endian::Big), &[0; 256]);
    refused(&LengthPrefixed::default().limit(3), b"four");
    refused(&ContentLength::with_limit(3), b"four");
}

#[test]
fn each_framing_writes_its_frames_as_documented() {
    fn written(framing: impl Framing) -> Vec<u8> {
        let mut wire = Vec::new();
        framing
            .encode(b"hi", &mut |parts| {
                wire.extend(parts.concat());
                Ok(())
            })
            .unwrap();
        wire
    }
    assert_eq!(written(Lines::default()), b"hi\n");
    assert_eq!(written(Lines::with_limit(2).crlf()), b"hi\r\n");
    assert_eq!(written(Delimited::new("--").limit(2)), b"hi--");
    assert_eq!(written(LengthPrefixed::default()), b"\0\0\0\x02hi");
    assert_eq!(written(LengthPrefixed::new(2, Endian::Little).limit(2)), b"\x02\0hi");
    assert_eq!(written(ContentLength::with_limit(2)), b"Content-Length: 2\r\n\r\nhi");
}

#[test]
fn a_framed_adapter_has_its_opening_called_first() {
    struct Greeter;
    impl Adapter for Greeter {
        fn opening(&mut self, client: &Client) -> Result {
            Ok(client.write_line("who is there?")?)
        }
    }
    let mut client = testing::connect(Greeter.framed(Lines::default()));
    let mut greeting = [0; 14];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"who is there?\n");
}

#[test]
fn errors_of_frames_say_what_is_wrong() {
    for (error, part) in [
        (FrameError::TooLong { limit: 70 }, "longer than the framing's limit of 70 bytes"),
        (FrameError::Truncated, "ended within a frame"),
        (FrameError::TooSlow, "took too long"),
        (FrameError::Malformed("no colon".to_owned()), "no colon"),
    ] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

/// Sends on each frame, and `!` when it closes.
fn recorder() -> (impl Adapter, Receiver<String>) {
    struct Recorder(crossbeam_channel::Sender<String>);
    impl Adapter for Recorder {
        fn receiving(&mut self, _: &Client, frame: &[u8]) -> Result {
            Ok(self.0.send(String::from_utf8_lossy(frame).into_owned())?)
        }
        fn closing(&mut self, client: &Client, reason: &Closing) {
            if let Closing::Failed(error) = reason {
                let too_long = matches!(error.downcast_ref(), Some(FrameError::TooLong { .. }));
                if too_long {
                    client.write_line("too long").unwrap();
                }
            }
        }
    }
    let (sender, receiver) = unbounded();
    (Recorder(sender), receiver)
}

#[test]
fn a_framed_adapter_gets_a_frame_a_call_and_the_last_line_at_the_end() {
    let (adapter, frames) = recorder();
    let mut client = testing::connect(adapter.framed(Lines::default()));
    for chunk in ["one\ntw", "o\r", "\n\nfour\nla", "st"] {
        client.write_all(chunk.as_bytes()).unwrap();
    }
    assert!(matches!(client.finish(), Closing::ByPeer));
    assert_eq!(frames.try_iter().collect::<Vec<_>>(), ["one", "two", "", "four", "last"]);
}

#[test]
fn a_truncated_frame_is_an_error_of_its_own_kind() {
    let (adapter, frames) = recorder();
    let mut client = testing::connect(adapter.framed(LengthPrefixed::default()));
    client.write_all(b"\0\0\0\x02hi\0\0\0\x06trunc").unwrap();
    let Closing::Failed(error) = client.finish() else { panic!("not Failed") };
    assert_eq!(error.downcast_ref(), Some(&FrameError::Truncated));
    assert_eq!(frames.try_iter().collect::<Vec<_>>(), ["hi"]);
}

#[test]
fn a_line_over_the_limit_ends_the_connection_and_closing_may_still_answer() {
    let (adapter, _frames) = recorder();
    let mut client = testing::connect(adapter.framed(Lines::with_limit(100)));
    client.write_all(&[b'x'; 200]).unwrap();
    let mut reply = String::new();
    client.read_to_string(&mut reply).unwrap();
    assert_eq!(reply, "too long\n");
    let Closing::Failed(error) = client.finish() else { panic!("not Failed") };
    assert_eq!(error.downcast_ref(), Some(&FrameError::TooLong { limit: 100 }));
}

#[test]
fn no_frame_is_handed_over_after_close() {
    let (sender, frames) = unbounded();
    let adapter = receiving(move |client, frame| {
        sender.send(frame.to_vec())?;
        if frame == b"quit" {
            client.close();
        }
        Ok(())
    });
    let mut client = testing::connect(adapter.framed(Lines::default()));
    client.write_all(b"a\nquit\nb\nc\n").unwrap();
    assert!(matches!(client.ended(), Closing::ByServer));
    assert_eq!(frames.try_iter().collect::<Vec<_>>(), [b"a".to_vec(), b"quit".to_vec()]);
}

/// Decodes as [`Lines`] does, and closes the client in the midst of it, as another thread may.
struct Closes(Lines, Receiver<Client>);

impl Framing for Closes {
    fn decode(&mut self, input: &[u8]) -> Result<Option<backport::framing::Frame>> {
        next(&self.1).close();
        self.0.decode(input)
    }
    fn decode_end(&mut self, input: &[u8]) -> Result<Option<backport::framing::Frame>> {
        self.0.decode_end(input)
    }
    fn encode(
        &self,
        payload: &[u8],
        send: &mut dyn FnMut(&[&[u8]]) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        self.0.encode(payload, send)
    }
}

#[test]
fn no_frame_is_handed_over_that_was_decoded_during_the_close() {
    let (sender, client) = unbounded();
    let adapter = receiving(|_, frame| panic!("handed over: {frame:?}"));
    let mut peer = testing::connect(adapter.framed(Closes(Lines::default(), client)));
    sender.send(peer.server().clients().remove(0)).unwrap();
    peer.write_all(b"late\n").unwrap();
    let closing = peer.ended();
    assert!(matches!(closing, Closing::ByServer), "{closing}");
}

#[test]
fn gathering_sends_the_replies_to_one_chunk_in_one_piece() {
    let echo = || receiving(|client, line| Ok(client.write_line(line)?));
    let replies = |client: &mut testing::TestClient| {
        client.write_all(b"a\nb\nc\n").unwrap();
        let mut buffer = [0; 100];
        let mut read = Vec::new();
        while read.concat() != b"a\nb\nc\n" {
            let count = client.read(&mut buffer).unwrap();
            read.push(buffer[..count].to_vec());
        }
        read.len()
    };
    assert_eq!(replies(&mut testing::connect(echo().framed(Lines::default()).gathering())), 1);
    assert_eq!(replies(&mut testing::connect(echo().framed(Lines::default()))), 3);
}

#[test]
fn what_was_gathered_before_a_close_is_delivered() {
    let adapter = receiving(|client, line| {
        client.write_line(line)?;
        if line == b"quit" {
            client.close();
        }
        Ok(())
    });
    let mut client = testing::connect(adapter.framed(Lines::default()).gathering());
    client.write_all(b"a\nquit\nb\n").unwrap();
    let mut reply = String::new();
    client.read_to_string(&mut reply).unwrap();
    assert_eq!(reply, "a\nquit\n");
    assert!(matches!(client.ended(), Closing::ByServer));
}

#[test]
fn a_frame_that_drips_is_cut_off_after_its_time() {
    let (adapter, _frames) = recorder();
    let mut client = testing::connect(adapter.framed(Lines::default()).within(Duration::from_millis(300)));
    let dripping = std::time::Instant::now();
    while client.write_all(b"x").is_ok() && dripping.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let Closing::Failed(error) = client.ended() else { panic!("not Failed") };
    assert_eq!(error.downcast_ref(), Some(&FrameError::TooSlow));
}

#[test]
fn a_client_that_is_lost_within_a_frame_that_has_a_deadline_is_lost() {
    let (adapter, _frames) = recorder();
    let mut client = testing::connect(adapter.framed(Lines::default()).within(Duration::from_secs(60)));
    client.write_all(b"begun").unwrap();
    client.reset();
    let closing = client.ended();
    assert!(matches!(closing, Closing::Lost(_)), "{closing}");
}

#[test]
fn straight_line_code_switches_from_a_head_to_a_counted_body_to_raw_bytes() {
    struct Switching;
    impl Adapter for Switching {
        fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
            let mut lines = Lines::default();
            let head = input.frame(&mut lines)?.ok_or("no head")?.to_vec();
            let mut counted = LengthPrefixed::new(1, Endian::Big);
            let body = input.frame(&mut counted)?.ok_or("no body")?.to_vec();
            let mut rest = Vec::new();
            input.read_to_end(&mut rest)?;
            client.write_frame(&counted, [head, body, rest].join(&b'|'))?;
            Ok(())
        }
    }
    let stream = b"head\r\n\x04bodyraw\n\0bytes";
    for split in 1..stream.len() {
        let mut client = testing::connect(Switching);
        client.write_all(&stream[..split]).unwrap();
        client.write_all(&stream[split..]).unwrap();
        client.close_write();
        let mut reply = Vec::new();
        client.read_to_end(&mut reply).unwrap();
        assert_eq!(reply, b"\x14head|body|raw\n\0bytes", "split at {split}");
    }
}

#[test]
fn the_end_of_input_is_a_last_line_or_an_error_in_straight_line_code_too() {
    fn lines(client: &Client, input: &mut Input, mut framing: impl Framing) -> Result {
        while let Some(frame) = input.frame(&mut framing)? {
            let line = [frame, b"."].concat();
            client.write(line)?;
        }
        assert!(input.frame(&mut framing)?.is_none(), "the end stays");
        Ok(())
    }
    struct Pull<F>(F);
    impl<F: Framing + Clone> Adapter for Pull<F> {
        fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
            lines(client, input, self.0.clone())
        }
    }
    fn pull(framing: impl Framing + Clone, stream: &[u8]) -> (String, Closing) {
        let mut client = testing::connect(Pull(framing));
        // One that is over the limit is not read to its end.
        drop(client.write_all(stream));
        client.close_write();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        (said, client.finish())
    }
    let (said, closing) = pull(Lines::default(), b"one\r\n\nlast");
    assert_eq!(said, "one..last.");
    assert!(matches!(closing, Closing::ByPeer), "{closing}");

    let (said, closing) =
        pull(ContentLength::default(), b"Content-Length: 2\r\n\r\nhiContent-Length: 2\r\n\r\nh");
    assert_eq!(said, "hi.");
    let Closing::Failed(error) = closing else { panic!("{closing}") };
    assert_eq!(error.downcast_ref(), Some(&FrameError::Truncated));

    let (said, closing) = pull(Lines::with_limit(3), b"yes\nlong");
    assert_eq!(said, "yes.");
    let Closing::Failed(error) = closing else { panic!("{closing}") };
    assert_eq!(error.downcast_ref(), Some(&FrameError::TooLong { limit: 3 }));
}

#[test]
fn a_frame_larger_than_the_buffers_comes_whole() {
    struct Size;
    impl Adapter for Size {
        fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
            while let Some(frame) = input.frame(&mut LengthPrefixed::default())? {
                let sum: u64 = frame.iter().map(|byte| u64::from(*byte)).sum();
                client.write_line(format!("{} {sum}", frame.len()))?;
            }
            Ok(())
        }
    }
    let mut client = testing::connect(Size);
    let body: Vec<u8> = (0..700_000_u32).map(|i| i.to_le_bytes()[0]).collect();
    client.write_all(&700_000_u32.to_be_bytes()).unwrap();
    client.write_all(&body).unwrap();
    client.close_write();
    let mut reply = String::new();
    client.read_to_string(&mut reply).unwrap();
    let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
    assert_eq!(reply, format!("700000 {sum}\n"));
}

#[test]
fn a_framing_that_uses_no_bytes_is_an_error_and_not_a_loop() {
    struct Stuck;
    impl Framing for Stuck {
        fn decode(&mut self, _: &[u8]) -> Result<Option<backport::framing::Frame>> {
            Ok(Some(backport::framing::Frame::new(0..0, 0)))
        }
        fn encode(
            &self,
            _: &[u8],
            _: &mut dyn FnMut(&[&[u8]]) -> std::io::Result<()>,
        ) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut client = testing::connect(receiving(|_, _| Ok(())).framed(Stuck));
    client.write_all(b"x").unwrap();
    let Closing::Failed(error) = client.finish() else { panic!("not Failed") };
    let error: BoxError = error;
    assert!(matches!(error.downcast_ref(), Some(FrameError::Malformed(_))));
}
