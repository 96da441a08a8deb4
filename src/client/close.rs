//! How a connection ends.
//!
//! 1. [`end`](ClientShared::end) asks the connection to end, because of a call of the user or a failure. A stop
//!    uses [`stop`](ClientShared::stop), which leaves the output open. The first reason counts. A conversation
//!    can also end without such a request.
//! 2. [`begin_closing`](ClientShared::begin_closing) waits until no hold is left, and determines the reason.
//!    From then on, only the session may write.
//! 3. The session calls the adapter's `closing`.
//! 4. [`finish_closing`](ClientShared::finish_closing) delivers the output and drops the transport.

use std::sync::{Arc, Weak};
use std::time::Instant;
use std::{io, mem};

use crate::catch_panic::catch_panic;
use crate::client::linger::{Drain, Undelivered, LINGER_QUIET, LINGER_TOTAL};
use crate::client::moment::Moment;
use crate::client::reason::{classify, is_aborted_read};
use crate::client::state::{Calls, ClientShared, ClientState, Guard, HalfClose, Output};
use crate::client::Client;
use crate::closing::Closing;
use crate::crew::{is_leading, step_aside};
use crate::error::BoxError;
use crate::limits::YEAR;
use crate::logging::{error, Escaped};
use crate::reactor::READ_GRACE;
use crate::sync::atomic::Ordering;
use crate::sync::thread;
use crate::transport::{Grace, Linger, Lingered};

impl Client {
    /// Closes the connection gracefully. Returns at once. A second call does nothing.
    ///
    /// It may be called from any thread and any callback. Output that was written before is delivered to a
    /// peer that keeps reading. The delivery ends if the peer takes nothing for one second, and in any case
    /// five seconds after `closing`.
    ///
    /// After `close` has returned, no further [`receiving`](crate::Adapter::receiving) starts, but a call
    /// that is already running finishes. Its writes fail with [`BrokenPipe`](std::io::ErrorKind::BrokenPipe).
    /// Then [`closing`](crate::Adapter::closing) is called, which may still write.
    pub fn close(&self) {
        self.shared.end(Closing::ByServer, false);
    }

    /// Ends the output after everything that was written, and leaves the input open. Returns at once. A
    /// second call does nothing.
    ///
    /// The peer reads what was written and then the end of the stream, and can still send. From now on,
    /// writes fail with [`BrokenPipe`](std::io::ErrorKind::BrokenPipe), also in
    /// [`closing`](crate::Adapter::closing). Input is received as before.
    pub fn close_write(&self) {
        let mut state = self.shared.state.lock();
        if !state.is_closing() && state.half_close == HalfClose::No {
            state.half_close = HalfClose::Asked;
            self.shared.output_ended.store(true, Ordering::Release);
            state.end_output_if_taken();
            if state.owes_end_of_output() {
                self.shared.flush_later(state);
            }
        }
    }

    /// Ends the connection at once and drops pending output. Returns at once.
    ///
    /// It may be called from any thread and any callback. The peer sees a reset, or a normal end if its
    /// kernel already has all output. `closing` is still called but cannot write.
    pub fn abort(&self) {
        self.shared.end(Closing::ByServer, true);
    }

    /// Returns `true` if writes are refused: the connection has ended, [`close`](Client::close) or
    /// [`close_write`](Client::close_write) was called, or `closing` has begun.
    ///
    /// A stop does not refuse writes. [`is_stopping`](Client::is_stopping) notices a stop.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_output_ended()
    }

    /// Returns `true` if the connection was asked to end, by a close, by a stop, by a timeout or by a failure.
    ///
    /// A [`serving`](crate::Adapter::serving) that writes for a long time without reading should check this
    /// between two writes, and return. Otherwise a stop waits for it until the drain timeout.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shared.is_stopping()
    }

    /// Calls `f` once when the connection ends, before [`closing`](crate::Adapter::closing).
    ///
    /// Use it to wake a callback that waits for something other than this client, for example by shutting
    /// down the socket of another server. It runs on the thread that ends the connection. This is the thread
    /// that calls [`close`](Client::close) or [`abort`](Client::abort), the thread in
    /// [`Machine::run`](crate::Machine::run) at a stop, the thread that drops the last [`Hold`](crate::Hold)
    /// after a stop, the client's own thread, or a thread of the crate that notices a lost connection. `f` must
    /// not block, because other clients may wait for that thread. It must not lock a mutex that a caller of `close`,
    /// `abort`, `post` or `broadcast` may hold.
    ///
    /// If the connection is already ending, `f` runs at once on the calling thread. Several functions run in
    /// the order of the calls. A panic in `f` is logged.
    pub fn on_close(&self, f: impl FnOnce() + Send + 'static) {
        {
            let mut state = self.shared.state.lock();
            let ended = self.shared.is_input_ended() || state.is_closing() || state.transport.is_none();
            if !ended {
                state.on_close.push(Box::new(f));
                return;
            }
        }
        call(Box::new(f));
    }

    /// Asks the connection to end gracefully for `reason`.
    pub(crate) fn end(&self, reason: Closing) {
        self.shared.end(reason, false);
    }

    /// Asks the connection to end for `reason` and drops pending output.
    pub(crate) fn end_now(&self, reason: Closing) {
        self.shared.end(reason, true);
    }

    /// Asks the connection to end because of a stop.
    pub(crate) fn stop(&self) {
        self.shared.stop();
    }
}

