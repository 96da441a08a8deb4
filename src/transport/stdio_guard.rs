//! Keeps the rest of the process away from the standard streams that a stdio server uses.
//!
//! While the server runs, descriptor 0 is `/dev/null`, and descriptor 1 is standard error. Child processes
//! inherit these descriptors, and `println!` writes to them. The server itself uses duplicates, which no
//! child inherits.
//!
//! The thread in `run` engages the guard before any other thread of the machine starts. The thread of the
//! server releases it in the end. If that thread is stuck in user code, the thread in `run` releases it.

use std::fs::{File, Metadata};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use parking_lot::Mutex;
use rustix::stdio::{dup2_stdin, dup2_stdout};

use crate::logging::{debug, error, warn};

/// How long the guard waits for the locks of std's streams, which any thread of the program may hold.
const STDIN_LIMIT: Duration = Duration::from_secs(1);
const STDOUT_LIMIT: Duration = Duration::from_millis(250);
/// The limit for stdout if `run` has no time left.
const BRIEF_LIMIT: Duration = Duration::from_millis(40);

/// Guards the descriptors 0 and 1 of the process.
pub(crate) struct StdioGuard {
    /// Done when the guard is engaged. A thread that engages it too waits for that.
    engaged: Once,
    descriptors: Mutex<Descriptors>,
    /// The bytes that std's stdin had read from the descriptor before the server ran. Written by `engage`,
    /// and taken by the thread that reads.
    buffered: Mutex<Vec<u8>>,
}

/// Written under the lock by the threads that engage and release the guard, and by `end_output`.
enum Descriptors {
    /// The descriptors are not guarded: not yet, not any more, or never.
    Unguarded(Option<Spares>),
    /// The mark is `true` if text that is printed is dropped.
    Guarded(Spares, bool),
    Released,
}

struct Spares {
    /// The descriptors that come back in the end.
    stdin: OwnedFd,
    /// `None` after the end of output was sent, because the reader sees the end only if no duplicate is left.
    stdout: Option<OwnedFd>,
    null: File,
}

impl StdioGuard {
    /// Prepares a guard. With `keep`, it never guards anything. Flushes std's stdout, so that the text that
    /// was printed before comes first.
    pub(crate) fn new(keep: bool) -> io::Result<Arc<StdioGuard>> {
        flush(&mut io::stdout());
        let spares = if keep {
            None
        } else {
            Some(Spares {
                stdin: io::stdin().as_fd().try_clone_to_owned()?,
                stdout: Some(io::stdout().as_fd().try_clone_to_owned()?),
                null: File::options().read(true).write(true).open("/dev/null")?,
            })
        };
        Ok(Arc::new(StdioGuard {
            engaged: Once::new(),
            descriptors: Mutex::new(Descriptors::Unguarded(spares)),
            buffered: Mutex::default(),
        }))
    }

    /// Redirects the descriptors, unless the guard keeps them. A second call does nothing.
    pub(crate) fn engage(self: &Arc<Self>) {
        self.engaged.call_once(|| {
            if !matches!(&*self.descriptors.lock(), Descriptors::Unguarded(Some(_))) {
                return;
            }
            let this = Arc::clone(self);
            flush_then(STDOUT_LIMIT, move || this.redirect());
            self.redirect();
            let Some(dropped) = self.drops_text() else { return };
            if dropped {
                debug!("stderr is closed or the same file as stdout, so text that is printed is dropped");
            }
            *self.buffered.lock() = take_from_std();
        });
    }

    /// Puts the descriptors back. A second call does nothing.
    pub(crate) fn release(self: &Arc<Self>) {
        self.release_within(STDOUT_LIMIT);
    }

    /// Acts like `release`, but spends little time, because `run` has none left.
    pub(crate) fn release_briefly(self: &Arc<Self>) {
        self.release_within(BRIEF_LIMIT);
    }

    /// Copies bytes that std's stdin had read before the server ran, and returns their number.
    pub(super) fn take_buffered(&self, buffer: &mut [u8]) -> usize {
        let mut buffered = self.buffered.lock();
        let count = buffered.len().min(buffer.len());
        buffer[..count].copy_from_slice(&buffered[..count]);
        buffered.drain(..count);
        count
    }

    /// Drops the duplicate of stdout, because the end of output was sent. Descriptor 1 does not come back.
    pub(super) fn forget_stdout(&self) {
        if let Descriptors::Unguarded(Some(spares)) | Descriptors::Guarded(spares, _) =
            &mut *self.descriptors.lock()
        {
            drop(spares.stdout.take());
        }
    }

