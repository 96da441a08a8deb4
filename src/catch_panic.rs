//! Catches the panics of user code, so that a panic ends only the call that it came from.

use std::any::Any;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Runs `f`. If `f` panics, returns the message of the panic as the error.
///
/// `AssertUnwindSafe` is right because the crate does not rely on values that a panic has left half changed.
/// After a panic of an adapter it only calls `closing` and drops the adapter, each in another `catch_panic`.
pub(crate) fn catch_panic<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(message)
}

/// Returns the message of a panic. Dropping the payload also runs user code, which may panic again.
fn message(payload: Box<dyn Any + Send>) -> String {
    let message = if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a payload that is not a string".to_owned()
    };
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Dropping the second payload may panic too, and so on. Therefore it is leaked.
        std::mem::forget(second);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Grenade;
    impl Drop for Grenade {
        fn drop(&mut self) {
            panic!("in the payload's drop");
        }
    }

    #[test]
    fn a_panic_is_returned_as_its_message() {
        assert_eq!(catch_panic(|| 1), Ok(1));
        assert_eq!(catch_panic(|| panic!("static")), Err::<(), _>("static".to_owned()));
        assert_eq!(catch_panic(|| panic!("made {}", 2)), Err::<(), _>("made 2".to_owned()));
    }

    #[test]
    fn a_payload_whose_drop_panics_does_no_harm() {
        let outcome = catch_panic(|| std::panic::panic_any(Grenade));
        assert_eq!(outcome, Err("a payload that is not a string".to_owned()));
    }
}
