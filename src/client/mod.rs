//! The client: one connected peer, as the server sees it. A cloneable handle that any thread may
//! write to and close, and that may outlive the connection.
//!
//! - [`output`] is the state behind it: one lock, and the write path.
//! - [`backlog`] is what was posted and waits.
//! - [`ending`] is how a connection ends: who may end it, why, and the last bytes.
//! - [`cork`] gathers writes.

pub(crate) mod backlog;
pub(crate) mod cork;
pub(crate) mod ending;
pub(crate) mod output;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

use crate::client::cork::Corked;
use crate::client::output::{Context, Shared};
use crate::closing::Closing;
use crate::framing::Framing;
use crate::link::Link;
use crate::remote::Remote;
use crate::stats::ClientStats;

/// One connected peer: a handle to write to it and to close it.
///
/// Cloning is cheap, every clone is the same client. Any thread may use it, and it may be kept
/// after the connection has ended: then writes fail with [`BrokenPipe`](io::ErrorKind::BrokenPipe),
/// and nothing of the connection is held open.
///
/// *Never block:* [`post`](Client::post), [`close`](Client::close), [`abort`](Client::abort), and
/// all that only asks. *May block, for at most the server's write timeout:*
/// [`write`](Client::write), [`write_line`](Client::write_line),
/// [`write_vectored_all`](Client::write_vectored_all), `write!`, `flush`, and letting go of a
/// [`cork`](Client::cork).
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

/// A client's number: unique in the process, in the order in which clients connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(u64);

impl ClientId {
    pub(crate) fn next() -> ClientId {
        /// Counted up by acceptors, for nothing but distinct numbers.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        ClientId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Client {
    pub(crate) fn new(id: ClientId, link: Arc<dyn Link>, remote: Remote, context: Arc<Context>) -> Client {
        Client { shared: Arc::new(Shared::new(id, remote, link, context)) }
    }

    /// The client's number, unique in the process.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.shared.id
    }

    /// Who is at the far end.
    #[must_use]
    pub fn remote(&self) -> &Remote {
        &self.shared.remote
    }

    /// Writes all of `data` as one record: records from any number of threads never mix.
    ///
    /// Blocks while the peer's window is full, for at most the server's write timeout in all, also
    /// against a peer that reads a byte at a time; then the connection ends
    /// ([`TooSlow`](Closing::TooSlow)).
    ///
    /// # Errors
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) once the connection has ended or is closing (only
    /// [`closing`](crate::Adapter::closing) itself may still write then),
    /// [`TimedOut`](io::ErrorKind::TimedOut) after the write timeout, or what the system says of a
    /// connection that was lost. After an error the connection is over.
    pub fn write(&self, data: impl AsRef<[u8]>) -> io::Result<()> {
        self.shared.write(&[data.as_ref()])
    }

    /// Writes `line` as one record, with a line feed after it unless it ends in one.
    ///
    /// # Errors
    /// As [`write`](Client::write).
    pub fn write_line(&self, line: impl AsRef<[u8]>) -> io::Result<()> {
        let line = line.as_ref();
        if line.ends_with(b"\n") {
            self.shared.write(&[line])
        } else {
            self.shared.write(&[line, b"\n"])
        }
    }

    /// Writes what is formatted as one record: `write!(client, "{name}: {text}")`. It formats first,
    /// then writes once.
    ///
    /// # Errors
    /// As [`write`](Client::write); before anything is written, if a formatter fails.
    pub fn write_fmt(&self, record: fmt::Arguments<'_>) -> io::Result<()> {
        if let Some(text) = record.as_str() {
            return self.write(text);
        }
        let mut text = String::new();
        fmt::write(&mut text, record).map_err(|_| io::Error::other("a formatter failed"))?;
        self.write(text)
    }

    /// Writes several parts as one record, with one system call where the peer's window takes it.
    ///
    /// # Errors
    /// As [`write`](Client::write).
    pub fn write_vectored_all(&self, parts: &[&[u8]]) -> io::Result<()> {
        self.shared.write(parts)
    }

    /// Writes `payload` in a frame of this kind, as one record.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a payload that can't be framed so (nothing
    /// is written, and the connection goes on), else as [`write`](Client::write).
    pub fn write_frame<F: Framing + ?Sized>(&self, framing: &F, payload: impl AsRef<[u8]>) -> io::Result<()> {
        framing.encode(payload.as_ref(), &mut |parts| self.shared.write(parts))
    }

    /// Sends `data` as one record and never blocks: what the socket doesn't take at once waits in
    /// the client's backlog, in order with the writes, and goes out as the peer reads.
    ///
    /// # Errors
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) once the connection has ended or is closing;
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when the backlog would grow over the server's
    /// limit: the connection ends then ([`TooSlow`](Closing::TooSlow)), what was waiting is dropped.
    pub fn post(&self, data: impl AsRef<[u8]>) -> io::Result<()> {
        self.shared.post(data.as_ref())
    }

    /// Gathers what is written, by any thread, until the guard drops or
    /// [`flush`](Corked::flush)es: then it goes out in one piece. Corks nest; the last one lets go.
    ///
    /// Gathered output over 64 KiB goes out early, so that memory stays bounded.
    ///
    /// ```
    /// # struct Table;
    /// # impl backport::Adapter for Table {
    /// fn receiving(&mut self, client: &backport::Client, _: &[u8]) -> backport::Result {
    ///     let corked = client.cork();
    ///     for row in 0..100 {
    ///         client.write_line(row.to_string())?;
    ///     }
    ///     corked.flush()?; // one system call; dropping the guard does it too, and can't tell errors
    ///     Ok(())
    /// }
    /// # }
    /// ```
    #[must_use = "dropping the guard lets go of the cork"]
    pub fn cork(&self) -> Corked<'_> {
        Corked::new(&self.shared)
    }

    /// Closes the connection gracefully. Returns at once; a second call does nothing.
    ///
    /// May be called from anywhere, every callback included. What was written before is delivered
    /// to a peer that keeps reading. No [`receiving`](crate::Adapter::receiving) starts once this
    /// has returned; one that runs, or is being called at that moment by the client's thread, goes on
    /// to its end, then [`closing`](crate::Adapter::closing) is called, which may write a last word.
    pub fn close(&self) {
        self.shared.end(Closing::ByServer, false);
    }

    /// Ends the connection at once; pending output is dropped, and the peer sees a reset (or the end,
    /// if its kernel had taken everything already).
    ///
    /// Returns at once and may be called from anywhere. `closing` still runs, and can't write.
    pub fn abort(&self) {
        self.shared.end(Closing::ByServer, true);
    }

    /// Whether the connection has ended, or was told to.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_ended()
    }

    /// What the client has counted.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        self.shared.stats()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn connected_since(&self) -> Instant {
        self.shared.connected
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.shared.id.0)
            .field("remote", &self.shared.remote)
            .field("closed", &self.is_closed())
            .finish()
    }
}

/// `write!(&client, …)` sends one record: it formats first, then writes once. `flush` sends what a
/// cork has gathered, and waits for what was posted; mostly there is neither.
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

/// As for `&Client`.
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
