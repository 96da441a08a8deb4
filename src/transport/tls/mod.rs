//! The transport over TLS, on top of any other transport.
//!
//! - [`engine`] encrypts and decrypts.
//! - [`inlet`] is the buffer for ciphertext that has arrived.
//!
//! The lock of the engine is held only for cryptography and for calls that do not block. Therefore a writer
//! never waits for a reader, and a reader never waits for a writer.
//!
//! A transport can also begin in plain text and switch to TLS later (STARTTLS). Then it passes every call on
//! until [`start_tls`](Transport::start_tls).

mod engine;
mod inlet;

use std::io::{self, IoSlice};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use rustls::Connection;

use crate::limits::YEAR;
use crate::reactor::{Flush, Waited};
use crate::sync::{Mutex, MutexGuard};
use crate::tls::Session;
use crate::transport::tls::engine::Engine;
use crate::transport::tls::inlet::Inlet;
use crate::transport::{Descriptor, Grace, Linger, Lingered, Received, Transport};

/// How many batches `try_write` encrypts at most. Its callers hold the lock of the client.
const MOST_BATCHES: usize = 16;
/// Output of at most this many bytes is first sent without blocking, with the lock held. That takes two locks less,
/// and 2 to 3 % of the CPU time of a short message (`cargo bench --bench servers --features benchmarks/tls -- tls`).
const SHORT: usize = 4096;

/// Begins TLS on connections that begin in plain text.
pub(crate) trait Start: Send + Sync {
    /// Creates the state of TLS of one connection.
    fn start(&self) -> io::Result<Box<Connection>>;

    /// Returns how long a handshake may take.
    fn timeout(&self) -> Duration;
}

/// A transport that encrypts.
pub(crate) struct TlsTransport {
    lower: Arc<dyn Transport>,
    /// Set when TLS begins. Before that, everything is plain text.
    engine: OnceLock<Mutex<Engine>>,
    /// Used only by the thread that reads. It also keeps two threads from reading at once.
    inlet: Mutex<Inlet>,
    /// How TLS begins later, for a connection that begins in plain text.
    start: Option<Arc<dyn Start>>,
}

impl TlsTransport {
    /// Does the handshake over `lower`. Blocks until `deadline`.
    pub(crate) fn handshake(
        lower: Arc<dyn Transport>,
        tls: Box<Connection>,
        deadline: Instant,
    ) -> io::Result<(TlsTransport, Session)> {
        let transport = TlsTransport {
            lower,
            engine: OnceLock::from(Mutex::new(Engine::new(tls))),
            inlet: Mutex::new(Inlet::default()),
            start: None,
        };
        let session = transport.establish(deadline)?;
        Ok((transport, session))
    }

    /// Begins in plain text.
    pub(crate) fn plain(lower: Arc<dyn Transport>, start: Arc<dyn Start>) -> TlsTransport {
        let inlet = Mutex::new(Inlet::default());
        TlsTransport { lower, engine: OnceLock::new(), inlet, start: Some(start) }
    }

    fn establish(&self, deadline: Instant) -> io::Result<Session> {
        let Some(engine) = self.engine.get() else { return Err(io::ErrorKind::NotConnected.into()) };
        loop {
            let (handshaking, sent) = {
                let mut engine = engine.lock();
                engine.collect();
                (engine.is_handshaking(), engine.try_send(&*self.lower)?)
            };
            if !sent {
                match self.lower.wait_writable(deadline) {
                    Waited::Ready => continue,
                    Waited::Interrupted => return Err(interrupted()),
                    Waited::TimedOut => return Err(late()),
                }
            }
            if !handshaking {
                return engine.lock().session().ok_or_else(|| io::ErrorKind::NotConnected.into());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(late());
            }
            let mut sip = [0; inlet::SIP];
            match self.lower.read(&mut sip, Some(left))? {
                Received::Bytes(count) => {
                    let mut data = &sip[..count];
                    while !data.is_empty() {
                        let mut engine = engine.lock();
                        engine.feed(&mut data, &*self.lower);
                        // An error behind the handshake is returned by a read, after what came before it.
                        if engine.is_handshaking() {
                            engine.check()?;
                        }
                    }
                }
                Received::EndOfInput => {
                    let message = "the peer has ended the connection in the TLS handshake";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
                }
                Received::Interrupted => return Err(interrupted()),
                Received::TimedOut => {}
            }
        }
    }

    /// Sends ciphertext without the lock of the engine, once. Blocks like [`Transport::write`].
    fn send<'a>(
        &self,
        engine: &'a Mutex<Engine>,
        mut guard: MutexGuard<'a, Engine>,
    ) -> (MutexGuard<'a, Engine>, io::Result<usize>) {
        if guard.left() == 0 {
            return (guard, Ok(0));
        }
        let (out, sent) = guard.lend();
        drop(guard);
        let result = self.lower.write(&[IoSlice::new(&out[sent..])]);
        let mut guard = engine.lock();
        guard.take_back(out, sent + result.as_ref().map_or(0, |count| *count));
        (guard, result)
    }
}

