//! Input, as conversations and callbacks see it.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use backport::{Adapter, Client, Input, Result};
use crossbeam_channel::unbounded;
use parking_lot::Mutex;

use crate::support::{assert_same, next, nothing, pattern, serve, serve_with, Served, Watch};

/// An adapter from a conversation.
struct Talk<F>(F);

impl<F: FnMut(&Client, &mut Input) -> Result + Send + 'static> Adapter for Talk<F> {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        (self.0)(client, input)
    }
}

fn talk<F: Fn(&Client, &mut Input) -> Result + Send + Sync + 'static>(f: F) -> (Served, Watch) {
    let (watch, f) = (Watch::new(), Arc::new(f));
    let watched = watch.clone();
    let served = serve(move || {
        let f = f.clone();
        watched.around_serving(Talk(move |client: &Client, input: &mut Input| f(client, input)))
    });
    (served, watch)
}

#[test]
fn lines_come_byte_for_byte() {
    let (served, _watch) = talk(|client, input| {
        let mut line = Vec::new();
        while input.read_until(b'\n', &mut line)? > 0 {
            client.write_line(format!("{line:?}"))?;
            line.clear();
        }
        Ok(())
    });
    let peer = served.connect();
    peer.send(b"plain\n\0\xff\n\rlone\r\n\nlast");
    peer.half_close();
    for line in [&b"plain\n"[..], b"\0\xff\n", b"\rlone\r\n", b"\n", b"last"] {
        assert_eq!(peer.read_line(), format!("{line:?}"));
    }
    assert_eq!(peer.read_to_end(), b"");
}

#[test]
fn reads_of_every_kind_mix() {
    let (served, _watch) = talk(|client, input| {
        let mut header = [0; 4];
        input.read_exact(&mut header)?;
        let mut body = vec![0; usize::from(header[3])];
        input.read_exact(&mut body)?;
        let mut line = String::new();
        input.read_line(&mut line)?;
        let rest = input.chunk()?.unwrap_or_default().to_vec();
        client.write(format!("{header:?} {} {line:?} {rest:?}", body.len()))?;
        let lines: Vec<String> = input.lines().collect::<io::Result<_>>()?;
        client.write(format!(" {lines:?}"))?;
        Ok(())
    });
    let peer = served.connect();
    peer.send([0, 0, 0, 100]);
    peer.send(vec![7; 100]);
    peer.send(b"a line\n!");
    let said = b"[0, 0, 0, 100] 100 \"a line\\n\" [33]";
    assert_eq!(peer.read(said.len()), said);
    peer.send(b"one\r\ntwo");
    peer.half_close();
    assert_eq!(peer.read_to_end(), br#" ["one", "two"]"#);
}

#[test]
fn read_exact_past_the_end_is_a_loss_of_the_peer() {
    let (served, watch) = talk(|_, input| Ok(input.read_exact(&mut [0; 10])?));
    let peer = served.connect();
    peer.send(b"short");
    peer.half_close();
    assert_eq!(next(&watch.closed), "Lost");
    watch.assert_settled(&served);
}

#[test]
fn the_end_of_input_stays() {
    let (served, watch) = talk(|client, input| {
        assert!(input.chunk()?.is_some());
        assert!(input.chunk()?.is_none());
        assert!(input.chunk()?.is_none());
        assert_eq!(input.read(&mut [0; 8])?, 0);
        assert!(input.fill_buf()?.is_empty());
        Ok(client.write("ended")?)
    });
    let peer = served.connect();
    peer.send(b"x");
    peer.half_close();
    assert_eq!(peer.read_to_end(), b"ended");
    assert_eq!(next(&watch.closed), "ByPeer");
}

#[test]
fn a_close_from_another_thread_never_makes_half_a_message_look_whole() {
    // At once, and after long enough for the reader to park.
    for wait in [0, 300] {
        let (sender, ended) = unbounded();
        let (begun, begins) = unbounded();
        let (served, watch) = talk(move |client, input| {
            begun.send(client.clone())?;
            let error = input.read_to_end(&mut Vec::new()).unwrap_err();
            sender.send(error.kind())?;
            Err(error.into())
        });
        let peer = served.connect();
        let client = next(&begins);
        thread::sleep(Duration::from_millis(wait));
        client.close();
        assert_eq!(next(&ended), io::ErrorKind::ConnectionAborted);
        assert_eq!(peer.read_to_end(), b"");
        assert_eq!(next(&watch.closed), "ByServer");
    }
}

#[test]
fn what_was_read_and_not_consumed_is_gone_after_a_close() {
    let (served, watch) = talk(|client, input| {
        let mut line = String::new();
        input.read_line(&mut line)?;
        assert_eq!(line, "first\n");
        client.close();
        let error = input.read_line(&mut line).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        Ok(())
    });
    let peer = served.connect();
    peer.send(b"first\nsecond\nthird\n");
    assert_eq!(peer.read_to_end(), b"");
    assert_eq!(next(&watch.closed), "ByServer");
}

#[test]
fn a_reset_while_reading_is_an_error_and_a_loss() {
    let (sender, told) = unbounded();
    let (served, watch) = talk(move |client, input| {
        client.write("ready")?;
        let error = input.chunk().unwrap_err();
        sender.send(error.kind())?;
        Err(error.into())
    });
    let peer = served.connect();
    // Unread data is a reset over a Unix socket, too.
    assert_eq!(peer.read(4), b"read");
    peer.reset();
    assert_eq!(next(&told), io::ErrorKind::ConnectionReset);
    assert_eq!(next(&watch.closed), "Lost");
}

#[test]
fn the_idle_timeout_ends_a_read_with_timed_out() {
    let (sender, told) = unbounded();
    let watch = Watch::new();
    let watched = watch.clone();
    let factory = move || {
        let sender = sender.clone();
        watched.around_serving(Talk(move |_: &Client, input: &mut Input| {
            let error = input.chunk().unwrap_err();
            sender.send((error.kind(), error.to_string()))?;
            Err(error.into())
        }))
    };
    let served = serve_with(factory, |server| server.idle_timeout(Duration::from_millis(300)));
    let peer = served.connect();
    let (kind, said) = next(&told);
    assert_eq!(kind, io::ErrorKind::TimedOut);
    assert!(said.contains("idle_timeout"), "{said}");
    assert_eq!(next(&watch.closed), "Idle");
    assert_eq!(peer.read_to_end(), b"");
}

/// As one that sends pings does, or looks at its clock.
#[test]
fn the_idle_timeout_ends_a_client_whose_reads_have_shorter_deadlines() {
    let watch = Watch::new();
    let watched = watch.clone();
    let factory = move || {
        watched.around_serving(Talk(|client: &Client, input: &mut Input| loop {
            input.set_deadline(Some(Instant::now() + Duration::from_millis(50)));
            match input.chunk() {
                Ok(None) => return Ok(()),
                Ok(Some(chunk)) => client.write(chunk)?,
                Err(error) if error.kind() == io::ErrorKind::TimedOut && !client.is_closed() => {}
                Err(error) => return Err(error.into()),
            }
        }))
    };
    let served = serve_with(factory, |server| server.idle_timeout(Duration::from_millis(500)));
    let peer = served.connect();
    // What comes in time begins the wait anew.
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(200));
        peer.assert_echo(b"still there");
    }
    assert_eq!(next(&watch.closed), "Idle");
    assert_eq!(peer.read_to_end(), b"");
}

