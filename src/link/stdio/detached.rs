//! Standard input and output where stdin can't be waited for (Windows): a detached thread reads it
//! into a channel. It ends with stdin, and is never joined: nothing can wake its read.

use std::io::{self, IoSlice, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{after, bounded, never, unbounded, Receiver, Sender};
use parking_lot::Mutex;

use crate::link::watcher::Watcher;
use crate::link::{Flush, Link, Waited};

/// The chunks of stdin, from the thread that reads it; one for the life of the process, since what
/// that thread has read for one server belongs to the next when the first ends.
static STDIN: Mutex<Option<Receiver<Chunk>>> = Mutex::new(None);

type Chunk = io::Result<Vec<u8>>;

/// Standard input and output.
pub(crate) struct StdioLink {
    stdin: Receiver<Chunk>,
    /// What a chunk had more than the buffer took. Used by the reading thread alone.
    rest: Mutex<Vec<u8>>,
    /// Dropped by `kick`, which disconnects `kicked`.
    kick: Mutex<Option<Sender<()>>>,
    kicked: Receiver<()>,
    /// Set by `abort`, read by writers.
    aborted: AtomicBool,
}

impl StdioLink {
    pub(crate) fn new(_: Arc<Watcher>) -> io::Result<StdioLink> {
        let stdin = chunks()?;
        let (kick, kicked) = unbounded();
        let (rest, aborted) = (Mutex::default(), AtomicBool::new(false));
        Ok(StdioLink { stdin, rest, kick: Mutex::new(Some(kick)), kicked, aborted })
    }
}

/// Starts the thread, if that is still to be done. Without one the next server tries again.
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

impl Link for StdioLink {
    fn read(&self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<usize> {
        let mut rest = self.rest.lock();
        if rest.is_empty() {
            crossbeam_channel::select! {
                // A disconnected channel is the end of stdin, told before.
                recv(self.stdin) -> chunk => *rest = chunk.unwrap_or_else(|_| Ok(Vec::new()))?,
                recv(self.kicked) -> _ => return Err(io::ErrorKind::WouldBlock.into()),
                recv(limit.map_or_else(never, after)) -> _ => return Err(io::ErrorKind::WouldBlock.into()),
            }
        }
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        rest.drain(..count);
        Ok(count)
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.aborted.load(Ordering::Acquire) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut stdout = io::stdout().lock();
        for part in parts {
            stdout.write_all(part)?;
        }
        stdout.flush()?;
        Ok(parts.iter().map(|part| part.len()).sum())
    }

    /// Every write may block here, and can't be asked first.
    fn try_write(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn wait_writable(&self, _: Instant) -> Waited {
        Waited::Ready
    }

    fn flush_when_writable(&self, _: Weak<dyn Flush>) -> bool {
        false
    }

    fn kick(&self, _notice: bool) {
        drop(self.kick.lock().take());
    }

    /// Nothing here destroys what was written.
    fn is_taken(&self) -> bool {
        true
    }

    /// As above.
    fn settle(&self, _deadline: Instant) -> bool {
        false
    }

    /// Stdout belongs to the process and stays open.
    fn shut_write(&self) {}

    fn drain(&self, _quiet: Duration, _total: Duration) {}

    fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        self.kick(false);
    }
}
