//! A crowd that does nothing: its cost, and the time that a stop takes.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::{settle, silence, Metrics};
use crate::peers::{Kind, Peer};
use crate::server::{Server, PATIENCE};

/// The time that the crowd is silent during the measurement.
const SILENCE: Duration = Duration::from_secs(1);

/// Measures clients that have had one answer each and then are silent.
///
/// `kib`: resident memory per client; `threads`: of the process; `idle`: milliseconds of CPU time
/// per second; `stop`: seconds from the word to the end of the process.
pub(crate) fn idle(peer: Peer, kind: Kind, clients: usize) -> io::Result<Metrics> {
    let mut server = Server::start(peer, kind)?;
    drop(Crowd::connect(server.address, 1)?);
    let empty = server.status("VmRSS")?;
    let mut crowd = Crowd::connect(server.address, clients)?;
    settle(&server)?;
    let kib = (server.status("VmRSS")?.saturating_sub(empty)) as f64 / clients as f64;
    let threads = server.status("Threads")? as f64;
    let before = server.cpu_time()?;
    thread::sleep(SILENCE);
    let spent = server.cpu_time()? - before;
    let idle = spent.as_secs_f64() * 1e3 / SILENCE.as_secs_f64();
    let stop = stop(&mut server, &mut crowd)?.as_secs_f64();
    Ok(vec![("kib", kib), ("threads", threads), ("idle", idle), ("stop", stop)])
}

fn stop(server: &mut Server, crowd: &mut Crowd) -> io::Result<Duration> {
    let start = Instant::now();
    server.tell_to_stop()?;
    while start.elapsed() < PATIENCE {
        crowd.part(Duration::from_millis(1))?;
        if let Some(status) = server.ended()? {
            let time = start.elapsed();
            return if status.success() { Ok(time) } else { Err(io::Error::other(status.to_string())) };
        }
    }
    Err(silence())
}
