//! The example `kv` beside `redis-server`. `redis-benchmark` is their client.

use std::env;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use super::{micros_per, silence, Metrics};
use crate::server::{cpu_time, PATIENCE};

/// A store that speaks the protocol of Redis.
#[derive(Clone, Copy)]
pub(crate) enum Store {
    Redis,
    Kv,
}

/// Has 50 clients send `count` times SET, and then as often GET, so many at once.
///
/// `micros`: CPU time per command.
pub(crate) fn commands(store: Store, at_once: u32, count: u32) -> io::Result<Metrics> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let process = Process(command(store, address)?.stdout(Stdio::null()).spawn()?);
    process.await_listening(address)?;
    benchmark(address, at_once, count / 10)?;
    let before = cpu_time(&process.0)?;
    benchmark(address, at_once, count)?;
    let spent = cpu_time(&process.0)? - before;
    process.stop()?;
    Ok(vec![("micros", micros_per(spent, 2 * u64::from(count))?)])
}

fn command(store: Store, address: SocketAddr) -> io::Result<Command> {
    let mut command = match store {
        Store::Redis => Command::new("redis-server"),
        Store::Kv => Command::new(kv()?),
    };
    match store {
        Store::Redis => {
            command.args(["--bind", "127.0.0.1", "--save", "", "--port"]).arg(address.port().to_string())
        }
        Store::Kv => command.arg(address.to_string()),
    };
    Ok(command)
}

/// Compiles the example, and returns its path.
fn kv() -> io::Result<PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--quiet", "--release", "--example", "kv", "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    succeed(&mut cargo)?;
    // This program is in target/release/deps.
    let release = env::current_exe()?.ancestors().nth(2).map(|folder| folder.join("examples/kv"));
    release.ok_or_else(|| io::Error::other("the path of this program has no folder"))
}

fn benchmark(address: SocketAddr, at_once: u32, count: u32) -> io::Result<()> {
    let mut command = Command::new("redis-benchmark");
    command.args(["-q", "-c", "50", "-t", "set,get"]);
    command.args(["-p", &address.port().to_string(), "-P", &at_once.to_string(), "-n", &count.to_string()]);
    // It warns that the example has no CONFIG.
    succeed(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

fn succeed(command: &mut Command) -> io::Result<()> {
    let failure = match command.status() {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => format!("ended with {status}"),
        Err(error) => error.to_string(),
    };
    Err(io::Error::other(format!("{}: {failure}", command.get_program().to_string_lossy())))
}

/// A server process. It is killed when this is dropped.
struct Process(Child);

impl Process {
    fn pid(&self) -> io::Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.0.id()).map_err(io::Error::other)?))
    }

    fn await_listening(&self, address: SocketAddr) -> io::Result<()> {
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if start.elapsed() > PATIENCE {
                return Err(silence());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn stop(mut self) -> io::Result<()> {
        kill(self.pid()?, Signal::SIGTERM)?;
        match self.0.wait()? {
            status if status.success() => Ok(()),
            status => Err(io::Error::other(format!("the server ended with {status}"))),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("cannot end a server process: {error}");
        }
    }
}
