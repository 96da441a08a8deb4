//! What only the system sees: descriptors, threads, system calls; each test with a process of its own.

#![cfg(target_os = "linux")]

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use backport::framing::{ContentLength, Delimited, Endian, FrameError, Framing, LengthPrefixed, Lines};
use backport::{Adapter, Client, Closing, Input, Result, StdioServer};
use crossbeam_channel::{unbounded, Sender};
use support::child::{command, exit, has, is_child, say, Child};
use support::{eventually, next, serve, Echo, Peer, Watch};

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// Runs the child of that name and expects it to succeed.
#[track_caller]
fn alone(role: &str) {
    let mut child = Child::start(role);
    child.go_on();
    child.assert_exit(0);
}

#[test]
fn child_counts() {
    if !is_child("child_counts") {
        return;
    }
    let before = (descriptors(), threads());
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    // The reactor and the rest that stays are there from the second client on.
    served.assert_echoes();
    std::thread::sleep(Duration::from_millis(300));
    served.wait_until_empty();
    let own = if support::is_while_busy() { 4 } else { 2 };
    eventually("the first worker has gone", || served.machine().stats().threads <= own);
    let base = (descriptors(), threads());

    // One descriptor a client.
    let peers: Vec<_> = (0..50).map(|_| served.connect()).collect();
    peers.iter().for_each(|peer| peer.assert_echo(b"x"));
    assert!(
        descriptors() <= base.0 + 2 * 50 + 3,
        "{} for 50 clients and their peers",
        descriptors() - base.0
    );
    drop(peers);
    for round in 0..100 {
        let peer = served.connect();
        match round % 4 {
            0 => peer.reset(),
            1 => drop(peer),
            2 => peer.assert_echo(b"echo"),
            _ => served.server.clients().iter().for_each(Client::close),
        }
    }
    watch.assert_settled(&served);
    eventually("descriptors and threads are back at their baseline", || {
        (descriptors(), threads()) <= (base.0 + 3, base.1 + 1)
    });
    served.stop().unwrap();
    eventually("and at nothing after the stop", || (descriptors(), threads()) == before);
    exit(0);
}

#[test]
fn descriptors_and_threads_go_with_the_clients_and_the_machine() {
    alone("child_counts");
}

#[test]
fn child_closes_to_a_silent_peer() {
    if !is_child("child_closes_to_a_silent_peer") {
        return;
    }
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    let close_one = |peer: &Peer| {
        peer.assert_echo(b"x");
        next(&watch.opened).close();
    };
    // The first close from outside opens what stays: the reactor's descriptors.
    let first = served.connect();
    close_one(&first);
    assert_eq!(first.read_to_end(), b"");
    drop(first);
    served.wait_until_empty();
    let peer = served.connect();
    // The server has its end too: a connect is over before the accept.
    peer.assert_echo(b"x");
    let before = descriptors();
    let start = Instant::now();
    close_one(&peer);
    eventually("the descriptor is free", || descriptors() < before);
    assert!(start.elapsed() < Duration::from_millis(1500 + 1000), "{:?}", start.elapsed());
    assert_eq!(peer.read_to_end(), b"");
    exit(0);
}

#[test]
fn close_to_a_silent_peer_frees_the_descriptor() {
    alone("child_closes_to_a_silent_peer");
}

#[test]
fn child_keeps_handles() {
    if !is_child("child_keeps_handles") {
        return;
    }
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    served.assert_echoes();
    served.wait_until_empty();
    let base = descriptors();
    let mut kept = vec![next(&watch.opened)];
    for _ in 0..50 {
        served.connect().assert_echo(b"x");
        kept.push(next(&watch.opened));
    }
    served.wait_until_empty();
    eventually("no descriptor is pinned", || descriptors() <= base + 3);
    assert!(kept.iter().all(|client| client.is_closed() && client.write("x").is_err()));
    exit(0);
}

#[test]
fn handles_that_are_kept_pin_no_descriptor() {
    alone("child_keeps_handles");
}

/// The most memory that this process ever had, in KiB.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Tells which limit a frame was over; pulls frames if it has a framing of its own.
struct Limited<F>(Option<F>, Sender<usize>);

impl<F: Framing> Adapter for Limited<F> {
    fn serving(&mut self, _: &Client, input: &mut Input) -> Result {
        let framing = self.0.as_mut().unwrap();
        while input.frame(framing)?.is_some() {}
        Ok(())
    }

    fn closing(&mut self, _: &Client, reason: &Closing) {
        let Closing::Failed(error) = reason else { panic!("{reason}") };
        let Some(FrameError::TooLong { limit }) = error.downcast_ref() else { panic!("{error}") };
        self.1.send(*limit).unwrap();
    }
}

