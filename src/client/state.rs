//! The state that all handles of one client share, behind one lock.
//!
//! The lock is never held during a call that can block, and never while user code runs. These files use the
//! state: [`write`](super::write), [`backlog`](super::backlog) and [`close`](super::close).

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::client::activity::Activity;
use crate::client::id::ClientId;
use crate::client::linger::LINGER_QUIET;
use crate::client::moment::Moment;
use crate::closing::Closing;
use crate::crew::Place;
use crate::limits::{micros, Limits};
use crate::remote::Remote;
use crate::stats::ClientStats;
#[cfg(feature = "tls")]
use crate::sync::atomic::AtomicUsize;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::thread::ThreadId;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::threads::MachineThreads;
#[cfg(feature = "tls")]
use crate::tls::Session;
use crate::transport::{Grace, Transport};

/// When more output than this is gathered under a cork, it is sent at once.
pub(super) const CORK_LIMIT: usize = 64 * 1024;
/// One segment of the size that every host accepts (RFC 9293, 3.7.1). No initial window is smaller.
const ONE_SEGMENT: u64 = 536;

/// The parts of a server that each of its clients needs.
#[derive(Clone)]
pub(crate) struct ClientContext {
    pub(crate) limits: Arc<Limits>,
    pub(crate) threads: Arc<MachineThreads>,
    /// The state of the server. It has no type here, because servers import clients.
    pub(crate) server: Arc<dyn Any + Send + Sync>,
    /// `true` if a peer that does not read is waited for without a limit, except at a stop.
    pub(crate) patient: bool,
}

#[cfg(test)]
impl ClientContext {
    /// Makes the context of a client that has no server.
    pub(crate) fn for_tests(threads: Arc<MachineThreads>) -> ClientContext {
        ClientContext { limits: Arc::default(), threads, server: Arc::new(()), patient: false }
    }
}

/// The part of a client that all its handles share.
pub(crate) struct ClientShared {
    pub(crate) id: ClientId,
    /// The remote side of the accepted connection.
    accepted_from: Remote,
    /// The facts that the upgrades have found out. Set by the session before `opening`.
    upgraded: OnceLock<Box<Upgraded>>,
    pub(super) context: Arc<ClientContext>,
    /// How many bytes were read. Written by the thread that reads, and read by threads that ask for the
    /// statistics. `Relaxed` is enough for that.
    pub(super) bytes_in: AtomicU64,
    pub(crate) connected: Instant,
    /// The activity of the session, for the statistics.
    activity: Activity,
    /// The idle timeout of this client, if it differs from the timeout of the server. Written by any thread,
    /// and read by the thread that reads. `Relaxed` is enough for that.
    pub(super) idle_timeout: IdleTimeout,
    /// The upgrades have not finished, so the handles of the server do not show the client. Written by the session,
    /// the last time with `Release` after the output was opened, so a thread that finds the client can write to it.
    upgrading: AtomicBool,
    /// The connection was asked to end. Set under the lock with `Release`, so a thread that sees the flag
    /// also sees the reason. Read without the lock. Never cleared.
    pub(super) stopping: AtomicBool,
    /// No more input is passed to the adapter. Written and read like `stopping`. Read before each read and
    /// each callback.
    pub(super) input_ended: AtomicBool,
    /// How many bytes of the input are received and not consumed, if the connection can switch to TLS. Written by
    /// the thread that reads, and read by the same thread. `Relaxed` is enough for that.
    #[cfg(feature = "tls")]
    pub(super) unread: AtomicUsize,
    /// No more output is accepted, except from `closing`. Written and read like `stopping`.
    pub(super) output_ended: AtomicBool,
    pub(super) state: Mutex<ClientState>,
    /// Signalled when a writer has finished, when the last hold is dropped and when the connection is asked to
    /// end. Writers wait here for their turn. The session waits here for holds, and before its last step.
    pub(super) changed: Condvar,
}

/// The traffic of a client up to now.
pub(crate) struct Traffic {
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) backlog: usize,
}

/// The facts that upgrades have found out about a connection.
pub(crate) struct Upgraded {
    /// The remote side. It differs from the accepted one if a proxy speaks for its client.
    pub(crate) remote: Remote,
    /// The address of the proxy that has brought the client.
    pub(crate) proxy: Option<SocketAddr>,
    /// Set by the handshake of TLS, which may come after `opening`.
    #[cfg(feature = "tls")]
    pub(crate) tls: OnceLock<Session>,
}

