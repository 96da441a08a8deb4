//! The client: one connected peer, as the server sees it. A cloneable handle that any thread may write
//! to and close, and that may outlive the connection.
//!
//! - [`state`] is the state behind all handles of one client: one lock.
//! - [`write`](mod@write) is the write path, [`backlog`] holds posted bytes, and [`cork`] gathers writes.
//! - [`close`] is how a connection ends: which thread may end it, the reason, and the last bytes.

pub(crate) mod backlog;
pub(crate) mod close;
pub(crate) mod cork;
pub(crate) mod id;
pub(crate) mod state;
pub(crate) mod write;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::client::cork::Corked;
use crate::client::id::ClientId;
use crate::client::state::{ClientContext, ClientShared};
use crate::closing::Closing;
use crate::frame::Framing;
use crate::remote::Remote;
use crate::stats::ClientStats;
use crate::transport::Transport;

/// One connected peer: a handle to write to it and to close it.
///
/// A clone is cheap and is the same client. Any thread may use a handle. A handle may be kept after the
/// connection has ended: writes then fail with [`BrokenPipe`](io::ErrorKind::BrokenPipe), and the handle
/// holds nothing of the connection open.
///
/// - *Never block:* [`post`](Client::post), [`close`](Client::close), [`abort`](Client::abort), and every
///   method that only returns a value.
/// - *May block, for at most the server's write timeout:* [`write`](Client::write),
///   [`write_line`](Client::write_line), [`write_vectored_all`](Client::write_vectored_all),
///   [`write_frame`](Client::write_frame), `write!`, `flush`, and the drop of a [`cork`](Client::cork).
#[derive(Clone)]
pub struct Client {
    shared: Arc<ClientShared>,
}

impl Client {
    pub(crate) fn new(
        id: ClientId,
        transport: Arc<dyn Transport>,
        remote: Remote,
        context: Arc<ClientContext>,
    ) -> Client {
        Client { shared: Arc::new(ClientShared::new(id, remote, transport, context)) }
    }

