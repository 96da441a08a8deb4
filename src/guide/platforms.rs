//! Platforms: how the crate differs on Linux, macOS, the BSDs and Windows.
//!
//! The crate needs Rust 1.85 or newer and contains no unsafe code. Its performance is measured on Linux.
//!
//! | | Linux | macOS, BSDs | Windows |
//! |---|---|---|---|
//! | system calls per read | 1 | 2 | 2 |
//! | a client that waits for input | blocks | blocks | wakes up ten times a second |
//! | posted data that the socket does not take at once | one thread watches all sockets | one thread watches all sockets | needs its own thread until it is sent |
//! | a closing connection | waits while the peer takes data | waits while the peer takes data | ends after the peer has sent nothing for 1 s |
//! | signals that stop [`Backport::run`] | SIGINT, SIGTERM, SIGHUP | SIGINT, SIGTERM | Ctrl-C, Ctrl-Break |
//! | a program that handles SIGTERM itself | gets [`Error::HandlerTaken`] | is not noticed: its handler is called, and the machine stops | – |
//! | standard input | a stop takes effect at once | a stop takes effect at once | a detached thread reads it, and keeps running when the server stops |
//! | a peer that has vanished | ends after 1.5 times [`keepalive`] | also, if no output waits for it | also, if no output waits for it |
//! | `println!` and child processes beside a stdio server | go to standard error | go to standard error | share standard output |
//! | [`reuse_port`] | yes | yes | no |
//!
//! # Signals
//!
//! If SIGHUP is ignored when the program starts, for example under `nohup`, it stays ignored. Only on Linux
//! can the crate find out whether SIGHUP is ignored, so on other systems it does not handle SIGHUP.
//!
//! # Windows
//!
//! On Windows, no safe call wakes a thread that is blocked in a read. Therefore the threads of waiting
//! clients wake up by themselves, ten times a second. On the other systems nothing polls.
//!
//! When a thread ends there, the system holds a lock while the destructors of thread-locals run. Therefore they
//! run one after another. A destructor that hangs keeps all threads of the process from starting and ending.
//!
//! # Other differences
//!
//! - Only Linux and Android can limit how long output waits for a peer that has vanished
//!   (`TCP_USER_TIMEOUT`). On other systems, a blocked write ends after 1.85 times [`keepalive`] without
//!   progress, or after the [`write_timeout`]. Posted data waits until the system gives up, which takes some
//!   minutes.
//! - On OpenBSD, the times of the keepalive probes are settings of the whole system.
//! - On Solaris and illumos, [`reuse_port`] is not available.
//!
//! [`Backport::run`]: crate::Backport::run
//! [`Error::HandlerTaken`]: crate::Error::HandlerTaken
//! [`keepalive`]: crate::TcpServer::keepalive
//! [`write_timeout`]: crate::TcpServer::write_timeout
//! [`reuse_port`]: crate::TcpServer::reuse_port
