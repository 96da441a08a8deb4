//! Threads for requests that take time. Only the worker answers its request, so there is exactly one answer. All else
//! is a message to the worker: a cancellation, and the answer of the client to a question of the worker.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use backport::framing::ContentLength;
use backport::{Client, Hold, Result};
use serde_json::{json, Value};

/// How many workers a client may have at once.
pub(crate) const WORKER_LIMIT: usize = 8;
/// How long a worker waits for the client. A stop waits for the worker, so this is less than the drain timeout.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// The answer to a request: a result, or a code (specification 3.17, «ErrorCodes») and a message.
pub(crate) type Answer<T = Value> = Result<T, (i32, &'static str)>;
pub(crate) const CANCELLED: (i32, &str) = (-32800, "the client has cancelled this");
pub(crate) const REFUSED: (i32, &str) = (-32803, "the client has refused this");
pub(crate) type Work = Box<dyn FnOnce(&Worker) -> Answer + Send>;

/// The reader's side of a worker. If it is dropped, the worker finishes its work, but waits for no more answers.
pub(crate) struct Handle {
    pub(crate) id: String,
    pub(crate) inbox: Sender<Answer>,
    pub(crate) thread: JoinHandle<()>,
}

pub(crate) struct Worker {
    id: Value,
    inbox: Receiver<Answer>,
    /// The end of the work. The client may have vanished, so a worker must not compute for hours.
    deadline: Instant,
    client: Hold,
}

/// Starts a worker, which answers the request with the result of `work`. The conversation stays open until then.
pub(crate) fn start(client: &Client, id: Value, work: Work) -> Result<Handle> {
    let (sender, inbox) = channel();
    let deadline = Instant::now() + Duration::from_secs(60);
    let worker = Worker { id: id.clone(), inbox, deadline, client: client.hold() };
    let thread = Builder::new().spawn(move || {
        let answer = catch_unwind(AssertUnwindSafe(|| work(&worker))).unwrap_or(Err((-32603, "a panic")));
        reply(&worker.client, &worker.id, answer).unwrap_or_else(|error| log::debug!("no answer: {error}"));
    })?;
    Ok(Handle { id: id.to_string(), inbox: sender, thread })
}

impl Worker {
    /// Returns an error if the work is in vain. A long computation calls this now and then.
    pub(crate) fn check(&self) -> Answer<()> {
        match self.inbox.try_recv() {
            Ok(Err(cancelled)) => Err(cancelled),
            _ if self.client.is_stopping() || Instant::now() > self.deadline => Err((-32803, "out of time")),
            _ => Ok(()),
        }
    }

    /// Sends a request to the client, and waits for the answer. The id of the question is a string, which has the id
    /// of the worker's own request in JSON.
    pub(crate) fn ask(&self, method: &str, params: Value) -> Answer {
        send(&self.client, json!({ "id": self.id.to_string(), "method": method, "params": params }))
            .map_err(|_| (-32803, "the client has disconnected"))?;
        self.inbox.recv_timeout(ANSWER_TIME).unwrap_or(Err((-32803, "the client has not answered")))
    }
}

pub(crate) fn reply(client: &Client, id: &Value, answer: Answer) -> Result {
    let message = match answer {
        Ok(result) => json!({ "id": id, "result": result }),
        Err((code, message)) => json!({ "id": id, "error": { "code": code, "message": message } }),
    };
    send(client, message)
}

pub(crate) fn send(client: &Client, mut message: Value) -> Result {
    message["jsonrpc"] = "2.0".into();
    Ok(client.write_frame(&ContentLength::default(), message.to_string())?)
}
