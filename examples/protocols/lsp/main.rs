//! A language server for plain text. It marks what is easily overlooked in any file: notes to be done,
//! conflict markers, blanks at line ends, characters that hide or reorder others; and it says on
//! hovering which character that is, or where else the word stands.
//!
//! Run it:      your editor does, as: cargo run -q --example lsp
//!              or once for many editors: cargo run --example lsp -- --tcp localhost:9257
//! Talk to it:  any client of the Language Server Protocol 3.17. In Neovim:
//!              :lua vim.lsp.buf_attach_client(0, vim.lsp.start_client({
//!                name = "notes", cmd = { "target/debug/examples/lsp" } }))
//! Stop it:     the editor does; Ctrl-C
//!
//! - `server` is the adapter: requests, their order, their errors.
//! - `text` is lines, and positions in them as the protocol counts them.
//! - `lint` is what it marks, `hover` what it says.

mod hover;
mod lint;
mod server;
mod text;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use backport::framing::ContentLength;
use backport::{Adapter, Backport, Result};

use crate::server::Server;

fn main() -> Result<ExitCode> {
    // The log goes to stderr: stdout belongs to the client.
    env_logger::init();
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        None | Some("--stdio") => stdio(),
        Some("--tcp") => tcp(arguments.next().unwrap_or("localhost:9257".to_owned())),
        Some(_) => Err("usage: lsp [--stdio | --tcp ADDRESS]".into()),
    }
}

/// Serves whoever started it, and ends with that client: with status 1 if it ended out of turn.
fn stdio() -> Result<ExitCode> {
    let failed = Arc::new(AtomicBool::new(false));
    let report = Arc::clone(&failed);
    Backport::run(|machine| {
        machine.prepare_stdio_server(move || {
            Server::new(Arc::clone(&report)).framed(ContentLength::default())
        })?;
        Ok(())
    })?;
    Ok(if failed.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Serves any number of clients, each with its own documents; `exit` ends the one that sends it.
fn tcp(address: String) -> Result<ExitCode> {
    Backport::run(|machine| {
        machine.prepare_tcp_server(address, || Server::default().framed(ContentLength::default()))?;
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}
