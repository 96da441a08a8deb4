//! What a worker does with a client: the whole life of a connection, and the fences around the
//! user's code in it.

use std::io;
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::adapter::Adapter;
use crate::client::output::Context;
use crate::client::{Client, ClientId};
use crate::closing::Closing;
use crate::error::Result;
use crate::fence::fence;
use crate::input::Input;
use crate::link::Link;
use crate::pool::{Job, Pool};
use crate::remote::Remote;
use crate::report::{report, Escaped};
use crate::server::core::{Seat, ServerCore};
use crate::sync::atomic::Ordering;
use crate::threads::Threads;

/// What a server needs to take clients on.
pub(crate) struct Host<F> {
    core: Arc<ServerCore>,
    pool: Arc<Pool>,
    context: Arc<Context>,
    factory: F,
    stack: Option<usize>,
    reports: Option<Sender<Closing>>,
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static> Host<F> {
    pub(crate) fn new(
        core: Arc<ServerCore>,
        pool: Arc<Pool>,
        threads: Arc<Threads>,
        factory: F,
        stack: Option<usize>,
    ) -> Host<F> {
        let context = Arc::new(Context { limits: Arc::clone(core.limits()), threads });
        Host { core, pool, context, factory, stack, reports: None }
    }

    /// Also sends each client's end, when all is done.
    pub(crate) fn reporting(self, reports: Sender<Closing>) -> Host<F> {
        Host { reports: Some(reports), ..self }
    }

    /// A client to be served, whose connection `arrive` makes, on the thread that serves it: what
    /// lives for one connection is then allocated and freed by one thread.
    pub(crate) fn admit<C: Connection>(self: &Arc<Self>, seat: Seat, arrive: C) -> Box<dyn Job> {
        Box::new(Visit { id: ClientId::next(), arrival: Some((arrive, Arc::clone(self))), seat })
    }

    /// Hands a client to a worker. An error costs that client alone.
    pub(crate) fn welcome<C: Connection>(self: &Arc<Self>, seat: Seat, arrive: C) -> io::Result<()> {
        self.pool.run(self.stack, self.admit(seat, arrive))
    }
}

/// Makes the connection of a client.
pub(crate) trait Connection: FnOnce() -> (Arc<dyn Link>, Remote) + Send + 'static {}
impl<C: FnOnce() -> (Arc<dyn Link>, Remote) + Send + 'static> Connection for C {}

/// One client's visit.
struct Visit<F, C> {
    id: ClientId,
    /// Taken by the worker: the user's factory, and what its closure holds, may end with it.
    arrival: Option<(C, Arc<Host<F>>)>,
    /// Given back when the worker is free again.
    seat: Seat,
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static, C: Connection> Job for Visit<F, C> {
    fn run(&mut self) {
        let Some((arrive, host)) = self.arrival.take() else { return };
        self.visit(arrive, &host);
        if let Err(message) = fence(move || drop(host)) {
            report!(Error, "a panic in the drop of a server's factory: {}", Escaped(message));
        }
    }
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static, C: Connection> Visit<F, C> {
    fn visit(&mut self, arrive: C, host: &Host<F>) {
        let (link, remote) = arrive();
        let client = &Client::new(self.id, Arc::clone(&link), remote, Arc::clone(&host.context));
        if !self.seat.sit(client) {
            host.core.counters.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        report!(Debug, "client {} from {}: connected", client.id(), client.remote());
        // On the heap: a large adapter would lie on the stack once for each call that it goes through.
        let reason = match fence(|| Box::new((host.factory)())) {
            Ok(adapter) => converse(adapter, client, link),
            // No opening, so no closing.
            Err(message) => client.shared().conclude(Err(message), false),
        };
        host.core.count(&reason);
        tell(client, &reason);
        client.shared().finish();
        if let Some(reports) = &host.reports {
            // Who doesn't wait for it doesn't mind.
            drop(reports.send(reason));
        }
    }
}

/// `opening`, `serving`, `closing`, and the drop of the adapter, each fenced.
fn converse<A: Adapter>(mut adapter: A, client: &Client, link: Arc<dyn Link>) -> Closing {
    let mut end_of_input = false;
    let outcome = fence(|| {
        adapter.opening(client)?;
        if client.is_closed() {
            return Ok(());
        }
        let mut input = Input::new(client.clone(), link);
        let result: Result = adapter.serving(client, &mut input);
        end_of_input = input.is_at_end();
        result
    });
    // An error's `source` is the user's code, too.
    let reason = fence(|| client.shared().conclude(outcome, end_of_input)).unwrap_or_else(Closing::Panicked);
    if let Err(message) = fence(|| adapter.closing(client, &reason)) {
        report!(Error, "client {}: panic in closing: {}", client.id(), Escaped(message));
    }
    if let Err(message) = fence(move || drop(adapter)) {
        report!(Error, "client {}: panic in the adapter's drop: {}", client.id(), Escaped(message));
    }
    reason
}

fn tell(client: &Client, reason: &Closing) {
    let (id, remote) = (client.id(), client.remote());
    match reason {
        Closing::Panicked(_) => report!(Error, "client {id} from {remote}: {reason}"),
        Closing::Failed(_) => report!(Warn, "client {id} from {remote}: {reason}"),
        _ => report!(
            Debug,
            "client {id} from {remote}: {reason} after {:.1?}",
            client.connected_since().elapsed()
        ),
    }
}
