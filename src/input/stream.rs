//! [`Stream`]: a client's input and output as one value, for libraries that read from and write to the same
//! value.
//!
//! A stream borrows the input. Therefore it is used on the client's own thread and dropped before `serving`
//! returns.

use std::fmt;
use std::io::{self, BufRead, IoSlice, Read, Write};

use crate::client::Client;
use crate::input::Input;

/// A client's input and output as one blocking stream, which implements [`Read`], [`BufRead`] and [`Write`].
/// [`Input::stream`] returns it.
///
/// Use it for a library that usually gets a `TcpStream`, for example for WebSocket or TLS. The program
/// `examples/protocols/websocket.rs` does that.
///
/// # Reading
///
/// A read blocks like a read of the [`Input`], and begins with the bytes that the input has not consumed yet.
/// It returns 0 when the peer has ended its output. After that, writes still succeed as long as the peer
/// reads.
///
/// # Writing
///
/// Each `write` sends all its bytes as one record of the [`Client`], and blocks until the kernel has taken
/// them. `write!` also sends one record. Other threads can write to the client between two records.
///
/// `flush` usually has nothing to do. Under a [`cork`](Client::cork) it sends the gathered output. A library
/// that writes small pieces and then flushes thus makes only one system call per flush. `flush` also waits
/// until [posted](Client::post) bytes are sent.
///
/// # Timeouts
///
/// After the [deadline](Input::set_deadline), a read fails with [`TimedOut`](io::ErrorKind::TimedOut). No
/// byte is lost, and the connection continues. Most libraries can be called again after such an error.
///
/// A read also fails with `TimedOut` at the server's idle timeout, and a write fails with it at the server's
/// write timeout. These two timeouts end the connection, and [`Client::is_closed`] returns `true` afterwards.
///
/// # Closing
///
/// After a call of [`Client::close`] or [`Client::abort`], reads fail with
/// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted), and writes fail with
/// [`BrokenPipe`](io::ErrorKind::BrokenPipe). After a stop, reads fail in the same way, and writes still
/// succeed. Therefore the library can finish an answer, but it does not take half a message for a complete one.
///
/// Pass the library's error on with `?`. Then `closing` gets the real reason. Dropping the stream does not
/// close the connection.
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

    /// Returns the input, for example to set a deadline or to read a frame between two messages of the
    /// library.
    pub fn input(&mut self) -> &mut Input {
        self.input
    }

    /// Returns the client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.input.client
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer)
    }
}

impl BufRead for Stream<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
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