#[test]
fn one_byte_every_ten_milliseconds_comes_through() {
    let (sender, received) = unbounded();
    let served = serve(move || {
        let sender = sender.clone();
        backport::receiving(move |_, data| Ok(sender.send(data.to_vec())?))
    });
    let peer = served.connect();
    for byte in 0..50 {
        peer.send([byte]);
        thread::sleep(Duration::from_millis(10));
    }
    let mut all = Vec::new();
    while all.len() < 50 {
        all.extend(next(&received));
    }
    assert_eq!(all, (0..50).collect::<Vec<u8>>());
}

#[test]
fn a_burst_of_eight_megabytes_is_intact_and_in_chunks_of_bounded_size() {
    const BURST: usize = 8 << 20;
    let got = Arc::new(Mutex::new(Vec::new()));
    let (sender, complete) = unbounded();
    let filling = got.clone();
    let served = serve(move || {
        let (got, sender) = (filling.clone(), sender.clone());
        backport::receiving(move |_, data| {
            assert!(!data.is_empty() && data.len() <= 64 * 1024);
            let mut got = got.lock();
            got.extend_from_slice(data);
            if got.len() == BURST {
                sender.send(())?;
            }
            Ok(())
        })
    });
    let peer = served.connect();
    peer.send(pattern(BURST));
    next(&complete);
    nothing(&complete);
    assert_same(&got.lock(), &pattern(BURST));
}

#[test]
fn bursts_and_trickles_in_turn_lose_nothing() {
    let served = serve(|| crate::support::Echo);
    let peer = served.connect();
    for size in [1, 2047, 2048, 2049, 60_000, 65_536, 65_537] {
        peer.assert_echo(&pattern(size));
        // Long enough for the large buffer to be given back.
        thread::sleep(Duration::from_millis(120));
        for _ in 0..70 {
            peer.assert_echo(b"small");
        }
    }
}
