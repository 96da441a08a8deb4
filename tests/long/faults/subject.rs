//! The process that faults are done to: servers, and a parent who asks over stdin what they saw.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backport::framing::Lines;
use backport::{Adapter, Client, ClientId, Closing, Full, Interval, Machine, Result, TcpHandle, TcpServer};
use log::Level;
use parking_lot::Mutex;

use crate::support::child::{exit, is_child, say};
use crate::support::{eventually, pattern, threads, watch};

/// The test that it runs as.
pub(crate) const ROLE: &str = "subject::child_is_the_subject";
/// What an adapter does that was sent one of these; anything else comes back.
pub(crate) const PANIC: &str = "!panic";
pub(crate) const FAIL: &str = "!fail";
/// Fails with an error that can't be shown, nor dropped.
pub(crate) const SOUR: &str = "!sour";
pub(crate) const CLOSE: &str = "!close";
/// Followed by a number of bytes: they come, and the connection ends.
pub(crate) const GIVE: &str = "!give ";
/// Followed by a number of bytes: they come at once, and the connection goes on.
pub(crate) const FLOOD: &str = "!flood ";

/// Written by callbacks, read by `report`.
static SEEN: Mutex<Option<Seen>> = Mutex::new(None);

#[derive(Default)]
struct Seen {
    opened: u64,
    closed: u64,
    /// Clients with a callback that runs.
    inside: HashSet<ClientId>,
    overlaps: u64,
    reasons: BTreeMap<&'static str, u64>,
}

fn seen<T>(f: impl FnOnce(&mut Seen) -> T) -> T {
    f(SEEN.lock().get_or_insert_default())
}

/// What is logged at warn and above.
static LOGGED: Mutex<Vec<(Level, String)>> = Mutex::new(Vec::new());

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        if record.level() <= Level::Warn {
            LOGGED.lock().push((record.level(), record.args().to_string()));
        }
    }
    fn flush(&self) {}
}

/// Counted among the callbacks that run, until it drops.
struct Inside(ClientId);

impl Inside {
    fn enter(client: &Client) -> Inside {
        seen(|seen| seen.overlaps += u64::from(!seen.inside.insert(client.id())));
        Inside(client.id())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        seen(|seen| seen.inside.remove(&self.0));
    }
}

/// A pattern of at least so many bytes, which takes a while to make.
fn supply(count: usize) -> Arc<Vec<u8>> {
    static SUPPLY: Mutex<Option<Arc<Vec<u8>>>> = Mutex::new(None);
    let mut supply = SUPPLY.lock();
    match &*supply {
        Some(made) if made.len() >= count => Arc::clone(made),
        _ => Arc::clone(supply.insert(Arc::new(pattern(count)))),
    }
}

/// An error that panics when it is shown, and when it is dropped.
#[derive(Debug)]
struct Sour;

impl std::fmt::Display for Sour {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::panic::resume_unwind(Box::new("on purpose"))
    }
}

impl std::error::Error for Sour {}

impl Drop for Sour {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("on purpose"))
    }
}

/// An echo that does what it is told.
struct Subject;

impl Adapter for Subject {
    fn opening(&mut self, client: &Client) -> Result {
        let _inside = Inside::enter(client);
        seen(|seen| seen.opened += 1);
        Ok(())
    }

    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        let _inside = Inside::enter(client);
        let Some(told) = std::str::from_utf8(data).ok().filter(|text| text.starts_with('!')) else {
            return Ok(client.write(data)?);
        };
        let number = || told.split(' ').nth(1).and_then(|number| number.trim().parse().ok()).unwrap_or(0);
        match told {
            PANIC => std::panic::resume_unwind(Box::new("on purpose")),
            FAIL => return Err("on purpose".into()),
            SOUR => return Err(Sour.into()),
            CLOSE => client.close(),
            give if give.starts_with(GIVE) => {
                client.write(&supply(number())[..number()])?;
                client.close();
            }
            flood if flood.starts_with(FLOOD) => client.write(&supply(number())[..number()])?,
            _ => client.write(data)?,
        }
        Ok(())
    }

    fn closing(&mut self, client: &Client, closing: &Closing) {
        let _inside = Inside::enter(client);
        seen(|seen| {
            seen.closed += 1;
            *seen.reasons.entry(watch::reason(closing)).or_default() += 1;
        });
        // A goodbye with the reason, for those who can hear it.
        drop(client.write(closing.to_string()));
    }
}

/// A setting that the parent has made, in milliseconds where it is a time.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// Does nothing at SIGUSR1, dies at SIGPIPE, if asked to.
///
/// The handler is installed with `SA_RESTART`, which makes no difference here: signal(7) says that
/// calls on sockets with a time-out, and `epoll_wait`, «are never restarted».
fn handle_signals() {
    use signal_hook::consts::{SIGPIPE, SIGUSR1};
    use signal_hook::flag;

    if setting("HANDLE_USR1").is_some() {
        flag::register(SIGUSR1, Arc::default()).unwrap();
    }
    if setting("DIE_OF_SIGPIPE").is_some() {
        flag::register_conditional_default(SIGPIPE, Arc::new(AtomicBool::new(true))).unwrap();
    }
}

