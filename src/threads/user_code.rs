//! Which user code each thread runs, for the error of a stop that has to give up on a thread.
//!
//! A thread sets its own label when it begins and ends to run user code. The thread in `run` reads the labels.

use std::cell::RefCell;
use std::fmt;
use std::mem;
use std::sync::Arc;

use crate::sync::{thread_local, Mutex};

/// The user code that a thread runs. Written by the thread, and read by the thread in `run`.
#[derive(Default)]
pub(crate) struct UserCode(Mutex<Option<Label>>);

/// Names the user code that a thread runs, for example by its client.
pub(crate) type Label = Arc<dyn fmt::Display + Send + Sync>;

impl UserCode {
    pub(super) fn label(&self) -> Option<Label> {
        self.0.lock().clone()
    }

    /// Says which user code the thread runs from now on.
    pub(crate) fn set(&self, label: Option<Label>) {
        let previous = mem::replace(&mut *self.0.lock(), label);
        // Without the lock, because this may free values of the user.
        drop(previous);
    }

    /// Returns what this thread runs, if it is a thread of a machine.
    pub(crate) fn of_this_thread() -> Option<Arc<UserCode>> {
        USER_CODE.with(|slot| slot.borrow().clone())
    }

    /// Called once when a thread starts.
    pub(super) fn set_of_this_thread(code: Option<Arc<UserCode>>) {
        USER_CODE.with(|slot| *slot.borrow_mut() = code);
    }
}

thread_local! {
    /// Set when a thread of a machine starts.
    #[allow(clippy::missing_const_for_thread_local, reason = "it is const, but the lint is wrong on Windows")]
    static USER_CODE: RefCell<Option<Arc<UserCode>>> = const { RefCell::new(None) };
}

/// Says which user code this thread runs from now on, or that it runs none.
pub(crate) fn user_code(label: Option<Label>) {
    if let Some(code) = UserCode::of_this_thread() {
        code.set(label);
    }
}
