//! The running machine. It is the only reader of the [control channel](crate::event), and the only place that
//! decides about shutdown. It holds no lock while it waits.
//!
//! The code of [`ControlThread::stop`] has the steps of a stop in their order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::event::{Event, ServerId};
use crate::logging::{self, error, info, Escaped};
use crate::machine::shared::{MachineShared, Stage};
use crate::sync::atomic::Ordering;
use crate::sync::channel::Receiver;

/// How much time aborted clients and the last threads have after the drain timeout.
const GRACE: Duration = Duration::from_millis(400);
/// How long `run` waits for the log before it returns. After a stop that has used all its time, `run` returns
/// at the latest `SECOND_GRACE` after the drain timeout.
const LOG_FLUSH: Duration = Duration::from_secs(1);
const SECOND_GRACE: Duration = Duration::from_millis(450);
/// The longest limit. It is safe to add to the clock.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A machine that runs.
pub(super) struct Run {
    shared: Arc<MachineShared>,
    /// `None` if the machine was stopped before it ran.
    events: Option<Receiver<Event>>,
}

impl Run {
    /// Claims the run of a machine.
    pub(super) fn claim(shared: &Arc<MachineShared>) -> Result<Run, Error> {
        let mut registry = shared.registry.lock();
        match registry.stage {
            Stage::Prepared => registry.stage = Stage::Running,
            Stage::Running | Stage::Stopping => return Err(Error::AlreadyRunning),
            Stage::Stopped if registry.ran => return Err(Error::AlreadyRan),
            // The machine was stopped before it ran, so there is nothing to run.
            Stage::Stopped => {}
        }
        let runs = registry.stage == Stage::Running;
        registry.ran |= runs;
        drop(registry);
        // The thread that has stopped the machine may still need the receiver, so it is taken only for a run.
        let events = if runs { shared.receiver.lock().take() } else { None };
        Ok(Run { shared: Arc::clone(shared), events })
    }

    /// Runs the machine until it has stopped.
    pub(super) fn run(mut self) -> Result {
        let Some(events) = self.events.take() else { return Ok(()) };
        let mut control = ControlThread::new(&self.shared, events);
        let limit = match self.shared.engine.threads.open() {
            Ok(()) => control.serve(),
            Err((name, source)) => {
                control.failure = Some(Error::Thread { name, source });
                Duration::ZERO
            }
        };
        control.stop(limit)
    }
}

/// The thread in `run`.
struct ControlThread<'a> {
    shared: &'a MachineShared,
    events: Receiver<Event>,
    /// The first failure of a server.
    failure: Option<Error>,
    /// The last thread has ended.
    threads_ended: bool,
    /// When the current phase of the stop ends.
    deadline: Instant,
    phase: Phase,
}

/// The phases of a stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Clients end by themselves.
    Graceful,
    /// Sockets were aborted.
    Hard,
    /// The machine no longer waits for anything.
    GivenUp,
}

