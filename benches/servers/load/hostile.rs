//! Healthy clients that wait for answers while hostile ones stall, drip and reset.
//!
//! The hostile clients do as much as clients in the world do, and not as much as a CPU can. A dripping
//! client sends a byte each 10 ms. A resetting client resets its connection at random, after 100 ms on
//! average. The hostile clients run on another CPU if there is one, as they do in the world. The figures
//! show their share of the server's CPU.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver, Sender};
use hdrhistogram::Histogram;
use nix::errno::Errno;
use nix::sched::{sched_getaffinity, sched_setaffinity, CpuSet};
use nix::unistd::Pid;
use socket2::{Domain, SockRef, Socket, Type};

use super::crowd::Crowd;
use super::{histogram, micros_at, record, Metrics, MESSAGE};
use crate::peers::{Kind, Peer};
use crate::server::Server;

/// The number of clients of each sort.
pub(crate) const EACH: usize = 50;
const DRIP: Duration = Duration::from_millis(10);
/// The longest time until a client resets its connection, in milliseconds.
const RESET: u64 = 200;
/// The pause between two messages of healthy clients that are not busy.
const PAUSE: Duration = Duration::from_millis(50);

/// The load of the healthy clients. It returns how long they waited for their answers.
pub(crate) type Load = fn(SocketAddr, Duration) -> io::Result<Histogram<u64>>;

/// Runs the load of the healthy clients, with or without the hostile ones.
///
/// `p50`, `p99`: of the microseconds until a healthy client has its answer.
pub(crate) fn healthy(peer: Peer, hostile: bool, load: Load, span: Duration) -> io::Result<Metrics> {
    let server = Server::start(peer, Kind::Echo)?;
    let hostile = if hostile { Some(Hostile::start(server.address)?) } else { None };
    let latency = load(server.address, span)?;
    if let Some(hostile) = hostile {
        hostile.stop()?;
    }
    Ok(vec![("p50", micros_at(&latency, 0.50)), ("p99", micros_at(&latency, 0.99))])
}

/// Each client sends its next message as soon as it has an answer.
pub(crate) fn busy(address: SocketAddr, span: Duration) -> io::Result<Histogram<u64>> {
    let mut crowd = Crowd::connect(address, EACH)?;
    crowd.exchange(EACH, &MESSAGE, span / 10)?;
    Ok(crowd.exchange(EACH, &MESSAGE, span)?.latency)
}

/// The clients take turns, so that each one sends a message each [`PAUSE`].
pub(crate) fn unhurried(address: SocketAddr, span: Duration) -> io::Result<Histogram<u64>> {
    let mut crowd = Crowd::connect(address, EACH)?;
    let mut latency = histogram()?;
    let (mut next, end) = (Instant::now(), Instant::now() + span);
    let turns = (0..EACH).cycle();
    for client in turns.take_while(|_| Instant::now() < end) {
        let start = Instant::now();
        crowd.exchange_one(client)?;
        record(&mut latency, start.elapsed());
        next += PAUSE / EACH as u32;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(latency)
}

/// The hostile clients. A thread drives them until they are stopped.
struct Hostile {
    word: Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Hostile {
    /// Returns when all of them are connected and have begun.
    fn start(address: SocketAddr) -> io::Result<Hostile> {
        let stalled = (0..EACH).map(|_| stall(address)).collect::<io::Result<Vec<_>>>()?;
        let drips = (0..EACH).map(|nth| Dripper::start(address, nth)).collect::<io::Result<Vec<_>>>()?;
        let mut random = 0x5eed;
        let resets = (0..EACH).map(|_| Resetter::start(address, &mut random));
        let resets = resets.collect::<io::Result<Vec<_>>>()?;
        let (word, stop) = bounded(0);
        let thread = thread::spawn(move || {
            leave_this_cpu()?;
            let outcome = pester(address, drips, resets, random, &stop);
            drop(stalled);
            outcome
        });
        Ok(Hostile { word, thread })
    }

    fn stop(self) -> io::Result<()> {
        drop(self.word);
        self.thread.join().map_err(|_| io::Error::other("the hostile crowd panicked"))?
    }
}

fn pester(
    address: SocketAddr,
    mut drips: Vec<Dripper>,
    mut resets: Vec<Resetter>,
    mut random: u64,
    stop: &Receiver<()>,
) -> io::Result<()> {
    loop {
        let now = Instant::now();
        for dripper in drips.iter_mut().filter(|dripper| dripper.next <= now) {
            dripper.drip()?;
        }
        for resetter in resets.iter_mut().filter(|resetter| resetter.end <= now) {
            *resetter = Resetter::start(address, &mut random)?;
        }
        let next = drips.iter().map(|dripper| dripper.next).chain(resets.iter().map(|resetter| resetter.end));
        if stop.recv_deadline(next.min().unwrap_or(now)).is_err_and(|error| error.is_disconnected()) {
            return Ok(());
        }
    }
}

/// Moves this thread to the CPUs that the benchmark is not pinned to, if there are any.
pub(super) fn leave_this_cpu() -> io::Result<()> {
    let ours = sched_getaffinity(Pid::from_raw(0))?;
    let mut others = CpuSet::new();
    for cpu in 0..CpuSet::count() {
        if !ours.is_set(cpu)? {
            others.set(cpu)?;
        }
    }
    match sched_setaffinity(Pid::from_raw(0), &others) {
        // sched_setaffinity(2): there is no other CPU.
        Ok(()) | Err(Errno::EINVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A client that writes until nothing more fits, and never reads.
fn stall(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_recv_buffer_size(4096)?;
    socket.connect(&address.into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(Duration::from_millis(20)))?;
    let block = [0; 64 * 1024];
    loop {
        match stream.write(&block) {
            Ok(_) => {}
            Err(error) if is_pause(&error) => return Ok(stream),
            Err(error) => return Err(error),
        }
    }
}

/// A client that sends one byte at a time.
struct Dripper {
    stream: TcpStream,
    next: Instant,
}

impl Dripper {
    fn start(address: SocketAddr, nth: usize) -> io::Result<Dripper> {
        let stream = connect(address)?;
        stream.set_nonblocking(true)?;
        Ok(Dripper { stream, next: Instant::now() + DRIP * nth as u32 / EACH as u32 })
    }

    fn drip(&mut self) -> io::Result<()> {
        self.next += DRIP;
        self.stream.write_all(b".")?;
        match self.stream.read(&mut [0; 64]) {
            Err(error) if !is_pause(&error) => Err(error),
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// A client that sends a message and resets the connection when it is dropped.
struct Resetter {
    _stream: TcpStream,
    end: Instant,
}

impl Resetter {
    fn start(address: SocketAddr, random: &mut u64) -> io::Result<Resetter> {
        let mut stream = connect(address)?;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        stream.write_all(&MESSAGE)?;
        // Knuth's generator (MMIX); its high bits are the good ones.
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let end = Instant::now() + Duration::from_millis((*random >> 33) % RESET);
        Ok(Resetter { _stream: stream, end })
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
