//! The errors of `accept(2)`, grouped by the reaction of the acceptor.

use std::io;

/// The reaction of the acceptor to an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptAction {
    /// A connection ended in the queue, or a signal came. The acceptor takes the next connection.
    Skip,
    /// The system lacks descriptors or memory, or the error is unknown. The acceptor tries again after a
    /// pause.
    BackOff,
    /// The listener itself has become unusable. The server ends.
    GiveUp,
}

/// Returns the reaction to an error of `accept`.
pub(crate) fn accept_action(error: &io::Error) -> AcceptAction {
    if let io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset =
        error.kind()
    {
        return AcceptAction::Skip;
    }
    match error.raw_os_error() {
        Some(code) if DEAD_CONNECTION.contains(&code) => AcceptAction::Skip,
        Some(code) if DEAD_LISTENER.contains(&code) => AcceptAction::GiveUp,
        _ => AcceptAction::BackOff,
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

/// The error codes of Winsock. In Winsock, `WSAENETDOWN` means that the whole network subsystem has failed.
#[cfg(not(unix))]
const DEAD_CONNECTION: &[i32] = &[10054, 10053, 10060, 10065];
#[cfg(not(unix))]
const DEAD_LISTENER: &[i32] = &[10009, 10022, 10038, 10014, 10050, 10093];

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_action() {
        let action = |code| accept_action(&io::Error::from_raw_os_error(code));
        for code in
            [libc::EINTR, libc::ECONNABORTED, libc::EPROTO, libc::ENETDOWN, libc::ETIMEDOUT, libc::EPERM]
        {
            assert_eq!(action(code), AcceptAction::Skip, "{code}");
        }
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EIO] {
            assert_eq!(action(code), AcceptAction::BackOff, "{code}");
        }
        for code in [libc::EBADF, libc::EINVAL, libc::ENOTSOCK] {
            assert_eq!(action(code), AcceptAction::GiveUp, "{code}");
        }
    }
}
