//! [`Input::copy_to`]: passes the input of one client on to another, for proxies.

use std::io::{self, BufRead};

use crate::client::Client;
use crate::input::Input;

impl Input {
    /// Writes everything that the peer sends to another client, until the peer ends its output. Returns the
    /// number of bytes. Blocks until then.
    ///
    /// Each portion is written as soon as it arrives, with [`Client::write`]. While the other client takes
    /// nothing, this reads nothing more from the peer. This does not end the output of the other client. Call
    /// [`close_write`](Client::close_write) to pass the end of input on:
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use backport::{testing, Adapter, Client, Input, Result};
    ///
    /// /// Sends everything to another client.
    /// struct To(Client);
    ///
    /// impl Adapter for To {
    ///     fn serving(&mut self, _: &Client, input: &mut Input) -> Result {
    ///         input.copy_to(&self.0)?;
    ///         self.0.close_write();
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut target = testing::connect(backport::receiving(|_, _| Ok(())));
    /// let mut source = testing::connect(To(target.server().clients()[0].clone()));
    /// source.write_all(b"hello")?;
    /// source.close_write();
    /// let mut got = String::new();
    /// target.read_to_string(&mut got)?;
    /// assert_eq!(got, "hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The program `examples/proxy.rs` copies in both directions.
    ///
    /// # Errors
    /// Returns a [`std::io::Error`]. Earlier portions stay written. A portion whose write has failed is
    /// still unread, although a part of it may have been sent.
    ///
    /// - [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) if this client is closed or stops before the
    ///   peer has ended its output. Therefore a proxy does not take a copy that was cut for a complete one.
    /// - [`TimedOut`](io::ErrorKind::TimedOut) at the [deadline](Input::set_deadline) of the input or at the
    ///   idle timeout. After the deadline, this may be called again to continue.
    /// - The error of the operating system if the connection was lost.
    /// - Every error of a [write](Client::write) to the other client.
    pub fn copy_to(&mut self, to: &Client) -> io::Result<u64> {
        let mut copied = 0;
        loop {
            let data = self.fill_buf()?;
            if data.is_empty() {
                return Ok(copied);
            }
            to.write(data)?;
            let count = data.len();
            self.consume(count);
            copied += count as u64;
        }
    }
}