    /// Returns the client's number, which is unique in the process.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.shared.id
    }

    /// Returns the far end of the connection.
    #[must_use]
    pub fn remote(&self) -> &Remote {
        self.shared.remote()
    }

    /// Writes all of `data` as one record. Records from any number of threads never mix.
    ///
    /// Blocks while the peer's window is full, for at most the server's write timeout in all. That also
    /// holds if the peer reads one byte at a time. After the timeout the connection ends
    /// ([`TooSlow`](Closing::TooSlow)).
    ///
    /// # Errors
    /// The connection has ended, or it ends, after each of these errors.
    ///
    /// - [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the connection has ended or is being closed. Only
    ///   [`closing`](crate::Adapter::closing) itself may still write then.
    /// - [`TimedOut`](io::ErrorKind::TimedOut) after the write timeout.
    /// - The error of the system if the connection was lost.
    pub fn write(&self, data: impl AsRef<[u8]>) -> io::Result<()> {
        self.shared.write(&[data.as_ref()])
    }

    /// Writes `line` as one record. Adds a line feed unless it ends in one.
    ///
    /// # Errors
    /// The same as for [`write`](Client::write).
    pub fn write_line(&self, line: impl AsRef<[u8]>) -> io::Result<()> {
        let line = line.as_ref();
        if line.ends_with(b"\n") {
            self.shared.write(&[line])
        } else {
            self.shared.write(&[line, b"\n"])
        }
    }

    /// Writes formatted text as one record: `write!(client, "{name}: {text}")`. It formats everything
    /// first and then writes once.
    ///
    /// # Errors
    /// - If a formatter fails. Nothing is written then, and the connection goes on.
    /// - Every error of [`write`](Client::write).
    pub fn write_fmt(&self, record: fmt::Arguments<'_>) -> io::Result<()> {
        if let Some(text) = record.as_str() {
            return self.write(text);
        }
        let mut text = String::new();
        fmt::write(&mut text, record).map_err(|_| io::Error::other("a formatter failed"))?;
        self.write(text)
    }

    /// Writes several parts as one record. Makes one system call if the peer's window takes everything.
    ///
    /// # Errors
    /// The same as for [`write`](Client::write).
    pub fn write_vectored_all(&self, parts: &[&[u8]]) -> io::Result<()> {
        self.shared.write(parts)
    }

    /// Writes `payload` as one frame of this framing, which is one record.
    ///
    /// # Errors
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if the payload does not fit into a frame. Nothing
    ///   is written then, and the connection goes on.
    /// - Every error of [`write`](Client::write).
    pub fn write_frame<F: Framing + ?Sized>(&self, framing: &F, payload: impl AsRef<[u8]>) -> io::Result<()> {
        framing.encode(payload.as_ref(), &mut |parts| self.shared.write(parts))
    }

    /// Sends `data` as one record and never blocks.
    ///
    /// If the socket does not take everything at once, the rest waits in the client's backlog. It keeps
    /// its order with the writes, and it is sent as the peer reads.
    ///
    /// # Errors
    /// - [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the connection has ended or is being closed.
    /// - [`WouldBlock`](io::ErrorKind::WouldBlock) if the backlog would exceed the server's
    ///   [limit](crate::TcpServer::max_backlog). The connection ends then
    ///   ([`TooSlow`](Closing::TooSlow)), and the backlog is dropped.
    /// - The error of the system if the connection was lost.
    pub fn post(&self, data: impl AsRef<[u8]>) -> io::Result<()> {
        self.shared.post(data.as_ref())
    }

    /// Gathers the output of all threads until the guard drops or [`flush`](Corked::flush) is called.
    /// Then it is sent as one piece.
    ///
    /// Corks can be nested. Output is sent when the outermost guard drops. If more than 64 KiB are
    /// gathered, they are sent earlier, so that memory stays bounded.
    ///
    /// ```
    /// # struct Table;
    /// # impl backport::Adapter for Table {
    /// fn receiving(&mut self, client: &backport::Client, _: &[u8]) -> backport::Result {
    ///     let corked = client.cork();
    ///     for row in 0..100 {
    ///         client.write_line(row.to_string())?;
    ///     }
    ///     corked.flush()?; // one system call; the drop of the guard would not return an error
    ///     Ok(())
    /// }
    /// # }
    /// ```
    #[must_use = "the drop of the guard sends the gathered output"]
    pub fn cork(&self) -> Corked<'_> {
        Corked::new(&self.shared)
    }

    /// Closes the connection gracefully. Returns at once. A second call does nothing.
    ///
    /// It may be called from anywhere, also from every callback. Output that was written before is
    /// delivered to a peer that keeps reading.
    ///
    /// No [`receiving`](crate::Adapter::receiving) starts after this has returned. If one is running, it
    /// finishes first. Then [`closing`](crate::Adapter::closing) is called, which may still write.
    pub fn close(&self) {
        self.shared.end(Closing::ByServer, false);
    }

    /// Ends the connection at once and drops pending output. Returns at once.
    ///
    /// It may be called from anywhere. The peer sees a reset, or the end if its kernel has taken all
    /// output already. `closing` still runs and cannot write.
    pub fn abort(&self) {
        self.shared.end(Closing::ByServer, true);
    }

    /// Returns `true` if the connection has ended or was asked to end. Writes are refused then.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_output_ended()
    }

    /// Returns the figures of this client.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        self.shared.stats()
    }

    pub(crate) fn shared(&self) -> &Arc<ClientShared> {
        &self.shared
    }

    /// Asks the connection to end gracefully for `reason`.
    pub(crate) fn end(&self, reason: Closing) {
        self.shared.end(reason, false);
    }

    /// Asks the connection to end for `reason` and drops pending output.
    pub(crate) fn end_now(&self, reason: Closing) {
        self.shared.end(reason, true);
    }

    pub(crate) fn is_input_ended(&self) -> bool {
        self.shared.is_input_ended()
    }

    pub(crate) fn set_bytes_in(&self, total: u64) {
        self.shared.set_bytes_in(total);
    }

    pub(crate) fn connected_since(&self) -> Instant {
        self.shared.connected
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.shared.id.0)
            .field("remote", self.remote())
            .field("closed", &self.is_closed())
            .finish()
    }
}

/// Each call of `write` sends one record. `write!(&client, …)` formats everything first and then sends
/// one record, too.
///
/// `flush` sends the output that a cork has gathered, and waits until posted bytes have gone out. Usually
/// there are neither.
impl io::Write for &Client {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Client::write(self, data)?;
        Ok(data.len())
    }

    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        Client::write(self, data)
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let parts: Vec<&[u8]> = parts.iter().map(|part| &**part).collect();
        self.write_vectored_all(&parts)?;
        Ok(parts.iter().map(|part| part.len()).sum())
    }

    fn write_fmt(&mut self, record: fmt::Arguments<'_>) -> io::Result<()> {
        Client::write_fmt(self, record)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.shared.flush_now()
    }
}

/// The same as for `&Client`.
impl io::Write for Client {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut &*self, data)
    }

    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut &*self, data)
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        io::Write::write_vectored(&mut &*self, parts)
    }

    fn write_fmt(&mut self, record: fmt::Arguments<'_>) -> io::Result<()> {
        io::Write::write_fmt(&mut &*self, record)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::Write::flush(&mut &*self)
    }
}
