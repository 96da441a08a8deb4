//! [`Framed`]: an adapter that cuts the input into frames and passes each frame to another adapter.
//!
//! All state that is kept from one chunk to the next is a field of [`Framed`]. Therefore the chunks of one
//! client may come on different threads. The session owns the adapter and drops it after `closing`.

use std::fmt;
use std::time::{Duration, Instant};

use crate::adapter::Adapter;
use crate::client::Client;
use crate::closing::Closing;
use crate::error::{is_deadline, Result};
use crate::frame::{FrameError, Framing};
use crate::input::Input;

/// An adapter whose `receiving` gets one frame per call. [`Adapter::framed`] returns it.
///
/// An error of the framing ends the connection in the same way as an error of the adapter
/// ([`Closing::Failed`]). In `closing`, `error.downcast_ref::<FrameError>()` recognizes such an error, and a
/// last answer may still be written. The limit of the framing also limits the memory that one client can use.
pub struct Framed<A, F> {
    adapter: A,
    framing: F,
    /// The beginning of a frame that has not arrived completely.
    partial: Vec<u8>,
    /// When that frame must be complete. `None` if there is no partial frame or no time limit.
    deadline: Option<Instant>,
    gather: bool,
    within: Option<Duration>,
}

/// How much memory the buffer of partial frames may keep while it is empty.
const KEPT: usize = 4 * 1024;

impl<A: Adapter, F: Framing> Framed<A, F> {
    pub(crate) fn new(adapter: A, framing: F) -> Framed<A, F> {
        Framed { adapter, framing, partial: Vec::new(), deadline: None, gather: false, within: None }
    }

    /// Gathers the output while the frames of one chunk are handled, and sends it in one piece after the last
    /// frame.
    ///
    /// It puts a [`Client::cork`] around each chunk. If clients send many requests at once, this saves most
    /// of the CPU time. A client that waits for each reply gets the reply as soon as without gathering.
    ///
    /// A frame that takes long delays the replies to the frames before it. Therefore use this only if all
    /// frames are answered quickly. Default: off.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use backport::framing::Lines;
    /// use backport::{receiving, testing, Adapter};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let echo = receiving(|client, line| Ok(client.write_line(line)?));
    /// let mut client = testing::connect(echo.framed(Lines::default()).gathering());
    /// client.write_all(b"one\ntwo\nthree\n")?;
    /// let mut reply = [0; 100];
    /// let count = client.read(&mut reply)?; // one read gets all replies
    /// assert_eq!(&reply[..count], b"one\ntwo\nthree\n");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn gathering(self) -> Framed<A, F> {
        Framed { gather: true, ..self }
    }

    /// Sets how long one frame may take from its first byte to its last. Default: no limit.
    ///
    /// If a frame takes longer, the connection ends with [`FrameError::TooSlow`], even if single bytes keep
    /// arriving. The time in which `receiving` runs does not count. Other timeouts, such as the idle timeout
    /// and timeouts in the adapter's own code, keep their own errors.
    #[must_use]
    pub fn within(self, limit: Duration) -> Framed<A, F> {
        Framed { within: Some(limit), ..self }
    }

    /// Passes on the complete frames at the start of `data`. Returns how many bytes they take.
    fn deliver(&mut self, client: &Client, data: &[u8]) -> Result<usize> {
        let _corked = self.gather.then(|| client.cork());
        let mut used = 0;
        while used < data.len() {
            let rest = &data[used..];
            let Some(frame) = self.framing.decode(rest)? else { break };
            let frame = frame.check(rest.len())?;
            // Checked after the decoding, because no `receiving` may start after a close.
            if client.is_input_ended() {
                return Ok(data.len());
            }
            // Commands in plain text after the frame must not count as if they came through TLS.
            #[cfg(feature = "tls")]
            client.set_unread(rest.len() - frame.used);
            self.adapter.receiving(client, &rest[frame.payload])?;
            used += frame.used;
        }
        Ok(used)
    }

    /// Passes on the last frame if the framing accepts the remaining bytes as a frame. Called after the last
    /// chunk, when the peer has ended its output.
    fn end_of_input(&mut self, client: &Client) -> Result {
        if client.is_input_ended() {
            return Ok(());
        }
        let partial = std::mem::take(&mut self.partial);
        self.deadline = None;
        let Some(frame) = self.framing.decode_end(&partial)? else { return Ok(()) };
        let frame = frame.check(partial.len())?;
        // Checked again, because `decode_end` may take a while.
        if client.is_input_ended() {
            return Ok(());
        }
        self.adapter.receiving(client, &partial[frame.payload])
    }

    /// Returns the deadline of the partial frame. If the last chunk has completed a frame (`delivered`), the
    /// partial frame began with that chunk and gets a new deadline.
    fn next_deadline(&self, delivered: bool) -> Option<Instant> {
        let limit = self.within?;
        if !self.framing.begins_frame(&self.partial) {
            None
        } else if delivered || self.deadline.is_none() {
            Instant::now().checked_add(limit)
        } else {
            self.deadline
        }
    }
}

