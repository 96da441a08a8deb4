//! How the last output of a connection over a socket is delivered.
//!
//! If a socket is closed while it has unread input, the kernel sends RST, and RST destroys output that is
//! still in transit. Therefore the socket is not closed until the peer has taken the output, as far as this
//! side can tell. Input that arrives until then is read and dropped.
//!
//! When this begins, the kernel has all output, and nothing more is written. Only this file decides when the
//! end of output (FIN) is sent. If the read side was shut down, Linux answers the input that arrives after FIN
//! with RST. For this reason FIN waits until the peer has taken the output.
//!
//! **How the peer is observed.** No safe call returns how much output is unacknowledged, so two settings of the
//! socket are used, which do not slow down the delivery:
//!
//! - A socket with the smallest send buffer becomes writable when at most two or three small packets are
//!   unacknowledged. The buffer is shrunk only here, because a later write would be slow.
//! - With `TCP_NOTSENT_LOWAT` of 1, a socket is writable only if everything was sent at least once (`tcp(7)`).

use std::io;
use std::mem::MaybeUninit;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use crate::logging::debug;
use crate::reactor::{Source, TakenWait, READ_GRACE, WAIT_SLICE};
use crate::sync::atomic::Ordering;
use crate::transport::socket::{flags, retry, shutdown, SocketTransport};
use crate::transport::{Linger, Lingered};

/// How long input is dropped after the end of output, even if there is no other time limit. Only a few packets
/// are left by then, and a peer that goes on sending must not keep the connection open.
pub(super) const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// How long a slow peer has time to read before the end of output, so that the end has room.
const WINDOW_PAUSE: Duration = Duration::from_millis(300);

/// How the wait for the peer has ended.
enum Taken {
    /// The peer has taken nearly all output, or this side cannot tell. No wait was necessary.
    AtOnce,
    /// The same, after a wait. The peer reads slowly.
    Slowly,
    /// The peer has ended its output, so no input can arrive that would cause RST.
    NoInput,
    /// The connection was lost.
    Lost,
    TooSlow,
}

impl SocketTransport {
    /// Delivers the output, sends the end of output, and drops later input.
    pub(super) fn deliver_and_end(&self, linger: &Linger) -> Lingered {
        if linger.maybe_untaken && !linger.may_wait && !self.is_nearly_taken() {
            return Lingered::MustWait;
        }
        let taken = if linger.maybe_untaken { self.await_taken(linger) } else { Taken::AtOnce };
        match taken {
            Taken::AtOnce if !linger.written_lately => {}
            Taken::AtOnce | Taken::Slowly => {
                if matches!(taken, Taken::Slowly) && self.read_shut.load(Ordering::Acquire) {
                    self.await_window(linger);
                }
                shutdown(&self.socket, std::net::Shutdown::Write);
                if !linger.may_wait {
                    return Lingered::Drains;
                }
                self.drain(linger.quiet, linger.deadline.min(Instant::now() + DRAIN_LIMIT));
            }
            Taken::NoInput | Taken::Lost => return Lingered::Finished,
            Taken::TooSlow => {
                self.drop_input();
                return Lingered::TooSlow;
            }
        }
        // With unread input, close(2) would send RST.
        self.drop_input();
        Lingered::Finished
    }

    /// Waits until the peer has taken nearly all output, and drops the input that arrives until then.
    fn await_taken(&self, linger: &Linger) -> Taken {
        if self.is_nearly_taken() {
            return Taken::AtOnce;
        }
        let (start, mut watched) = (Instant::now(), false);
        loop {
            let now = Instant::now();
            if self.interrupt.is_aborted() || now >= linger.deadline {
                return Taken::TooSlow;
            }
            // The kernel measures the silence from the last progress, which may be long before the closing.
            // Therefore it is asked only after the peer has had its time.
            if !watched && now >= start + linger.quiet {
                watched = true;
                self.set_user_timeout(linger.quiet);
            }
            let until = if watched { linger.deadline } else { linger.deadline.min(start + linger.quiet) };
            let read_shut = self.read_shut.load(Ordering::Acquire);
            match self.readiness().wait_taken(&self.socket, read_shut, until) {
                TakenWait::Seen { writable: true, .. } => return self.taken_or_lost(),
                TakenWait::Seen { .. } => match self.drop_input() {
                    Ended::No => {}
                    Ended::Yes => return Taken::NoInput,
                    Ended::Failed(error) => return failed(&error),
                },
                TakenWait::TimedOut => {}
                TakenWait::Unknown => return Taken::Slowly,
                TakenWait::Unwatched => {
                    let seen = self.wait(PollFlags::OUT, Some(WAIT_SLICE));
                    if seen != Ok(PollFlags::empty()) {
                        return self.taken_or_lost();
                    }
                    self.drop_input();
                }
            }
        }
    }

