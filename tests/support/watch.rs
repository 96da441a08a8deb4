//! Adapters that tests share: an echo, and a wrapper that tells of every opening and closing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use backport::{Adapter, Client, Closing, Input, Result};
use crossbeam_channel::{unbounded, Receiver, Sender};

use super::{eventually, Listens, Served};

/// Sends back what it gets.
pub(crate) struct Echo;

impl Adapter for Echo {
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        Ok(client.write(data)?)
    }
}

/// The name of a reason.
pub(crate) fn reason(closing: &Closing) -> &'static str {
    match closing {
        Closing::ByPeer => "ByPeer",
        Closing::ByServer => "ByServer",
        Closing::Stopping => "Stopping",
        Closing::Idle => "Idle",
        Closing::TooSlow => "TooSlow",
        Closing::Lost(_) => "Lost",
        Closing::Failed(_) => "Failed",
        Closing::Panicked(_) => "Panicked",
        _ => "new",
    }
}

/// Tells of the openings and closings of the adapters that it was put around.
#[derive(Clone)]
pub(crate) struct Watch {
    pub(crate) opened: Receiver<Client>,
    pub(crate) closed: Receiver<&'static str>,
    opening: Sender<Client>,
    closing: Sender<&'static str>,
    counts: Arc<[AtomicUsize; 2]>,
}

impl Watch {
    pub(crate) fn new() -> Watch {
        let (opening, opened) = unbounded();
        let (closing, closed) = unbounded();
        Watch { opened, closed, opening, closing, counts: Arc::default() }
    }

    /// For an adapter with the default `serving`. A client that waits may then be without a thread.
    pub(crate) fn around<A: Adapter>(&self, adapter: A) -> Watched<A> {
        Watched { adapter, watch: self.clone() }
    }

    /// For an adapter with a `serving` of its own.
    pub(crate) fn around_serving<A: Adapter>(&self, adapter: A) -> WatchedServing<A> {
        WatchedServing(self.around(adapter))
    }

    /// Asserts the invariants: one `closing` for each `opening`, nobody left.
    #[track_caller]
    pub(crate) fn assert_settled<H: Listens>(&self, served: &Served<H>) {
        served.wait_until_empty();
        self.assert_balanced();
    }

    #[track_caller]
    pub(crate) fn assert_balanced(&self) {
        self.assert_balanced_but_for(0);
    }

    /// As `assert_balanced`, with clients that are still there.
    #[track_caller]
    pub(crate) fn assert_balanced_but_for(&self, there: usize) {
        let count = |index: usize| self.counts[index].load(Ordering::SeqCst);
        eventually("closings follow openings", || count(0) <= count(1) + there);
        assert_eq!(count(0), count(1) + there, "one closing for each opening");
    }
}

/// An adapter that is watched.
pub(crate) struct Watched<A> {
    adapter: A,
    watch: Watch,
}

impl<A: Adapter> Adapter for Watched<A> {
    fn opening(&mut self, client: &Client) -> Result {
        self.watch.counts[0].fetch_add(1, Ordering::SeqCst);
        self.watch.opening.send(client.clone()).expect("the watch itself holds a receiver");
        self.adapter.opening(client)
    }

    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        self.adapter.receiving(client, data)
    }

    fn closing(&mut self, client: &Client, closing: &Closing) {
        self.watch.counts[1].fetch_add(1, Ordering::SeqCst);
        self.watch.closing.send(reason(closing)).expect("the watch itself holds a receiver");
        self.adapter.closing(client, closing);
    }
}

/// An adapter with a `serving` of its own that is watched.
pub(crate) struct WatchedServing<A>(Watched<A>);

impl<A: Adapter> Adapter for WatchedServing<A> {
    fn opening(&mut self, client: &Client) -> Result {
        self.0.opening(client)
    }

    fn closing(&mut self, client: &Client, closing: &Closing) {
        self.0.closing(client, closing);
    }

    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        self.0.adapter.serving(client, input)
    }
}
