//! [`Turn`]: what a session may do with the thread that it has at the moment.

use std::time::{Duration, Instant};

/// How long a client with a thread of its own may be silent before it gives the thread up. The shorter this is, the fewer
/// threads there are at a time when many clients connect.
const PATIENCE: Duration = Duration::from_millis(25);
/// The same for a client that alone sends. It would soon have a thread again.
const PATIENCE_ALONE: Duration = Duration::from_millis(100);

/// What a session may do with the thread that it has at the moment.
///
/// The default is a thread that belongs to the session until its end.
#[derive(Default)]
pub(crate) struct Turn {
    pub(crate) mode: Mode,
    /// Room for input, which the thread lends. It is empty if the session needs its own.
    pub(crate) room: Vec<u8>,
    /// Something was read.
    has_read: bool,
    /// The poll does not report what is left to read.
    more: bool,
    /// When the callback began whose time is measured.
    pub(crate) callback: Option<Instant>,
    /// The session gives the thread up and waits for this.
    pub(crate) wait: Option<Wait>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The thread belongs to the session until its end.
    #[default]
    Bound,
    /// The thread belongs to the session until nothing has arrived for [`PATIENCE_ALONE`].
    Own,
    /// The same for [`PATIENCE`], and at the latest until one callback has returned, whose time is measured.
    Once,
    /// The thread serves other clients, too, so no read may wait. It runs one callback.
    Shared,
}

/// What a session waits for.
#[derive(Clone, Copy)]
pub(crate) struct Wait {
    /// It goes on at this time, even if nothing has arrived.
    pub(crate) until: Option<Instant>,
    /// There may be more to read, and it only lets others have their turn.
    pub(crate) more: bool,
    /// It has found nothing to read since it last went on.
    pub(crate) quiet: bool,
}

impl Turn {
    pub(crate) fn new(mode: Mode, room: Vec<u8>) -> Turn {
        Turn { mode, room, ..Turn::default() }
    }

    /// Returns how long the next read may wait, or `None` if the session must give its thread up.
    pub(crate) fn before_read(&self) -> Option<Duration> {
        match self.mode {
            Mode::Bound => Some(Duration::MAX),
            Mode::Once | Mode::Shared if self.has_read => None,
            Mode::Own => Some(PATIENCE_ALONE),
            Mode::Once => Some(PATIENCE),
            Mode::Shared => Some(Duration::ZERO),
        }
    }

    /// Something has arrived, so a callback runs next. `more` is `false` if the poll reports what arrives from now on.
    pub(crate) fn after_read(&mut self, more: bool) {
        (self.has_read, self.more) = (true, more);
        self.callback = (self.mode == Mode::Once).then(Instant::now);
    }

    /// Gives the thread up, until something arrives or until this time.
    pub(crate) fn pause(&mut self, until: Option<Instant>) {
        self.wait = Some(Wait { until, more: self.more, quiet: !self.has_read });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_leaves_a_shared_thread_after_one_callback_and_says_if_there_is_more() {
        for more in [false, true] {
            let mut turn = Turn::new(Mode::Shared, Vec::new());
            assert_eq!(turn.before_read(), Some(Duration::ZERO));
            turn.after_read(more);
            assert_eq!(turn.before_read(), None);
            assert_eq!(turn.callback, None);
            turn.pause(None);
            assert_eq!(turn.wait.map(|wait| wait.more), Some(more));
        }
    }

    #[test]
    fn a_session_keeps_its_own_thread_for_many_callbacks_or_for_one_that_is_measured() {
        let modes = [
            (Mode::Bound, Duration::MAX, true),
            (Mode::Own, PATIENCE_ALONE, true),
            (Mode::Once, PATIENCE, false),
        ];
        for (mode, patience, stays) in modes {
            let mut turn = Turn::new(mode, Vec::new());
            assert_eq!(turn.before_read(), Some(patience));
            turn.after_read(false);
            assert_eq!(turn.before_read(), stays.then_some(patience));
            assert_eq!(turn.callback.is_some(), mode == Mode::Once);
        }
    }
}
