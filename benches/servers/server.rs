//! A server process, as the driver sees it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::peers::{Kind, Peer};
use crate::rivals;

/// The longest time that an answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Returns the CPU time of a process up to now, with the threads that have ended.
pub(crate) fn cpu_time(process: &Child) -> io::Result<Duration> {
    let pid = Pid::from_raw(i32::try_from(process.id()).map_err(io::Error::other)?);
    Ok(clock_gettime(clock_getcpuclockid(pid)?)?.into())
}

/// A server process. It is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    driver: BufReader<UnixStream>,
    pub(crate) address: SocketAddr,
}

/// Returns the command that runs this program as a server.
pub(crate) fn command(peer: Peer, kind: Kind) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", peer.name(), kind.name()]);
    Ok(command)
}

impl Server {
    pub(crate) fn start(peer: Peer, kind: Kind) -> io::Result<Server> {
        match peer {
            Peer::Rival(rival) => Server::from_rival(rivals::command(rival)),
            peer => Server::from(command(peer, kind)?),
        }
    }

    /// Starts it under `strace`, which writes the number of system calls into `counts`.
    pub(crate) fn start_traced(peer: Peer, kind: Kind, counts: &Path) -> io::Result<Server> {
        let server = command(peer, kind)?;
        let mut strace = Command::new("strace");
        strace.args(["-f", "-c", "-o"]).arg(counts).arg(server.get_program()).args(server.get_args());
        Server::from(strace)
    }

    fn from(mut command: Command) -> io::Result<Server> {
        let (ours, theirs) = UnixStream::pair()?;
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        Server::spawn(command, ours)
    }

    /// A program in another language prints its address to its standard output.
    fn from_rival(mut command: Command) -> io::Result<Server> {
        let (ours, theirs) = UnixStream::pair()?;
        command.stdin(OwnedFd::from(theirs.try_clone()?)).stdout(OwnedFd::from(theirs));
        Server::spawn(command, ours)
    }

    fn spawn(mut command: Command, ours: UnixStream) -> io::Result<Server> {
        ours.set_read_timeout(Some(PATIENCE))?;
        let child = command.spawn()?;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        // The command still holds the other end of the socket. Until it is dropped, no end of input comes.
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

    /// Returns the CPU time of the process up to now, with the threads that have ended.
    pub(crate) fn cpu_time(&self) -> io::Result<Duration> {
        cpu_time(&self.child)
    }

    /// Returns the certificate of the server.
    #[cfg(feature = "tls")]
    pub(crate) fn certificate(&mut self) -> io::Result<Vec<u8>> {
        let digits = self.ask("certificate")?;
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).map_err(io::Error::other);
        (0..digits.len()).step_by(2).map(byte).collect()
    }

    /// Starts a broadcast to all clients. `done` waits until it is finished.
    pub(crate) fn broadcast(&mut self) -> io::Result<()> {
        self.tell("broadcast")
    }

    pub(crate) fn done(&mut self) -> io::Result<()> {
        self.answer().map(drop)
    }

    pub(crate) fn fill(&mut self, last: usize) -> io::Result<()> {
        self.ask(&format!("fill {last}")).map(drop)
    }

    /// Returns how often another thread had to take over because a callback was too long.
    pub(crate) fn take_overs(&mut self) -> io::Result<u64> {
        self.ask("take-overs")?.parse().map_err(io::Error::other)
    }

    /// Returns a number from `/proc/<pid>/status`: `VmRSS` (in KiB) or `Threads`.
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

    /// Tells the server to stop, and returns at once.
    pub(crate) fn tell_to_stop(&mut self) -> io::Result<()> {
        self.tell("stop")
    }

    /// Returns the exit status if the process has ended.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Stops the server, and waits until the process has ended.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        self.tell_to_stop()?;
        let start = Instant::now();
        // The process closes its end of the socket when it ends.
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
        // The process may have ended by itself.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("cannot end a server process: {error}");
        }
    }
}
