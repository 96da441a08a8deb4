//! Why a connection ended, after a callback has returned an error.

use std::io;

use crate::closing::Closing;
use crate::error::{is_peer_gone, BoxError};

/// Returns the reason for closing after a callback has returned an error. `early` is the reason why the
/// connection was asked to end earlier, if it was.
pub(super) fn classify(error: BoxError, early: Option<Closing>) -> Closing {
    let Some(kind) = io_kind(&*error) else { return Closing::Failed(error) };
    match early {
        // The adapter has used a connection that was ending, and passes on the resulting error.
        Some(early) if is_peer_gone(kind) || kind == io::ErrorKind::WouldBlock => early,
        Some(Closing::Lost(lost)) if lost.kind() == kind => Closing::Lost(lost),
        // Any other timeout does not come from the connection. It comes, for example, from a database.
        _ if is_peer_gone(kind) && kind != io::ErrorKind::TimedOut => {
            Closing::Lost(match error.downcast::<io::Error>() {
                Ok(error) => *error,
                Err(error) => io::Error::new(kind, error),
            })
        }
        _ => Closing::Failed(error),
    }
}

/// Returns `true` if this is the error of a read that has met the end of the input, passed on by a callback.
pub(super) fn is_aborted_read(error: &(dyn std::error::Error + 'static)) -> bool {
    io_kind(error) == Some(io::ErrorKind::ConnectionAborted)
}

/// Returns the kind of the first I/O error in the chain of causes.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_what_ended_the_connection_only_if_it_is_of_that_kind() {
        use io::ErrorKind::{InvalidData, NotFound, WouldBlock};

        let classify = |kind, early| classify(io::Error::from(kind).into(), early);
        let lost = || Some(Closing::Lost(InvalidData.into()));
        assert!(matches!(classify(InvalidData, lost()), Closing::Lost(_)));
        assert!(matches!(classify(NotFound, lost()), Closing::Failed(_)));
        assert!(matches!(classify(WouldBlock, Some(Closing::Idle)), Closing::Idle));
        assert!(matches!(classify(WouldBlock, None), Closing::Failed(_)));
    }

    fn reset() -> io::Error {
        io::ErrorKind::ConnectionReset.into()
    }

    #[test]
    fn an_error_of_the_adapters_own_is_a_failure_whatever_came_before() {
        assert!(matches!(classify("bad".into(), None), Closing::Failed(_)));
        assert!(matches!(classify("bad".into(), Some(Closing::ByServer)), Closing::Failed(_)));
        let not_found = io::Error::from(io::ErrorKind::NotFound);
        assert!(matches!(classify(not_found.into(), Some(Closing::Stopping)), Closing::Failed(_)));
        let timed_out = io::Error::from(io::ErrorKind::TimedOut);
        assert!(matches!(classify(timed_out.into(), None), Closing::Failed(_)));
    }

    #[test]
    fn an_error_that_says_that_the_peer_is_gone_is_a_loss_or_what_ended_it() {
        assert!(matches!(classify(reset().into(), None), Closing::Lost(_)));
        assert!(matches!(classify(reset().into(), Some(Closing::ByServer)), Closing::ByServer));
        let timed_out = io::Error::from(io::ErrorKind::TimedOut);
        assert!(matches!(classify(timed_out.into(), Some(Closing::TooSlow)), Closing::TooSlow));
    }

    #[test]
    fn an_io_error_is_found_behind_an_error_that_wraps_it() {
        #[derive(Debug)]
        struct Wrapped(io::Error);
        impl std::fmt::Display for Wrapped {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("wrapped")
            }
        }
        impl std::error::Error for Wrapped {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let Closing::Lost(error) = classify(Wrapped(reset()).into(), None) else { panic!() };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(error.to_string().contains("wrapped"));
    }
}
