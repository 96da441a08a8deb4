//! The command line.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backport::Threads;
use lexopt::{Arg, Parser, ValueExt};

pub(crate) const HELP: &str = "\
cargo run --release -p soak [-- OPTIONS]

Soaks the crate in clients that connect, echo, reset, half-close, stall, drip, flood and meet panics.

  --seconds N    for how long, 10 at least (default: 60)
  --rate N       visits a second at most (default: 150)
  --clients N    clients at once at most (default: 64)
  --while-busy   clients have threads only while they are busy
  --seed N       what the clients do (default: by the clock; it is printed)";

pub(crate) enum Command {
    Help,
    /// The process of the servers, which is what a user starts.
    Soak(Options),
    /// The process of the clients.
    Load {
        addresses: [SocketAddr; 3],
        options: Options,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) time: Duration,
    pub(crate) rate: u32,
    pub(crate) clients: u32,
    pub(crate) threads: Threads,
    pub(crate) seed: u64,
}

pub(crate) fn parse() -> io::Result<Command> {
    read(Parser::from_env()).map_err(io::Error::other)
}

fn read(mut arguments: Parser) -> Result<Command, lexopt::Error> {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut options =
        Options { time: Duration::from_secs(60), rate: 150, clients: 64, threads: Threads::PerClient, seed };
    let mut addresses = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            Arg::Long("seconds") => {
                options.time = Duration::from_secs(arguments.value()?.parse::<u64>()?.max(10))
            }
            Arg::Long("rate") => options.rate = arguments.value()?.parse::<u32>()?.max(1),
            Arg::Long("clients") => options.clients = arguments.value()?.parse::<u32>()?.max(1),
            Arg::Long("while-busy") => options.threads = Threads::WhileBusy,
            Arg::Long("seed") => options.seed = arguments.value()?.parse()?,
            Arg::Value(address) => addresses.push(address.parse()?),
            other => return Err(other.unexpected()),
        }
    }
    if addresses.is_empty() {
        return Ok(Command::Soak(options));
    }
    match <[SocketAddr; 3]>::try_from(addresses) {
        Ok(addresses) => Ok(Command::Load { addresses, options }),
        Err(_) => Err("the clients want three addresses".into()),
    }
}
