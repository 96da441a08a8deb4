//! [`Engine`]: the state of TLS for one connection. This is the only file that encrypts and decrypts.
//!
//! The engine is used under a lock, and no method blocks. It encrypts from the caller's bytes into a buffer of
//! ciphertext, and decrypts from the caller's ciphertext.
//!
//! **How written bytes are counted.** Encrypted bytes cannot be taken back, so bytes that the socket does not
//! take at once stay in the buffer. If they were counted at once, then the client would believe that they are
//! delivered. Therefore a byte of a writer counts as written when the socket has taken its part of the ciphertext. The
//! last byte counts when the socket has taken all. The writer passes the rest of its bytes again, and these are
//! recognized by their number, and not encrypted twice ([`Transport::write`]).

use std::io::{self, IoSlice, Read, Write};
use std::mem;

use rustls::Connection;

use crate::logging::debug;
use crate::tls::Session;
use crate::transport::Transport;

/// How many bytes are encrypted at once: four records of the largest size.
const BATCH: usize = 64 * 1024;
/// If the empty buffer of ciphertext is larger than this, it is freed.
const KEPT: usize = 1024;

/// The state of TLS for one connection.
pub(super) struct Engine {
    /// On the heap. A value of some kilobytes that is moved would make each frame of the handshake larger, and
    /// the used part of a stack is memory of each client.
    tls: Box<Connection>,
    /// Ciphertext. The socket has taken the first `sent` bytes of it.
    out: Vec<u8>,
    sent: usize,
    batch: Batch,
    /// A writer has taken the ciphertext out of `out` and sends it without the lock. Until it puts the rest
    /// back, no other thread may send.
    lent: bool,
    /// The end of output was encrypted.
    ended: bool,
    /// The peer has ended its output.
    peer_ended: bool,
    /// The peer has broken the rules of TLS. What was decrypted before that still counts.
    broken: Option<io::Error>,
}

/// The result of a decryption.
pub(super) struct Decrypted {
    /// How many bytes were decrypted, 0 at the end of input, and `None` if there is nothing to read yet.
    pub(super) read: Option<usize>,
    /// Nothing can be read before more ciphertext has arrived.
    pub(super) drained: bool,
}

/// The bytes that were encrypted last.
#[derive(Default)]
struct Batch {
    /// How many bytes were encrypted.
    plain: usize,
    /// How many bytes of ciphertext they became.
    cipher: usize,
    /// How many bytes were counted as written.
    counted: usize,
}

impl Batch {
    /// Counts bytes as written, at most `limit`, and returns how many. `left` is how many bytes of ciphertext
    /// the socket has not taken.
    fn count(&mut self, left: usize, limit: usize) -> usize {
        let kept = if left == 0 { 0 } else { (self.plain * left).div_ceil(self.cipher.max(1)) };
        let count = (self.plain - self.counted).saturating_sub(kept).min(limit);
        self.counted += count;
        count
    }
}

