//! The course of a soak: a load to warm up, the load itself, and a comparison of the figures after both.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::figures::Figures;
use crate::options::Options;
use crate::servers::{self, Servers};

/// The growth of resident memory that is allowed, in KiB.
const DRIFT: u64 = 1024;
/// The figures are taken when they have not changed for this time. It is longer than the 1 s that workers
/// wait for the next client.
const STILL: Duration = Duration::from_secs(3);
/// The longest time until the figures are taken. It is longer than the 5 s that a close waits for its peer.
const SETTLING: Duration = Duration::from_secs(20);
/// The time between two updates of the progress.
const LOOK: Duration = Duration::from_millis(500);
/// The number of lines that report the progress.
const LINES: u32 = 12;

/// The variable for the number of arenas of the GNU C library: mallopt(3).
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// Runs the whole process. Returns the faults.
pub(crate) fn run(options: &Options) -> io::Result<Vec<String>> {
    // The allocator has up to eight arenas for each CPU, and memory that is freed in one is not used by
    // another. Threads come and go here, so each arena would grow to its own peak for hours and hide a leak.
    // With a single arena, freed memory is used again.
    if std::env::var_os(ARENAS).is_none() {
        let arguments = std::env::args_os().skip(1);
        let again = Command::new(std::env::current_exe()?).args(arguments).env(ARENAS, "1").exec();
        return Err(again);
    }
    println!("seed: {}", options.seed);
    let before = Figures::now()?;
    let servers = servers::start(options.clients, options.threads).map_err(io::Error::other)?;
    let mut faults = Vec::new();

    println!("warming up");
    let warm = warm_up(options.time);
    // This load is faster, so that the memory of the busiest moment is taken before the first figures.
    let rate = options.rate.saturating_mul(3);
    load(&servers, &Options { time: warm, rate, ..options.clone() }, false, &mut faults)?;
    let start = settle(&servers)?;
    println!("at the start: {start}");
    load(&servers, &Options { time: options.time - warm, ..options.clone() }, true, &mut faults)?;
    let end = settle(&servers)?;
    println!("at the end:   {end}");

    let stats = servers.stats();
    println!("{:?}", stats.clients);
    println!("{} records in the log", servers.tally.records());
    faults.extend(compare(start, end));
    faults.extend(servers.tally.faults(&stats.clients));
    if options.time >= Duration::from_secs(20) && !servers.cut_off() {
        faults.push("nobody was cut off for not reading".to_owned());
    }

    servers.stop().map_err(io::Error::other)?;
    let after = after_the_stop(before)?;
    if (after.descriptors, after.threads) != (before.descriptors, before.threads) {
        faults.push(format!("left by the machine: {after}; before it: {before}"));
    }
    Ok(faults)
}

/// Returns a time in which each part is used and the memory of each thread is touched.
fn warm_up(time: Duration) -> Duration {
    (time / 5).clamp(Duration::from_secs(5), Duration::from_secs(60))
}

fn compare(start: Figures, end: Figures) -> Vec<String> {
    let mut faults = Vec::new();
    if end.descriptors > start.descriptors {
        faults
            .push(format!("descriptors: {} at the start, {} at the end", start.descriptors, end.descriptors));
    }
    if end.threads > start.threads {
        faults.push(format!("threads: {} at the start, {} at the end", start.threads, end.threads));
    }
    if end.resident > start.resident + DRIFT {
        let drift = end.resident - start.resident;
        faults.push(format!("resident memory has grown by {drift} KiB, {DRIFT} KiB are allowed"));
    }
    faults
}

/// Runs a load for its time, and waits until its process has ended.
fn load(servers: &Servers, options: &Options, tell: bool, faults: &mut Vec<String>) -> io::Result<()> {
    let mut clients = Clients::start(servers, options)?;
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:40} {msg}");
    let bar = ProgressBar::new(options.time.as_millis() as u64).with_style(style.map_err(io::Error::other)?);
    let start = Instant::now();
    let mut line = options.time / LINES;
    while start.elapsed() < options.time && clients.are_there()? {
        thread::sleep(LOOK.min(options.time.saturating_sub(start.elapsed())));
        let (stats, figures) = (servers.stats().clients, Figures::now()?);
        let text = format!("{} served, {} there, {figures}", stats.accepted, stats.current);
        bar.set_position(start.elapsed().as_millis() as u64);
        if tell && start.elapsed() >= line {
            line += options.time / LINES;
            bar.suspend(|| println!("{:>5} s: {text}", start.elapsed().as_secs()));
        }
        bar.set_message(text);
    }
    bar.finish_and_clear();
    if !clients.leave()? {
        faults.push("the clients have seen faults, see above".to_owned());
    }
    Ok(())
}

/// Returns the figures after the stop. The log thread is not joined, since a logger may block its end, so it gets
/// a moment to leave.
fn after_the_stop(before: Figures) -> io::Result<Figures> {
    let end = Instant::now() + Duration::from_secs(2);
    loop {
        let after = Figures::now()?;
        let same = (after.descriptors, after.threads) == (before.descriptors, before.threads);
        if same || Instant::now() >= end {
            return Ok(after);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until no client is left and the figures stay the same.
fn settle(servers: &Servers) -> io::Result<Figures> {
    let (start, mut last, mut since) = (Instant::now(), Figures::now()?, Instant::now());
    loop {
        thread::sleep(LOOK);
        let figures = Figures::now()?;
        if figures != last || servers.stats().clients.current > 0 {
            (last, since) = (figures, Instant::now());
        }
        if since.elapsed() >= STILL || start.elapsed() >= SETTLING {
            return Ok(figures);
        }
    }
}

/// The process of the clients. It is killed if this is dropped while it runs.
struct Clients(Child);

impl Clients {
    fn start(servers: &Servers, options: &Options) -> io::Result<Clients> {
        let mut command = Command::new(std::env::current_exe()?);
        for (name, value) in [("--rate", u64::from(options.rate)), ("--clients", options.clients.into())] {
            command.args([name, &value.to_string()]);
        }
        command.args(["--seed", &options.seed.to_string()]);
        command.args(servers.addresses().map(|address| address.to_string()));
        command.stdin(Stdio::piped()).spawn().map(Clients)
    }

    fn are_there(&mut self) -> io::Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }

    /// Stops the clients. Returns `true` if they saw no fault.
    fn leave(mut self) -> io::Result<bool> {
        drop(self.0.stdin.take());
        Ok(self.0.wait()?.success())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // The process has ended already, unless something else has failed.
        if matches!(self.0.try_wait(), Ok(None)) {
            drop(self.0.kill());
        }
        drop(self.0.wait());
    }
}
