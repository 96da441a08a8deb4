//! The guide, with one page for each subject.
//!
//! | you want to | page |
//! |---|---|
//! | write a server and share state between clients | [`adapters`] |
//! | send data, from the client's thread or another one | [`writing`] |
//! | send questions and wait for the answers in one function | [`conversations`] |
//! | receive lines or frames instead of bytes | [`messages`] |
//! | serve TCP or standard input, embed a server, or write your own kind of server | [`servers`] |
//! | use Unix sockets, TLS, a load balancer or outgoing connections | [`transports`] |
//! | run a job every second, or once later | [`timers`] |
//! | know how a client ends, and that its last answer arrives | [`endings`] |
//! | stop or restart a server cleanly | [`stopping`] |
//! | limit how long a client may take | [`deadlines`] |
//! | protect a server from overload | [`limits`] |
//! | serve many clients with few threads | [`threads`] |
//! | serve more clients than one machine can | [`outgrowing`] |
//! | find out why a client ended, and watch a machine that runs | [`errors_and_logging`] |
//! | test without sockets and without waiting | [`testing`] |
//! | run on a system other than Linux | [`platforms`] |
//! | compare this crate with others | [`comparison`] |
//! | port a program from the Ruby gem | [`from_the_gem`] |
//! | port a server from tokio | [`from_tokio`] |
//! | port a loop over `std::net` | [`from_std`] |
//! | port a server from Python's `socketserver` | [`from_socketserver`] |

pub mod adapters;
pub mod comparison;
pub mod conversations;
pub mod deadlines;
pub mod endings;
pub mod errors_and_logging;
pub mod from_socketserver;
pub mod from_std;
pub mod from_the_gem;
pub mod from_tokio;
pub mod limits;
pub mod messages;
pub mod outgrowing;
pub mod platforms;
pub mod servers;
pub mod stopping;
pub mod testing;
pub mod threads;
pub mod timers;
#[cfg_attr(
    not(feature = "tls"),
    allow(rustdoc::broken_intra_doc_links, reason = "some of the links lead to the methods of this feature")
)]
pub mod transports;
pub mod writing;