impl Transport for TlsTransport {
    fn read(&self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Received> {
        let mut inlet = self.inlet.lock();
        let Some(engine) = self.engine.get() else { return self.lower.read(buffer, limit) };
        inlet.read(&*self.lower, engine, buffer, limit)
    }

    fn descriptor(&self) -> Option<Descriptor> {
        self.lower.descriptor()
    }

    /// Decrypted bytes may wait in the engine.
    fn reads_all(&self) -> bool {
        self.engine.get().is_none()
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(engine) = self.engine.get() else { return self.lower.write(parts) };
        let total = parts.iter().map(|part| part.len()).sum();
        let (mut guard, result) = self.send(engine, engine.lock());
        let mut done = guard.count(total);
        if done == total {
            return Ok(done);
        }
        // The socket is asked once more only if it has taken everything until now.
        let result = match result {
            Ok(_) if guard.left() == 0 => {
                guard.encrypt(parts, done)?;
                // If this fails, the call below returns the error again.
                if guard.left() <= SHORT && matches!(guard.try_send(&*self.lower), Ok(true)) {
                    done += guard.count(total - done);
                    return Ok(done);
                }
                let (again, result) = self.send(engine, guard);
                guard = again;
                done += guard.count(total - done);
                result
            }
            result => result,
        };
        match result {
            _ if done > 0 => Ok(done),
            Ok(_) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        }
    }

    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(engine) = self.engine.get() else { return self.lower.try_write(parts) };
        let total = parts.iter().map(|part| part.len()).sum();
        let mut done = 0;
        let mut guard = engine.lock();
        for _ in 0..MOST_BATCHES {
            let sent = guard.try_send(&*self.lower);
            done += guard.count(total - done);
            match sent {
                _ if done == total => return Ok(done),
                Ok(true) => guard.encrypt(parts, done)?,
                Ok(false) if done == 0 => return Err(io::ErrorKind::WouldBlock.into()),
                Err(error) if done == 0 => return Err(error),
                // The next call returns the error again.
                Ok(false) | Err(_) => return Ok(done),
            }
        }
        Ok(done)
    }

    fn wait_writable(&self, deadline: Instant) -> Waited {
        self.lower.wait_writable(deadline)
    }

    fn interrupt(&self, grace: Grace) {
        self.lower.interrupt(grace);
    }

    fn abort(&self) {
        self.lower.abort();
    }

    fn flush_when_writable(&self, flush: Weak<dyn Flush>) -> bool {
        self.lower.flush_when_writable(flush)
    }

    fn report_loss(&self, client: Weak<dyn Flush>) {
        self.lower.report_loss(client);
    }

    fn write_farewell(&self) -> io::Result<Option<usize>> {
        let Some(engine) = self.engine.get() else { return self.lower.write_farewell() };
        let mut guard = engine.lock();
        guard.end();
        if guard.left() == 0 {
            return Ok(None);
        }
        self.send(engine, guard).1.map(Some)
    }

    /// The end of output of TLS (close_notify) comes before the end of output of the lower transport. There is
    /// room for it, because this is called when the peer has taken nearly everything.
    fn end_output(&self) {
        if let Some(engine) = self.engine.get() {
            let mut engine = engine.lock();
            engine.end();
            match engine.try_send(&*self.lower) {
                Ok(true) => {}
                // The farewell sends the rest.
                Ok(false) | Err(_) => return,
            }
        }
        self.lower.end_output();
    }

    fn is_taken(&self) -> bool {
        self.lower.is_taken()
    }

    fn limit_quiet(&self, quiet: Duration) -> bool {
        self.lower.limit_quiet(quiet)
    }

    fn linger(&self, linger: &Linger) -> Lingered {
        self.lower.linger(linger)
    }

    fn can_start_tls(&self) -> bool {
        self.start.is_some() && self.engine.get().is_none()
    }

    fn start_tls(&self) -> io::Result<Session> {
        let Some(start) = &self.start else { return Err(super::no_start_tls()) };
        let Some(_inlet) = self.inlet.try_lock() else {
            let message = "start_tls must be called by a callback of the client that it is for";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
        };
        if self.engine.get().is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the connection is already encrypted"));
        }
        let engine = Mutex::new(Engine::new(start.start()?));
        // From now on, nothing is written in plain text, even if the handshake fails.
        self.engine.get_or_init(|| engine);
        self.establish(Instant::now() + start.timeout().min(YEAR))
    }
}

fn interrupted() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was closed in the TLS handshake")
}

fn late() -> io::Error {
    let message = "the TLS handshake was not finished in time (handshake_timeout)";
    io::Error::new(io::ErrorKind::TimedOut, message)
}
