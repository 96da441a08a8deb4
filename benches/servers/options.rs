//! The command line.

use std::io;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};

use crate::peers::{Kind, Peer};

pub(crate) const HELP: &str = "\
cargo bench --bench servers [-- OPTIONS] [FILTER…]

Measures the crate beside its rivals. A FILTER keeps the rows whose names contain it.

  --quick        short rounds and fewer clients: a look, not a measurement
  threads        measure the crate with `Threads::WhileBusy` beside its default and its rivals, in a table of
                 its own; a FILTER keeps rows of this table
  --rounds N     how often each contender takes its turn (default: 9; --quick: 3)
  --cpu N        the CPU to pin everything to (default: the last)
  --peers all    measure echo servers in other languages too, in a table of its own: C with pthreads,
                 Go, Python's socketserver, EventMachine
  --write        write RESULTS.md and the plots also after a quick or filtered run
  --list         list the rows";

pub(crate) enum Command {
    Help,
    Serve { peer: Peer, kind: Kind },
    Measure(Options),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) list: bool,
    pub(crate) rounds: Option<usize>,
    pub(crate) cpu: Option<usize>,
    pub(crate) write: bool,
    pub(crate) all_peers: bool,
    pub(crate) threads: bool,
    pub(crate) filters: Vec<String>,
}

impl Options {
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 3 } else { 9 })
    }

    /// Returns the duration of a measurement that is limited by time.
    pub(crate) fn span(&self) -> Duration {
        Duration::from_millis(if self.quick { 60 } else { 300 })
    }

    pub(crate) fn keeps(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
    }

    pub(crate) fn writes(&self) -> bool {
        self.write || (!self.quick && self.filters.is_empty())
    }
}

pub(crate) fn parse() -> io::Result<Command> {
    read(Parser::from_env()).map_err(io::Error::other)
}

fn read(mut arguments: Parser) -> Result<Command, lexopt::Error> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            Arg::Long("quick") => options.quick = true,
            Arg::Long("list") => options.list = true,
            Arg::Long("write") => options.write = true,
            Arg::Long("peers") => match arguments.value()?.string()?.as_str() {
                "all" => options.all_peers = true,
                "default" => {}
                other => return Err(format!("`--peers {other}`: it is `all` or `default`").into()),
            },
            Arg::Long("rounds") => options.rounds = Some(arguments.value()?.parse()?),
            Arg::Long("cpu") => options.cpu = Some(arguments.value()?.parse()?),
            // Cargo adds it.
            Arg::Long("bench") => {}
            Arg::Value(word) if word == "serve" => {
                let peer = arguments.value()?.parse()?;
                let kind = arguments.value()?.parse()?;
                return Ok(Command::Serve { peer, kind });
            }
            Arg::Value(word) if word == "threads" => options.threads = true,
            Arg::Value(word) => options.filters.push(word.string()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Measure(options))
}
