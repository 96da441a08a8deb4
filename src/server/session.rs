//! Sessions: the life of one client, from the accepted connection until the transport is dropped.
//!
//! A [`Session`] is a value. Each [`step`](Session::step) takes it from one stage to the next:
//!
//! | stage | what the step does |
//! |---|---|
//! | `Accepted` | makes the transport and registers the client, so that a stop can end it from now on |
//! | `Upgrading` | runs the [upgrades](super::upgrade), such as a handshake |
//! | `Opening` | makes the adapter and calls `opening` |
//! | `Talking` | calls `serving`, which calls `receiving` |
//! | `Closing` | determines the reason, calls `closing`, drops the adapter |
//! | `Lingering` | delivers the last output and drops the transport |
//! | `Draining` | waits without a thread of its own until the peer has ended its output |
//!
//! With [`Threads::PerClient`](crate::Threads::PerClient), one worker takes all steps of a session. With
//! [`Threads::WhileBusy`](crate::Threads::WhileBusy), a [crew](crate::crew) moves it from thread to thread, and it waits
//! in the stage `Talking` or `Draining` without a thread. Each step catches the panics of the user code that it calls.

use std::sync::Arc;
use std::time::Instant;
use std::{io, mem, thread};

use crossbeam_channel::Sender;

use crate::adapter::Adapter;
use crate::catch_panic::catch_panic;
use crate::client::id::ClientId;
use crate::client::linger::{Drain, Undelivered};
use crate::client::state::{ClientContext, ClientShared, Upgraded};
use crate::client::Client;
use crate::closing::Closing;
use crate::crew::turn::{Mode, Turn, Wait};
use crate::crew::{CrewGuard, Guest, Place};
use crate::error::Result;
use crate::input::Paused;
use crate::logging::{debug, error, warn, Escaped};
use crate::server::control::Control;
use crate::server::listener::Accepted;
use crate::server::permit::Permit;
use crate::server::state::ServerState;
use crate::server::upgrade::{Connection, Upgrades, HANDSHAKE_TIMEOUT};
use crate::sync::atomic::Ordering;
use crate::threads::pool::{Job, Pool};
use crate::threads::user_code::{user_code, Label};
use crate::transport::{Descriptor, Transport};

/// Creates the transport of an accepted socket. It runs on the session's thread, so that the same thread
/// allocates and frees the memory of a connection.
type Connect<S> = Box<dyn Fn(S) -> Arc<dyn Transport> + Send + Sync>;

/// Starts the sessions of one server.
pub(crate) struct Sessions<F, S> {
    server: Arc<ServerState>,
    pool: Arc<Pool>,
    context: Arc<ClientContext>,
    factory: F,
    connect: Connect<S>,
    upgrades: Upgrades,
    stack: Option<usize>,
    /// They share the clients. Empty if each client has a thread.
    crews: Vec<CrewGuard>,
    reports: Option<Sender<Closing>>,
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static, S: Send + 'static> Sessions<F, S> {
    pub(crate) fn new(
        control: &Control,
        factory: F,
        connect: impl Fn(S) -> Arc<dyn Transport> + Send + Sync + 'static,
    ) -> Sessions<F, S> {
        let (server, engine) = (Arc::clone(control.state()), control.engine());
        let limits = Arc::clone(server.limits());
        let context = ClientContext {
            limits,
            threads: Arc::clone(&engine.threads),
            server: Arc::<ServerState>::clone(&server),
            patient: false,
        };
        Sessions {
            context: Arc::new(context),
            server,
            pool: Arc::clone(&engine.pool),
            factory,
            connect: Box::new(connect),
            upgrades: Upgrades { steps: Vec::new(), timeout: HANDSHAKE_TIMEOUT },
            stack: None,
            crews: Vec::new(),
            reports: None,
        }
    }

    /// Sets the upgrades that each connection goes through. Default: none.
    pub(crate) fn upgrades(self, upgrades: Upgrades) -> Sessions<F, S> {
        Sessions { upgrades, ..self }
    }

    /// Sets the stack size of the threads that serve the sessions.
    pub(crate) fn stack_size(self, stack: Option<usize>) -> Sessions<F, S> {
        Sessions { stack, ..self }
    }

    /// Sets the crews that serve the sessions. Default: each session has a worker of its own.
    pub(crate) fn crews(self, crews: Vec<CrewGuard>) -> Sessions<F, S> {
        Sessions { crews, ..self }
    }

