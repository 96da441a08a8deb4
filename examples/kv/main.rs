//! A store of keys and values that speaks the protocol of Redis.
//!
//! Run it:      cargo run --release --example kv     (on another address: add localhost:9000)
//! Talk to it:  redis-cli set greeting hello
//!              redis-benchmark -t set,get -P 64
//!              nc localhost 6379                    and type: get greeting
//! Stop it:     press Ctrl-C

mod resp;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backport::{Adapter, Backport, Client, Group, Input, Result};
use parking_lot::Mutex;

struct Entry {
    value: Vec<u8>,
    expires: Option<Instant>,
}

impl Entry {
    fn is_live(&self) -> bool {
        self.expires.is_none_or(|expires| Instant::now() < expires)
    }
}

#[derive(Default)]
struct Store(HashMap<Vec<u8>, Entry>);

impl Store {
    fn get(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.0.get_mut(key).filter(|entry| entry.is_live())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.0.insert(key.to_vec(), Entry { value: value.to_vec(), expires: None });
    }

    /// Adds to a number, which is 0 if there is none. Returns `None` if the value or the sum is no such number.
    fn add(&mut self, key: &[u8], summand: i64) -> Option<i64> {
        if self.get(key).is_none() {
            self.set(key, b"0");
        }
        let entry = self.get(key)?;
        let sum = number(&entry.value)?.checked_add(summand)?;
        entry.value = sum.to_string().into_bytes();
        Some(sum)
    }
}

#[derive(Clone, Default)]
struct Connection {
    /// The keys and the channels, which all clients share.
    store: Arc<Mutex<Store>>,
    channels: Arc<Mutex<HashMap<Vec<u8>, Group>>>,
    /// Answers that are not sent yet.
    answers: Vec<u8>,
    subscriptions: HashSet<Vec<u8>>,
}

impl Adapter for Connection {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        loop {
            let words = input.parse(|bytes| {
                let words = resp::command(bytes);
                // Half a command has arrived. Its client may wait for the answers to those before it.
                if matches!(words, Ok(None)) {
                    client.write(self.answers.drain(..))?;
                }
                words
            });
            match words {
                Ok(Some(words)) => self.answer(client, &words)?,
                Ok(None) => return Ok(client.write(&self.answers)?),
                Err(error) => {
                    write!(self.answers, "-ERR Protocol error: {error}\r\n")?;
                    client.write(&self.answers)?;
                    return Err(error);
                }
            }
            // Commands that have arrived together are answered together.
            if input.buffered().is_empty() || self.answers.len() > 64 * 1024 {
                client.write(self.answers.drain(..))?;
            }
        }
    }
}

impl Connection {
    fn answer(&mut self, client: &Client, words: &[Vec<u8>]) -> Result {
        let Some((name, keys)) = words.split_first() else { return Ok(()) };
        let name = String::from_utf8_lossy(name).to_ascii_uppercase();
        let arguments: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let (store, out) = (|| self.store.lock(), &mut self.answers);
        match (&*name, &*arguments) {
            ("PING", []) => write!(out, "+PONG\r\n")?,
            ("PING" | "ECHO", [text]) => resp::word(out, Some(text))?,
            ("GET", [key]) => resp::word(out, store().get(key).map(|entry| &*entry.value))?,
            ("MGET", [_, ..]) => {
                write!(out, "*{}\r\n", keys.len())?;
                let mut store = store();
                for key in keys {
                    resp::word(out, store.get(key).map(|entry| &*entry.value))?;
                }
            }
            ("SET", [key, value]) => {
                store().set(key, value);
                write!(out, "+OK\r\n")?;
            }
            ("DEL", [_, ..]) => {
                let mut store = store();
                let gone = |key: &&Vec<u8>| store.get(key).is_some() && store.0.remove(*key).is_some();
                resp::integer(out, Some(keys.iter().filter(gone).count() as i64))?;
            }
            ("EXISTS", [_, ..]) => {
                let exists = |key: &&Vec<u8>| store().get(key).is_some();
                resp::integer(out, Some(keys.iter().filter(exists).count() as i64))?;
            }
            ("INCR", [key]) => resp::integer(out, store().add(key, 1))?,
            ("INCRBY", [key, by]) => resp::integer(out, number(by).and_then(|by| store().add(key, by)))?,
            ("EXPIRE", [key, seconds]) => {
                let at = |time: i64| Instant::now().checked_add(Duration::from_secs(time.max(0) as u64));
                let set = |at| store().get(key).map(|entry| entry.expires = Some(at)).is_some();
                resp::integer(out, number(seconds).and_then(at).map(set).map(i64::from))?;
            }
            ("TTL", [key]) => {
                let left = |at: Instant| (at - Instant::now()).as_secs_f64().round() as i64;
                resp::integer(
                    out,
                    Some(store().get(key).map_or(-2, |entry| entry.expires.map_or(-1, left))),
                )?;
            }
            ("PUBLISH", [channel, message]) => {
                let mut record = b"*3\r\n".to_vec();
                for word in [b"message", *channel, *message] {
                    resp::word(&mut record, Some(word))?;
                }
                let channels = self.channels.lock();
                let reached = channels.get(*channel).map_or(0, |group| group.broadcast(record));
                resp::integer(out, Some(reached as i64))?;
            }
            ("SUBSCRIBE", [_, ..]) => {
                let mut channels = self.channels.lock();
                for channel in keys {
                    if self.subscriptions.insert(channel.clone()) {
                        channels.entry(channel.clone()).or_default().join(client);
                    }
                    write!(out, "*3\r\n$9\r\nsubscribe\r\n")?;
                    resp::word(out, Some(channel))?;
                    resp::integer(out, Some(self.subscriptions.len() as i64))?;
                }
                // Under the lock, so that no message comes before this answer. A post never waits.
                client.post(out.drain(..))?;
            }
            ("INFO", _) => {
                let (clients, keys) = (client.server().client_count(), store().0.len());
                let text = format!("connected_clients:{clients}\r\ndb0:keys={keys}\r\n");
                resp::word(out, Some(text.as_bytes()))?;
            }
            ("HELLO", [] | [b"2"]) => write!(out, "*4\r\n+server\r\n+kv\r\n+proto\r\n:2\r\n")?,
            ("HELLO", _) => write!(out, "-NOPROTO this server speaks version 2\r\n")?,
            _ => write!(out, "-ERR unknown command, or wrong arguments for it\r\n")?,
        }
        Ok(())
    }
}

fn number(word: &[u8]) -> Option<i64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

fn main() -> Result {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or("localhost:6379".to_owned());
    Backport::run(|machine| {
        let connection = Connection::default();
        let shared = connection.clone();
        machine.prepare_interval(Duration::from_secs(1), move |_| {
            shared.store.lock().0.retain(|_, entry| entry.is_live());
            shared.channels.lock().retain(|_, group| !group.is_empty());
        });
        let server = machine.prepare_tcp_server(address, move || connection.clone())?;
        println!("listening on {}", server.local_addr());
        Ok(())
    })
}
