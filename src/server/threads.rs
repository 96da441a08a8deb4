//! [`Threads`]: which clients of a server have threads.

use std::{io, thread};

use crate::crew::CrewGuard;
use crate::logging::{info, warn};
use crate::server::control::Control;

/// Which clients of a server have threads, for [`TcpServer::threads`](crate::TcpServer::threads).
///
/// The guide compares [the two modes](crate::guide::threads).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Threads {
    /// Each client has a thread of its own, from its beginning to its end.
    #[default]
    PerClient,
    /// A client has a thread while it is busy, and none while it waits for input.
    ///
    /// A few threads serve all clients whose callbacks are short. A client whose callbacks take long has a thread of its
    /// own, and so has an adapter with its own [`serving`](crate::Adapter::serving). Adapters need no change, but the
    /// callbacks of one client run on different threads, one after another.
    WhileBusy,
}

/// One leader is enough for so many cores, because the peers and the kernel need the others.
const CORES: usize = 4;

impl Threads {
    /// Starts the crews that serve the clients, with this stack size. Returns none if each client has a thread.
    pub(crate) fn crews(self, control: &Control, stack: Option<usize>) -> Vec<CrewGuard> {
        if self == Threads::PerClient {
            return Vec::new();
        }
        let (pool, take_overs) = (&control.engine().pool, &control.state().counters.take_overs);
        let count = thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(CORES));
        let crews: io::Result<_> = (0..count).map(|_| CrewGuard::start(pool, stack, take_overs)).collect();
        crews.unwrap_or_else(|error| {
            if error.kind() == io::ErrorKind::Unsupported {
                info!("Threads::WhileBusy is not possible on this system, so each client has a thread");
            } else {
                warn!("Threads::WhileBusy is not possible, so each client has a thread: {error}");
            }
            Vec::new()
        })
    }
}