    fn release_within(self: &Arc<Self>, limit: Duration) {
        if self.drops_text().is_some() {
            let this = Arc::clone(self);
            flush_then(limit, move || this.put_back());
        }
        self.put_back();
    }

    /// Returns `true` if text that is printed is dropped, and `None` if the descriptors are not guarded.
    fn drops_text(&self) -> Option<bool> {
        match &*self.descriptors.lock() {
            Descriptors::Guarded(_, dropped) => Some(*dropped),
            _ => None,
        }
    }

    fn redirect(&self) {
        let mut descriptors = self.descriptors.lock();
        let Descriptors::Unguarded(spares) = &mut *descriptors else { return };
        let Some(spares) = spares.take() else { return };
        let substitute = substitute(&spares);
        let result = dup2_stdin(&spares.null).and_then(|()| match &substitute {
            Some(stderr) => dup2_stdout(stderr),
            None => dup2_stdout(&spares.null),
        });
        *descriptors = Descriptors::Guarded(spares, substitute.is_none());
        drop(descriptors);
        if let Err(error) = result {
            error!("cannot keep other code away from standard input and output: {error}");
            self.put_back();
        }
    }

    fn put_back(&self) {
        let before = std::mem::replace(&mut *self.descriptors.lock(), Descriptors::Released);
        let Descriptors::Guarded(spares, _) = before else { return };
        let stdout = spares.stdout.as_ref().map_or(Ok(()), dup2_stdout);
        if let Err(error) = dup2_stdin(&spares.stdin).and(stdout) {
            error!("cannot put standard input and output back: {error}");
        }
    }
}

/// Returns the descriptor that takes the place of stdout. Returns `None` if only `/dev/null` can.
///
/// If stderr leads to the same pipe, socket or file as stdout, text in stderr would damage the protocol.
/// On a terminal it is meant to be seen by a person.
fn substitute(spares: &Spares) -> Option<io::Stderr> {
    let (stdout, stderr) = (spares.stdout.as_ref()?, io::stderr());
    // Fails if the program has closed its stderr.
    let stderr_file = metadata(&stderr).ok()?;
    let same = metadata(stdout).is_ok_and(|stdout| is_same(&stdout, &stderr_file));
    (!same || stderr.is_terminal()).then_some(stderr)
}

/// Returns the metadata of a descriptor.
pub(super) fn metadata(descriptor: &impl AsFd) -> io::Result<Metadata> {
    File::from(descriptor.as_fd().try_clone_to_owned()?).metadata()
}

/// Returns `true` if two descriptors lead to the same file, pipe or socket.
pub(super) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn flush(stdout: &mut impl Write) {
    if let Err(error) = stdout.flush() {
        debug!("cannot flush standard output: {error}");
    }
}

/// Flushes std's stdout, and calls `then` before any other thread can print.
///
/// If another thread holds the lock of std's stdout for longer than `limit`, this returns without either. The
/// other thread may be blocked in a write, or it may wait for `run`.
fn flush_then(limit: Duration, then: impl FnOnce() + Send + 'static) {
    let flushed = on_helper(limit, move || {
        let mut stdout = io::stdout().lock();
        flush(&mut stdout);
        then();
    });
    if flushed.is_none() {
        debug!("cannot flush standard output, because another thread uses it");
    }
}

/// Takes the bytes that std's stdin has buffered. Descriptor 0 is `/dev/null`, so nothing else is read.
fn take_from_std() -> Vec<u8> {
    let taken = on_helper(STDIN_LIMIT, || {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    });
    match taken {
        Some(Ok(bytes)) => return bytes,
        Some(Err(error)) => warn!("input that was buffered before the stdio server ran is lost: {error}"),
        None => warn!(
            "input that was buffered before the stdio server ran is lost, because another part of the program \
             holds the lock of standard input"
        ),
    }
    Vec::new()
}

/// Runs `f` on a thread of its own, and waits for at most `limit`. The thread does not belong to the machine,
/// because a lock of std can hold it up for as long as the process runs.
fn on_helper<T: Send + 'static>(limit: Duration, f: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = bounded(1);
    let name = "backport-std-streams".to_owned();
    let helper = thread::Builder::new().name(name).spawn(move || drop(sender.send(f())));
    if let Err(error) = &helper {
        warn!("cannot start a thread for the locks of the standard streams: {error}");
    }
    drop(helper);
    receiver.recv_timeout(limit).ok()
}