/// Sends 100 MiB without a newline, or as much as is taken, to a `receiving` that gets frames and to
/// a conversation that pulls them.
#[track_caller]
fn flood<F: Framing + Clone + Sync>(framing: F, limit: usize) {
    let (sender, told) = unbounded();
    let (pushing, pulling) = ((framing.clone(), sender.clone()), (framing, sender));
    let pushed = serve(move || Limited(None::<F>, pushing.1.clone()).framed(pushing.0.clone()));
    let pulled = serve(move || Limited(Some(pulling.0.clone()), pulling.1.clone()));
    for served in [pushed, pulled] {
        let peer = served.connect();
        for _ in 0..100 * 16 {
            if (&peer.stream).write_all(&[b'x'; 64 * 1024]).is_err() {
                break;
            }
        }
        assert_eq!(next(&told), limit);
        served.stop().unwrap();
    }
}

#[test]
fn child_gets_frames_without_end() {
    if !is_child("child_gets_frames_without_end") {
        return;
    }
    flood(Lines::with_limit(10), 10);
    let before = peak();
    flood(Lines::default(), 64 * 1024);
    flood(Delimited::new("\r\n.\r\n").limit(64 * 1024), 64 * 1024);
    flood(ContentLength::default(), 8 * 1024);
    // Their first bytes announce more than there is.
    flood(LengthPrefixed::new(4, Endian::Big).limit(64 * 1024), 64 * 1024);
    flood(LengthPrefixed::new(8, Endian::Big), 1024 * 1024);
    let grown = peak() - before;
    assert!(grown < 2 * 1024, "{grown} KiB more for frames of at most 64 KiB");
    exit(0);
}

#[test]
fn a_hundred_mebibytes_without_a_newline_take_no_more_memory_than_the_limit() {
    alone("child_gets_frames_without_end");
}

#[test]
fn child_has_a_thousand_clients() {
    if !is_child("child_has_a_thousand_clients") {
        return;
    }
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    // Those who have never sent and those who have; all are parked by the time of the stop.
    let peers: Vec<_> = (0..1000).map(|_| served.connect()).collect();
    peers.iter().step_by(2).for_each(|peer| peer.assert_echo(b"x"));
    (0..1000).for_each(|_| drop(next(&watch.opened)));
    std::thread::sleep(Duration::from_millis(1100));
    let start = Instant::now();
    served.stop().unwrap();
    let took = start.elapsed();
    watch.assert_balanced();
    assert!(watch.closed.try_iter().all(|reason| reason == "Stopping"));
    assert!(took < Duration::from_secs(1), "{took:?}");
    exit(0);
}

#[test]
fn a_thousand_idle_clients_stop_within_a_second() {
    // Two descriptors a client, both ends being in there: over the usual soft limit.
    let raise = ["sh", "-c", "ulimit -n 4096; exec \"$0\" \"$@\""];
    let mut child = Child::start_as(command(&raise, "child_has_a_thousand_clients"));
    child.assert_exit(0);
}

#[test]
fn child_has_a_bad_logger() {
    struct Bad(AtomicUsize);
    impl log::Log for Bad {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, _: &log::Record<'_>) {
            self.0.fetch_add(1, Ordering::SeqCst);
            // Without the panic hook, which would print each of them.
            std::panic::resume_unwind(Box::new("in the logger, on purpose"));
        }
        fn flush(&self) {}
    }
    static BAD: Bad = Bad(AtomicUsize::new(0));

    if !is_child("child_has_a_bad_logger") {
        return;
    }
    log::set_logger(&BAD).unwrap();
    log::set_max_level(std::env::var("LEVEL").unwrap().parse().unwrap());
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || {
        watched.around(backport::receiving(|client, data| match data {
            b"fail" => Err("on purpose".into()),
            b"panic" => std::panic::resume_unwind(Box::new("on purpose")),
            data => Ok(client.write(data)?),
        }))
    });
    served.machine().prepare_timeout(Duration::ZERO, || std::panic::resume_unwind(Box::new("on purpose")));
    let bystander = served.connect();
    bystander.assert_echo(b"before");
    for word in ["fail", "panic"] {
        let peer = served.connect();
        peer.send(word);
        peer.wait_for_end();
    }
    served.connect().reset();
    bystander.assert_echo(b"after");
    served.assert_echoes();
    drop(bystander);
    watch.assert_settled(&served);
    served.stop().unwrap();
    assert!(BAD.0.load(Ordering::SeqCst) > 10);
    exit(0);
}

#[test]
fn a_logger_that_panics_costs_no_client_and_no_server() {
    // At trace, the crates that this one builds on have something to say too.
    for level in ["debug", "trace"] {
        let mut command = command(&[], "child_has_a_bad_logger");
        command.env("LEVEL", level);
        let mut child = Child::start_as(command);
        let status = child.wait();
        assert!(status.success(), "{level}: {status}");
    }
}