impl ClientShared {
    /// Asks the connection to end. The first reason counts. With `abort`, accepted output is dropped.
    /// Never blocks.
    pub(crate) fn end(&self, reason: Closing, abort: bool) {
        self.end_locked(self.state.lock(), reason, abort);
    }

    /// Does the same as `end` for a caller that holds the lock. No other thread can write in between.
    pub(super) fn end_locked(&self, mut state: Guard<'_>, reason: Closing, abort: bool) {
        if !state.is_closing() {
            state.output = Output::Refused;
            state.reason.get_or_insert(reason);
            self.refuse_more();
        } else if !abort || state.is_aborted() {
            // The reason may hold a value of the user.
            drop(state);
            return;
        }
        if abort {
            state.output = Output::Aborted;
            state.drop_backlog();
        }
        self.interrupt(state, abort);
    }

    /// Ends the waits of the session and of writers, wherever they wait.
    fn interrupt(&self, mut state: Guard<'_>, abort: bool) {
        let (transport, grace, calls) = (state.transport.clone(), state.grace(), state.take_calls());
        let place = state.place.clone();
        drop(state);
        self.changed.notify_all();
        if let Some(transport) = transport {
            if abort {
                transport.abort();
            } else {
                transport.interrupt(grace);
            }
        }
        self.call(calls);
        if let Some(place) = place {
            place.call();
        }
    }

    /// Ends a connection whose upgrades have failed. They may have written an answer, which is delivered. A
    /// peer that was too slow gets no answer, so it does not keep its place for longer.
    pub(crate) fn end_handshake(&self, error: io::Error) {
        let mut state = self.state.lock();
        if error.kind() != io::ErrorKind::TimedOut {
            state.last_write = Some(Moment::now());
        }
        self.end_locked(state, Closing::Lost(error), false);
    }

