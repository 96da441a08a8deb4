//! Tests that need a process of their own: the test binary runs itself, as one test that is named
//! `child_…` and does nothing unless it is asked for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::os::unix::process::ExitStatusExt;
use std::process::{self, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;

use crossbeam_channel::{unbounded, Receiver};

use super::{eventually, in_time, DEADLINE};

/// What names the role of a child.
const ROLE: &str = "BACKPORT_TEST_ROLE";

/// Whether this process is the child of that name.
pub(crate) fn is_child(role: &str) -> bool {
    std::env::var(ROLE).is_ok_and(|asked| asked == role)
}

/// Said by a child over its standard output; what comes before (the harness's own) is dropped.
pub(crate) fn say(what: impl std::fmt::Display) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "\n>{what}").unwrap();
    stdout.flush().unwrap();
}

/// The end of a child: nothing of the harness comes after it.
pub(crate) fn exit(status: i32) -> ! {
    process::exit(status)
}

/// The command that runs this binary as `role`, behind `wrapper` (`strace …`, `sh -c …`).
pub(crate) fn command(wrapper: &[&str], role: &str) -> Command {
    let mut words: Vec<String> = Vec::new();
    if ignores_signals() {
        // A child would inherit that, and a server leaves ignored signals ignored.
        words.extend(["env", "--default-signal=INT,HUP"].map(str::to_owned));
    }
    words.extend(wrapper.iter().map(|word| (*word).to_owned()));
    words.push(std::env::current_exe().unwrap().to_str().unwrap().to_owned());
    words.extend(["--exact", role, "--nocapture", "--test-threads=1"].map(str::to_owned));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env(ROLE, role).env_remove("RUST_BACKTRACE");
    command
}

/// Whether this process was started with SIGINT or SIGHUP ignored, for example by `nohup` or in the background of
/// a script.
fn ignores_signals() -> bool {
    const HUP_AND_INT: u64 = 0b11;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & HUP_AND_INT != 0)
}

/// A process; killed if it is dropped while it runs.
pub(crate) struct Process(process::Child);

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Process {
        Process(command.spawn().unwrap())
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the child ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.expect("it has ended")
    }

    #[track_caller]
    pub(crate) fn assert_exit(&mut self, code: i32) {
        let status = self.wait();
        assert_eq!(status.code(), Some(code), "{status}");
    }
}

impl Deref for Process {
    type Target = process::Child;

    fn deref(&self) -> &process::Child {
        &self.0
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut process::Child {
        &mut self.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, unless the test fails.
        if matches!(self.0.try_wait(), Ok(None)) {
            drop(self.0.kill());
        }
        drop(self.0.wait());
    }
}

/// A child that talks: it says lines, and reads its standard input.
pub(crate) struct Child {
    process: Process,
    pub(crate) stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Child {
    /// Runs `role` and listens to what it says.
    pub(crate) fn start(role: &str) -> Child {
        Child::start_as(command(&[], role))
    }

    pub(crate) fn start_as(mut command: Command) -> Child {
        let mut process = Process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let stdin = process.stdin.take();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = unbounded();
        thread::spawn(move || {
            let said = stdout.lines().map_while(|line| line.ok());
            said.filter_map(|line| line.strip_prefix('>').map(str::to_owned))
                .try_for_each(|line| sender.send(line))
        });
        Child { process, stdin, lines }
    }

    /// What it says next.
    #[track_caller]
    pub(crate) fn hear(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("the child says something")
    }

    #[track_caller]
    pub(crate) fn expect(&self, said: &str) {
        assert_eq!(self.hear(), said);
    }

    /// The address of its server, which it says first.
    #[track_caller]
    pub(crate) fn address(&self) -> SocketAddr {
        self.hear().parse().unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal: `INT`, `TERM`, `HUP`.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Lets it go on, where it waits with `wait_for_parent`.
    pub(crate) fn go_on(&mut self) {
        drop(self.stdin.take());
    }

    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }

    #[track_caller]
    pub(crate) fn assert_exit(&mut self, code: i32) {
        self.process.assert_exit(code);
    }

    /// It ended by this signal, or with the status that stands for it.
    #[track_caller]
    pub(crate) fn assert_killed_by(&mut self, signal: i32) {
        let status = self.wait();
        assert!(status.signal() == Some(signal) || status.code() == Some(128 + signal), "{status}");
    }

    /// All that is left of what it says, once it has ended.
    pub(crate) fn rest(&self) -> Vec<String> {
        self.lines.iter().collect()
    }
}

/// In a child: waits until its parent lets it go on, or is gone.
pub(crate) fn wait_for_parent() {
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Sends a signal to a process, by its number.
#[track_caller]
pub(crate) fn signal(process: u32, name: &str) {
    let script = format!("kill -{name} {process}");
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success(), "{script}");
}

/// All of it, in time.
#[track_caller]
pub(crate) fn read_all(mut from: impl Read + Send + 'static) -> Vec<u8> {
    in_time("the end of the child's output", move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).unwrap();
        all
    })
}

/// What it wrote to its standard error.
#[track_caller]
pub(crate) fn read_text(from: ChildStderr) -> String {
    String::from_utf8(read_all(from)).unwrap()
}

/// Whether `program` is there. Without it a test is skipped, loudly, and on CI that is a failure.
pub(crate) fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_ok_and(|status| status.success()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{program} is not there, and CI must not skip tests");
    skip(&format!("for want of {program}"));
    false
}

/// Says that a test is skipped, past the harness's capture, which would hide it.
pub(crate) fn skip(why: &str) {
    drop(writeln!(std::io::stderr(), "SKIPPED: a test, {why}"));
}
