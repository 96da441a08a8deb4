//! [`StopStage`]: how far the stop of a server has come, and the functions to call when its listeners close.

use std::collections::BTreeMap;

use crossbeam_channel::Sender;

use crate::catch_panic::catch_panic;
use crate::logging::{error, Escaped};

/// The stage of a server's stop. Written under the lock by the thread that asks for the stop, and by the
/// thread that closes the listeners.
pub(super) enum StopStage {
    Serving(StopHooks),
    /// A stop was asked for, and the event was sent.
    Requested(StopHooks),
    ListenersClosed,
}

#[derive(Default)]
pub(super) struct StopHooks {
    /// Dropping it disconnects `ServerState::stopped`.
    pub(super) stopped: Option<Sender<()>>,
    /// By number, in the order in which they were added.
    pub(super) calls: BTreeMap<u64, Box<dyn FnOnce() + Send>>,
    pub(super) next: u64,
}

impl StopStage {
    pub(super) fn new(stopped: Sender<()>) -> StopStage {
        StopStage::Serving(StopHooks { stopped: Some(stopped), ..StopHooks::default() })
    }

    /// Returns the hooks until the listeners close.
    pub(super) fn hooks(&mut self) -> Option<&mut StopHooks> {
        match self {
            StopStage::Serving(hooks) | StopStage::Requested(hooks) => Some(hooks),
            StopStage::ListenersClosed => None,
        }
    }
}

/// Calls a hook, or drops one, without a lock.
pub(super) fn call_hook(hook: impl FnOnce()) {
    if let Err(message) = catch_panic(hook) {
        error!("a panic in a function of Control::on_stop: {}", Escaped(message));
    }
}