    /// Asks the connection to end because of a stop. The input ends, and the output stays open until
    /// `closing` begins. If a hold exists, this takes effect when the last hold is dropped. Never blocks.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.by_stop = true;
        self.stopping.store(true, Ordering::Release);
        self.stop_unless_held(state, true);
    }

    /// Ends the input for a stop, unless a hold exists. `asked` is `true` if the stop is asked for now, and
    /// `false` if it may have been asked for before.
    pub(super) fn stop_unless_held(&self, mut state: Guard<'_>, asked: bool) {
        // After the conversation, only the output of `closing` is left.
        if state.talked || state.is_closing() || state.reason.is_some() || !(asked || state.stop_pending) {
            return;
        }
        state.stop_pending = state.holds > 0;
        if state.stop_pending {
            return;
        }
        state.reason = Some(Closing::Stopping);
        self.input_ended.store(true, Ordering::Release);
        self.interrupt(state, false);
    }

    /// Begins the closing of a connection after its conversation, and returns the reason. `outcome` is the
    /// result of the callbacks, or the message of a panic in a callback. `end_of_input` is `true` if the peer
    /// has ended its output.
    ///
    /// If the callbacks have succeeded or only pass on that a stop has ended the input, this blocks until no
    /// hold is left or the connection is asked to end. Afterwards only the calling thread may write. The session
    /// calls this once.
    pub(crate) fn begin_closing(
        self: &Arc<Self>,
        outcome: Result<Result<(), BoxError>, String>,
        end_of_input: bool,
    ) -> Closing {
        let aborted_read = match &outcome {
            // This may call code of the user, so it comes before the lock.
            Ok(Err(error)) => catch_panic(|| is_aborted_read(&**error)).unwrap_or(false),
            _ => false,
        };
        let (early, transport, calls) = {
            let mut state = self.state.lock();
            state.talked = true;
            state.end_of_input = end_of_input;
            let stopped = aborted_read && matches!(state.reason, Some(Closing::Stopping));
            if stopped || matches!(outcome, Ok(Ok(()))) {
                state = self.await_holds(state);
            }
            if !state.is_aborted() {
                state.output = Output::ClosingOnly(thread::current().id());
            }
            self.refuse_more();
            // The functions of `on_close` run before `closing`, also those that another thread calls now.
            while state.calling > 0 {
                step_aside();
                self.changed.wait(&mut state);
            }
            (state.reason.take(), state.transport.clone(), state.take_calls())
        };
        // From now on, the time limits of the linger apply to a writer that waits for room.
        self.changed.notify_all();
        if let Some(transport) = transport {
            transport.interrupt(Grace::Skip);
        }
        self.call(calls);
        match outcome {
            Err(message) => Closing::Panicked(message),
            Ok(Err(error)) => classify(error, early),
            Ok(Ok(())) => early.unwrap_or(if end_of_input { Closing::ByPeer } else { Closing::ByServer }),
        }
    }

    /// Blocks until no hold is left or the connection is asked to end. No thread reads at this time, so the
    /// transport reports if the connection is lost.
    fn await_holds<'a>(self: &'a Arc<Self>, mut state: Guard<'a>) -> Guard<'a> {
        if state.holds == 0 {
            return state;
        }
        let transport = state.transport.clone();
        drop(state);
        if let Some(transport) = transport {
            let client: Weak<Self> = Arc::downgrade(self);
            transport.report_loss(client);
        }
        step_aside();
        state = self.state.lock();
        while state.holds > 0 && !state.is_closing() {
            self.changed.wait(&mut state);
        }
        state
    }

    /// Delivers the output within the time limits of the linger, then drops the transport. Blocks until then.
    /// After a stop, the machine limits the time, and aborts the connection at the drain timeout.
    ///
    /// If this thread serves other clients, too, the last wait is left to the caller: then this returns a value for
    /// [`drain`](ClientShared::drain). Otherwise it is the session's last call.
    ///
    /// # Errors
    /// Returns the reason if output was dropped.
    pub(crate) fn finish_closing(&self) -> Result<Option<Drain>, Undelivered> {
        let mut state = self.state.lock();
        let unlimited = state.by_stop || self.context.patient;
        let limit = Instant::now() + if unlimited { YEAR } else { LINGER_TOTAL };
        if !state.is_aborted() {
            state.output = Output::Refused;
        }
        // The same limits apply to a writer on another thread.
        while state.writer_active && !state.is_aborted() {
            step_aside();
            if self.changed.wait_until(&mut state, limit).timed_out() {
                break;
            }
        }
        let Some(transport) = state.transport.clone() else { return Ok(None) };
        let (mut result, mut farewell) = (Ok(()), false);
        if !state.is_aborted() && !state.writer_active {
            let (guard, sent) = self.send_last(state, limit);
            state = guard;
            match sent {
                Ok(sent) => farewell = sent,
                Err(error) => {
                    result = Err(error.into());
                    state.output = Output::Aborted;
                }
            }
        }
        if state.cut {
            result = Err(Undelivered::TooSlow);
        }
        let aborted = state.is_aborted() || state.writer_active;
        // After its own farewell, a peer may still have sent more.
        let end_of_input = state.end_of_input && !farewell;
        let mut linger = Linger {
            written_lately: state.was_written_lately() || farewell,
            maybe_untaken: state.may_be_untaken(),
            quiet: LINGER_QUIET,
            deadline: limit,
            may_wait: !is_leading() || result.is_err(),
        };
        let by_stop = state.by_stop;
        drop(state);
        if aborted {
            transport.abort();
        } else if !end_of_input {
            let mut lingered = transport.linger(&linger);
            if lingered == Lingered::MustWait {
                step_aside();
                linger.may_wait = true;
                lingered = transport.linger(&linger);
            }
            match lingered {
                Lingered::Drains => {
                    // After a stop, the peer gets as much time as a reader that is interrupted.
                    let quiet = if by_stop { READ_GRACE } else { LINGER_QUIET };
                    let heard = Instant::now();
                    return Ok(Some(Drain { quiet, deadline: limit.min(heard + LINGER_TOTAL), heard }));
                }
                Lingered::TooSlow => result = Err(Undelivered::TooSlow),
                Lingered::Finished | Lingered::MustWait => {}
            }
        }
        // A peer that has ended its output sends nothing that close(2) would answer with RST. In that case it
        // is enough to drop the transport.
        self.release_transport();
        result.map(|()| None)
    }

    /// Drops what the peer still sends. Returns when to call this again if nothing arrives until then, or `None` if the
    /// transport is dropped. Never blocks.
    pub(crate) fn drain(&self, drain: &mut Drain) -> Option<Instant> {
        let until = drain.go_on(&*self.transport()?);
        if until.is_none() {
            self.release_transport();
        }
        until
    }

    fn release_transport(&self) {
        let mut state = self.state.lock();
        let transport = state.transport.take();
        state.drop_backlog();
        drop(state);
        // Without the lock: the drop of a transport closes its descriptor and needs the reactor's lock.
        drop(transport);
    }

    /// Calls functions of `on_close`, which [`ClientState::take_calls`] has returned.
    fn call(&self, calls: Calls) {
        if calls.is_empty() {
            return;
        }
        calls.into_iter().for_each(call);
        self.state.lock().calling -= 1;
        self.changed.notify_all();
    }

    /// Marks both directions as ended. The caller holds the lock.
    fn refuse_more(&self) {
        self.stopping.store(true, Ordering::Release);
        self.input_ended.store(true, Ordering::Release);
        self.output_ended.store(true, Ordering::Release);
    }
}

