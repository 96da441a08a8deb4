//! Frames: what each framing says of its bytes, its limits, and the ends of streams.

use std::io::{Read, Write};
use std::time::Duration;

use backport::framing::{ContentLength, Delimited, Endian, FrameError, Framing, LengthPrefixed, Lines};
use backport::{receiving, testing, Adapter, BoxError, Client, Closing, Input, Result};
use crossbeam_channel::{unbounded, Receiver};

use crate::framings::drive::as_framed;
use crate::framings::wire::{Ends, Wire};
use crate::support::next;

#[test]
fn a_line_of_exactly_the_limit_is_whole_and_one_more_is_too_long() {
    let wire = Wire::Lines { ends: Ends::Lf, limit: 10 };
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
    assert_eq!(decode(b"Content-Length: 99999999999999999999999\r\n\r\n"), refused(too_long.clone()));
    // Both over what an integer holds: found by fuzzing.
    let two = b"Content-Length: 99999999999999999998\r\nContent-Length: 99999999999999999999\r\n\r\n";
    assert_eq!(decode(two), refused(too_long));
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
    refused(&Lines::default().carriage_returns(), b"cr\rin the middle");
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
    assert_eq!(written(Lines::default().carriage_returns()), b"hi\n");
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
    for (error, text) in [
        (
            FrameError::TooLong { limit: 70 },
            "a frame is longer than the framing's limit of 70 bytes (the framing's `limit`, `with_limit` or \
             `header_limit` raises it)",
        ),
        (FrameError::Truncated, "the input ended within a frame"),
        (FrameError::TooSlow, "a frame took too long to arrive (`Framed::within` sets how long it may take)"),
        (FrameError::Malformed("no colon".to_owned()), "malformed frame: no colon"),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

/// The error of a framing, and after how many bytes it comes. The bytes come one by one.
fn first_error(mut framing: impl Framing, stream: &[u8]) -> Option<(usize, BoxError)> {
    let mut start = 0;
    for end in 1..=stream.len() {
        match framing.decode(&stream[start..end]) {
            Ok(frame) => start += frame.map_or(0, |frame| frame.used),
            Err(error) => {
                let again = framing.decode(&stream[start..end]).unwrap_err();
                assert_eq!(again.to_string(), error.to_string(), "the same bytes are the same error");
                return Some((end, error));
            }
        }
    }
    None
}

/// Bytes that are no header, how many of them show it, and what is said of them if they come at once.
const NO_HEADERS: [(&str, usize, &str); 24] = [
    (
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{}}\n",
        1,
        "expected a header such as `Content-Length: 12`, found `{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initia…`; \
         is the client sending newline-delimited JSON?",
    ),
    (
        "[{}]\n",
        1,
        "expected a header such as `Content-Length: 12`, found `[{}]`; is the client sending newline-delimited JSON?",
    ),
    ("Content-Length: 2\n\nhi", 18, "a header line must end in CR LF, found LF alone after `Content-Length: 2`"),
    ("X: y\nContent-Length: 2\n\n", 5, "a header line must end in CR LF, found LF alone after `X: y`"),
    ("X:\n", 3, "a header line must end in CR LF, found LF alone after `X:`"),
    (
        "Content-Length: 2\r\n\nhi",
        20,
        "a header line must end in CR LF, found an empty line that ends in LF alone",
    ),
    (
        "Content-Length: 2\r\r\n\r\r\nhi",
        19,
        "a header line must end in CR LF, found CR and `\\r` after `Content-Length: 2`",
    ),
    ("Content-Length: 2\r\n\rhi", 21, "a header line must end in CR LF, found CR and `h` after ``"),
    ("no colon\r\n", 3, "expected a header such as `Content-Length: 12`, found `no colon`"),
    ("Content-Length\r\n", 15, "expected a header such as `Content-Length: 12`, found `Content-Length`"),
    ("hello\n", 6, "expected a header such as `Content-Length: 12`, found `hello`"),
    ("\0", 1, "expected a header such as `Content-Length: 12`, found `\\x00`"),
    ("\n", 1, "expected a header such as `Content-Length: 12`, found `\\n`"),
    ("\r\nContent-Length: 2\r\n", 1, "expected a header such as `Content-Length: 12`, found `\\r\\n`"),
    (": 2\r\n", 1, "expected a header such as `Content-Length: 12`, found `: 2`"),
    ("GET / HTTP/1.1\r\n", 4, "expected a header such as `Content-Length: 12`, found `GET / HTTP/1.1`"),
    ("\u{feff}Content-Length: 2", 1, "expected a header such as `Content-Length: 12`, found `\\xef\\xbb\\xbfContent-Length: 2`"),
    ("Content-Length : 2\r\n", 15, "expected a header such as `Content-Length: 12`, found `Content-Length : 2`"),
    ("X: a\r\n folded\r\n", 7, "expected a header such as `Content-Length: 12`, found ` folded`"),
    ("X: a\0b", 5, "a header cannot contain the byte `\\x00`, found after `X: a`"),
    ("Content-Length: -1\r\n", 17, "expected a Content-Length in digits, found `Content-Length: -`"),
    ("content-length:\r\n", 16, "expected a Content-Length in digits, found `content-length:\\r`"),
    (
        "Content-Length: 12\r\nContent-Length: 0013\r\n",
        40,
        "expected Content-Length 12 again, found `Content-Length: 0013`",
    ),
    ("X: a\r\nY: b\r\n\r\n", 13, "expected the header `Content-Length`, found only `X: a\\r\\nY: b`"),
];

#[test]
fn bytes_that_are_no_header_fail_at_the_first_of_them_and_are_shown() {
    for (stream, shown_by, message) in NO_HEADERS {
        let (at, error) = first_error(ContentLength::default(), stream.as_bytes()).expect(stream);
        assert_eq!(at, shown_by, "{stream:?}: {error}");
        assert!(matches!(error.downcast_ref(), Some(FrameError::Malformed(_))), "{stream:?}: {error}");
        // In any split, the kind of error is the same, and the beginning of its text.
        for cut in 1..stream.len() {
            let mut framing = ContentLength::default();
            let error = framing.decode(&stream.as_bytes()[..cut]).err();
            assert_eq!(error.is_some(), cut >= shown_by, "{stream:?} cut at {cut}");
            let error = error.or_else(|| framing.decode(stream.as_bytes()).err()).expect(stream);
            assert!(matches!(error.downcast_ref(), Some(FrameError::Malformed(_))), "{stream:?}: {error}");
        }
        let error = ContentLength::default().decode(stream.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), format!("malformed frame: {message}"));
    }
}