impl ControlThread<'_> {
    fn new(shared: &MachineShared, events: Receiver<Event>) -> ControlThread<'_> {
        ControlThread {
            shared,
            events,
            failure: None,
            threads_ended: false,
            deadline: Instant::now(),
            phase: Phase::Graceful,
        }
    }

    /// Reacts to events until it is time to stop. Returns how long the graceful stop may take.
    fn serve(&mut self) -> Duration {
        while !self.is_done() {
            match self.events.recv() {
                Ok(Event::Stop) | Err(_) => break,
                Ok(Event::StopNow) => return Duration::ZERO,
                Ok(event) => self.react(event),
            }
        }
        *self.shared.drain_timeout.lock()
    }

    /// Returns `true` if nothing keeps the machine running: it has no server left, or it never had a server
    /// and has no job left. From then on, no server can be prepared.
    fn is_done(&self) -> bool {
        let jobs = self.shared.scheduler.pending();
        let mut registry = self.shared.registry.lock();
        let done = registry.servers.is_empty() && (registry.had_server || jobs == 0);
        if done {
            registry.stage = Stage::Stopping;
        }
        done
    }

    /// Stops everything in order. It stops gracefully for `limit` or until a second stop. After that it
    /// aborts.
    fn stop(mut self, limit: Duration) -> Result {
        let (shared, start) = (self.shared, Instant::now());
        shared.stopping.store(true, Ordering::Release);
        shared.registry.lock().stage = Stage::Stopping;
        info!("the machine stops");
        self.deadline = start + limit.min(YEAR);

        // The listeners close, so that new clients are refused. Intervals are cancelled.
        for server in shared.servers() {
            server.close_listeners();
        }
        shared.scheduler.stop();
        self.wait_until(|_| shared.servers().iter().all(|server| !server.has_listeners()));

        // The clients are closed. Each of them ends after its callbacks have finished.
        for server in shared.servers() {
            server.end_clients();
        }
        self.wait_until(|_| shared.servers().is_empty());

        // The helper threads end: parked workers, the reactor, the scheduler.
        shared.stop_threads();
        self.wait_until(|control| control.threads_ended);

        // By now, every thread has ended and is joined, or it is stuck in user code.
        let stuck = shared.engine.threads.join();
        let error = self.stuck_error(stuck, start.elapsed()).or(self.failure);
        release_servers(shared);
        info!("the machine has stopped");
        let left = (limit.min(YEAR) + SECOND_GRACE).saturating_sub(start.elapsed());
        logging::flush(left.clamp(LOG_FLUSH / 20, LOG_FLUSH));
        error.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Reacts to events until `done` returns `true`. At the deadline or after a second stop it aborts all
    /// clients and waits a little longer. Then it gives up.
    fn wait_until(&mut self, done: impl Fn(&Self) -> bool) {
        while self.phase != Phase::GivenUp && !done(self) {
            match (self.events.recv_deadline(self.deadline), self.phase) {
                (Ok(Event::Stop | Event::StopNow) | Err(_), Phase::Graceful) => self.abort(),
                (Err(_), _) => self.phase = Phase::GivenUp,
                (Ok(event), _) => self.react(event),
            }
        }
    }

    fn abort(&mut self) {
        self.phase = Phase::Hard;
        self.deadline = Instant::now() + GRACE;
        for server in self.shared.servers() {
            server.abort_clients();
        }
        self.shared.stop_threads();
    }

    /// Reacts to an event, as described in the table of the control channel.
    fn react(&mut self, event: Event) {
        match event {
            // The stop has already begun.
            Event::Stop | Event::StopNow => {}
            Event::StopServer(id) => self.close_listeners(id),
            Event::ServerFailed(id, source) => {
                // A server whose `prepare` has failed is not in the registry.
                let Some(server) = self.shared.server(id) else { return };
                self.failure.get_or_insert(Error::Server { name: server.name(), source });
                self.close_listeners(id);
            }
            Event::ListenersClosed(id) => {
                if let Some(server) = self.shared.server(id) {
                    server.end_clients();
                }
            }
            Event::ServerEnded(id) => {
                let Some(server) = self.shared.unregister(id) else { return };
                // If the server has ended by itself, its stop hooks have not been called yet.
                server.close_listeners();
                info!("server {} has ended", Escaped(server.name()));
            }
            // `serve` counts the jobs itself, after this.
            Event::JobEnded => self.shared.scheduler.job_ended_received(),
            Event::ThreadsEnded => self.threads_ended = true,
        }
    }

    fn close_listeners(&self, id: ServerId) {
        let Some(server) = self.shared.server(id) else { return };
        server.close_listeners();
        if !server.has_listeners() {
            server.end_clients();
        }
    }

    fn stuck_error(&self, stuck: Vec<String>, waited: Duration) -> Option<Error> {
        if stuck.is_empty() {
            return None;
        }
        let threads = self.shared.describe(stuck);
        error!("stuck in user code: {}", Escaped(threads.join(", ")));
        Some(Error::Stuck { threads, waited })
    }
}

/// Drops the servers that have not ended, and keeps their statistics.
fn release_servers(shared: &MachineShared) {
    let left = shared.servers();
    let stats: Vec<_> = left.iter().map(|server| server.stats()).collect();
    let mut registry = shared.registry.lock();
    registry.stage = Stage::Stopped;
    registry.servers.clear();
    stats.iter().for_each(|stats| registry.past.add(stats));
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_a_server_that_could_not_be_prepared_is_no_failure_of_the_machine() {
        let shared = MachineShared::new();
        let events = shared.receiver.lock().take().expect("nobody has taken it");
        let mut control = ControlThread::new(&shared, events);
        let (server, guard) = shared.register("test".to_owned()).expect("the machine is not stopping");
        // A failed `prepare` does the same.
        shared.unregister(server.id());
        server.close_listeners();
        drop(guard);
        control.react(Event::ServerFailed(server.id(), std::io::ErrorKind::InvalidInput.into()));
        assert!(control.failure.is_none(), "{:?}", control.failure);
    }
}
