//! A language server for plain text. It marks details that are easily overlooked: notes of work to do,
//! conflict markers, blanks at line ends, and characters that are invisible or reorder text. If the pointer
//! hovers over a word, it counts the word. For any other character, it shows the code.
//!
//! Run it:      your editor starts cargo run -q -p protocol-examples --example lsp
//!              or, for many editors: cargo run -p protocol-examples --example lsp -- --tcp localhost:9257
//! Talk to it:  any client of the Language Server Protocol 3.17. In Neovim:
//!              :lua vim.lsp.buf_attach_client(0, vim.lsp.start_client({
//!                name = "notes", cmd = { "target/debug/examples/lsp" } }))
//! Stop it:     close the editor, or press Ctrl-C
//!
//! - `server` is the adapter: requests, their order, their errors.
//! - `text` has lines, and positions in them as the protocol counts them.
//! - `lint` finds the details, and `hover` describes a place in the text.

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
    // The log goes to stderr, because stdout belongs to the client.
    env_logger::init();
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        None | Some("--stdio") => stdio(),
        Some("--tcp") => tcp(arguments.next().unwrap_or("localhost:9257".to_owned())),
        Some(_) => Err("usage: lsp [--stdio | --tcp ADDRESS]".into()),
    }
}

/// Serves the program that started it, until that program ends the conversation. The exit status is 1 if the
/// client did not request a shutdown first.
fn stdio() -> Result<ExitCode> {
    let failed = Arc::new(AtomicBool::new(false));
    let report = Arc::clone(&failed);
    Backport::run(|machine| {
        machine.prepare_stdio_server(move || {
            Server::new(Arc::clone(&report)).framed(ContentLength::default())
        })?;
        eprintln!("listening on standard input");
        Ok(())
    })?;
    Ok(if failed.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Serves any number of clients. Each client has its own documents, and its `exit` closes only its own
/// connection.
fn tcp(address: String) -> Result<ExitCode> {
    Backport::run(|machine| {
        let server =
            machine.prepare_tcp_server(address, || Server::default().framed(ContentLength::default()))?;
        println!("listening on {}", server.local_addr());
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}
