//! The connection to Redis, which carries the lines of all nodes.
//!
//! A node subscribes and publishes on one connection. Version 3 of the protocol of Redis allows that. A node whose
//! line was taken by Redis therefore has a subscription, and its clients see the line.

use std::collections::VecDeque;
use std::mem;
use std::sync::mpsc::{sync_channel, SyncSender};
use std::sync::Arc;
use std::time::Duration;

use backport::{Adapter, Client, Closing, Group, Input, Machine, Result, TcpClient};
use parking_lot::{Condvar, Mutex};
use redis::{cmd, Parser, PushKind, Value};

const CHANNEL: &str = "chat";
/// How often Redis must answer. A connection that is silent for longer than `SILENCE` is dead.
const PING: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_secs(3);
/// The first and the longest delay between two attempts to connect.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
const CONNECT: Duration = Duration::from_secs(1);

#[derive(Clone, Default)]
pub(crate) struct RedisLink {
    pub(crate) members: Group,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    /// The connection, while there is a subscription.
    redis: Option<Client>,
    /// The threads that wait until Redis has taken their line, in the order of the lines.
    waiting: VecDeque<SyncSender<()>>,
}

impl RedisLink {
    pub(crate) fn prepare(machine: &Machine, address: String) -> Result<RedisLink> {
        let (link, ping) = (RedisLink::default(), cmd("PING").get_packed_command());
        let again = link.clone();
        let client = TcpClient::new(address, move || again.clone())
            .reconnect(Some(RECONNECT))
            .connect_timeout(CONNECT)
            .idle_timeout(SILENCE);
        let redis = machine.prepare(client)?;
        machine.prepare_interval(PING, move |_| {
            redis.broadcast(&ping);
        });
        Ok(link)
    }

    /// Waits until there is a connection, but not longer than `limit`.
    pub(crate) fn wait(&self, limit: Duration) {
        let (state, connected) = &*self.state;
        connected.wait_while_for(&mut state.lock(), |state| state.redis.is_none(), limit);
    }

    /// Sends a line to all nodes, and waits until Redis has taken it. A client therefore has only one line under way,
    /// and cannot fill the memory. An error says what may have happened to the line.
    pub(crate) fn publish(&self, line: &str) -> Result<(), &'static str> {
        let command = cmd("PUBLISH").arg(CHANNEL).arg(line).get_packed_command();
        let (sender, answer) = sync_channel(1);
        let mut state = self.state.0.lock();
        // A post does not wait, so it may happen under the lock. The order of the answers is the order of the posts.
        match &state.redis {
            Some(redis) if redis.post(command).is_ok() => state.waiting.push_back(sender),
            _ => return Err("not sent, there is no connection to the other nodes"),
        }
        drop(state);
        answer.recv().map_err(|_| "perhaps not sent, the connection to the other nodes has ended")
    }
}

impl Adapter for RedisLink {
    fn serving(&mut self, redis: &Client, input: &mut Input) -> Result {
        let (state, connected) = &*self.state;
        let mut commands = cmd("HELLO").arg(3).get_packed_command();
        commands.extend(cmd("SUBSCRIBE").arg(CHANNEL).get_packed_command());
        redis.write(commands)?;
        let mut parser = Parser::new();
        loop {
            match parser.parse_value(&mut *input)?.extract_error()? {
                Value::Push { kind: PushKind::Subscribe, .. } => {
                    state.lock().redis = Some(redis.clone());
                    connected.notify_all();
                    self.members.broadcast("* connected with all nodes; earlier lines may be missing\n");
                }
                Value::Push { kind: PushKind::Message, data } => {
                    if let Some(Value::BulkString(mut line)) = data.into_iter().nth(1) {
                        line.push(b'\n');
                        self.members.broadcast(line);
                    }
                }
                // The answer to PUBLISH: how many nodes get the line.
                Value::Int(_) => {
                    if let Some(waiting) = state.lock().waiting.pop_front() {
                        waiting.send(())?;
                    }
                }
                // The answers to HELLO and PING.
                _ => {}
            }
        }
    }

    fn closing(&mut self, _: &Client, _: &Closing) {
        if mem::take(&mut *self.state.0.lock()).redis.is_some() {
            self.members.broadcast("* no connection with the other nodes; lines may be missing\n");
        }
    }
}
