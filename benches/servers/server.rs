//! A server process, as the driver holds it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::peers::{Kind, Peer};

/// How long an answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server process. Dropping it kills the process.
pub(crate) struct Server {
    child: Child,
    driver: BufReader<UnixStream>,
    pub(crate) address: SocketAddr,
}

/// This program, about to be another peer's process.
pub(crate) fn command(peer: Peer, kind: Kind) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", peer.name(), kind.name()]);
    Ok(command)
}

impl Server {
    pub(crate) fn start(peer: Peer, kind: Kind) -> io::Result<Server> {
        Server::from(command(peer, kind)?)
    }

    /// The same under `strace`, which counts system calls into `counts`.
    pub(crate) fn start_traced(peer: Peer, kind: Kind, counts: &Path) -> io::Result<Server> {
        let server = command(peer, kind)?;
        let mut strace = Command::new("strace");
        strace.args(["-f", "-c", "-o"]).arg(counts).arg(server.get_program()).args(server.get_args());
        Server::from(strace)
    }

    fn from(mut command: Command) -> io::Result<Server> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(PATIENCE))?;
        let child = command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).spawn()?;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        // Its end of the socket lies in the command: it must go, or we never see the end.
        drop(command);
        let mut server = Server { child, driver: BufReader::new(ours), address };
        server.address = server.answer()?.parse().map_err(io::Error::other)?;
        Ok(server)
    }

    fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.driver.read_line(&mut line)?;
        if line.pop() != Some('\n') {
            return Err(io::Error::other("the server process has ended"));
        }
        Ok(line)
    }

    fn tell(&mut self, command: &str) -> io::Result<()> {
        self.driver.get_mut().write_all(format!("{command}\n").as_bytes())
    }

    fn ask(&mut self, command: &str) -> io::Result<String> {
        self.tell(command)?;
        self.answer()
    }

    /// The CPU time of the process so far.
    pub(crate) fn cpu_time(&mut self) -> io::Result<Duration> {
        let nanoseconds = self.ask("cpu")?.parse().map_err(io::Error::other)?;
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Has it start to tell all its clients; `done` waits for the end of that.
    pub(crate) fn broadcast(&mut self) -> io::Result<()> {
        self.tell("broadcast")
    }

    pub(crate) fn done(&mut self) -> io::Result<()> {
        self.answer().map(drop)
    }

    pub(crate) fn fill(&mut self, last: usize) -> io::Result<()> {
        self.ask(&format!("fill {last}")).map(drop)
    }

    /// A line of `/proc/<pid>/status`, the number in it: `VmRSS` (KiB) or `Threads`.
    pub(crate) fn status(&self, field: &str) -> io::Result<u64> {
        let status = BufReader::new(File::open(format!("/proc/{}/status", self.child.id()))?);
        for line in status.lines() {
            let line = line?;
            if let Some((name, value)) = line.split_once(':') {
                if name == field {
                    let number = value.split_whitespace().next().unwrap_or_default();
                    return number.parse().map_err(io::Error::other);
                }
            }
        }
        Err(io::Error::other(format!("no {field} in /proc")))
    }

    /// Tells it to stop, and waits for nothing.
    pub(crate) fn tell_to_stop(&mut self) -> io::Result<()> {
        self.tell("stop")
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Stops it, and waits for the end.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        self.tell_to_stop()?;
        let start = Instant::now();
        // What it keeps open of the socket goes with it.
        match self.answer() {
            Ok(line) => Err(io::Error::other(format!("what does `{line}` mean?"))),
            Err(_) if start.elapsed() >= PATIENCE => Err(io::Error::other("the server doesn't stop")),
            Err(_) => match self.child.wait()? {
                status if status.success() => Ok(()),
                status => Err(io::Error::other(format!("the server ended with {status}"))),
            },
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("cannot end a server process: {error}");
        }
    }
}