impl<A: Adapter, F: Framing> Adapter for Framed<A, F> {
    fn opening(&mut self, client: &Client) -> Result {
        self.adapter.opening(client)
    }

    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        let used = if self.partial.is_empty() {
            let used = self.deliver(client, data)?;
            self.partial.extend_from_slice(&data[used..]);
            used
        } else {
            let mut partial = std::mem::take(&mut self.partial);
            partial.extend_from_slice(data);
            let used = self.deliver(client, &partial)?;
            partial.drain(..used);
            self.partial = without_excess(partial);
            used
        };
        self.deadline = self.next_deadline(used > 0);
        Ok(())
    }

    fn closing(&mut self, client: &Client, reason: &Closing) {
        self.adapter.closing(client, reason);
    }

    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        loop {
            if self.within.is_some() {
                input.set_deadline(self.deadline);
            }
            match input.chunk_or_pause::<Self>() {
                Ok(Some(data)) => self.receiving(client, data)?,
                Ok(None) => break,
                Err(error) if is_deadline(&error) => return Err(FrameError::TooSlow.into()),
                Err(error) => return Err(error.into()),
            }
        }
        // If this is not the end of input, a close has ended the loop, and the partial frame is dropped.
        if input.is_at_end() {
            self.end_of_input(client)
        } else {
            Ok(())
        }
    }
}

/// Frees the memory of a long frame when the frame is complete.
fn without_excess(partial: Vec<u8>) -> Vec<u8> {
    if partial.is_empty() && partial.capacity() > KEPT {
        Vec::new()
    } else {
        partial
    }
}

