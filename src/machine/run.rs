//! The running machine. It is the only reader of the [control channel](crate::event), and the only place that
//! decides about shutdown. It holds no lock while it waits.
//!
//! The code of [`ControlThread::stop`] has the steps of a stop in their order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::event::{Event, ServerId};
use crate::logging::{self, error, info, warn, Escaped};
use crate::machine::shared::{MachineShared, Stage};
use crate::server::state::ServerState;
use crate::sync::atomic::Ordering;
use crate::sync::channel::Receiver;

/// How much time aborted clients and the last threads have after the drain timeout.
const GRACE: Duration = Duration::from_millis(350);
/// How long the machine waits for one more thread to end after that, and after each thread that has ended.
const PROGRESS: Duration = Duration::from_millis(100);
/// How long the machine waits without progress if no thread runs user code. All threads then end by
/// themselves, unless the destructor of a thread-local hangs.
const OWN_THREADS: Duration = Duration::from_secs(5);
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
        for server in self.shared.servers() {
            server.begin_run();
        }
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
    /// When servers and the machine have to be stopped or aborted, as long as the machine serves.
    due: Vec<(Instant, Due)>,
    /// When the current phase of the stop ends.
    deadline: Instant,
    phase: Phase,
}

/// An action with a certain time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    /// A drain of the machine has reached its limit.
    Stop,
    /// A drain of a server has reached its limit.
    StopServer(ServerId),
    /// A stop of a server has reached the drain timeout.
    AbortServer(ServerId),
}

/// The phases of a stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Clients end by themselves.
    Graceful,
    /// Sockets were aborted. The number `threads` of threads were left when the deadline was set. The last
    /// thread to end has ended before the time `since`.
    Hard { threads: usize, since: Instant },
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
            due: Vec::new(),
            deadline: Instant::now(),
            phase: Phase::Graceful,
        }
    }

    /// Reacts to events until it is time to stop. Returns how long the graceful stop may take.
    fn serve(&mut self) -> Duration {
        while !self.is_done() {
            let next = self.due.iter().map(|(at, _)| *at).min();
            let event = match next {
                None => self.events.recv().map_err(|_| ()),
                Some(next) => self.events.recv_deadline(next).map_err(|_| ()),
            };
            match (event, next) {
                (Ok(Event::Stop), _) | (Err(()), None) => break,
                (Ok(Event::StopNow), _) => return Duration::ZERO,
                (Ok(Event::Drain(limit)), _) => self.drain(limit),
                (Ok(event), _) => self.react(event),
                (Err(()), Some(next)) => {
                    let due = self.due.iter().position(|(at, _)| *at == next);
                    match due.map(|index| self.due.swap_remove(index).1) {
                        Some(Due::Stop) => break,
                        Some(Due::StopServer(id)) => self.end_clients(id),
                        Some(Due::AbortServer(id)) => {
                            let server = self.shared.server(id);
                            abort_clients(server.as_slice(), *self.shared.drain_timeout.lock());
                        }
                        None => {}
                    }
                }
            }
        }
        *self.shared.drain_timeout.lock()
    }

    /// Closes the listeners of all servers. Their clients continue.
    fn drain(&mut self, limit: Duration) {
        info!("the machine drains");
        self.shared.registry.lock().draining = true;
        self.due.push((Instant::now() + limit.min(YEAR), Due::Stop));
        for server in self.shared.servers() {
            server.start_drain();
            server.close_listeners();
        }
    }

    /// Returns `true` if nothing keeps the machine running: it has no server left, or it never had a server
    /// and has no job left. From then on, no server can be prepared.
    fn is_done(&self) -> bool {
        let jobs = self.shared.scheduler.pending();
        let mut registry = self.shared.registry.lock();
        let idle = registry.had_server || registry.draining || jobs == 0;
        let done = registry.servers.is_empty() && idle;
        if done {
            registry.stage = Stage::Stopping;
        }
        done
    }

    /// Stops everything in order. It stops gracefully for `limit` or until `StopNow`. After that it aborts.
    fn stop(mut self, limit: Duration) -> Result {
        let (shared, start) = (self.shared, Instant::now());
        shared.stopping.store(true, Ordering::Release);
        shared.registry.lock().stage = Stage::Stopping;
        info!("the machine stops");
        self.deadline = start + limit.min(YEAR);

        // The listeners close, so that new clients are refused. Intervals are cancelled.
        for server in shared.servers() {
            server.stop();
        }
        shared.scheduler.stop();
        if limit.is_zero() {
            self.abort();
        }
        self.wait_until(|_| shared.servers().iter().all(|server| !server.has_listeners()));

        // The input of the clients ends. Each client ends after its callbacks have finished, its holds were
        // dropped and its output was delivered.
        for server in shared.servers() {
            server.end_clients();
        }
        self.wait_until(|_| shared.servers().is_empty());

        // The helper threads end: parked workers, the reactor, the scheduler.
        shared.stop_threads();
        self.wait_until(|control| control.threads_ended);

        // By now, every thread has ended and is joined, or it is stuck in user code.
        let stuck = shared.engine.threads.join();
        let error = stuck_error(stuck, start.elapsed()).or(self.failure);
        release_servers(shared);
        info!("the machine has stopped");
        let left = (limit.min(YEAR) + SECOND_GRACE).saturating_sub(start.elapsed());
        logging::flush(left.clamp(LOG_FLUSH / 20, LOG_FLUSH));
        error.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Reacts to events until `done` returns `true`. At the deadline or after `StopNow` it aborts all clients
    /// and waits as long as threads end. Then it gives up.
    fn wait_until(&mut self, done: impl Fn(&Self) -> bool) {
        while self.phase != Phase::GivenUp && !done(self) {
            match (self.events.recv_deadline(self.deadline), self.phase) {
                (Ok(Event::StopNow), Phase::Graceful) => self.abort(),
                (Ok(event), _) => self.react(event),
                (Err(_), Phase::Graceful) => {
                    let limit = *self.shared.drain_timeout.lock();
                    abort_clients(&self.shared.servers(), limit);
                    self.abort();
                }
                (Err(_), Phase::Hard { threads, since }) => self.wait_or_give_up(threads, since),
                (Err(_), Phase::GivenUp) => {}
            }
        }
    }

    fn abort(&mut self) {
        let now = Instant::now();
        self.phase = Phase::Hard { threads: self.shared.engine.threads.count(), since: now };
        self.deadline = now + GRACE;
        for server in self.shared.servers() {
            server.abort_clients();
        }
        self.shared.stop_threads();
    }

    /// Waits for longer if a thread has ended since the last time. On a busy machine, the ends of thousands of
    /// threads take a while, and their code is not stuck.
    fn wait_or_give_up(&mut self, threads: usize, since: Instant) {
        let (now, left) = (Instant::now(), self.shared.engine.threads.count());
        let stuck = left >= threads && self.shared.engine.threads.is_in_user_code();
        if stuck || (left >= threads && now >= since + OWN_THREADS) {
            self.phase = Phase::GivenUp;
            return;
        }
        self.deadline = now + PROGRESS;
        self.phase = Phase::Hard { threads: left, since: if left < threads { now } else { since } };
    }

    /// Reacts to an event, as described in the table of the control channel.
    fn react(&mut self, event: Event) {
        match event {
            // The stop has already begun.
            Event::Drain(_) | Event::Stop | Event::StopNow => {}
            Event::DrainServer(id, limit) => {
                self.due.push((Instant::now() + limit.min(YEAR), Due::StopServer(id)));
                if let Some(server) = self.shared.server(id) {
                    server.close_listeners();
                }
            }
            Event::StopServer(id) => self.stop_server(id),
            Event::ServerFailed(id, source) => {
                // A server whose `prepare` has failed is not in the registry.
                let Some(server) = self.shared.server(id) else { return };
                self.failure.get_or_insert(Error::Server { name: server.name(), source });
                self.stop_server(id);
            }
            Event::ListenersClosed(id) => {
                if self.shared.server(id).is_some_and(|server| !server.is_draining()) {
                    self.end_clients(id);
                }
            }
            Event::ServerEnded(id) => {
                self.due.retain(
                    |(_, due)| !matches!(due, Due::StopServer(it) | Due::AbortServer(it) if *it == id),
                );
                let Some(server) = self.shared.unregister(id) else { return };
                // If the server has ended by itself, its stop hooks have not been called yet.
                server.close_listeners();
                server.log_stage("has ended");
            }
            // `serve` counts the jobs itself, after this.
            Event::JobEnded => self.shared.scheduler.job_ended_received(),
            Event::ThreadsEnded => self.threads_ended = true,
        }
    }

    fn stop_server(&mut self, id: ServerId) {
        let Some(server) = self.shared.server(id) else { return };
        server.stop();
        if !server.has_listeners() {
            self.end_clients(id);
        }
    }

    /// Stops the clients of one server. After the drain timeout, they are aborted.
    fn end_clients(&mut self, id: ServerId) {
        let Some(server) = self.shared.server(id) else { return };
        let limit = *self.shared.drain_timeout.lock();
        self.due.push((Instant::now() + limit.min(YEAR), Due::AbortServer(id)));
        server.end_clients();
    }
}

