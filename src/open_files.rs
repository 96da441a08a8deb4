//! The limit of open files (`RLIMIT_NOFILE`, see getrlimit(2)), which `Backport::run` raises for its servers.
//!
//! The limit belongs to the process. The thread in `Backport::run` changes it once, after the setup.

#[cfg(unix)]
pub(crate) use unix::raise;

/// This system has no such limit.
#[cfg(not(unix))]
pub(crate) fn raise(_: usize) {}

#[cfg(unix)]
mod unix {
    use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

    use crate::logging::{debug, warn};

    /// How many files a process may need beside those of its clients: its listeners, the log, files of the
    /// program.
    const SPARE: usize = 64;
    /// On macOS, no process can have a higher limit if its hard limit is infinite, which is the default
    /// (`OPEN_MAX`, see the page setrlimit(2) there).
    const OPEN_MAX: u64 = 10_240;

    /// Raises the soft limit so that `clients` clients can be connected and [`SPARE`] other files can be open.
    /// Never lowers it. If the system does not allow that limit, raises it as far as possible and logs a
    /// warning.
    pub(crate) fn raise(clients: usize) {
        let needed = u64::try_from(clients.saturating_add(SPARE)).unwrap_or(u64::MAX);
        let limit = getrlimit(Resource::Nofile);
        // `None` stands for no limit.
        let Some(soft) = limit.current.filter(|&soft| soft < needed) else { return };
        let allowed = limit.maximum.map_or(needed, |hard| hard.min(needed));
        let reached = [allowed, allowed.min(OPEN_MAX)].into_iter().find(|&wanted| {
            let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
            wanted > soft && setrlimit(Resource::Nofile, raised).is_ok()
        });
        let now = reached.unwrap_or(soft);
        if now < needed {
            warn!(
                "the limit of open files is {now}, but the max_clients of all servers need {needed}: raise the \
                 hard limit (ulimit -Hn), or lower max_clients"
            );
        } else {
            debug!("the limit of open files was raised from {soft} to {now}");
        }
    }
}
