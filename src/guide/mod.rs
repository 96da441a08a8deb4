//! The guide: one subject a page.
//!
//! Read these first, in this order:
//!
//! - [`adapters`]: the callbacks, and state of one client or of all clients.
//! - [`writing`]: `write`, `post`, corks, and writing from other threads.
//! - [`conversations`]: straight-line code with an input, and libraries that want a stream.
//! - [`messages`]: lines and other frames instead of bytes.
//! - [`servers`]: TCP, standard input and output, servers of your own, embedding.
//! - [`timers`]: intervals and timeouts.
//!
//! Before a server goes into service:
//!
//! - [`stopping`]: the causes, the steps and the duration of a stop.
//! - [`limits`]: all settings, their defaults, and the limits of the system.
//! - [`errors_and_logging`]: errors and panics, and the messages in the log.
//! - [`testing`]: tests without sockets and without waiting.
//! - [`platforms`]: how other systems differ from Linux.
//!
//! Background:
//!
//! - [`comparison`]: `std::net`, tokio and message-io.
//! - [`from_the_gem`]: for users of the Ruby gem.

pub mod adapters;
pub mod comparison;
pub mod conversations;
pub mod errors_and_logging;
pub mod from_the_gem;
pub mod limits;
pub mod messages;
pub mod platforms;
pub mod servers;
pub mod stopping;
pub mod testing;
pub mod timers;
pub mod writing;
