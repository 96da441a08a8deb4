//! The fence around user code: a panic is caught, its message kept, its payload dropped safely.

use std::any::Any;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Runs `f`; a panic in it comes back as its message.
///
/// `AssertUnwindSafe` holds because whatever a panic may have left half done is not used again: the
/// adapter gets only `closing` and its drop, each fenced anew.
pub(crate) fn catch_panic<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(message)
}

/// The message of a panic. Dropping the payload runs user code too, which may panic again.
fn message(payload: Box<dyn Any + Send>) -> String {
    let message = if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a payload that is not a string".to_owned()
    };
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Its drop might panic for ever: a few leaked bytes are the cheaper end.
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
    fn gives_the_message_of_a_panic() {
        assert_eq!(catch_panic(|| 1), Ok(1));
        assert_eq!(catch_panic(|| panic!("static")), Err::<(), _>("static".to_owned()));
        assert_eq!(catch_panic(|| panic!("made {}", 2)), Err::<(), _>("made 2".to_owned()));
    }

    #[test]
    fn survives_a_payload_whose_drop_panics() {
        let outcome = catch_panic(|| std::panic::panic_any(Grenade));
        assert_eq!(outcome, Err("a payload that is not a string".to_owned()));
    }
}