impl Upgraded {
    /// Begins with the remote side of the accepted connection.
    pub(crate) fn new(remote: Remote) -> Upgraded {
        Upgraded {
            remote,
            proxy: None,
            #[cfg(feature = "tls")]
            tls: OnceLock::new(),
        }
    }
}

/// Written and read under the lock, by every thread that holds a handle.
///
/// The fields up to `backlog` are those of a write, and stay together in memory. Therefore a broadcast to thousands of
/// clients loads fewer cache lines of each.
#[repr(C)]
pub(crate) struct ClientState {
    /// `None` after the connection has ended, so a handle that is kept does not keep the socket open.
    pub(super) transport: Option<Arc<dyn Transport>>,
    pub(super) output: Output,
    pub(super) bytes_out: u64,
    pub(super) last_write: Option<Moment>,
    /// How many cork guards exist.
    pub(super) corks: u32,
    /// Whether the output ends before the connection does.
    pub(super) half_close: HalfClose,
    /// A thread writes without the lock. Other writers wait for their turn, and posts go to the backlog.
    pub(super) writer_active: bool,
    /// A stop was asked for while a hold existed. It takes effect when the last hold is dropped.
    pub(super) stop_pending: bool,
    /// The place of the session while it waits without a thread. Set by the session before its first wait of this kind.
    pub(super) place: Option<Place>,
    /// A stop has reached the client. From then on, the drain timeout limits the delivery of its output.
    pub(super) by_stop: bool,
    /// Output that was accepted and that the kernel has not taken yet, in order.
    pub(super) backlog: VecDeque<u8>,
    /// How many bytes the active writer has taken out of the backlog and not sent yet.
    pub(super) in_flight: usize,
    /// How many bytes of `backlog` and `in_flight` were gathered under a cork, at most [`CORK_LIMIT`]. They
    /// come from writers, which wait for room, so they do not count against the limit of posted bytes.
    pub(super) gathered: usize,
    /// When the flush was requested, or when it has sent something for the last time.
    pub(super) flush_progress: Option<Instant>,
    /// Why the connection was asked to end. Set by the first thread that asks, and taken by the session.
    pub(super) reason: Option<Closing>,
    /// How many [`Hold`](super::hold::Hold)s exist.
    pub(super) holds: u32,
    /// The functions to call when the connection ends.
    pub(super) on_close: Calls,
    /// How many threads call such functions now. `closing` begins after that.
    pub(super) calling: u32,
    /// The conversation is over: the callbacks have returned. Set by the session.
    pub(super) talked: bool,
    /// The peer has ended its output. Set by the session.
    pub(super) end_of_input: bool,
    /// Output was dropped while the connection was closing, because the peer did not take it in time.
    pub(super) cut: bool,
    /// The transport was asked to flush the backlog.
    pub(super) flush_requested: bool,
}

/// Which threads may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// No thread yet, because upgrades are running, and only they use the transport.
    HeldBack,
    /// Every thread may write.
    Open,
    /// No thread may write. Output that was accepted before is still delivered.
    Refused,
    /// Only this thread may write, because it runs `closing`.
    ClosingOnly(ThreadId),
    /// No thread may write, and accepted output is dropped.
    Aborted,
}

/// Whether the output ends before the connection does (`Client::close_write`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HalfClose {
    /// The output ends with the connection.
    No,
    /// No thread may write. The end of output follows the output that was accepted.
    Asked,
    /// The end of output was sent.
    Sent,
}

/// The idle timeout of one client.
pub(super) struct IdleTimeout(AtomicU64);

impl IdleTimeout {
    /// The client has no timeout of its own.
    const INHERITED: u64 = u64::MAX;
    const NONE: u64 = u64::MAX - 1;

    pub(super) fn set(&self, limit: Option<Duration>) {
        let micros = limit.map_or(Self::NONE, micros);
        self.0.store(micros, Ordering::Relaxed);
    }

    fn get(&self, inherited: impl FnOnce() -> Option<Duration>) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            Self::INHERITED => inherited(),
            Self::NONE => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }
}

/// Functions to call without the lock.
pub(super) type Calls = Vec<Box<dyn FnOnce() + Send>>;

pub(super) type Guard<'a> = MutexGuard<'a, ClientState>;