/// Aborts the clients that have not ended within the drain timeout, and names them in a warning.
fn abort_clients(servers: &[Arc<ServerState>], limit: Duration) {
    /// How many clients are named.
    const NAMED: usize = 8;
    let clients: Vec<Client> = servers.iter().flat_map(|server| server.abort_clients()).collect();
    if clients.is_empty() {
        return;
    }
    let named: Vec<String> = clients
        .iter()
        .take(NAMED)
        .map(|client| format!("client {} from {}", client.id(), client.remote()))
        .collect();
    let more = match clients.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    warn!("after the drain timeout of {limit:?}, connections are cut: {}{more}", Escaped(named.join(", ")));
}

fn stuck_error(threads: Vec<String>, waited: Duration) -> Option<Error> {
    if threads.is_empty() {
        return None;
    }
    error!("stuck in user code: {}", Escaped(threads.join(", ")));
    Some(Error::Stuck { threads, waited })
}

/// Drops the servers that have not ended, and keeps their statistics.
fn release_servers(shared: &MachineShared) {
    let left = shared.servers();
    left.iter().for_each(|server| server.give_up());
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
        let (server, guard) = shared.register("test".to_owned(), true).expect("the machine is not stopping");
        // A failed `prepare` does the same.
        shared.unregister(server.id());
        server.close_listeners();
        drop(guard);
        control.react(Event::ServerFailed(server.id(), std::io::ErrorKind::InvalidInput.into()));
        assert!(control.failure.is_none(), "{:?}", control.failure);
    }
}