impl ClientState {
    /// Sends the end of output if `close_write` was called and the peer has taken nearly all output. If the
    /// peer has not, the caller requests a [flush](crate::reactor::Flush), which calls this again.
    ///
    /// The end must not be sent earlier. If the read side is shut down after that, for example by a stop, the
    /// next input causes RST, which destroys the output that is still in transit.
    pub(super) fn end_output_if_taken(&mut self) {
        if !self.owes_end_of_output() {
            return;
        }
        let taken = match &self.transport {
            Some(transport) if self.may_be_untaken() => transport.is_taken(),
            _ => true,
        };
        if taken {
            self.end_output();
        }
    }

    /// Returns `true` if `close_write` was called, all accepted output is sent, and the end of output is not.
    pub(super) fn owes_end_of_output(&self) -> bool {
        let sent = !self.writer_active && self.backlog.is_empty() && self.output != Output::HeldBack;
        self.half_close == HalfClose::Asked && sent
    }

    pub(super) fn end_output(&mut self) {
        self.half_close = HalfClose::Sent;
        if let Some(transport) = &self.transport {
            transport.end_output();
        }
    }

    /// Takes the functions of `on_close`. The caller must call [`ClientShared::call`] with them.
    fn take_calls(&mut self) -> Calls {
        self.calling += u32::from(!self.on_close.is_empty());
        mem::take(&mut self.on_close)
    }

    /// Returns how much time a reader gets that is interrupted now.
    fn grace(&self) -> Grace {
        if self.is_settled() && !self.may_be_untaken() {
            Grace::Skip
        } else {
            Grace::Give
        }
    }
}

fn call(call: Box<dyn FnOnce() + Send>) {
    if let Err(message) = catch_panic(call) {
        error!("a panic in a function of Client::on_close: {}", Escaped(message));
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::id::ClientId;
    use crate::client::state::ClientContext;
    use crate::remote::Remote;
    use crate::threads::MachineThreads;
    use crate::transport::memory::{MemoryTransport, Pipe};

    /// Makes a client whose peer takes four bytes.
    fn client() -> Arc<ClientShared> {
        let transport =
            MemoryTransport { inward: Pipe::new(1), outward: Pipe::new(4), flush: Arc::default() };
        let context = Arc::new(ClientContext::for_tests(MachineThreads::new()));
        Arc::new(ClientShared::new(ClientId::next(), Remote::Memory, Arc::new(transport), context))
    }

    /// The session itself has nothing to deliver.
    #[test]
    fn the_record_of_another_thread_that_is_cut_is_reported() {
        let shared = client();
        let writer = Arc::clone(&shared);
        let writer = thread::spawn(move || writer.write(&[b"too much"]));
        let start = Instant::now();
        while !shared.state.lock().writer_active {
            assert!(start.elapsed() < Duration::from_secs(20));
            thread::yield_now();
        }
        shared.begin_closing(Ok(Ok(())), true);
        let result = shared.finish_closing();
        assert!(matches!(result, Err(Undelivered::TooSlow)), "{result:?}");
        assert!(writer.join().unwrap().is_err());
    }

    /// Only a hold keeps the connection open.
    #[test]
    fn a_stop_after_the_callbacks_does_not_change_the_reason() {
        let shared = client();
        let client = Client { shared: Arc::clone(&shared) };
        let (hold, ending) = (client.hold(), Arc::clone(&shared));
        let session = thread::spawn(move || ending.begin_closing(Ok(Ok(())), true));
        let start = Instant::now();
        while !shared.state.lock().talked {
            assert!(start.elapsed() < Duration::from_secs(20));
            thread::yield_now();
        }
        shared.stop();
        drop(hold);
        let reason = session.join().unwrap();
        assert!(matches!(reason, Closing::ByPeer), "{reason}");
    }
}
