//! The TLS of a client: its facts, and the switch from plain text (STARTTLS).

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::client::state::{ClientShared, Guard, HalfClose};
use crate::client::Client;
use crate::closing::Closing;
use crate::crew::step_aside;
use crate::error::duplicate;
use crate::sync::atomic::Ordering;
use crate::tls::Session;

impl Client {
    /// Returns the facts about the encrypted connection, or `None` if the connection is in plain text. They stay
    /// available after the end. Needs the feature `tls`.
    #[must_use]
    pub fn tls(&self) -> Option<&Session> {
        self.shared.facts().and_then(|facts| facts.tls.get())
    }

    /// Switches from plain text to TLS (STARTTLS), as a server. Needs the feature `tls`, and a server with
    /// [`start_tls`](crate::TcpServer::start_tls).
    ///
    /// Call it in a callback of this client, after the answer to the command of the peer. It sends the output
    /// that was posted or gathered before, and then does the handshake on the calling thread. It blocks for at
    /// most the [write timeout](crate::TcpServer::write_timeout) and the
    /// [handshake timeout](crate::TcpServer::handshake_timeout). Writes of other threads wait until it returns,
    /// and are encrypted.
    ///
    /// **Commands that came before the handshake.** An attacker on the way can add commands in plain text after
    /// the command of the peer, so that they seem to come through TLS (CVE-2011-0411). Therefore `start_tls`
    /// fails if the [`Input`](crate::Input) has bytes that no code has read yet. It cannot see bytes that the
    /// adapter has already got. An adapter that searches for commands in `receiving` must drop everything after
    /// the command, or use [`framed`](crate::Adapter::framed) or [`serving`](crate::Adapter::serving). After
    /// the handshake, it must also forget what the peer has said before.
    ///
    /// # Errors
    /// Returns a [`std::io::Error`]. Except after `Unsupported`, `AlreadyExists` and `ResourceBusy`, the
    /// connection is ending, and nothing more is written in plain text.
    ///
    /// - [`Unsupported`](io::ErrorKind::Unsupported) if the server was prepared without `start_tls`.
    /// - [`AlreadyExists`](io::ErrorKind::AlreadyExists) if the connection is already encrypted.
    /// - [`ResourceBusy`](io::ErrorKind::ResourceBusy) if another thread reads from the client now.
    /// - [`InvalidData`](io::ErrorKind::InvalidData) if the input has unread bytes
    ///   ([`Failed`](Closing::Failed)), or if the handshake fails ([`Lost`](Closing::Lost)).
    /// - [`TimedOut`](io::ErrorKind::TimedOut) if the handshake takes too long.
    /// - [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) if a close or a stop has ended the handshake.
    /// - Every error of [`write`](Client::write).
    pub fn start_tls(&self) -> io::Result<()> {
        self.shared.start_tls()
    }

    /// Publishes how many received bytes are unread. The thread that reads calls this.
    pub(crate) fn set_unread(&self, count: usize) {
        self.shared.unread.store(count, Ordering::Relaxed);
    }
}

impl ClientShared {
    fn start_tls(self: &Arc<Self>) -> io::Result<()> {
        let deadline = Instant::now() + self.context.limits.write_timeout();
        let mut state = self.state.lock();
        let transport = Arc::clone(state.writable()?);
        if transport.can_start_tls() && self.unread.load(Ordering::Relaxed) > 0 {
            return Err(self.refuse_injection(state));
        }
        step_aside();
        // This thread becomes the active writer when all output in plain text is sent.
        loop {
            if state.writer_active {
                if self.changed.wait_until(&mut state, deadline).timed_out() && state.writer_active {
                    return Err(self.end_too_slow(state));
                }
                state.writable()?;
            } else if state.backlog.is_empty() {
                break;
            } else {
                let (guard, result) = self.send_unlocked(state, &mut [], deadline);
                state = self.end_if_failed(guard, result)?;
            }
        }
        state.writer_active = true;
        drop(state);
        let result = transport.start_tls();
        let mut state = self.state.lock();
        state.writer_active = false;
        self.changed.notify_all();
        match result {
            Ok(session) => {
                if let Some(facts) = self.facts() {
                    facts.tls.get_or_init(|| session);
                }
                self.flush_rest(state);
                Ok(())
            }
            // Nothing has happened to the connection.
            Err(error) if is_refused(&error) => {
                self.flush_rest(state);
                Err(error)
            }
            Err(error) => {
                // The backlog must not follow in plain text.
                state.drop_backlog();
                self.end_locked(state, Closing::Lost(duplicate(&error)), false);
                Err(error)
            }
        }
    }

    /// Ends a connection with plain text that would look as if it came through TLS. The answer to the command
    /// is delivered. `closing` can write nothing, because the peer no longer expects plain text.
    fn refuse_injection(&self, mut state: Guard<'_>) -> io::Error {
        let message = "the peer has sent more in plain text after the command that starts TLS";
        let error = || io::Error::new(io::ErrorKind::InvalidData, message);
        if state.half_close == HalfClose::No {
            state.half_close = HalfClose::Asked;
        }
        self.end_locked(state, Closing::Failed(error().into()), false);
        error()
    }
}

fn is_refused(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, ResourceBusy, Unsupported};
    matches!(error.kind(), Unsupported | AlreadyExists | ResourceBusy)
}