#[test]
fn a_client_that_sends_no_header_is_answered_while_it_waits() {
    struct Says;
    impl Adapter for Says {
        fn closing(&mut self, client: &Client, reason: &Closing) {
            client.write_line(reason.to_string()).unwrap();
        }
    }
    for (stream, _, message) in NO_HEADERS {
        let mut client = testing::connect(Says.framed(ContentLength::default()));
        client.write_all(stream.as_bytes()).unwrap();
        // The client does not end its output.
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        // A reason is escaped like everything in the log.
        let message = message.replace('\\', "\\\\");
        assert!(answer.contains(&message), "{stream:?}: {answer}");
    }
}

#[test]
fn a_frame_over_its_limit_fails_as_soon_as_that_is_certain() {
    let fails = |framing: Box<dyn Framing>, stream: &[u8], after: usize, limit: usize| {
        let (at, error) = first_error(framing, stream).expect("over the limit");
        assert_eq!(error.downcast_ref(), Some(&FrameError::TooLong { limit }), "{error}");
        assert_eq!(at, after, "{}", stream.escape_ascii());
    };
    fails(Box::new(Lines::with_limit(3)), b"abcd\n", 4, 3);
    fails(Box::new(Lines::with_limit(3)), b"abc\rx", 5, 3);
    fails(Box::new(Lines::with_limit(3).carriage_returns()), b"abcd\r", 4, 3);
    fails(Box::new(Delimited::new("--").limit(3)), b"abcd--", 4, 3);
    fails(Box::new(Delimited::new("--").limit(3)), b"abc-x", 5, 3);
    fails(Box::new(Delimited::new("abcab").limit(3)), b"xyabcaX", 7, 3);
    // Text for a server with binary lengths.
    fails(Box::<LengthPrefixed>::default(), b"hi\n", 1, 1024 * 1024);
    fails(Box::new(LengthPrefixed::default().limit(255)), b"\0\0\x01\0", 3, 255);
    fails(Box::new(LengthPrefixed::new(4, Endian::Little).limit(255)), b"\xff\x01", 2, 255);
    fails(Box::new(LengthPrefixed::new(8, Endian::Big).limit(usize::MAX)), &[0xff; 8], 8, usize::MAX);
    fails(Box::new(ContentLength::with_limit(10)), b"Content-Length: 00110", 20, 10);
    let most = ContentLength::with_limit(usize::MAX);
    fails(Box::new(most), b"Content-Length: 99999999999999999999999", 36, usize::MAX);
    // A name needs a colon and two line ends after it, a value only the line ends.
    fails(Box::new(ContentLength::default().header_limit(40)), &[b'x'; 99], 36, 40);
    let value = [b"X:", &[b'x'; 99][..]].concat();
    fails(Box::new(ContentLength::default().header_limit(40)), &value, 37, 40);
}

#[test]
fn the_default_limit_of_a_header_is_8_kib_and_can_be_raised() {
    let head = [b"Content-Length: 2\r\nX: ", &[b'x'; 8 * 1024][..], b"\r\n\r\nhi"].concat();
    let (at, error) = first_error(ContentLength::default(), &head).expect("over the limit");
    assert_eq!(error.downcast_ref(), Some(&FrameError::TooLong { limit: 8 * 1024 }));
    assert_eq!(at, 8 * 1024 - 3, "four bytes are still to come");
    let mut raised = ContentLength::default().header_limit(head.len() - 2);
    assert_eq!(raised.decode(&head).unwrap().unwrap().used, head.len());
}

