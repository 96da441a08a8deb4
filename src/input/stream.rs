//! Input and client as one stream, for libraries that want to read and write the same thing.

use std::fmt;
use std::io::{self, BufRead, IoSlice, Read, Write};

use crate::client::Client;
use crate::input::Input;

/// A client's input and output as one blocking stream: [`Read`], [`BufRead`] and [`Write`]. From
/// [`Input::stream`].
///
/// It is what libraries take that would be given a `TcpStream` elsewhere: WebSocket, TLS, a protocol
/// of your own that is generic over its transport. The example `websocket` runs one.
///
/// **Reading** is [`Input`]'s, with what was read already and not consumed. It returns 0 at the end of
/// the peer's input, after which writing goes on as long as the peer reads.
///
/// **Writing** is [`Client`]'s: each `write` takes all that it is given, as one record, and returns
/// when the kernel has it. Other threads may write to the client too, between records. `write!` sends
/// one record.
///
/// **`flush`** has nothing to do as a rule. Under a [`cork`](Client::cork) it sends what is gathered,
/// so that a library which writes in small pieces, and flushes after them, costs one system call a
/// flush. It also waits for what is [posted](Client::post) and not sent.
///
/// **Deadlines.** From [`set_deadline`](Input::set_deadline)'s deadline on a read fails with
/// [`TimedOut`](io::ErrorKind::TimedOut), without having lost a byte, and the connection goes on: most
/// libraries can be called again then. `TimedOut` also comes at the server's idle timeout, when
/// nothing was read, and its write timeout, when not all could be written: after these the connection
/// is over, as [`Client::is_closed`] tells.
///
/// **Closing** from this side, also by a stop, makes reads fail with
/// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) and writes with
/// [`BrokenPipe`](io::ErrorKind::BrokenPipe). (The [`Input`] itself comes to an end of input, but a
/// library might take that for the peer's, and half a message for a whole one.) Pass the library's
/// error on with `?`: `closing` learns the reason behind it. Dropping the stream closes nothing.
///
/// ```
/// use std::io::{self, BufRead, Read, Write};
/// use backport::{testing, Adapter, Client, Input, Result};
///
/// /// Stands for a library: it knows nothing but its stream.
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

    /// The input: to set a deadline, or to read a frame between two messages of the library.
    pub fn input(&mut self) -> &mut Input {
        self.input
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.input.client
    }

    fn check_open(&self) -> io::Result<()> {
        if self.client().is_closed() {
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
            self.check_open()?;
        }
        Ok(count)
    }
}

impl BufRead for Stream<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if !self.input.fill()? {
            self.check_open()?;
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
