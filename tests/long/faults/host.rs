//! Whoever does faults to a subject: starts it, asks it, and checks what must hold after all of them.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::subject;
use crate::support::child::{command, has, skip, Child};
use crate::support::{eventually, Peer};

/// How a subject is started.
#[derive(Default)]
pub(crate) struct Setup {
    wrapper: Vec<String>,
    settings: Vec<(String, String)>,
    trace: Option<PathBuf>,
    copy: Option<PathBuf>,
    late_reactor: bool,
}

/// A path that nobody else uses.
fn temporary(what: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("backport-{what}-{}-{count}", std::process::id()))
}

impl Setup {
    pub(crate) fn new() -> Setup {
        Setup::default()
    }

    /// Behind this command.
    pub(crate) fn behind(mut self, words: &[&str]) -> Setup {
        self.wrapper.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// With a setting of [`subject`](crate::subject)'s.
    pub(crate) fn set(mut self, name: &str, value: impl ToString) -> Setup {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// As a user who owns nothing, behind these words too. `None` where we can't become one.
    pub(crate) fn by_nobody(self, words: &[&str]) -> Option<Setup> {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        if !status.contains("\nUid:\t0\t0\t0") {
            skip("since only root can become another user");
            return None;
        }
        if !has("setpriv") || !has("prlimit") {
            return None;
        }
        // Where that user may run it.
        let copy = temporary("subject");
        fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        let setup =
            self.behind(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]).behind(words);
        // The words behind it are the binary's own path, which is replaced, and its arguments.
        let setup = setup.behind(&["sh", "-c", "shift; exec \"$0\" \"$@\"", copy.to_str().unwrap()]);
        Some(Setup { copy: Some(copy), ..setup })
    }

    /// With a reactor that can't be started at first, and is later.
    pub(crate) fn with_late_reactor(mut self) -> Setup {
        self.late_reactor = true;
        self
    }

    /// With a fault that strace injects: `accept4:error=EMFILE:when=1..3`. `None` without strace.
    pub(crate) fn injecting(mut self, fault: &str) -> Option<Setup> {
        if !has("strace") {
            return None;
        }
        let path = temporary("trace");
        let (calls, _) = fault.split_once(':').unwrap();
        let (trace, inject) = (format!("trace={calls}"), format!("inject={fault}"));
        self.trace = Some(path.clone());
        let setup = self.behind(&["strace", "-f", "-qq", "-o", path.to_str().unwrap()]);
        // With the filter, calls that are not traced run at their full speed; signals are not
        // injected then.
        let filter: &[&str] = if fault.contains("signal=") { &[] } else { &["--seccomp-bpf"] };
        Some(setup.behind(filter).behind(&["-e", &trace, "-e", &inject]))
    }

    /// A subject that runs, and its threads are those that will stay.
    #[track_caller]
    pub(crate) fn start(self) -> Host {
        let reactor = u64::from(!self.late_reactor);
        let mut host = self.begin();
        let threads = host.addresses.len() as u64 + reactor;
        host.eventually("the machine has started", |report| report.get("threads") >= threads);
        // A thread counts before the system has started it.
        eventually("its threads run", || host.machine_threads() as u64 >= threads);
        host.base = host.now();
        if reactor == 0 {
            host.base.threads += 1;
            host.base.descriptors += 3;
        }
        host
    }

    /// A subject that may not come to run.
    #[track_caller]
    pub(crate) fn begin(mut self) -> Host {
        let servers = self.settings.iter().find(|(name, _)| name == "SERVERS");
        let servers: usize = servers.map_or(1, |(_, count)| count.parse().unwrap());
        let (child, process) = self.child();
        let addresses: Vec<_> = (0..servers).map(|_| child.address()).collect();
        Host { child, process, addresses, trace: self.trace, base: Base::default() }
    }

    /// What it says of a server that can't be prepared.
    #[track_caller]
    pub(crate) fn refusal(mut self) -> String {
        self.child().0.hear()
    }

    fn child(&mut self) -> (Child, u32) {
        let wrapper: Vec<&str> = self.wrapper.iter().map(String::as_str).collect();
        let mut command = command(&wrapper, subject::ROLE);
        command.envs(std::mem::take(&mut self.settings));
        let child = Child::start_as(command);
        let process = child.hear().parse().unwrap();
        if let Some(copy) = self.copy.take() {
            fs::remove_file(copy).unwrap();
        }
        (child, process)
    }
}

/// A subject that runs.
pub(crate) struct Host {
    child: Child,
    /// Its number: behind a wrapper, not the child's.
    process: u32,
    addresses: Vec<SocketAddr>,
    trace: Option<PathBuf>,
    base: Base,
}

/// What a subject without clients has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Base {
    descriptors: usize,
    threads: usize,
}

impl Host {
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    #[track_caller]
    pub(crate) fn connect(&self) -> Peer {
        Peer::connect(self.address())
    }

    pub(crate) fn connect_many(&self, count: usize) -> Vec<Peer> {
        (0..count).map(|_| self.connect()).collect()
    }

    /// Tells it something that it says nothing to.
    #[track_caller]
    pub(crate) fn tell(&self, line: &str) {
        use std::io::Write;
        writeln!(self.child.stdin.as_ref().unwrap(), "{line}").unwrap();
    }

    /// Tells it something, and hears what it says.
    #[track_caller]
    pub(crate) fn ask(&self, line: &str) -> String {
        self.tell(line);
        self.child.hear()
    }

    /// What it has counted.
    #[track_caller]
    pub(crate) fn report(&self) -> Report {
        let said = self.ask("report");
        let words = said.split(' ').filter_map(|word| word.split_once('='));
        Report(words.map(|(name, count)| (name.to_owned(), count.parse().unwrap())).collect())
    }

