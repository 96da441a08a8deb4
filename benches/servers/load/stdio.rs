//! Lines through the standard input and output of a process.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{getrusage, UsageWho};
use nix::sys::signal::{kill, Signal};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;

use super::{histogram, micros_at, micros_per, record, Metrics, MESSAGE};
use crate::server::PATIENCE;

/// Sends one line after another. Each is sent when the previous one has come back.
///
/// `micros`: CPU time per line, without the start and the end of the process; `p50`, `p99`: of the time
/// until a line is back.
pub(crate) fn lines(command: impl Fn() -> io::Result<Command>, span: Duration) -> io::Result<Metrics> {
    let (empty, _) = run(&mut command()?, Duration::ZERO)?;
    let (spent, latency) = run(&mut command()?, span)?;
    Ok(vec![
        ("micros", micros_per(spent.saturating_sub(empty), latency.len())?),
        ("p50", micros_at(&latency, 0.50)),
        ("p99", micros_at(&latency, 0.99)),
    ])
}

/// Returns the CPU time of a process from its start to its end, and the latency of its answers.
fn run(command: &mut Command, span: Duration) -> io::Result<(Duration, hdrhistogram::Histogram<u64>)> {
    let before = children_cpu_time()?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    let (Some(mut input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let (alive, watched) = channel::<()>();
    // A pipe has no time-out, so another thread ends a process that hangs.
    let watchdog = thread::spawn(move || match watched.recv_timeout(span + PATIENCE) {
        Err(RecvTimeoutError::Timeout) => kill(pid, Signal::SIGKILL),
        _ => Ok(()),
    });
    let mut latency = histogram()?;
    let end = Instant::now() + span;
    let mut talk = || {
        while Instant::now() < end {
            let start = Instant::now();
            input.write_all(&MESSAGE)?;
            output.read_exact(&mut [0; MESSAGE.len()])?;
            record(&mut latency, start.elapsed());
        }
        io::Result::Ok(())
    };
    let talked = talk();
    drop((input, output));
    let status = child.wait()?;
    drop(alive);
    watchdog.join().map_err(|_| io::Error::other("a panic"))??;
    talked?;
    if !status.success() {
        return Err(io::Error::other(format!("the process ended with {status}")));
    }
    Ok((children_cpu_time()? - before, latency))
}

/// Returns the CPU time of the child processes that have ended and were waited for.
fn children_cpu_time() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}
