//! The link over the process's own standard input and output: a file a way of waiting.

#[cfg(not(unix))]
mod detached;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
pub(crate) use detached::StdioLink;
#[cfg(unix)]
pub(crate) use unix::StdioLink;