    /// Sets no time limit for the delivery of the last output, except the drain timeout of a stop.
    pub(crate) fn patient(self) -> Sessions<F, S> {
        let context = ClientContext { patient: true, ..ClientContext::clone(&self.context) };
        Sessions { context: Arc::new(context), ..self }
    }

    /// Sends the reason for closing to `reports` when a session has ended.
    pub(crate) fn reporting(self, reports: Sender<Closing>) -> Sessions<F, S> {
        Sessions { reports: Some(reports), ..self }
    }

    /// Creates the session of a connection.
    pub(crate) fn session(self: &Arc<Self>, permit: Permit, accepted: Accepted<S>) -> Session<A, F, S> {
        let id = ClientId::next();
        Session { id, sessions: Some(Arc::clone(self)), stage: Stage::Accepted(Box::new(accepted)), permit }
    }

    /// Passes the session of a connection to a worker, and does not wait for it. If this fails, the
    /// connection is lost.
    pub(crate) fn start(self: &Arc<Self>, permit: Permit, accepted: Accepted<S>) -> io::Result<()> {
        let session = Box::new(self.session(permit, accepted));
        if self.crews.is_empty() {
            return self.pool.run(self.stack, session);
        }
        self.crews[fastrand::usize(..self.crews.len())].begin(session);
        Ok(())
    }
}

/// The life of one client.
pub(crate) struct Session<A, F, S> {
    id: ClientId,
    /// Taken at the end, because dropping the last of them drops the user's factory.
    sessions: Option<Arc<Sessions<F, S>>>,
    stage: Stage<A, S>,
    /// Dropped with the session when the worker is free again.
    permit: Permit,
}

/// The stages of a session, in order.
enum Stage<A, S> {
    Accepted(Box<Accepted<S>>),
    Upgrading(Client, Arc<dyn Transport>),
    Opening(Client, Arc<dyn Transport>),
    Talking(Client, Box<A>, Paused),
    Closing(Client, Box<A>, Talked),
    Lingering(Client, Ending),
    Draining(Client, Drain),
    Ended,
}

/// How a conversation ended: the result of the callbacks, or the message of a panic in one.
struct Talked {
    outcome: Result<Result, String>,
    end_of_input: bool,
}

/// Why a connection ends.
struct Ending {
    reason: Closing,
    /// A callback of the end has panicked: `closing`, or the drop of the adapter.
    panicked: bool,
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static, S: Send + 'static> Job for Session<A, F, S> {
    fn run(&mut self) {
        // A turn that is bound to its session never waits.
        self.go_on(&mut Turn::default());
    }
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static, S: Send + 'static> Guest for Session<A, F, S> {
    fn go_on(&mut self, turn: &mut Turn) -> Option<Wait> {
        let sessions = self.sessions.take()?;
        // On a thread that serves other clients, too, the label would cost too much. The standby sets it if necessary.
        let labels = turn.mode != Mode::Shared || self.stage.client().is_none();
        if labels {
            user_code(self.stage.label());
        }
        while !matches!(self.stage, Stage::Ended) {
            self.step(&sessions, turn);
            if let Some(wait) = turn.wait.take() {
                self.sessions = Some(sessions);
                if labels {
                    user_code(None);
                }
                return Some(wait);
            }
        }
        if let Err(message) = catch_panic(move || drop(sessions)) {
            error!("a panic while the factory of a server was dropped: {}", Escaped(message));
        }
        user_code(None);
        None
    }

    fn waits_at(&self, place: Place) -> Option<(Descriptor, Label)> {
        let transport = self.stage.client()?.shared().waits_at(place)?;
        Some((transport.descriptor()?, self.stage.label()?))
    }
}

impl<A, S> Stage<A, S> {
    /// Names the client, if the stage is not the first or the last one.
    fn label(&self) -> Option<Label> {
        Some(Arc::<ClientShared>::clone(self.client()?.shared()))
    }

