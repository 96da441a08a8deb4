//! Standard input and output on Windows, which offers no way to wait for stdin.
//!
//! A detached thread reads stdin into a channel. It ends when stdin ends. It is never joined, because nothing
//! can interrupt its read. It reads through std, so bytes that std has buffered come first.

use std::io::{self, IoSlice, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{after, bounded, never, unbounded, Receiver, Sender};
use parking_lot::Mutex;

use crate::logging::debug;
use crate::reactor::{Reactor, Waited};
use crate::transport::{Grace, Received, Transport};

/// The chunks of stdin, from the thread that reads it. If a server ends, the thread keeps running, and the
/// next server gets the chunks that were read for the first one.
static STDIN: Mutex<Option<Receiver<Chunk>>> = Mutex::new(None);

type Chunk = io::Result<Vec<u8>>;

/// The standard streams of this process, ready for a server.
pub(crate) struct Stdio(StdioTransport);

/// Guards nothing, because this system offers no safe way to replace the standard streams.
pub(crate) struct StdioGuard;

impl StdioGuard {
    pub(crate) fn engage(&self) {}

    pub(crate) fn release(&self) {}

    pub(crate) fn release_briefly(&self) {}
}

impl Stdio {
    /// Starts the thread that reads stdin, and flushes std's stdout.
    pub(crate) fn open(_: Arc<Reactor>, _keep: bool) -> io::Result<Stdio> {
        if let Err(error) = io::stdout().flush() {
            debug!("cannot flush standard output: {error}");
        }
        Ok(Stdio(StdioTransport::new()?))
    }

    pub(crate) fn guard(&self) -> Arc<StdioGuard> {
        Arc::new(StdioGuard)
    }

    /// Returns `true`: the program that started this process reads the output.
    pub(crate) fn is_patient(&self) -> bool {
        true
    }

    /// Makes the transport. Called when the server runs.
    pub(crate) fn connect(self) -> Arc<dyn Transport> {
        Arc::new(self.0)
    }
}

/// Standard input and output.
struct StdioTransport {
    stdin: Receiver<Chunk>,
    /// The remaining bytes of a chunk that was longer than the buffer. Used only by the thread that reads.
    rest: Mutex<Vec<u8>>,
    /// Dropped by `interrupt`, which disconnects `interrupted`.
    sender: Mutex<Option<Sender<()>>>,
    interrupted: Receiver<()>,
    /// Set by `abort` and `end_output`, and read by writers.
    output_ended: AtomicBool,
}

impl StdioTransport {
    fn new() -> io::Result<StdioTransport> {
        let stdin = chunks()?;
        let (sender, interrupted) = unbounded();
        let (rest, output_ended) = (Mutex::default(), AtomicBool::new(false));
        Ok(StdioTransport { stdin, rest, sender: Mutex::new(Some(sender)), interrupted, output_ended })
    }
}

/// Starts the thread if it does not run yet. If that fails, the next server tries again.
fn chunks() -> io::Result<Receiver<Chunk>> {
    let mut stdin = STDIN.lock();
    if let Some(chunks) = &*stdin {
        return Ok(chunks.clone());
    }
    let (sender, chunks) = bounded(4);
    let name = "backport-stdin".to_owned();
    drop(thread::Builder::new().name(name).spawn(move || read_stdin(&sender))?);
    Ok(stdin.insert(chunks).clone())
}

fn read_stdin(sender: &Sender<Chunk>) {
    let mut stdin = io::stdin();
    loop {
        let mut chunk = vec![0; 64 * 1024];
        let read = stdin.read(&mut chunk).map(|count| {
            chunk.truncate(count);
            chunk
        });
        let over = matches!(&read, Ok(chunk) if chunk.is_empty()) || read.is_err();
        if sender.send(read).is_err() || over {
            return;
        }
    }
}

impl Transport for StdioTransport {
    fn read(&self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Received> {
        let mut rest = self.rest.lock();
        if rest.is_empty() {
            crossbeam_channel::select! {
                // A disconnected channel means the end of stdin, which has already been reported.
                recv(self.stdin) -> chunk => *rest = chunk.unwrap_or_else(|_| Ok(Vec::new()))?,
                recv(self.interrupted) -> _ => return Ok(Received::Interrupted),
                recv(limit.map_or_else(never, after)) -> _ => return Ok(Received::TimedOut),
            }
        }
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        rest.drain(..count);
        Ok(if count == 0 { Received::EndOfInput } else { Received::Bytes(count) })
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.output_ended.load(Ordering::Acquire) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut stdout = io::stdout().lock();
        for part in parts {
            stdout.write_all(part)?;
        }
        stdout.flush()?;
        Ok(parts.iter().map(|part| part.len()).sum())
    }

    /// Returns `WouldBlock`, because every write may block, and the system offers no way to check first.
    fn try_write(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn wait_writable(&self, _: Instant) -> Waited {
        Waited::Ready
    }

    /// Refuses later writes. The reader sees the end when the process ends, because this system offers no
    /// safe way to close stdout.
    fn end_output(&self) {
        self.output_ended.store(true, Ordering::Release);
    }

    fn interrupt(&self, _: Grace) {
        drop(self.sender.lock().take());
    }

    fn abort(&self) {
        self.output_ended.store(true, Ordering::Release);
        self.interrupt(Grace::Skip);
    }
}
