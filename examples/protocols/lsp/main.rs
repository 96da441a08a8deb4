//! A language server for plain text. It marks blanks at the ends of lines. The command `notes.tidy` lets the editor
//! remove them, and `notes.alike` finds the two lines that are most alike.
//!
//! Run it:      your editor starts cargo run -q -p protocol-examples --example lsp
//!              or, for many editors: cargo run -p protocol-examples --example lsp -- --tcp localhost:9257
//! Talk to it:  any client of the Language Server Protocol 3.17. In Neovim:
//!              :lua vim.lsp.buf_attach_client(0, vim.lsp.start_client({ cmd = { "target/debug/examples/lsp" } }))
//!              :lua vim.lsp.buf.execute_command({ command = "notes.tidy", arguments = { vim.uri_from_bufnr(0) } })
//! Stop it:     close the editor, or press Ctrl-C

mod worker;

use std::collections::HashMap;

use backport::framing::ContentLength;
use backport::{Adapter, Backport, Client, Input, Result};
use serde_json::{json, Map, Value};

use crate::worker::{reply, send, start, Answer, Handle, Work, Worker, CANCELLED, REFUSED, WORKER_LIMIT};

#[derive(Default)]
struct Server {
    is_initialized: bool,
    is_shut_down: bool,
    /// The texts that the editor has open, and their versions, by URI.
    texts: HashMap<String, (String, Value)>,
    workers: Vec<Handle>,
}

impl Adapter for Server {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        let mut framing = ContentLength::default();
        while let Some(message) = input.frame(&mut framing)? {
            let mut map: Map<String, Value> = serde_json::from_slice(message)?;
            let (id, params) = (map.remove("id"), map.remove("params").unwrap_or_default());
            match (map.get("method").and_then(Value::as_str), id) {
                (Some(method), Some(id)) => self.request(client, id, method, &params)?,
                (Some("$/cancelRequest"), None) => self.tell(&params["id"].to_string(), Err(CANCELLED)),
                (Some("exit"), None) if self.is_shut_down => client.close(),
                // The process ends with status 1 after this error, if its client is on standard input.
                (Some("exit"), None) => return Err("the client has not requested a shutdown".into()),
                (Some(method), None) => self.notification(client, method, &params)?,
                (None, Some(id)) => self.tell(id.as_str().unwrap_or(""), map.remove("result").ok_or(REFUSED)),
                (None, None) => reply(client, &Value::Null, Err((-32600, "this is no message")))?,
            }
        }
        // This wakes the workers that wait for the client. Each of them still answers its request.
        self.workers.clear();
        Ok(())
    }
}

impl Server {
    fn request(&mut self, client: &Client, id: Value, method: &str, params: &Value) -> Result {
        let answer = match method {
            "initialize" if !self.is_initialized => {
                self.is_initialized = true;
                let commands = json!({ "commands": ["notes.tidy", "notes.alike"] });
                Ok(json!({ "capabilities": { "textDocumentSync": 1, "executeCommandProvider": commands } }))
            }
            _ if !self.is_initialized => Err((-32002, "the server is not initialized")),
            _ if self.is_shut_down || method == "initialize" => Err((-32600, "it is too late for this")),
            "shutdown" => {
                self.is_shut_down = true;
                Ok(Value::Null)
            }
            "workspace/executeCommand" => return self.execute(client, id, params),
            _ => Err((-32601, "there is no such method")),
        };
        reply(client, &id, answer)
    }