    /// The warnings and errors that it has logged.
    #[track_caller]
    pub(crate) fn logged(&self) -> Vec<String> {
        let count: usize = self.ask("logged").parse().unwrap();
        (0..count).map(|_| self.child.hear()).collect()
    }

    #[track_caller]
    pub(crate) fn eventually(&self, what: &str, condition: impl Fn(&Report) -> bool) {
        eventually(what, || condition(&self.report()));
    }

    /// Processor time of its threads that live.
    pub(crate) fn cpu(&self) -> Duration {
        // schedstat: nanoseconds on the processor, first of all.
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process)).unwrap().flatten();
        let used = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
        let used = used.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok());
        Duration::from_nanos(used.sum())
    }

    /// The share of one processor that it uses for a while from now.
    pub(crate) fn load(&self, during: Duration) -> f64 {
        let (start, before) = (Instant::now(), self.cpu());
        thread::sleep(during);
        self.cpu().saturating_sub(before).as_secs_f64() / start.elapsed().as_secs_f64()
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Address space, in bytes.
    pub(crate) fn address_space(&self) -> u64 {
        self.memory("VmSize:")
    }

    fn memory(&self, kind: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process)).unwrap();
        let line = status.lines().find(|line| line.starts_with(kind)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    fn now(&self) -> Base {
        let count = |what| fs::read_dir(format!("/proc/{}/{what}", self.process)).unwrap().count();
        Base { descriptors: count("fd"), threads: count("task") }
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        self.now().descriptors
    }

    /// Whether there is a thread of that name.
    pub(crate) fn has_started_its_reactor(&self) -> bool {
        self.thread_names().iter().any(|name| name.starts_with("backport-reacto"))
    }

    /// How many acceptors and reactors run.
    fn machine_threads(&self) -> usize {
        let names = self.thread_names();
        let machine =
            |name: &&String| name.starts_with("backport-accept") || name.starts_with("backport-reacto");
        names.iter().filter(machine).count()
    }

    fn thread_names(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process)).unwrap().flatten();
        tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok()).collect()
    }

    /// What must hold after every scenario, once its peers have gone.
    #[track_caller]
    pub(crate) fn assert_unharmed(&self) {
        for &address in &self.addresses {
            self.assert_unharmed_at(address);
        }
    }

    #[track_caller]
    pub(crate) fn assert_unharmed_at(&self, address: SocketAddr) {
        let start = Instant::now();
        Peer::connect(address).assert_echo(b"a fresh client");
        assert!(start.elapsed() < Duration::from_secs(1), "served after {:?}", start.elapsed());
        self.assert_settled();
    }

    /// As `assert_unharmed`, without a fresh client.
    #[track_caller]
    pub(crate) fn assert_settled(&self) {
        let start = Instant::now();
        self.eventually("every client has left", |report| report.get("current") == 0);
        eventually("descriptors and threads are back at their baseline", || {
            let now = self.now();
            now.descriptors <= self.base.descriptors && now.threads <= self.base.threads
        });
        assert!(start.elapsed() < Duration::from_secs(2), "settled after {:?}", start.elapsed());
        let report = self.report();
        assert_eq!(report.get("opened"), report.get("closed"), "one closing for each opening");
        assert_eq!(report.get("overlaps"), 0);
        let load = self.load(Duration::from_millis(500));
        assert!(load < 0.01, "idle, and {:.1} % of a processor", load * 100.0);
    }

    /// Sends it a signal.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        crate::support::child::signal(self.process, name);
    }

    /// Stops it gracefully; what `run` said, and how long it took.
    #[track_caller]
    pub(crate) fn stop(&self) -> (String, Duration) {
        let start = Instant::now();
        let said = self.ask("stop");
        (said, start.elapsed())
    }

    /// The end of every scenario: unharmed, a clean stop, each closing called. What strace saw.
    #[track_caller]
    pub(crate) fn finish(self) -> String {
        self.assert_unharmed();
        self.end()
    }

    /// As `finish`, without the checks before the stop.
    #[track_caller]
    pub(crate) fn end(mut self) -> String {
        assert_eq!(self.stop().0, "ended ok");
        let report = self.report();
        assert_eq!(report.get("opened"), report.get("closed"), "one closing for each opening");
        self.child.go_on();
        self.child.assert_exit(0);
        self.trace()
    }

    /// What `run` says when it ends by itself, and the exit status.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> String {
        let said = self.child.hear();
        self.child.go_on();
        self.child.wait();
        said
    }

    /// It ended by this signal.
    #[track_caller]
    pub(crate) fn assert_killed_by(&mut self, signal: i32) {
        self.child.assert_killed_by(signal);
    }

    /// What strace has written; a fault that was to be injected was.
    #[track_caller]
    fn trace(&mut self) -> String {
        let Some(path) = self.trace.take() else { return String::new() };
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(path).unwrap();
        // How strace marks an error and a signal of its own.
        let injected = text.contains("INJECTED") || text.contains("SI_KERNEL");
        assert!(injected, "the fault was never injected:\n{text}");
        text
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(path) = self.trace.take() {
            drop(fs::remove_file(path));
        }
    }
}

/// Plays a scenario for each case, all at once: most of their time they wait.
pub(crate) fn each<T: Copy + Send>(cases: impl IntoIterator<Item = T>, scenario: impl Fn(T) + Sync) {
    thread::scope(|scope| {
        for case in cases {
            let scenario = &scenario;
            scope.spawn(move || scenario(case));
        }
    });
}

/// What a subject has counted.
#[derive(Debug)]
pub(crate) struct Report(HashMap<String, u64>);

impl Report {
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}
