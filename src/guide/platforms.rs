//! Platforms: Linux, macOS, the BSDs and Windows, and how they differ.
//!
//! The crate needs Rust 1.85 and contains no unsafe code. It is measured on Linux.
//!
//! | | Linux | macOS, BSDs | Windows |
//! |---|---|---|---|
//! | system calls per read | 1 | 2 | 2 |
//! | a client that waits for input | blocks | blocks | wakes up ten times a second |
//! | posted data that does not fit the socket | one thread watches all sockets | one thread watches all sockets | needs a thread until it is sent |
//! | the end of a connection | waits while the peer takes data | waits while the peer takes data | ends after 1 s in which the peer sends nothing |
//! | signals that stop [`Backport::run`] | SIGINT, SIGTERM, SIGHUP | SIGINT, SIGTERM | Ctrl-C, Ctrl-Break |
//! | a program that handles SIGTERM itself | [`Error::HandlerTaken`] | is not noticed: its handler is called, and the machine stops | – |
//! | standard input | a stop takes effect at once | a stop takes effect at once | a detached thread reads it, and stays behind when the server stops |
//! | [`reuse_port`] | yes | yes | no |
//!
//! # Signals
//!
//! A SIGHUP that is ignored at the start, as with `nohup`, stays ignored. Only Linux can tell whether it
//! is ignored, so the other systems leave SIGHUP alone.
//!
//! # Windows
//!
//! No safe call wakes a thread that is blocked in a read there. That is why the threads
//! of waiting clients wake up by themselves. On the other systems nothing polls.
//!
//! When a thread ends there, the system holds a lock while the destructors of thread-locals run. Therefore they
//! run one after another. A destructor that hangs keeps all threads of the process from starting and ending.
//!
//! # Other differences
//!
//! - OpenBSD knows only a system-wide interval between keepalive probes. Elsewhere it is 15 s, or
//!   [`keepalive`] if that is shorter.
//! - Solaris and illumos have no [`reuse_port`].
//!
//! [`Backport::run`]: crate::Backport::run
//! [`Error::HandlerTaken`]: crate::Error::HandlerTaken
//! [`keepalive`]: crate::TcpServer::keepalive
//! [`reuse_port`]: crate::TcpServer::reuse_port
