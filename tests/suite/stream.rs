//! Input and client as one stream.

use std::io::{self, BufRead, Read, Write};
use std::time::{Duration, Instant};

use backport::testing::{self, Setup, TestClient};
use backport::{Adapter, Client, Closing, Input, Result};
use crossbeam_channel::{unbounded, Receiver};

use crate::support::next;

/// An adapter whose conversation is a function.
struct Talk<F>(F);

impl<F: FnMut(&Client, &mut Input) -> Result + Send + 'static> Adapter for Talk<F> {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        (self.0)(client, input)
    }
}

fn talk(f: impl FnMut(&Client, &mut Input) -> Result + Send + 'static) -> TestClient {
    testing::connect(Talk(f))
}

/// Stands for a library: a reader and a writer in one are all that it asks for.
fn ask(mut stream: impl BufRead + Write, question: &str) -> io::Result<String> {
    stream.write_all(question.as_bytes())?;
    stream.flush()?;
    let mut answer = String::new();
    stream.read_line(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_library_and_the_adapter_take_turns_without_losing_a_byte() {
    let mut client = talk(|client, input| {
        let mut first = [0; 2];
        input.read_exact(&mut first)?;
        // What was read ahead is in the stream; what the library leaves is in the input again.
        let answer = ask(input.stream(), "?")?;
        let mut rest = String::new();
        input.read_to_string(&mut rest)?;
        Ok(client.write(format!("{first:?} {answer:?} {rest:?}"))?)
    });
    client.write_all(b"abyes\nand ").unwrap();
    client.write_all(b"more").unwrap();
    client.close_write();
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert_eq!(said, r#"?[97, 98] "yes\n" "and more""#);
}

#[test]
fn the_peers_end_is_the_end_of_input_and_replies_still_arrive() {
    let mut client = talk(|_, input| {
        let mut stream = input.stream();
        let mut all = String::new();
        stream.read_to_string(&mut all)?;
        assert_eq!(stream.read(&mut [0; 4])?, 0);
        assert!(stream.fill_buf()?.is_empty());
        Ok(write!(stream, "{} bytes", all.len())?)
    });
    client.write_all(b"12345").unwrap();
    client.close_write();
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert_eq!(said, "5 bytes");
    assert!(matches!(client.finish(), Closing::ByPeer));
}

/// What the peer reads at a time.
fn pieces(client: &mut TestClient) -> Vec<String> {
    let mut buffer = [0; 100];
    let mut piece = || {
        let count = client.read(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    };
    std::iter::from_fn(|| Some(piece()).filter(|piece| !piece.is_empty())).collect()
}

#[test]
fn a_write_is_a_record_and_a_cork_gathers_them_until_a_flush() {
    let mut client = talk(|client, input| {
        let mut stream = input.stream();
        stream.write_all(b"one")?;
        let (start, end) = ("tw", 'o');
        write!(stream, "{start}{end}")?;
        stream.flush()?;
        let corked = client.cork();
        for part in ["three ", "and ", "four"] {
            stream.write_all(part.as_bytes())?;
        }
        stream.flush()?;
        stream.write_all(b"fi")?;
        stream.write_all(b"ve")?;
        drop(corked);
        Ok(())
    });
    assert_eq!(pieces(&mut client), ["one", "two", "three and four", "five"]);
}

#[test]
fn flush_waits_for_what_was_posted() {
    let (sender, told) = unbounded();
    let mut client = Setup::new().window(10).connect(Talk(move |client: &Client, input: &mut Input| {
        client.post([b'x'; 1000])?;
        assert!(client.stats().backlog > 0);
        sender.send(())?;
        input.stream().flush()?;
        assert_eq!(client.stats().backlog, 0);
        Ok(())
    }));
    next(&told);
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(all, [b'x'; 1000]);
    assert!(matches!(client.ended(), Closing::ByServer));
}

#[test]
fn a_deadline_interrupts_a_read_and_loses_nothing() {
    let (sender, told) = unbounded();
    let mut client = talk(move |_, input| {
        let mut stream = input.stream();
        let mut line = Vec::new();
        stream.input().set_deadline(Some(Instant::now() + Duration::from_millis(50)));
        let error = stream.read_until(b'\n', &mut line).unwrap_err();
        sender.send(error.kind())?;
        assert!(!stream.client().is_closed());
        stream.input().set_deadline(None);
        stream.read_until(b'\n', &mut line)?;
        Ok(stream.write_all(&line)?)
    });
    client.write_all(b"half ").unwrap();
    assert_eq!(next(&told), io::ErrorKind::TimedOut);
    client.write_all(b"whole\n").unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert_eq!(said, "half whole\n");
}

/// A peer of an adapter that reads its stream until that fails, and passes the error on.
fn reader() -> (TestClient, Receiver<(io::ErrorKind, Option<io::ErrorKind>)>) {
    let (sender, told) = unbounded();
    let mut client = talk(move |_, input| {
        let mut stream = input.stream();
        stream.write_all(b"ready")?;
        let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
        let of_write = stream.write_all(b"late").err();
        assert_eq!(stream.fill_buf().unwrap_err().kind(), error.kind());
        stream.flush()?; // Nothing waits for it.
        sender.send((error.kind(), of_write.map(|error| error.kind())))?;
        Err(error.into())
    });
    client.read_exact(&mut [0; 5]).unwrap();
    client.write_all(b"half a mess").unwrap();
    (client, told)
}

#[test]
fn an_end_from_this_side_is_an_error_whose_reason_closing_learns() {
    let (client, told) = reader();
    client.server().clients().iter().for_each(Client::close);
    assert_eq!(next(&told), (io::ErrorKind::ConnectionAborted, Some(io::ErrorKind::BrokenPipe)));
    assert!(matches!(client.ended(), Closing::ByServer));

    let (client, told) = reader();
    client.server().stop();
    // After a stop, an answer can still be written.
    assert_eq!(next(&told), (io::ErrorKind::ConnectionAborted, None));
    assert!(matches!(client.ended(), Closing::Stopping));
}
