//! Healthy clients beside clients whose callbacks block: each of those messages makes the server sleep.
//!
//! The clients that block run on another CPU if there is one, like the hostile ones.

use std::io;
use std::thread;
use std::time::Duration;

use super::crowd::Crowd;
use super::hostile::leave_this_cpu;
use super::{micros_at, settle, Metrics, MESSAGE};
use crate::peers::{Kind, Peer, NAP_MARK};
use crate::server::Server;

/// The number of healthy clients.
pub(crate) const HEALTHY: usize = 8;
/// How many short messages a client with the history [`History::Proven`] has sent before it begins to block.
const PROOF: usize = 50;

/// What the clients that block have sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum History {
    /// Their first message blocks.
    Newcomers,
    /// They have sent many short messages.
    Proven,
}

/// Has healthy clients exchange one message at a time, while `blocking` others do the same with messages that make the
/// server sleep. All of these begin at once, at the beginning of the measurement.
///
/// `p99`, `max`: of the microseconds until a healthy client has its answer; `take-overs`: how often another thread had
/// to take over, for the peer that counts it.
pub(crate) fn healthy(peer: Peer, blocking: usize, history: History, span: Duration) -> io::Result<Metrics> {
    let mut server = Server::start(peer, Kind::Naps)?;
    let mut crowd = Crowd::connect(server.address, HEALTHY)?;
    crowd.exchange(HEALTHY, &MESSAGE, span / 10)?;
    let mut others = match history {
        History::Newcomers => Crowd::connect_silently(server.address, blocking)?,
        History::Proven => {
            let mut others = Crowd::connect(server.address, blocking)?;
            others.exchange_each(PROOF)?;
            settle(&server)?;
            others
        }
    };
    let mut nap = MESSAGE;
    nap[0] = NAP_MARK;
    let exchange = thread::scope(|scope| {
        let blocking = scope.spawn(move || {
            leave_this_cpu()?;
            others.exchange(blocking, &nap, span)
        });
        let exchange = crowd.exchange(HEALTHY, &MESSAGE, span);
        blocking.join().map_err(|_| io::Error::other("the clients that block panicked"))??;
        exchange
    })?;
    let mut metrics =
        vec![("p99", micros_at(&exchange.latency, 0.99)), ("max", exchange.latency.max() as f64 / 1e3)];
    if peer == Peer::WhileBusy {
        metrics.push(("take-overs", server.take_overs()? as f64));
    }
    Ok(metrics)
}