/// A child under strace, which writes to a file; the file's path.
fn traced(options: &[&str], role: &str) -> (Child, PathBuf) {
    /// Several tests have children of the same role.
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("backport-{}-{}.strace", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let mut wrapper = vec!["strace", "-f", "-o", path.to_str().unwrap()];
    wrapper.extend(options);
    (Child::start_as(command(&wrapper, role)), path)
}

fn take(path: PathBuf) -> String {
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(path).unwrap();
    text
}

/// Pulls lines.
struct ByLine;

impl Adapter for ByLine {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        while let Some(line) = input.frame(&mut Lines::default())? {
            client.write(line)?;
        }
        Ok(())
    }
}

#[test]
fn child_idles() {
    if !is_child("child_idles") {
        return;
    }
    let served = serve(|| Echo);
    // This child says something on its standard output.
    served.machine().prepare(StdioServer::new(|| Echo).keep_descriptors(true)).unwrap();
    served.machine().prepare_interval(Duration::from_secs(3600), |_| ());
    let lines = served.machine().prepare_tcp_server("127.0.0.1:0", || ByLine).unwrap();
    say(served.address());
    say(lines.local_addr());
    // The end of its standard input is the end of one server; the others are stopped then.
    eventually("the parent lets go", || {
        std::thread::sleep(Duration::from_secs(10));
        served.machine().servers().len() == 2
    });
    served.stop().unwrap();
    exit(0);
}

#[test]
fn an_idle_machine_makes_no_system_calls() {
    if !has("strace") {
        return;
    }
    let (mut child, path) = traced(&["-ttt"], "child_idles");
    let (address, lines) = (child.address(), child.address());
    let count = if support::is_while_busy() { 1000 } else { 5 };
    let peers: Vec<_> = (0..count).map(|_| Peer::connect(address)).collect();
    peers.iter().take(count / 2 + 1).for_each(|peer| peer.assert_echo(b"x"));
    // Half a line, which is too long for the buffer of a quiet client.
    let half = Peer::connect(lines);
    half.send(vec![b'x'; 3000]);
    let since = now();
    std::thread::sleep(Duration::from_millis(5200));
    let until = now();
    half.send("\n");
    assert_eq!(half.read(3000), [b'x'; 3000]);
    drop((peers, half));
    child.go_on();
    child.assert_exit(0);
    let trace = take(path);
    let times: Vec<f64> =
        trace.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse().ok()).collect();
    assert!(times.len() > 100, "{} system calls in all", times.len());
    // While all of them are there: when they have gone it is quiet anyway.
    let while_there = times.into_iter().filter(|time| (since..until).contains(time));
    let marks: Vec<f64> = [since].into_iter().chain(while_there).chain([until]).collect();
    let longest = marks.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(longest >= 3.0, "the longest silence was {longest} s");
}

/// In seconds, as strace has it.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

#[test]
fn child_has_the_defaults() {
    if is_child("child_has_the_defaults") {
        let served = serve(|| Echo);
        served.assert_echoes();
        served.stop().unwrap();
        exit(0);
    }
}

#[test]
fn sockets_have_the_documented_defaults() {
    if !has("strace") {
        return;
    }
    let (mut child, path) =
        traced(&["-e", "trace=setsockopt,listen,sendto,dup,fcntl"], "child_has_the_defaults");
    child.assert_exit(0);
    let trace = take(path);
    for expected in ["TCP_NODELAY, [1]", "SO_KEEPALIVE, [1]", "TCP_KEEPIDLE, [60]", ", 4096)", "MSG_NOSIGNAL"]
    {
        assert!(trace.contains(expected), "{expected} is not in\n{trace}");
    }
    assert!(!trace.contains("SO_REUSEPORT, [1]"), "{trace}");
    // A connection may come as soon as it listens, and has what the listener has by then.
    let listening = trace.find("listen(").unwrap();
    for option in ["TCP_NODELAY", "SO_KEEPALIVE", "SO_SNDTIMEO"] {
        assert!(trace.find(option).unwrap() < listening, "{option} comes late in\n{trace}");
    }
}

/// The memory that this process has now, in KiB.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4
}

#[test]
fn child_adds_and_cancels_timers() {
    if !is_child("child_adds_and_cancels_timers") {
        return;
    }
    // A machine without servers, so that each end of its last job matters.
    let machine = backport::Machine::new();
    let (sender, began) = unbounded();
    let (keeper, gate) = support::gate();
    machine.prepare_timeout(Duration::ZERO, move || {
        sender.send(()).unwrap();
        gate.wait();
    });
    let running = machine.start().unwrap();
    next(&began);
    let churn = |threads: usize| {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..300_000 / threads {
                        let captured = vec![0_u8; 256];
                        machine.prepare_timeout(Duration::from_secs(30), move || drop(captured)).stop();
                    }
                });
            }
        });
    };
    churn(8);
    let before = resident();
    // The scheduler's thread is busy, and then it is idle.
    churn(1);
    churn(8);
    drop(keeper);
    churn(8);
    let grown = resident().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB more for timers that were cancelled");
    // The machine may have ended with its last job.
    running.stop().unwrap();
    exit(0);
}

#[test]
fn timers_that_are_added_and_cancelled_take_no_memory() {
    alone("child_adds_and_cancels_timers");
}