impl ClientShared {
    pub(super) fn new(
        id: ClientId,
        remote: Remote,
        transport: Arc<dyn Transport>,
        context: Arc<ClientContext>,
    ) -> ClientShared {
        let state = ClientState {
            transport: Some(transport),
            reason: None,
            output: Output::Open,
            half_close: HalfClose::No,
            holds: 0,
            stop_pending: false,
            place: None,
            by_stop: false,
            on_close: Vec::new(),
            calling: 0,
            talked: false,
            end_of_input: false,
            writer_active: false,
            backlog: VecDeque::new(),
            in_flight: 0,
            gathered: 0,
            cut: false,
            flush_requested: false,
            flush_progress: None,
            corks: 0,
            last_write: None,
            bytes_out: 0,
        };
        ClientShared {
            id,
            accepted_from: remote,
            upgraded: OnceLock::new(),
            context,
            bytes_in: AtomicU64::new(0),
            connected: Instant::now(),
            activity: Activity::new(),
            idle_timeout: IdleTimeout(AtomicU64::new(IdleTimeout::INHERITED)),
            upgrading: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            input_ended: AtomicBool::new(false),
            #[cfg(feature = "tls")]
            unread: AtomicUsize::new(0),
            output_ended: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Returns `true` if a thread holds the lock.
    pub(super) fn is_locked(&self) -> bool {
        self.state.is_locked()
    }

    /// Returns the remote side of the connection.
    pub(crate) fn remote(&self) -> &Remote {
        self.upgraded.get().map_or(&self.accepted_from, |facts| &facts.remote)
    }

    /// Returns what the upgrades have found out.
    #[cfg(feature = "tls")]
    pub(super) fn facts(&self) -> Option<&Upgraded> {
        self.upgraded.get().map(|facts| &**facts)
    }

    /// Returns the address of the proxy that has brought the client.
    pub(crate) fn proxy(&self) -> Option<SocketAddr> {
        self.upgraded.get().and_then(|facts| facts.proxy)
    }

    pub(crate) fn context(&self) -> &ClientContext {
        &self.context
    }

    /// Refuses writes until the upgrades have finished, and hides the client from the handles of its server. The
    /// session calls this before any other thread can find the client.
    pub(crate) fn hold_back_output(&self) {
        self.upgrading.store(true, Ordering::Release);
        self.state.lock().output = Output::HeldBack;
    }

    /// Continues with the transport that the upgrades have returned, and keeps what they have found out. The
    /// session calls this.
    ///
    /// If the connection was asked to end during the upgrades, the new transport is interrupted, too.
    pub(crate) fn upgraded(&self, transport: Arc<dyn Transport>, facts: Upgraded) {
        self.upgraded.get_or_init(|| Box::new(facts));
        let (previous, output) = {
            let mut state = self.state.lock();
            let previous = state.transport.replace(Arc::clone(&transport));
            if state.output == Output::HeldBack {
                state.output = Output::Open;
                state.end_output_if_taken();
            }
            (previous, state.output)
        };
        // From now on, it is in `opening`.
        self.activity.received();
        self.upgrading.store(false, Ordering::Release);
        // Not under the lock: the drop of a transport closes its descriptor and needs the reactor's lock.
        drop(previous);
        match output {
            Output::Aborted => transport.abort(),
            // A stop ends the input and leaves the output open.
            _ if self.is_input_ended() => transport.interrupt(Grace::Skip),
            _ => {}
        }
    }

    /// From now on, the session waits in this place without a thread, and a call that ends the input calls it there.
    /// Returns the transport, or `None` if the session must not wait, because it was already asked to end.
    pub(crate) fn waits_at(&self, place: Place) -> Option<Arc<dyn Transport>> {
        let mut state = self.state.lock();
        state.place.get_or_insert(place);
        let ends = if state.talked { state.is_aborted() } else { self.is_input_ended() };
        state.transport.clone().filter(|_| !ends)
    }

    /// Returns the transport, if the connection has not ended.
    pub(crate) fn transport(&self) -> Option<Arc<dyn Transport>> {
        self.state.lock().transport.clone()
    }

    /// Returns `true` if the connection was asked to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Returns `true` if no more input is passed to the adapter.
    pub(crate) fn is_input_ended(&self) -> bool {
        self.input_ended.load(Ordering::Acquire)
    }

    /// Returns `true` if the upgrades have not finished, or have failed.
    pub(crate) fn is_upgrading(&self) -> bool {
        self.upgrading.load(Ordering::Acquire)
    }

    /// Returns `true` if writes are refused. Only `closing` may then still write.
    pub(crate) fn is_output_ended(&self) -> bool {
        self.output_ended.load(Ordering::Acquire)
    }

    /// Returns the idle timeout of this client.
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout.get(|| self.context.limits.idle_timeout())
    }

    /// Returns how many bytes were read in total.
    pub(crate) fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Publishes how many bytes were read in total. The thread that reads calls this.
    pub(crate) fn set_bytes_in(&self, total: u64) {
        self.bytes_in.store(total, Ordering::Relaxed);
    }

    /// Returns what the session does. The thread that serves the client changes it.
    pub(crate) fn activity(&self) -> &Activity {
        &self.activity
    }

    pub(crate) fn traffic(&self) -> Traffic {
        let state = self.state.lock();
        Traffic { bytes_in: self.bytes_in(), bytes_out: state.bytes_out, backlog: state.unsent() }
    }

    pub(crate) fn stats(&self) -> ClientStats {
        let Traffic { bytes_in, bytes_out, backlog } = self.traffic();
        let (idle_for, in_callback_for) = self.activity.read();
        ClientStats {
            bytes_in,
            bytes_out,
            connected_since: self.connected,
            backlog,
            idle_for,
            in_callback_for,
        }
    }
}

impl fmt::Display for ClientShared {
    /// Describes the thread that serves the client.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the thread of client {} from {}", self.id, self.remote())
    }
}

