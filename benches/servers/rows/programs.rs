//! The rows about whole programs: lines through standard input and output, and the example `kv` beside Redis.

use std::io;
use std::process::Command;

use super::{compared, line};
use crate::experiment::{Contender, Experiment, Line, Target};
use crate::load::stdio;
use crate::load::store::{self, Store};
use crate::options::Options;
use crate::peers::{Kind, Peer};
use crate::server;

pub(super) fn rows(options: &Options) -> Vec<Experiment> {
    let mut rows = Vec::from(lines(options));
    rows.extend(stores(options));
    rows
}

fn lines(options: &Options) -> [Experiment; 2] {
    let span = options.span();
    let contender = |label, command: fn() -> io::Result<Command>| Contender {
        label,
        run: Box::new(move || stdio::lines(command, span)),
    };
    let cat = || contender("`cat`", || Ok(Command::new("cat")));
    let backport = || contender("backport", || server::command(Peer::Backport, Kind::Stdio));
    let reader = contender("reader thread and channel", || server::command(Peer::Std, Kind::Stdio));
    let asking = contender("epoll, read, write", || server::command(Peer::Std, Kind::Asking));
    let title = "stdio, beside the least for a loop that can be stopped: CPU per message";
    [
        Experiment {
            name: "stdio".to_owned(),
            rounds: options.rounds(),
            contenders: vec![cat(), reader, backport()],
            lines: vec![line("stdio, line by line: CPU per message", "micros", "µs", 1.14)],
            at: None,
        },
        Experiment {
            name: "floor-stdio".to_owned(),
            rounds: options.rounds(),
            contenders: vec![cat(), asking, backport()],
            lines: vec![compared(title, "micros", "µs")],
            at: None,
        },
    ]
}

/// The example `kv` beside `redis-server`.
fn stores(options: &Options) -> [Experiment; 2] {
    let count = if options.quick { 20_000 } else { 200_000 };
    let row = |at_once, count, target| {
        let contender =
            |label, store| Contender { label, run: Box::new(move || store::commands(store, at_once, count)) };
        let title = format!("example kv, 50 clients, SET and GET, {at_once} at once: CPU per command");
        Experiment {
            name: format!("kv-{at_once}"),
            rounds: options.rounds(),
            contenders: vec![contender("redis-server", Store::Redis), contender("backport", Store::Kv)],
            lines: vec![Line { target, ..line(title, "micros", "µs", 1.0) }],
            at: None,
        }
    };
    [row(1, count / 10, Target::Compared), row(64, count, Target::Ratio(1.3))]
}