#[test]
fn half_a_frame_at_the_end_of_input_is_an_error_in_every_framing() {
    let framings: [(Box<dyn Framing>, &[u8]); 8] = [
        (Box::new(Delimited::new("--")), b"abc"),
        (Box::new(Delimited::new("--")), b"-"),
        (Box::new(LengthPrefixed::default()), b"\0\0"),
        (Box::new(LengthPrefixed::default()), b"\0\0\0\x02h"),
        (Box::new(ContentLength::default()), b"Content-"),
        (Box::new(ContentLength::default()), b"Content-Length: 2\r\n\r"),
        (Box::new(ContentLength::default()), b"Content-Length: 2\r\n\r\n"),
        (Box::new(ContentLength::default()), b"Content-Length: 2\r\n\r\nh"),
    ];
    for (mut framing, half) in framings {
        assert_eq!(framing.decode(half).unwrap(), None);
        let error = framing.decode_end(half).unwrap_err();
        assert_eq!(error.to_string(), "the input ended within a frame");
    }
}

#[test]
fn lines_end_in_cr_and_cr_nul_on_request_in_any_split() {
    let stream = b"lf\ncrlf\r\ncr\rnul\r\0\0x\r\r\n\n\rlast";
    let lines = ["lf", "crlf", "cr", "nul", "\0x", "", "", "", "last"].map(|line| line.as_bytes().to_vec());
    for ends in [Ends::CrOrLf, Ends::CrOrCrlf] {
        for cut in 1..=stream.len() {
            let got = as_framed(&Wire::Lines { ends, limit: 10 }, stream, &[cut, 1]);
            assert_eq!(got, (lines.to_vec(), None), "cut at {cut}");
        }
    }
    let off = as_framed(&Wire::Lines { ends: Ends::Lf, limit: 99 }, b"a\rb\r\0c\n", &[2]);
    assert_eq!(off, (vec![b"a\rb\r\0c".to_vec()], None), "by default CR is a byte like others");
}

#[test]
fn a_line_is_handed_over_at_its_cr_and_the_rest_of_its_end_begins_no_line() {
    let (adapter, lines) = recorder();
    let mut client = testing::connect(adapter.framed(Lines::default().carriage_returns()));
    for end in ["", "\n", "\0"] {
        client.write_all(b"line\r").unwrap();
        assert_eq!(next(&lines), "line");
        client.write_all(end.as_bytes()).unwrap();
    }
    client.write_all(b"last").unwrap();
    assert!(matches!(client.finish(), Closing::ByPeer));
    assert_eq!(lines.try_iter().collect::<Vec<_>>(), ["last"]);
}

#[test]
fn the_lf_after_a_last_cr_is_no_line_in_straight_line_code() {
    struct Counts;
    impl Adapter for Counts {
        fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
            let mut lines = Lines::default().carriage_returns();
            while let Some(line) = input.frame(&mut lines)? {
                let line = [line, b"."].concat();
                client.write(line)?;
            }
            assert!(input.frame(&mut lines)?.is_none(), "the end stays");
            Ok(())
        }
    }
    for pieces in [["one\rtwo\r", "\n"], ["one\rtwo\r\n", ""], ["one\r", "\ntwo"]] {
        let mut client = testing::connect(Counts);
        for piece in pieces {
            client.write_all(piece.as_bytes()).unwrap();
        }
        client.close_write();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert_eq!(said, "one.two.", "{pieces:?}");
        assert!(matches!(client.finish(), Closing::ByPeer));
    }
}

#[test]
fn a_framing_without_encode_refuses_to_write_and_says_so() {
    struct Quads;
    impl Framing for Quads {
        fn decode(&mut self, input: &[u8]) -> Result<Option<backport::framing::Frame>> {
            Ok((input.len() >= 4).then(|| backport::framing::Frame::new(0..4, 4)))
        }
    }
    let (sender, errors) = unbounded();
    let adapter = receiving(move |client, quad| {
        let error = client.write_frame(&Quads, quad).expect_err("it cannot be written");
        sender.send((error.kind(), error.to_string()))?;
        Ok(client.write_line("still open")?)
    });
    let boxed: Box<dyn Framing> = Box::new(Quads);
    let mut client = testing::connect(adapter.framed(boxed));
    client.write_all(b"abcd").unwrap();
    let (kind, message) = next(&errors);
    assert_eq!(kind, std::io::ErrorKind::Unsupported);
    assert_eq!(message, "this framing does not write frames, because it has no `encode`");
    client.close_write();
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert_eq!(said, "still open\n");
}

#[test]
fn a_timeout_of_the_adapters_own_code_is_not_a_slow_frame() {
    let adapter = receiving(|_, _| {
        // Longer than a frame may take.
        std::thread::sleep(Duration::from_millis(50));
        Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "the database has not answered").into())
    });
    let mut client = testing::connect(adapter.framed(Lines::default()).within(Duration::from_millis(20)));
    client.write_all(b"query\nbegun").unwrap();
    let Closing::Failed(error) = client.ended() else { panic!("not Failed") };
    assert_eq!(error.to_string(), "the database has not answered");
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
