//! The server process. It serves, and it answers the driver over the socket that is its standard input.
//!
//! | the driver says | the process answers |
//! |---|---|
//! | (nothing) | `127.0.0.1:41234`, the address that it listens on |
//! | `broadcast` | `done`, when 100 bytes were sent to every client |
//! | `fill 50` | `done`, when the kernel takes no more for the last 50 clients that connected |
//! | `take-overs` | how often another thread had to take over because a callback was too long |
//! | `certificate` | its certificate, as hexadecimal digits |
//! | `stop`, or the end of input | nothing: it stops and exits |

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use ::backport::Threads;

use super::{backport, floors, std_loop, tokio, Kind, Peer};

/// Serves until the driver stops it.
pub(crate) fn serve(peer: Peer, kind: Kind) -> io::Result<()> {
    let serving = match (peer, kind) {
        (Peer::Std, Kind::Stdio) => return std_loop::stdio(),
        (Peer::Std, Kind::Asking) => return floors::stdio(),
        (Peer::Backport, Kind::Stdio) => return backport::stdio(),
        (Peer::Std, Kind::News) => std_loop::start_news()?,
        (Peer::Std, Kind::Promised) => floors::promised()?,
        (Peer::Std, Kind::Bare) => floors::bare()?,
        (Peer::Std, Kind::Locked) => floors::locked()?,
        (Peer::Std, Kind::Alone) => floors::alone()?,
        (Peer::Std, Kind::HandOver) => floors::handing_over()?,
        (Peer::Std, Kind::Echo | Kind::Crowd) => std_loop::start()?,
        (Peer::Std, Kind::Naps) => std_loop::start_naps()?,
        (Peer::Tokio, Kind::Naps) => tokio::start_naps()?,
        (Peer::Tokio, Kind::Echo | Kind::Crowd) => tokio::start()?,
        (Peer::WhileBusy, Kind::Echo | Kind::Crowd | Kind::Naps) => {
            backport::start(kind, Threads::WhileBusy)?
        }
        (
            Peer::Backport,
            Kind::Echo | Kind::Crowd | Kind::News | Kind::Lines | Kind::Gathered | Kind::Naps,
        ) => backport::start(kind, Threads::PerClient)?,
        #[cfg(feature = "tls")]
        (peer, Kind::Encrypted) => super::encrypted::start(peer)?,
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    let driver = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let commands = BufReader::new(driver.try_clone()?).lines();
    answer(&driver, serving.address())?;
    for command in commands {
        let command = command?;
        match command.split(' ').collect::<Vec<_>>()[..] {
            ["broadcast"] => {
                serving.broadcast()?;
                answer(&driver, "done")?;
            }
            ["fill", last] => {
                serving.fill(last.parse().map_err(io::Error::other)?)?;
                answer(&driver, "done")?;
            }
            ["take-overs"] => answer(&driver, serving.take_overs()?)?,
            ["certificate"] => {
                let digits: String =
                    serving.certificate()?.iter().map(|byte| format!("{byte:02x}")).collect();
                answer(&driver, digits)?;
            }
            ["stop"] => break,
            _ => return Err(io::Error::other(format!("what is `{command}`?"))),
        }
    }
    serving.stop()
}

fn answer(mut driver: &UnixStream, what: impl std::fmt::Display) -> io::Result<()> {
    driver.write_all(format!("{what}\n").as_bytes())
}