impl ClientState {
    /// Returns `true` if only `closing` may still write. The time limits of the linger apply.
    pub(super) fn is_closing(&self) -> bool {
        !matches!(self.output, Output::HeldBack | Output::Open)
    }

    /// Returns `true` if accepted output is dropped.
    pub(super) fn is_aborted(&self) -> bool {
        self.output == Output::Aborted
    }

    /// Returns how many bytes were accepted that the kernel has not taken yet.
    pub(super) fn unsent(&self) -> usize {
        self.backlog.len() + self.in_flight
    }

    /// Returns how many of the unsent bytes were posted.
    pub(super) fn posted(&self) -> usize {
        self.unsent().saturating_sub(self.gathered)
    }

    /// Drops the output that the kernel has not taken yet.
    pub(super) fn drop_backlog(&mut self) {
        self.backlog = VecDeque::new();
        self.gathered = 0;
    }

    /// Returns `true` if, as far as this side can tell, no output has been in transit for a while.
    pub(super) fn is_settled(&self) -> bool {
        !self.writer_active && self.backlog.is_empty() && !self.was_written_lately()
    }

    /// Returns `true` if more was written than every peer takes at once. Only the transport can tell whether
    /// the peer has taken it. A reset would destroy output that is still in transit.
    pub(super) fn may_be_untaken(&self) -> bool {
        self.bytes_out > ONE_SEGMENT
    }

    /// Returns `true` if something was written within the last second. A peer that does not read slowly has
    /// taken all older output.
    pub(super) fn was_written_lately(&self) -> bool {
        self.last_write.is_some_and(|written| written.elapsed() < LINGER_QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::memory::{MemoryTransport, Pipe};

    #[test]
    fn the_amount_and_the_time_of_writes_tell_whether_output_may_be_in_transit() {
        let transport =
            MemoryTransport { inward: Pipe::new(1), outward: Pipe::new(1), flush: Arc::default() };
        let context = ClientContext::for_tests(MachineThreads::new());
        let (transport, context) = (Arc::new(transport), Arc::new(context));
        let shared = ClientShared::new(ClientId::next(), Remote::Memory, transport, context);
        let mut state = shared.state.lock();
        assert!(state.is_settled());
        // Every window takes this much, and one byte more is too much to be sure.
        state.bytes_out = 536;
        assert!(!state.may_be_untaken());
        state.bytes_out += 1;
        assert!(state.may_be_untaken());
        state.last_write = Some(Moment::now());
        assert!(!state.is_settled() && state.was_written_lately());
        state.last_write = Some(Moment::FIRST);
        assert!(state.is_settled() && !state.was_written_lately());
        state.writer_active = true;
        assert!(!state.is_settled());
        state.writer_active = false;
        state.backlog.push_back(0);
        assert!(!state.is_settled());
    }
}