    fn execute(&mut self, client: &Client, id: Value, params: &Value) -> Result {
        self.workers.retain(|worker| !worker.thread.is_finished());
        if self.workers.len() >= WORKER_LIMIT || client.is_stopping() {
            return reply(client, &id, Err((-32803, "the server is busy or stopping")));
        }
        let uri = params["arguments"][0].clone();
        let text = self.texts.get(uri.as_str().unwrap_or_default()).cloned();
        let work: Work = match (params["command"].as_str(), text) {
            (Some("notes.alike"), Some((text, _))) => Box::new(move |worker| alike(&text, worker)),
            (Some("notes.tidy"), Some((text, version))) => Box::new(move |worker| {
                let edit = |range| json!({ "range": range, "newText": "" });
                let edits: Value = blanks(&text).map(edit).collect();
                // With the version, the editor refuses the edits if its text has changed in between.
                let change = json!({ "textDocument": { "uri": uri, "version": version }, "edits": edits });
                let params = json!({ "edit": { "documentChanges": [change] } });
                Ok(worker.ask("workspace/applyEdit", params)?["applied"].clone())
            }),
            _ => return reply(client, &id, Err((-32602, "there is no such command or no such text"))),
        };
        self.workers.push(start(client, id, work)?);
        Ok(())
    }

    /// Sends a message to the worker of a request. The worker may have finished.
    fn tell(&self, id: &str, message: Answer) {
        drop(self.workers.iter().rfind(|worker| worker.id == id).map(|worker| worker.inbox.send(message)));
    }

    /// Handles a notification. It is never answered, so it is ignored if it is unknown or not valid.
    fn notification(&mut self, client: &Client, method: &str, params: &Value) -> Result {
        let (document, changes) = (&params["textDocument"], params["contentChanges"].as_array());
        let text = match method {
            _ if !self.is_initialized => None,
            "textDocument/didOpen" => document["text"].as_str(),
            // Each change has the whole text, as the capabilities say.
            "textDocument/didChange" => changes.and_then(|changes| changes.last()?["text"].as_str()),
            "textDocument/didClose" => Some(""),
            _ => None,
        };
        let Some((uri, text)) = document["uri"].as_str().zip(text) else { return Ok(()) };
        self.texts.insert(uri.to_owned(), (text.to_owned(), document["version"].clone()));
        if method == "textDocument/didClose" {
            self.texts.remove(uri);
        }
        let mark = |range| json!({ "range": range, "severity": 4, "message": "blanks" });
        let params = json!({ "uri": uri, "diagnostics": blanks(text).map(mark).collect::<Value>() });
        send(client, json!({ "method": "textDocument/publishDiagnostics", "params": params }))
    }
}

/// Returns the ranges of the blanks at the ends of lines. Positions count in units of UTF-16.
fn blanks(text: &str) -> impl Iterator<Item = Value> + '_ {
    lines(text).enumerate().filter_map(|(number, line)| {
        let position = |text: &str| json!({ "line": number, "character": text.encode_utf16().count() });
        let kept = line.trim_end();
        (kept != line).then(|| json!({ "start": position(kept), "end": position(line) }))
    })
}

/// Returns the numbers of the two lines that have the most bytes in common. The time grows with the square of the
/// number of lines, so this checks now and then whether the result is still needed.
fn alike(text: &str, worker: &Worker) -> Answer {
    let lines: Vec<&str> = lines(text).collect();
    let mut most = (0, [0, 0]);
    for (second, line) in lines.iter().enumerate() {
        worker.check()?;
        for (first, other) in lines[..second].iter().enumerate() {
            let same = line.bytes().zip(other.bytes()).filter(|(a, b)| a == b).count();
            most = most.max((same, [first, second]));
        }
    }
    Ok(json!(most.1))
}

/// Returns the lines without their ends. An end is CRLF, LF, or CR alone.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

fn main() -> Result {
    env_logger::init();
    let mut arguments = std::env::args().skip(1);
    Backport::run(|machine| {
        match arguments.next().as_deref() {
            None | Some("--stdio") => drop(machine.prepare_stdio_server(Server::default)?),
            Some("--tcp") => {
                let address = arguments.next().unwrap_or("localhost:9257".to_owned());
                let server = machine.prepare_tcp_server(address, Server::default)?;
                println!("listening on {}", server.local_addr());
            }
            Some(_) => return Err("usage: lsp [--stdio | --tcp ADDRESS]".into()),
        }
        Ok(())
    })
}
