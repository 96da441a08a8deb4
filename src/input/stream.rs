//! [`Stream`]: a client's input and output as one value, for libraries that read and write the same value.
//!
//! It borrows the input. Therefore it is used on the client's own thread, and drops before `serving` returns.

use std::fmt;
use std::io::{self, BufRead, IoSlice, Read, Write};

use crate::client::Client;
use crate::input::Input;

/// A client's input and output as one blocking stream: [`Read`], [`BufRead`] and [`Write`].
/// [`Input::stream`] makes it.
///
/// Use it for a library that takes a `TcpStream` elsewhere: WebSocket, TLS, or a protocol of your own that is
/// generic over its transport. The example `websocket` does that.
///
/// # Reading
///
/// A read blocks like a read of the [`Input`], and begins with the bytes that are still unread there. It
/// returns 0 when the peer has ended its output. Writes go on after that, as long as the peer reads.
///
/// # Writing
///
/// Each `write` sends all its bytes as one record of the [`Client`], and blocks until the kernel has taken
/// them. Other threads can write to the client between two records. `write!` sends one record.
///
/// `flush` usually has nothing to do. Under a [`cork`](Client::cork) it sends the gathered output. A library
/// that writes small pieces and then flushes makes one system call for each flush. `flush` also waits until
/// [posted](Client::post) bytes are sent.
///
/// # Timeouts
///
/// From the [deadline](Input::set_deadline) on, a read fails with [`TimedOut`](io::ErrorKind::TimedOut). No
/// byte is lost, and the connection goes on. Most libraries can be called again then.
///
/// A read also fails with `TimedOut` at the server's idle timeout, and a write at its write timeout. These
/// two end the connection: [`Client::is_closed`] returns `true` then.
///
/// # Closing
///
/// After the connection was closed from this side, or was reached by a stop, calls fail:
///
/// - reads with [`ConnectionAborted`](io::ErrorKind::ConnectionAborted).
/// - writes with [`BrokenPipe`](io::ErrorKind::BrokenPipe).
///
/// The [`Input`] itself meets the end of input then. The stream fails instead, because a library could take
/// that end for the peer's, and half a message for a whole one.
///
/// Pass the library's error on with `?`. `closing` then gets the reason behind it. The drop of the stream
/// closes nothing.
///
/// ```
/// use std::io::{self, BufRead, Read, Write};
/// use backport::{testing, Adapter, Client, Input, Result};
///
/// /// Stands for a library: it uses nothing except its stream.
/// fn greet(mut stream: impl BufRead + Write) -> io::Result<()> {
///     stream.write_all(b"What is your name?\n")?;
///     let mut name = String::new();
///     (&mut stream).take(1024).read_line(&mut name)?;
///     write!(stream, "Hello, {}!\n", name.trim())
/// }
///
/// struct Greeter;
///
/// impl Adapter for Greeter {
///     fn serving(&mut self, _: &Client, input: &mut Input) -> Result {
///         greet(input.stream())?;
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result {
/// let mut client = testing::connect(Greeter);
/// client.write_all(b"Ann\n")?;
/// let mut said = String::new();
/// client.read_to_string(&mut said)?;
/// assert_eq!(said, "What is your name?\nHello, Ann!\n");
/// # Ok(())
/// # }
/// ```
pub struct Stream<'a> {
    input: &'a mut Input,
}

impl<'a> Stream<'a> {
    pub(super) fn new(input: &'a mut Input) -> Stream<'a> {
        Stream { input }
    }

    /// Returns the input, for example to set a deadline, or to read a frame between two messages of the
    /// library.
    pub fn input(&mut self) -> &mut Input {
        self.input
    }

    /// Returns the client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.input.client
    }

    /// Tells an end from this side from the end of the peer's output. Called when there is nothing to read.
    ///
    /// # Errors
    /// `ConnectionAborted` if no more input is handed to the adapter.
    fn check_input_open(&self) -> io::Result<()> {
        if self.client().is_input_ended() {
            let message = "the connection was closed from this side";
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, message));
        }
        Ok(())
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        if count == 0 {
            self.check_input_open()?;
        }
        Ok(count)
    }
}

impl BufRead for Stream<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if !self.input.fill()? {
            self.check_input_open()?;
        }
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.input.consume(count);
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.client().write(data)?;
        Ok(data.len())
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut client = self.client();
        Write::write_vectored(&mut client, parts)
    }

    fn write_fmt(&mut self, record: fmt::Arguments<'_>) -> io::Result<()> {
        let mut client = self.client();
        Write::write_fmt(&mut client, record)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut client = self.client();
        Write::flush(&mut client)
    }
}

impl fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("input", &self.input).finish()
    }
}