fn prepare(machine: &Machine) -> io::Result<TcpHandle> {
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:0".to_owned());
    let lines = std::env::var_os("LINES").is_some();
    let factory = move || -> Box<dyn Adapter> {
        if lines {
            Box::new(Subject.framed(Lines::default()))
        } else {
            Box::new(Subject)
        }
    };
    let mut server = match setting("SHARED") {
        Some(1) => TcpServer::from_listener(TcpListener::bind(address).unwrap(), factory),
        _ => TcpServer::new(address, factory),
    };
    server = server.threads(threads());
    if let Some(limit) = setting("MAX_CLIENTS") {
        server = server.max_clients(limit as usize);
    }
    if let Some(limit) = setting("IDLE_TIMEOUT") {
        server = server.idle_timeout(Duration::from_millis(limit));
    }
    if let Some(limit) = setting("WRITE_TIMEOUT") {
        server = server.write_timeout(Duration::from_millis(limit));
    }
    if let Ok(message) = std::env::var("REFUSE") {
        server = server.when_full(Full::Refuse(message.into()));
    }
    machine.prepare(server)
}

/// Serves, and does what it is told on stdin, a line each; at its end it stops.
#[test]
fn child_is_the_subject() {
    if !is_child(ROLE) {
        return;
    }
    log::set_logger(&Logger).unwrap();
    // With few records few threads of the log's are started, where a test counts them.
    let few = setting("FEW_RECORDS").is_some();
    log::set_max_level(if few { log::LevelFilter::Warn } else { log::LevelFilter::Trace });
    handle_signals();
    let machine = Machine::new();
    if let Some(limit) = setting("DRAIN_TIMEOUT") {
        machine.set_drain_timeout(Duration::from_millis(limit));
    }
    let count = setting("SERVERS").unwrap_or(1);
    let servers: Vec<_> = match (0..count).map(|_| prepare(&machine)).collect() {
        Ok(servers) => servers,
        Err(error) => {
            say(std::process::id());
            say(format_args!("{:?}: {error}", error.kind()));
            exit(3);
        }
    };
    let interval = setting("TICK").map(|period| {
        machine.prepare_interval(Duration::from_millis(period), |_| thread::sleep(Duration::from_millis(3)))
    });
    say(std::process::id());
    servers.iter().for_each(|server| say(server.local_addr()));
    let told = machine.clone();
    // Where threads can't be started, this one is here before.
    let ear = thread::spawn(move || listen(&told, &servers, interval.as_ref()));
    let result = machine.run();
    say(match &result {
        Ok(()) => "ended ok".to_owned(),
        Err(error) => format!("ended {error}"),
    });
    // What was seen in all, when the parent has heard enough.
    ear.join().unwrap();
    exit(i32::from(result.is_err()));
}

fn listen(machine: &Machine, servers: &[TcpHandle], interval: Option<&Interval>) {
    let mut held: Vec<File> = Vec::new();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "report" => {
                say(format_args!("{} ticks={}", report(machine), interval.map_or(0, Interval::ticks)))
            }
            "logged" => {
                let logged = LOGGED.lock().clone();
                say(logged.len());
                logged.iter().for_each(|(level, text)| say(format_args!("{level} {text}")));
            }
            "wall" => say(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()),
            // Takes every descriptor that is left, and gives all back.
            "starve" => {
                held.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
                say(held.len());
            }
            "release" => {
                held.clear();
                say("released");
            }
            // What SIGPIPE would do to a program that writes without care.
            "break_a_pipe" => {
                let mut reader = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
                let mut pipe = reader.stdin.take().unwrap();
                reader.wait().unwrap();
                // Not at once: another child may hold its end for a moment, between fork and exec.
                eventually("the pipe is broken", || pipe.write_all(b"to nobody").is_err());
                say("survived");
            }
            "close" => servers.iter().flat_map(|server| server.clients()).for_each(|client| client.close()),
            "broadcast" => say(servers[0].broadcast(rest)),
            "suspend" => servers[0].suspend(),
            "stop" => machine.stop(),
            "stop_now" => machine.stop_now(),
            other => panic!("told what it doesn't know: {other}"),
        }
    }
    // The parent has let go, or is gone.
    if !machine.is_stopped() {
        machine.stop();
    }
}

/// `name=value` of all that is counted.
fn report(machine: &Machine) -> String {
    let stats = machine.stats();
    let mut counts: Vec<(String, u64)> = seen(|seen| {
        let reasons = seen.reasons.iter().map(|(name, count)| ((*name).to_owned(), *count));
        let of_all = [("opened", seen.opened), ("closed", seen.closed), ("overlaps", seen.overlaps)];
        reasons.chain(of_all.map(|(name, count)| (name.to_owned(), count))).collect()
    });
    let logged = LOGGED.lock();
    let at = |level| logged.iter().filter(|record| record.0 == level).count() as u64;
    let clients = stats.clients;
    for (name, count) in [
        ("current", clients.current as u64),
        ("accepted", clients.accepted),
        ("refused", clients.refused),
        ("accept_errors", clients.accept_errors),
        ("backlog", clients.backlog as u64),
        ("threads", stats.threads as u64),
        ("warnings", at(Level::Warn)),
        ("errors", at(Level::Error)),
    ] {
        counts.push((name.to_owned(), count));
    }
    let words: Vec<_> = counts.iter().map(|(name, count)| format!("{name}={count}")).collect();
    words.join(" ")
}