    /// Returns the client, if the stage is not the first or the last one.
    fn client(&self) -> Option<&Client> {
        match self {
            Stage::Accepted(_) | Stage::Ended => None,
            Stage::Upgrading(client, _)
            | Stage::Opening(client, _)
            | Stage::Talking(client, ..)
            | Stage::Closing(client, ..)
            | Stage::Lingering(client, _)
            | Stage::Draining(client, _) => Some(client),
        }
    }
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static, S: Send + 'static> Session<A, F, S> {
    /// Goes to the next stage.
    fn step(&mut self, sessions: &Sessions<F, S>, turn: &mut Turn) {
        self.stage = match mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Accepted(accepted) => self.register(sessions, *accepted),
            Stage::Upgrading(client, transport) => upgrade(sessions, client, transport),
            Stage::Opening(client, transport) => open(sessions, client, transport),
            Stage::Talking(client, adapter, input) => talk(client, adapter, input, turn),
            Stage::Closing(client, adapter, talked) => close(client, adapter, talked),
            Stage::Lingering(client, reason) => linger(sessions, client, reason),
            Stage::Draining(client, drain) => continue_to_drain(client, drain, turn),
            Stage::Ended => Stage::Ended,
        };
    }

    /// Makes the transport and registers the client.
    #[inline(never)]
    fn register(&mut self, sessions: &Sessions<F, S>, accepted: Accepted<S>) -> Stage<A, S> {
        let Accepted { socket, remote } = accepted;
        let transport = (sessions.connect)(socket);
        let client = Client::new(self.id, Arc::clone(&transport), remote, Arc::clone(&sessions.context));
        let upgrades = !sessions.upgrades.steps.is_empty();
        if upgrades {
            // This comes before other threads can find the client, so that no broadcast gets into a handshake.
            client.shared().hold_back_output();
        }
        if !self.permit.register(&client) {
            sessions.server.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Stage::Ended;
        }
        user_code(Some(Arc::<ClientShared>::clone(client.shared())));
        debug!("client {} from {}: connected", client.id(), client.remote());
        if upgrades {
            Stage::Upgrading(client, transport)
        } else {
            Stage::Opening(client, transport)
        }
    }
}

/// Runs the upgrades. If one fails, the connection ends without `opening` and without `closing`.
#[inline(never)]
fn upgrade<A, F, S>(sessions: &Sessions<F, S>, client: Client, transport: Arc<dyn Transport>) -> Stage<A, S> {
    let facts = Upgraded::new(client.remote().clone());
    match catch_panic(|| sessions.upgrades.upgrade(Connection { transport, facts })) {
        Ok(Ok(Connection { transport, facts })) => {
            client.shared().upgraded(Arc::clone(&transport), facts);
            if let Some(proxy) = client.proxy() {
                debug!("client {} from {}: its proxy is {proxy}", client.id(), client.remote());
            }
            Stage::Opening(client, transport)
        }
        // Everybody can send bytes that are no handshake, so this is no warning.
        Ok(Err(error)) if !client.is_stopping() => {
            debug!("client {} from {}: {}", client.id(), client.remote(), Escaped(&error));
            sessions.server.counters.handshakes_failed.fetch_add(1, Ordering::Relaxed);
            client.shared().end_handshake(error);
            never_opened(client, Ok(Ok(())))
        }
        // A stop has ended it.
        Ok(Err(_)) => never_opened(client, Ok(Ok(()))),
        Err(message) => never_opened(client, Err(message)),
    }
}

/// Makes the adapter and calls `opening`. The next stage is `Talking`, unless `opening` fails or closes the
/// client. A client that was asked to end before gets no adapter.
#[inline(never)]
fn open<A: Adapter, F: Fn() -> A, S>(
    sessions: &Sessions<F, S>,
    client: Client,
    transport: Arc<dyn Transport>,
) -> Stage<A, S> {
    if client.is_stopping() {
        return never_opened(client, Ok(Ok(())));
    }
    // The adapter is on the heap, because a large value on the stack would be copied by each call.
    let mut adapter = match catch_panic(|| Box::new((sessions.factory)())) {
        Ok(adapter) => adapter,
        Err(message) => return never_opened(client, Err(message)),
    };
    match catch_panic(|| adapter.opening(&client)) {
        Ok(Ok(())) if !client.is_input_ended() => {
            let input = Paused::new(client.clone(), transport);
            Stage::Talking(client, adapter, input)
        }
        outcome => Stage::Closing(client, adapter, Talked { outcome, end_of_input: false }),
    }
}

/// Ends a connection that was never opened, so `closing` is not called.
fn never_opened<A, S>(client: Client, outcome: Result<Result, String>) -> Stage<A, S> {
    let reason = catch_panic(|| client.shared().begin_closing(outcome, false));
    let reason = reason.unwrap_or_else(Closing::Panicked);
    Stage::Lingering(client, Ending { reason, panicked: false })
}