impl<A, F: fmt::Debug> fmt::Debug for Framed<A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framed").field("framing", &self.framing).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, IoSlice};
    use std::sync::{mpsc, Arc};
    use std::thread;

    use super::*;
    use crate::adapter::receiving;
    use crate::client::id::ClientId;
    use crate::client::state::ClientContext;
    use crate::frame::lines::Lines;
    use crate::input::Paused;
    use crate::limits::Limits;
    use crate::reactor::Waited;
    use crate::remote::Remote;
    use crate::threads::MachineThreads;
    use crate::transport::memory::{MemoryTransport, Pipe};
    use crate::transport::{Grace, Received, Transport};

    const LONG: Duration = Duration::from_secs(60);

    /// A client without a session, its input, and the pipe that feeds the input.
    struct Connection {
        client: Client,
        input: Input,
        inward: Arc<Pipe>,
    }

    impl Connection {
        /// Reads fail after ten seconds, so a test of a lost deadline fails and does not hang.
        fn new() -> Connection {
            let inward = Pipe::new(1024);
            let transport = Arc::new(MemoryTransport {
                inward: Arc::clone(&inward),
                outward: Pipe::new(1024),
                flush: Arc::default(),
            });
            let limits = Arc::new(Limits::default());
            limits.set_idle_timeout(Some(Duration::from_secs(10)));
            let context = ClientContext { limits, ..ClientContext::for_tests(MachineThreads::new()) };
            let client = Client::new(ClientId::next(), transport.clone(), Remote::Memory, Arc::new(context));
            let input = Paused::new(client.clone(), transport).for_tests();
            Connection { client, input, inward }
        }

        fn send(&self, data: &[u8]) {
            let count = self.inward.write(&[IoSlice::new(data)], Instant::now() + LONG);
            assert_eq!(count.expect("the pipe has room"), data.len());
        }
    }

    /// An adapter of lines, and the lines that it got.
    fn recorder() -> (Framed<impl Adapter, Lines>, mpsc::Receiver<String>) {
        let (lines, received) = mpsc::channel();
        let adapter = receiving(move |_, line| Ok(lines.send(String::from_utf8_lossy(line).into_owned())?));
        (adapter.framed(Lines::default()), received)
    }

    /// Runs `f` on another thread.
    fn elsewhere<T: Send>(f: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| scope.spawn(f).join().expect("it does not panic"))
    }

    #[test]
    fn frames_and_their_rests_survive_a_change_of_the_thread() {
        let mut connection = Connection::new();
        let Connection { client, .. } = &connection;
        let (mut framed, lines) = recorder();
        for chunk in ["on", "e\ntw", "o\nthree\nfo"] {
            elsewhere(|| framed.receiving(client, chunk.as_bytes())).expect("these are lines");
        }
        connection.send(b"ur\nla");
        connection.send(b"st");
        connection.inward.end();
        let Connection { client, input, .. } = &mut connection;
        elsewhere(|| framed.serving(client, input)).expect("these are lines");
        drop(framed);
        assert_eq!(lines.iter().collect::<Vec<_>>(), ["one", "two", "three", "four", "last"]);
    }

    #[test]
    fn the_end_of_input_hands_over_the_last_frame_without_serving() {
        let connection = Connection::new();
        let (mut framed, lines) = recorder();
        framed.receiving(&connection.client, b"whole\nlast").expect("these are lines");
        elsewhere(|| framed.end_of_input(&connection.client)).expect("a last line needs no end");
        drop(framed);
        assert_eq!(lines.iter().collect::<Vec<_>>(), ["whole", "last"]);
    }

    #[test]
    fn the_end_of_input_hands_over_nothing_after_a_close() {
        let connection = Connection::new();
        let (mut framed, lines) = recorder();
        framed.receiving(&connection.client, b"last").expect("this is a line");
        connection.client.close();
        framed.end_of_input(&connection.client).expect("there is nothing to do");
        drop(framed);
        assert_eq!(lines.iter().count(), 0);
    }

    #[test]
    fn a_frame_that_began_on_one_thread_is_too_slow_on_the_next() {
        let mut connection = Connection::new();
        let (framed, _lines) = recorder();
        let mut framed = framed.within(Duration::from_millis(20));
        framed.receiving(&connection.client, b"begun").expect("a line may begin so");
        let Connection { client, input, .. } = &mut connection;
        let error = elsewhere(|| framed.serving(client, input)).expect_err("nothing follows in time");
        assert_eq!(error.downcast_ref(), Some(&FrameError::TooSlow), "{error}");
    }

    /// A transport whose only read takes longer than all time limits, and ends like this.
    struct Late(Result<Received, io::ErrorKind>);

    impl Transport for Late {
        fn read(&self, _: &mut [u8], limit: Option<Duration>) -> io::Result<Received> {
            thread::sleep(limit.expect("there is a limit") * 4);
            Ok(self.0?)
        }
        fn write(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
            self.write(parts)
        }
        fn wait_writable(&self, _: Instant) -> Waited {
            Waited::Interrupted
        }
        fn interrupt(&self, _: Grace) {}
        fn abort(&self) {}
    }

    #[test]
    fn only_the_time_limit_of_a_frame_is_reported_as_too_slow() {
        let lost = Err(io::ErrorKind::TimedOut);
        let idle = Ok(Received::TimedOut);
        for (read, idle_timeout, text) in [
            (lost, LONG, "timed out"),
            (idle, Duration::from_millis(10), "the peer sent nothing within 10ms (idle_timeout)"),
            (idle, LONG, "a frame took too long to arrive (`Framed::within` sets how long it may take)"),
        ] {
            let limits = Arc::new(Limits::default());
            limits.set_idle_timeout(Some(idle_timeout));
            let transport = Arc::new(Late(read));
            let context = ClientContext { limits, ..ClientContext::for_tests(MachineThreads::new()) };
            let client = Client::new(ClientId::next(), transport.clone(), Remote::Memory, Arc::new(context));
            let mut input = Paused::new(client.clone(), transport).for_tests();
            let (framed, _lines) = recorder();
            let mut framed = framed.within(Duration::from_millis(20));
            framed.receiving(&client, b"begun").expect("a line may begin so");
            let error = framed.serving(&client, &mut input).expect_err("nothing follows in time");
            assert_eq!(error.to_string(), text);
            assert_eq!(error.is::<FrameError>(), text.contains("within` sets"), "{error}");
        }
    }

    #[test]
    fn the_lf_after_a_cr_is_no_frame_that_must_be_complete_in_time() {
        let Connection { client, .. } = &Connection::new();
        let lines = Lines::default().carriage_returns();
        let framing: Box<dyn Framing> = Box::new(lines);
        let mut framed = receiving(|_, _| Ok(())).framed(framing).within(LONG);
        for end in ["\n", "\0"] {
            framed.receiving(client, b"line\r").expect("this is a line");
            framed.receiving(client, end.as_bytes()).expect("this is its end");
            assert_eq!(framed.deadline, None, "no frame has begun");
        }
        framed.receiving(client, b"x").expect("a line may begin so");
        assert!(framed.deadline.is_some());
    }

    #[test]
    fn only_a_new_frame_gets_a_new_deadline() {
        let Connection { client, .. } = &Connection::new();
        let (framed, _lines) = recorder();
        let mut framed = framed.within(LONG);
        framed.receiving(client, b"be").expect("a line may begin so");
        assert!(framed.deadline.is_some());
        let early = Some(Instant::now());
        framed.deadline = early;
        framed.receiving(client, b"gun").expect("a line may continue like this");
        assert_eq!(framed.deadline, early, "it is the same frame");
        framed.receiving(client, b"\nsecond").expect("these are lines");
        assert!(framed.deadline > early, "another frame has begun");
        framed.receiving(client, b"\n").expect("this is a line");
        assert_eq!(framed.deadline, None, "no frame has begun");
    }

    #[test]
    fn a_long_frame_keeps_no_memory_when_it_is_complete() {
        let with_room = |room, content: &[u8]| {
            let mut partial = Vec::with_capacity(room);
            partial.extend_from_slice(content);
            without_excess(partial)
        };
        assert_eq!(with_room(100 * KEPT, b"").capacity(), 0);
        assert!(with_room(KEPT, b"").capacity() >= KEPT, "short partial frames allocate once");
        assert_eq!(with_room(100 * KEPT, b"partial"), b"partial");
    }
}