impl Engine {
    pub(super) fn new(mut tls: Box<Connection>) -> Engine {
        // The buffer of rustls is emptied after each call, so it needs no limit.
        tls.set_buffer_limit(None);
        Engine {
            tls,
            out: Vec::new(),
            sent: 0,
            batch: Batch::default(),
            lent: false,
            ended: false,
            peer_ended: false,
            broken: None,
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Returns what the handshake has found out.
    pub(super) fn session(&self) -> Option<Session> {
        let server_name = match &*self.tls {
            Connection::Server(tls) => tls.server_name(),
            Connection::Client(_) => None,
        };
        Session::new(&self.tls, server_name)
    }

    /// Sends ciphertext as long as there is room. Returns `true` if nothing is left. Never blocks.
    pub(super) fn try_send(&mut self, lower: &dyn Transport) -> io::Result<bool> {
        if self.lent {
            return Ok(false);
        }
        while self.left() > 0 {
            match lower.try_write(&[IoSlice::new(&self.out[self.sent..])]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.tidy();
        Ok(true)
    }

    /// Lends the ciphertext to a writer, which sends it without the lock. The second value is how many of its
    /// bytes are already sent.
    pub(super) fn lend(&mut self) -> (Vec<u8>, usize) {
        self.lent = true;
        (mem::take(&mut self.out), mem::take(&mut self.sent))
    }

    /// Takes the ciphertext back, of which `sent` bytes are sent. The answers of the protocol that came up
    /// since then follow it.
    pub(super) fn take_back(&mut self, mut out: Vec<u8>, sent: usize) {
        self.lent = false;
        out.append(&mut self.out);
        (self.out, self.sent) = (out, sent);
        self.tidy();
    }

    /// Returns how many bytes of ciphertext the socket has not taken.
    pub(super) fn left(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Counts encrypted bytes as written, at most `limit`, and returns how many.
    pub(super) fn count(&mut self, limit: usize) -> usize {
        let left = self.left();
        self.batch.count(left, limit)
    }

    /// Encrypts the bytes of `parts` after the first `skip`, as many as one batch holds. All bytes of the batch
    /// before must be counted.
    ///
    /// # Errors
    /// `BrokenPipe` if the output has ended, or if the handshake has not succeeded.
    pub(super) fn encrypt(&mut self, parts: &[IoSlice<'_>], skip: usize) -> io::Result<()> {
        if self.ended || self.tls.is_handshaking() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let before = self.out.len();
        // The buffer of rustls has no limit, so it takes everything.
        let plain = if let [part] = parts {
            let part = &part[skip..];
            self.tls.writer().write(&part[..part.len().min(BATCH)])?
        } else {
            self.tls.writer().write_vectored(&one_batch(parts, skip))?
        };
        self.collect();
        self.batch = Batch { plain, cipher: self.out.len() - before, counted: 0 };
        Ok(())
    }

    /// Takes ciphertext from `data` and decrypts it until `buffer` is full or `data` is empty. Bytes are left in
    /// `data` only if `buffer` is full.
    ///
    /// The answers of the protocol are sent if there is room, or else with the next output.
    ///
    /// # Errors
    /// As [`check`](Engine::check), after all bytes from before the error were read.
    pub(super) fn decrypt(
        &mut self,
        data: &mut &[u8],
        buffer: &mut [u8],
        lower: &dyn Transport,
    ) -> io::Result<Decrypted> {
        let mut read = self.read_plain(buffer)?;
        while self.broken.is_none()
            && !data.is_empty()
            && read.is_none_or(|count| count > 0 && count < buffer.len())
        {
            self.feed(data, lower);
            let so_far = read.unwrap_or(0);
            if let Some(more) = self.read_plain(&mut buffer[so_far..])? {
                read = Some(so_far + more);
            }
        }
        if read.is_none() {
            self.check()?;
        }
        let drained =
            !self.peer_ended && self.broken.is_none() && read.is_none_or(|count| count < buffer.len());
        Ok(Decrypted { read, drained })
    }

    /// Reads decrypted bytes. Returns 0 at the end of input, and `None` if there are none yet.
    fn read_plain(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.tls.reader().read(buffer) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns whether the peer has kept the rules of TLS.
    ///
    /// # Errors
    /// `InvalidData` if the peer has broken them.
    pub(super) fn check(&mut self) -> io::Result<()> {
        self.broken.take().map_or(Ok(()), Err)
    }

    /// Takes a part of the ciphertext. All decrypted bytes must have been read. If the peer breaks the rules of
    /// TLS, it gets an alert, and [`check`](Engine::check) returns the error.
    pub(super) fn feed(&mut self, data: &mut &[u8], lower: &dyn Transport) {
        match self.tls.read_tls(data) {
            // Nothing counts after the peer's end of output.
            Ok(0) => {
                *data = &[];
                return;
            }
            Ok(_) => {}
            Err(error) => {
                *data = &[];
                self.broken = Some(error);
                return;
            }
        }
        let result = self.tls.process_new_packets();
        self.peer_ended |= result.as_ref().is_ok_and(rustls::IoState::peer_has_closed);
        self.collect();
        if self.left() > 0 && !self.ended {
            if let Err(error) = self.try_send(lower) {
                // The peer may have closed its input. Its output still counts.
                debug!("cannot send an answer of TLS: {error}");
            }
        }
        if result.is_err() {
            *data = &[];
        }
        self.broken = result.err().map(|error| io::Error::new(io::ErrorKind::InvalidData, error));
    }

    /// Frees what rustls keeps for incoming records, which are up to 16 KiB long. It shrinks that buffer only
    /// before it reads, so it gets a reader that has nothing.
    pub(super) fn free_input(&mut self) {
        struct Nothing;
        impl Read for Nothing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        match self.tls.read_tls(&mut Nothing) {
            // In any case, nothing was read.
            Ok(_) | Err(_) => {}
        }
    }

    /// Moves all ciphertext from the buffers of rustls to `out`.
    pub(super) fn collect(&mut self) {
        while self.tls.wants_write() {
            // A vector takes everything.
            if self.tls.write_tls(&mut self.out).is_err() {
                return;
            }
        }
    }

    /// Adds the end of output (close_notify) to the ciphertext, once.
    pub(super) fn end(&mut self) {
        if !mem::replace(&mut self.ended, true) {
            self.tls.send_close_notify();
            self.collect();
        }
    }

    /// Empties the buffer if everything is sent.
    fn tidy(&mut self) {
        if self.left() == 0 && self.sent > 0 {
            self.sent = 0;
            if self.out.capacity() > KEPT {
                self.out = Vec::new();
            } else {
                self.out.clear();
            }
        }
    }
}

/// Returns the bytes of `parts` after the first `skip`, as many as one batch holds.
fn one_batch<'a>(parts: &'a [IoSlice<'_>], mut skip: usize) -> Vec<IoSlice<'a>> {
    let mut room = BATCH;
    let mut slices = Vec::with_capacity(parts.len());
    for part in parts {
        let from = skip.min(part.len());
        skip -= from;
        let part = &part[from..][..room.min(part.len() - from)];
        room -= part.len();
        if !part.is_empty() {
            slices.push(IoSlice::new(part));
        }
    }
    slices
}