/// Calls `serving` until the conversation ends, or until the client waits and gives its thread up.
#[inline(never)]
fn talk<A: Adapter, S>(client: Client, mut adapter: Box<A>, input: Paused, turn: &mut Turn) -> Stage<A, S> {
    let (mode, mut end_of_input) = (turn.mode, false);
    let outcome = catch_panic(|| {
        input.resume::<A, _>(turn, |input| {
            let result = adapter.serving(&client, input);
            end_of_input = input.is_at_end();
            result
        })
    });
    let outcome = match outcome {
        Ok((Ok(()), input)) if turn.wait.is_some() => return Stage::Talking(client, adapter, input),
        Ok((result, _)) => Ok(result),
        Err(message) => Err(message),
    };
    (turn.mode, turn.wait) = (mode, None);
    Stage::Closing(client, adapter, Talked { outcome, end_of_input })
}

/// Determines the reason, calls `closing` and drops the adapter.
#[inline(never)]
fn close<A: Adapter, S>(client: Client, mut adapter: Box<A>, talked: Talked) -> Stage<A, S> {
    let Talked { outcome, end_of_input } = talked;
    // The `source` of an error is user code, too.
    let reason = catch_panic(|| client.shared().begin_closing(outcome, end_of_input));
    let reason = reason.unwrap_or_else(Closing::Panicked);
    let mut panicked = false;
    client.shared().activity().works();
    if let Err(message) = catch_panic(|| adapter.closing(&client, &reason)) {
        error!("client {}: a panic in closing: {}", client.id(), Escaped(message));
        panicked = true;
    }
    if let Err(message) = catch_panic(move || drop(adapter)) {
        error!("client {}: a panic while the adapter was dropped: {}", client.id(), Escaped(message));
        panicked = true;
    }
    Stage::Lingering(client, Ending { reason, panicked })
}

/// Counts and logs the end, delivers the last output and drops the transport.
#[inline(never)]
fn linger<A, F, S>(sessions: &Sessions<F, S>, client: Client, ending: Ending) -> Stage<A, S> {
    let (server, Ending { reason, mut panicked }) = (&sessions.server, ending);
    server.counters.count(&reason);
    log_end(server, &client, &reason);
    let is_panic = matches!(reason, Closing::Panicked(_));
    let mut drain = None;
    match client.shared().finish_closing() {
        Ok(rest) => drain = rest,
        Err(Undelivered::TooSlow) => server.warn_of_slow_peer(format_args!(
            "client {} from {} did not take its last output in time: the rest was dropped",
            client.id(),
            client.remote()
        )),
        Err(Undelivered::Lost(error)) => {
            debug!("client {}: its last output is lost: {}", client.id(), Escaped(error));
        }
    }
    // The error of a callback is a value of the user.
    let report = || match &sessions.reports {
        // The receiver may already be dropped.
        Some(reports) => drop(reports.send(reason)),
        None => drop(reason),
    };
    if let Err(message) = catch_panic(report) {
        error!("client {}: a panic while an error was dropped: {}", client.id(), Escaped(message));
        panicked = true;
    }
    if panicked && !is_panic {
        server.counters.count_panic();
    }
    drain.map_or(Stage::Ended, |drain| Stage::Draining(client, drain))
}

/// Drops what the peer still sends, until it has ended its output or its time is over.
#[inline(never)]
fn continue_to_drain<A, S>(client: Client, mut drain: Drain, turn: &mut Turn) -> Stage<A, S> {
    let Some(until) = client.shared().drain(&mut drain) else { return Stage::Ended };
    if turn.mode == Mode::Bound {
        thread::sleep(until.saturating_duration_since(Instant::now()));
    } else {
        turn.pause(Some(until));
    }
    Stage::Draining(client, drain)
}

fn log_end(server: &ServerState, client: &Client, reason: &Closing) {
    let (id, remote) = (client.id(), client.remote());
    match reason {
        Closing::Panicked(_) => error!("client {id} from {remote}: {reason}"),
        Closing::Failed(_) => warn!("client {id} from {remote}: {reason}"),
        Closing::TooSlow => server.warn_of_slow_peer(format_args!("client {id} from {remote}: {reason}")),
        _ => debug!("client {id} from {remote}: {reason} after {:.1?}", client.connected_since().elapsed()),
    }
}
