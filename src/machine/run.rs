//! The running machine: the one reader of the control channel ([`crate::control`]) and the only place
//! that decides about shutdown. It holds no lock while it waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::{Event, ServerId};
use crate::error::{Error, Result};
use crate::machine::hub::{Hub, Stage};
use crate::report::{self, report, Escaped};
use crate::sync::atomic::Ordering;
use crate::sync::channel::Receiver;

/// What aborted sockets and the last threads get after that, and the drops of threads' locals.
const GRACE: Duration = Duration::from_millis(400);
/// What the log gets to catch up before `run` returns; after a stop that took all its time, at most
/// until half a second is over.
const LAST_WORDS: Duration = Duration::from_secs(1);
const SECOND_GRACE: Duration = Duration::from_millis(450);
/// A limit that is safe to add to the clock.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A machine that runs.
pub(super) struct Run {
    pub(super) hub: Arc<Hub>,
    pub(super) events: Option<Receiver<Event>>,
}

impl Run {
    pub(super) fn run(mut self) -> Result {
        let Some(events) = self.events.take() else { return Ok(()) };
        let hub = &*self.hub;
        let mut failure = None;
        let limit = match hub.engine.threads.open() {
            Ok(()) => self.watch(&events, &mut failure),
            Err((name, source)) => {
                failure = Some(Error::Thread { name, source });
                Duration::ZERO
            }
        };
        hub.stopped.store(true, Ordering::Release);
        hub.registry.lock().stage = Stage::Stopping;
        report!(Info, "the machine stops");
        let start = Instant::now();
        let stuck = self.drain(&events, limit, &mut failure);
        let left = {
            let mut registry = hub.registry.lock();
            registry.stage = Stage::Over;
            let left = std::mem::take(&mut registry.servers);
            left.iter().for_each(|server| registry.past.add(&server.stats()));
            left
        };
        drop(left);
        report!(Info, "the machine has stopped");
        let left = (limit.min(FOR_EVER) + SECOND_GRACE).saturating_sub(start.elapsed());
        report::flush(left.clamp(LAST_WORDS / 20, LAST_WORDS));
        match stuck.or(failure) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Reacts to events until it is time to stop; how long the stop may take.
    fn watch(&self, events: &Receiver<Event>, failure: &mut Option<Error>) -> Duration {
        while !self.is_done() {
            match events.recv() {
                Ok(Event::Stop) | Err(_) => break,
                Ok(Event::StopNow) => return Duration::ZERO,
                Ok(Event::ServerEnded(id)) => self.ended(id, failure),
                Ok(Event::JobEnded | Event::ThreadsEnded) => {}
            }
        }
        *self.hub.drain_timeout.lock()
    }

    /// Whether nothing is left that keeps the machine running: a server, or, where there never was
    /// one, an interval. From then on no server can be prepared.
    fn is_done(&self) -> bool {
        let jobs = self.hub.scheduler.pending();
        let mut registry = self.hub.registry.lock();
        let done = registry.servers.is_empty() && (registry.had_server || jobs == 0);
        if done {
            registry.stage = Stage::Stopping;
        }
        done
    }

    /// A server leaves the machine.
    fn ended(&self, id: ServerId, failure: &mut Option<Error>) {
        let Some(server) = self.hub.leave(id) else { return };
        let name = server.name();
        report!(Info, "server {} has ended", Escaped(&name));
        if let (Some(source), None) = (server.take_failure(), &failure) {
            *failure = Some(Error::Server { name, source });
        }
    }

    /// Stops everything: gracefully for `limit`, or until it is told to stop again, then at once.
    /// What is stuck after that is the error.
    fn drain(&self, events: &Receiver<Event>, limit: Duration, failure: &mut Option<Error>) -> Option<Error> {
        let (hub, start) = (&*self.hub, Instant::now());
        for server in hub.servers() {
            server.stop();
        }
        hub.scheduler.stop();
        let mut deadline = start + limit.min(FOR_EVER);
        let mut aborted = false;
        loop {
            if hub.servers().is_empty() {
                hub.send_home();
            }
            match events.recv_deadline(deadline) {
                Ok(Event::ServerEnded(id)) => self.ended(id, failure),
                Ok(Event::ThreadsEnded) => break,
                Ok(Event::JobEnded) => {}
                Ok(Event::Stop | Event::StopNow) if aborted => {}
                Err(_) if aborted => break,
                Ok(Event::Stop | Event::StopNow) | Err(_) => {
                    aborted = true;
                    deadline = Instant::now() + GRACE;
                    for server in hub.servers() {
                        server.abort();
                    }
                    hub.send_home();
                }
            }
        }
        let stuck = hub.engine.threads.join(deadline.max(Instant::now() + GRACE));
        if stuck.is_empty() {
            return None;
        }
        let threads = hub.describe(stuck);
        report!(Error, "stuck in user code: {}", Escaped(threads.join(", ")));
        Some(Error::Stuck { threads, waited: start.elapsed() })
    }
}