    /// Waits until a peer that goes on reading has room for the end of output, and drops the input that arrives
    /// until then.
    ///
    /// The last output can fill the receive buffer of the peer to the last byte. FIN does not fit into it then,
    /// and waits in the kernel until the peer has read.
    fn await_window(&self, linger: &Linger) {
        let until = linger.deadline.min(Instant::now() + WINDOW_PAUSE);
        while !self.interrupt.is_aborted() && Instant::now() < until {
            thread::sleep(WAIT_SLICE.min(until.saturating_duration_since(Instant::now())));
            self.drop_input();
        }
    }

    /// Returns `true` if the peer has taken nearly all output. Later writes would be slow.
    pub(super) fn is_nearly_taken(&self) -> bool {
        self.shrink_queue();
        set_not_sent_limit(self, 1);
        self.wait(PollFlags::OUT, Some(Duration::ZERO)) != Ok(PollFlags::empty())
    }

    /// A socket is also writable after an error.
    fn taken_or_lost(&self) -> Taken {
        match self.socket.take_error() {
            Ok(Some(error)) | Err(error) => failed(&error),
            Ok(None) => Taken::Slowly,
        }
    }

    /// Returns `true` if the kernel has sent all output that it has, or if this side cannot tell.
    ///
    /// A thread that writes at the same time may find no room. It is woken when the setting is restored
    /// (`do_tcp_setsockopt` calls `sk_write_space`).
    pub(super) fn is_sent(&self) -> bool {
        if !set_not_sent_limit(self, 1) {
            return true;
        }
        let sent = self.wait(PollFlags::OUT, Some(Duration::ZERO)) != Ok(PollFlags::empty());
        // Zero restores the default of the system.
        set_not_sent_limit(self, 0);
        sent
    }

    /// Asks the kernel to end the connection if the peer takes nothing for this long (`tcp(7)`,
    /// `TCP_USER_TIMEOUT`). Returns `false` if it cannot do that.
    pub(super) fn set_user_timeout(&self, limit: Duration) -> bool {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return self.socket.set_tcp_user_timeout(Some(limit)).is_ok();
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            let _ = limit;
            false
        }
    }

    /// Shrinks the send buffer to the smallest size that the kernel allows.
    fn shrink_queue(&self) {
        const SMALLEST: usize = 2304; // Linux doubles it: SOCK_MIN_SNDBUF
        if let Err(error) = self.socket.set_send_buffer_size(SMALLEST) {
            debug!("cannot find out how much output a peer has taken: {error}");
        }
    }

    /// Reads and drops input until the peer ends its output, until the peer is silent for `quiet`, or until
    /// the deadline.
    pub(super) fn drain(&self, quiet: Duration, deadline: Instant) {
        let mut rest = [MaybeUninit::uninit(); 4096];
        let mut heard = Instant::now();
        while Instant::now() < deadline && heard.elapsed() < quiet {
            match self.receive(Some(WAIT_SLICE), || self.socket.recv(&mut rest)) {
                Ok(0) => return,
                Ok(_) => heard = Instant::now(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Drops the input that has arrived, up to the size of a large receive buffer.
    pub(super) fn drop_input(&self) -> Ended {
        let mut rest = [MaybeUninit::uninit(); 4096];
        for _ in 0..2_000 {
            match retry(|| self.socket.recv_with_flags(&mut rest, flags::NON_BLOCKING)) {
                // A read side that was shut down always looks like this.
                Ok(0) if self.read_shut.load(Ordering::Acquire) => return Ended::No,
                Ok(0) => return Ended::Yes,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ended::No,
                Err(error) => return Ended::Failed(error),
            }
        }
        Ended::No
    }
}

/// Whether the input has ended.
pub(super) enum Ended {
    No,
    Yes,
    Failed(io::Error),
}

fn failed(error: &io::Error) -> Taken {
    // The kernel reports the user timeout with ETIMEDOUT.
    if error.kind() == io::ErrorKind::TimedOut {
        Taken::TooSlow
    } else {
        Taken::Lost
    }
}

/// Sets how many bytes may be unsent in a socket that counts as writable. Returns `false` if the system has no
/// such setting.
fn set_not_sent_limit(transport: &SocketTransport, bytes: u32) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return transport.socket.set_tcp_notsent_lowat(bytes).is_ok();
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = (transport, bytes);
        false
    }
}

impl Source for SocketTransport {
    /// The read grace has passed. Shuts down the read side if a reader still waits. If the kernel still has
    /// output to send, the peer reads slowly, and the grace is extended.
    fn timer(&self, extensions: u32) -> Option<Duration> {
        /// About one second, which is as long as a closing connection waits for a silent peer.
        const EXTENSIONS: u32 = 9;
        if !self.interrupt.is_reading() {
            return None;
        }
        if extensions < EXTENSIONS && !self.is_sent() {
            return Some(READ_GRACE);
        }
        self.shut_read();
        None
    }
}
