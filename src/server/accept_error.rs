//! What an error of `accept(2)` means for the acceptor, sorted by what is to be done about it.

use std::io;

/// What to do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// That connection died in the queue (or a signal came): take the next.
    Skip,
    /// Descriptors or memory are short, or something unknown: try again after a while.
    BackOff,
    /// The listener itself is bad and stays so.
    GiveUp,
}

/// Sorts an error of `accept`.
pub(crate) fn remedy(error: &io::Error) -> Remedy {
    if let io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset =
        error.kind()
    {
        return Remedy::Skip;
    }
    match error.raw_os_error() {
        Some(code) if DEAD_CONNECTION.contains(&code) => Remedy::Skip,
        Some(code) if DEAD_LISTENER.contains(&code) => Remedy::GiveUp,
        _ => Remedy::BackOff,
    }
}

/// accept(2): «Linux accept() passes already-pending network errors on the new socket as an error
/// code from accept() … For reliable operation the application should detect the network errors
/// defined for the protocol after accept() and treat them like EAGAIN by retrying»; EPERM: «firewall
/// rules forbid connection».
#[cfg(unix)]
const DEAD_CONNECTION: &[i32] = &[
    libc::ENETDOWN,
    libc::EPROTO,
    libc::ENOPROTOOPT,
    libc::EHOSTDOWN,
    libc::EHOSTUNREACH,
    libc::EOPNOTSUPP,
    libc::ENETUNREACH,
    libc::ETIMEDOUT,
    libc::EPERM,
    #[cfg(target_os = "linux")]
    libc::ENONET,
];
#[cfg(unix)]
const DEAD_LISTENER: &[i32] = &[libc::EBADF, libc::EINVAL, libc::ENOTSOCK, libc::EFAULT];

/// Winsock's error codes: `WSAENETDOWN` is the end of the network subsystem there.
#[cfg(not(unix))]
const DEAD_CONNECTION: &[i32] = &[10054, 10053, 10060, 10065];
#[cfg(not(unix))]
const DEAD_LISTENER: &[i32] = &[10009, 10022, 10038, 10014, 10050, 10093];

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn sorts_by_what_is_to_be_done() {
        let remedy = |code| remedy(&io::Error::from_raw_os_error(code));
        for code in
            [libc::EINTR, libc::ECONNABORTED, libc::EPROTO, libc::ENETDOWN, libc::ETIMEDOUT, libc::EPERM]
        {
            assert_eq!(remedy(code), Remedy::Skip, "{code}");
        }
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EIO] {
            assert_eq!(remedy(code), Remedy::BackOff, "{code}");
        }
        for code in [libc::EBADF, libc::EINVAL, libc::ENOTSOCK] {
            assert_eq!(remedy(code), Remedy::GiveUp, "{code}");
        }
    }
}
