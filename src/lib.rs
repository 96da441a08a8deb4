//! Simple network servers without async.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::exit))]

mod adapter;
mod backport;
mod client;
mod closing;
mod control;
mod error;
mod fence;
mod input;
mod limits;
mod link;
mod machine;
mod pool;
mod remote;
mod report;
mod running;
mod scheduler;
mod server;
mod signal;
mod stats;
mod threads;
mod worker;

pub use crate::adapter::{receiving, Adapter};
pub use crate::backport::Backport;
pub use crate::client::cork::Corked;
pub use crate::client::{Client, ClientId};
pub use crate::closing::Closing;
pub use crate::error::{BoxError, Error, Result};
pub use crate::input::Input;
pub use crate::machine::Machine;
pub use crate::remote::Remote;
pub use crate::running::Running;
pub use crate::scheduler::interval::Interval;
pub use crate::server::handle::ServerHandle;
pub use crate::server::stdio::StdioServer;
pub use crate::server::tcp::{TcpHandle, TcpServer};
pub use crate::server::{Control, Server};
pub use crate::stats::{ClientStats, MachineStats, ServerStats};
