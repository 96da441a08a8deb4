//! A hostile crowd: how long healthy clients wait for an answer while others stall, drip and reset.
//!
//! The others do what a server meets, not all that a CPU can do: who drips sends a byte each 10 ms, and
//! who resets does so at random, after 100 ms on average. They work on another CPU where there is
//! one, as they would in the world; their share of the server's CPU is what is looked at.

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

use crate::experiment::{Contender, Experiment, Line, Target};
use crate::load::crowd::Crowd;
use crate::load::{histogram, micros_at, record, Metrics, MESSAGE};
use crate::options::Options;
use crate::peers::{Kind, Peer};
use crate::server::Server;

/// How many there are of each sort.
const EACH: usize = 50;
const DRIP: Duration = Duration::from_millis(10);
/// The longest that a connection lasts until its client resets it, in milliseconds.
const RESET: u64 = 200;
/// How often a healthy client has something to say, when it takes its time.
const PAUSE: Duration = Duration::from_millis(50);

/// What the healthy clients do for a while, and how long they wait for their answers.
type Load = fn(SocketAddr, Duration) -> io::Result<Histogram<u64>>;

/// The healthy clients as busy as they can be, and in no hurry; alone, and with the others.
pub(crate) fn experiments(options: &Options) -> [Experiment; 2] {
    // Of a hundred answers one is the slowest hundredth, which says little.
    let span = options.span() * 5;
    let line = |what: &str, metric, target| {
        let title = format!("{EACH} clients while {EACH} stall, {EACH} drip, {EACH} reset: {what}");
        Line { title, metric, unit: "µs", target }
    };
    let experiment = |name: &str, how: &str, load: Load, p99| {
        let contender = |label, peer, hostile| Contender {
            label,
            run: Box::new(move || measure(peer, hostile, load, span)),
        };
        Experiment {
            name: name.to_owned(),
            rounds: options.rounds(),
            contenders: vec![
                contender("backport, without the others", Peer::Backport, false),
                contender("std loop", Peer::Std, true),
                contender("backport", Peer::Backport, true),
            ],
            lines: vec![
                line(&format!("p99 latency, {how}"), "p99", p99),
                line(&format!("median latency, {how}"), "p50", Target::Compared),
            ],
            at: None,
        }
    };
    [
        experiment("hostile-busy", "a message after another", busy, Target::Ratio(3.0)),
        // Without the others the CPU is idle then: what is compared is any work at all with none.
        experiment("hostile-unhurried", "a message each 50 ms", unhurried, Target::Ratio(3.0)),
    ]
}

/// `p50`, `p99`: of the microseconds until a healthy client has its answer.
fn measure(peer: Peer, hostile: bool, load: Load, span: Duration) -> io::Result<Metrics> {
    let server = Server::start(peer, Kind::Echo)?;
    let hostile = if hostile { Some(Hostile::start(server.address)?) } else { None };
    let latency = load(server.address, span)?;
    if let Some(hostile) = hostile {
        hostile.stop()?;
    }
    Ok(vec![("p50", micros_at(&latency, 0.50)), ("p99", micros_at(&latency, 0.99))])
}

fn busy(address: SocketAddr, span: Duration) -> io::Result<Histogram<u64>> {
    let mut crowd = Crowd::connect(address, EACH)?;
    crowd.exchange(EACH, &MESSAGE, span / 10)?;
    Ok(crowd.exchange(EACH, &MESSAGE, span)?.latency)
}

fn unhurried(address: SocketAddr, span: Duration) -> io::Result<Histogram<u64>> {
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

/// The others, on a thread of their own until they are stopped.
struct Hostile {
    word: Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Hostile {
    /// All of them are there and at it when this returns.
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

/// Has this thread run on any CPU but the one that the benchmark is pinned to, if there is one.
fn leave_this_cpu() -> io::Result<()> {
    let ours = sched_getaffinity(Pid::from_raw(0))?;
    let mut others = CpuSet::new();
    for cpu in 0..CpuSet::count() {
        if !ours.is_set(cpu)? {
            others.set(cpu)?;
        }
    }
    match sched_setaffinity(Pid::from_raw(0), &others) {
        // sched_setaffinity(2): there is no other.
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

/// A client that asks, and resets the connection whatever the answer: at its drop.
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
