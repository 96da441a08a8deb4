//! Ctrl-C and Ctrl-Break on Windows, through `ctrlc`.

use crate::error::Error;
use crate::signal::{arrived, ctrlc_error};

/// The number of the signal that Ctrl-C sends on Unix.
const SIGINT: i32 = 2;

/// Whether the handler is installed.
pub(super) struct Installed(bool);

impl Installed {
    pub(super) const NOTHING: Installed = Installed(false);

    /// Windows has no fork.
    pub(super) fn is_forked(&self) -> bool {
        false
    }

    /// Only a forked process misses signals.
    pub(super) fn take_unseen(&self) -> Vec<i32> {
        Vec::new()
    }

    pub(super) fn mark_seen(&self, _: i32) {}
}

pub(super) fn install(installed: &mut Installed) -> Result<(), Error> {
    if !installed.0 {
        ctrlc::try_set_handler(|| arrived(SIGINT)).map_err(ctrlc_error)?;
        installed.0 = true;
    }
    Ok(())
}

/// Ends the process, as the default handler does. The handler of `ctrlc` cannot be removed.
pub(super) fn default_effect(signal: i32) {
    exit(128 + signal)
}

#[allow(
    clippy::exit,
    reason = "the default effect of the signal, and the documented effect of the second signal"
)]
pub(super) fn exit(status: i32) -> ! {
    std::process::exit(status)
}
