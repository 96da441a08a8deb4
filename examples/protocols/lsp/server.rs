//! One client of the language server: JSON-RPC, and the order of messages in a session. Both are in the
//! specification 3.17 under «Base Protocol» and «Server lifecycle».

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use backport::framing::ContentLength;
use backport::{Adapter, Client, Closing, Result};
use lsp_types::notification::{
    DidChangeTextDocument, DidCloseTextDocument, DidOpenTextDocument, Exit, Notification, PublishDiagnostics,
};
use lsp_types::request::{HoverRequest, Initialize, Request, Shutdown};
use lsp_types::{
    Hover, HoverParams, HoverProviderCapability, InitializeResult, PositionEncodingKind,
    PublishDiagnosticsParams, ServerCapabilities, ServerInfo, TextDocumentSyncCapability,
    TextDocumentSyncKind, Uri,
};
use serde_json::{json, Value};

use crate::{hover, lint};

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const SERVER_NOT_INITIALIZED: i32 = -32002;

/// The answer to a request: a result, or a code and a message.
type Answer = Result<Value, (i32, String)>;

/// The stage of a session.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Fresh,
    Initialized,
    ShutDown,
}

#[derive(Default)]
pub(crate) struct Server {
    stage: Stage,
    /// The texts that the editor has open, by URI.
    texts: HashMap<String, String>,
    /// Set if the client ends without a request for a shutdown.
    failed: Arc<AtomicBool>,
}

impl Adapter for Server {
    /// Gets one whole message, because the adapter is framed.
    fn receiving(&mut self, client: &Client, message: &[u8]) -> Result {
        let mut message: Value = match serde_json::from_slice(message) {
            Ok(message) => message,
            Err(error) => return reply(client, Value::Null, Err((PARSE_ERROR, error.to_string()))),
        };
        let params = message.get_mut("params").map_or(Value::Null, Value::take);
        match (message.get("method"), message.get("id")) {
            (Some(Value::String(method)), Some(id @ (Value::Number(_) | Value::String(_)))) => {
                let answer = self.request(method, params);
                reply(client, id.clone(), answer)
            }
            (Some(Value::String(method)), None) => self.notification(client, method, params),
            // This is a response. The server sends no requests, so it ignores responses.
            (None, Some(_)) if message.get("result").or(message.get("error")).is_some() => Ok(()),
            _ => reply(client, Value::Null, Err((INVALID_REQUEST, "this is no message".to_owned()))),
        }
    }

    fn closing(&mut self, _: &Client, reason: &Closing) {
        if self.stage != Stage::ShutDown && !matches!(reason, Closing::Stopping) {
            self.failed.store(true, Ordering::Relaxed);
        }
    }
}

impl Server {
    pub(crate) fn new(failed: Arc<AtomicBool>) -> Server {
        Server { failed, ..Server::default() }
    }

    fn request(&mut self, method: &str, params: Value) -> Answer {
        match (self.stage, method) {
            (Stage::ShutDown, _) => Err((INVALID_REQUEST, "the server was shut down".to_owned())),
            (Stage::Fresh, Initialize::METHOD) => {
                self.stage = Stage::Initialized;
                Ok(json!(capabilities()))
            }
            (Stage::Fresh, _) => Err((SERVER_NOT_INITIALIZED, "the server is not initialized".to_owned())),
            (_, Initialize::METHOD) => Err((INVALID_REQUEST, "the server is initialized already".to_owned())),
            (_, Shutdown::METHOD) => {
                self.stage = Stage::ShutDown;
                Ok(Value::Null)
            }
            (_, HoverRequest::METHOD) => {
                let params: HoverParams =
                    serde_json::from_value(params).map_err(|error| (INVALID_PARAMS, error.to_string()))?;
                Ok(json!(self.hover(params)))
            }
            _ => Err((METHOD_NOT_FOUND, format!("no such method: {method}"))),
        }
    }

    /// Handles a notification, which is never answered. Notifications that are unknown or come at the wrong
    /// time are ignored. `$/cancelRequest` is also ignored, because each request is answered at once.
    fn notification(&mut self, client: &Client, method: &str, params: Value) -> Result {
        match (self.stage, method) {
            (_, Exit::METHOD) => client.close(),
            (Stage::Initialized, DidOpenTextDocument::METHOD) => {
                let Some(opened) = read::<DidOpenTextDocument>(params) else { return Ok(()) };
                let document = opened.text_document;
                self.check(client, document.uri, Some(document.version), document.text)?;
            }
            (Stage::Initialized, DidChangeTextDocument::METHOD) => {
                let Some(changed) = read::<DidChangeTextDocument>(params) else { return Ok(()) };
                let document = changed.text_document;
                // Each change has the whole text, as the capabilities require. The last change counts.
                if let Some(change) = changed.content_changes.into_iter().last() {
                    self.check(client, document.uri, Some(document.version), change.text)?;
                }
            }
            (Stage::Initialized, DidCloseTextDocument::METHOD) => {
                let Some(closed) = read::<DidCloseTextDocument>(params) else { return Ok(()) };
                self.texts.remove(closed.text_document.uri.as_str());
                publish(client, PublishDiagnosticsParams::new(closed.text_document.uri, Vec::new(), None))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Keeps a text and publishes its diagnostics.
    fn check(&mut self, client: &Client, uri: Uri, version: Option<i32>, text: String) -> Result {
        let diagnostics = lint::lint(&text);
        self.texts.insert(uri.as_str().to_owned(), text);
        publish(client, PublishDiagnosticsParams::new(uri, diagnostics, version))
    }

    fn hover(&self, params: HoverParams) -> Option<Hover> {
        let place = params.text_document_position_params;
        hover::hover(self.texts.get(place.text_document.uri.as_str())?, place.position)
    }
}

fn capabilities() -> InitializeResult {
    InitializeResult {
        capabilities: ServerCapabilities {
            position_encoding: Some(PositionEncodingKind::UTF16),
            text_document_sync: Some(TextDocumentSyncCapability::Kind(TextDocumentSyncKind::FULL)),
            hover_provider: Some(HoverProviderCapability::Simple(true)),
            ..ServerCapabilities::default()
        },
        server_info: Some(ServerInfo { name: "notes".to_owned(), version: None }),
    }
}

/// Returns the parameters of a notification. If they are not valid, logs this and returns `None`.
fn read<N: Notification>(params: Value) -> Option<N::Params> {
    serde_json::from_value(params)
        .inspect_err(|error| log::warn!("{} ignored: {}", N::METHOD, error.to_string().escape_debug()))
        .ok()
}

fn reply(client: &Client, id: Value, answer: Answer) -> Result {
    send(
        client,
        match answer {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err((code, message)) => {
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
            }
        },
    )
}

fn publish(client: &Client, params: PublishDiagnosticsParams) -> Result {
    send(client, json!({ "jsonrpc": "2.0", "method": PublishDiagnostics::METHOD, "params": params }))
}

fn send(client: &Client, message: Value) -> Result {
    Ok(client.write_frame(&ContentLength::default(), message.to_string())?)
}
