//! Loggers that block, panic, are slow or call the crate. A process has one logger, so each test starts a
//! process of its own.

#![cfg(target_os = "linux")]

mod support;

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use backport::{receiving, Adapter, Backport, Error, Machine, ServerHandle};
use log::{Level, LevelFilter};
use parking_lot::Mutex;
use support::child::{command, exit, has, is_child, say, Child};
use support::{eventually, gate, in_time, serve, Echo, Gate, Peer, Watch, DEADLINE};

/// A logger that calls a function with each record and keeps the record when the function returns.
struct Keeper<F>(F);

#[derive(Clone, Debug)]
struct Kept {
    level: Level,
    text: String,
    module: String,
    file: String,
    line: u32,
    /// The name of the thread that called the logger.
    thread: String,
}

static KEPT: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

impl<F: Fn(&log::Record<'_>) + Send + Sync> log::Log for Keeper<F> {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        assert_eq!(metadata.target(), "backport");
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        (self.0)(record);
        KEPT.lock().push(Kept {
            level: record.level(),
            text: record.args().to_string(),
            module: record.module_path().unwrap_or_default().to_owned(),
            file: record.file().unwrap_or_default().to_owned(),
            line: record.line().unwrap_or_default(),
            thread: thread::current().name().unwrap_or_default().to_owned(),
        });
    }
    fn flush(&self) {}
}

fn log_to(level: LevelFilter, before: impl Fn(&log::Record<'_>) + Send + Sync + 'static) {
    log::set_boxed_logger(Box::new(Keeper(before))).unwrap();
    log::set_max_level(level);
}

/// Returns the records that contain `part`.
fn kept(part: &str) -> Vec<Kept> {
    KEPT.lock().iter().filter(|record| record.text.contains(part)).cloned().collect()
}

fn block_for_ever() -> ! {
    loop {
        thread::park();
    }
}

/// Returns an adapter that fails, panics or echoes, as its client asks.
fn moody() -> impl Adapter {
    receiving(|client, data| match data {
        b"fail" => Err("on purpose".into()),
        b"panic" => std::panic::resume_unwind(Box::new("on purpose")),
        data => Ok(client.write(data)?),
    })
}

/// Serves clients that cause records of every level, and checks that the others are served as usual.
fn see_service_go_on() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = in_time("a server starts", move || serve(move || watched.around(moody())));
    let machine = served.machine().clone();
    machine.prepare_timeout(Duration::ZERO, || std::panic::resume_unwind(Box::new("on purpose")));
    let bystander = served.connect();
    bystander.assert_echo(b"before");
    for _ in 0..100 {
        for word in ["fail", "panic"] {
            let peer = served.connect();
            peer.send(word);
            peer.wait_for_end();
        }
        served.connect().reset();
        served.assert_echoes();
    }
    bystander.assert_echo(b"after");
    drop(bystander);
    watch.assert_settled(&served);
    served.stop().unwrap();
}

/// Checks that a machine gives up a callback that never returns.
fn see_a_stuck_thread_given_up() {
    let served = serve(|| receiving(|_, _| block_for_ever()));
    served.machine().set_drain_timeout(Duration::from_millis(100));
    let peer = served.connect();
    peer.send("hang");
    eventually("it hangs", || served.server.clients().iter().any(|client| client.stats().bytes_in > 0));
    let error = served.stop().unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(Error::Stuck { .. })), "{error}");
}

#[test]
fn child_has_a_logger_that_blocks() {
    if is_child("child_has_a_logger_that_blocks") {
        log_to(LevelFilter::Trace, |_| block_for_ever());
        see_service_go_on();
        see_a_stuck_thread_given_up();
        exit(0);
    }
}

#[test]
fn a_logger_that_blocks_for_ever_holds_up_nobody() {
    Child::start("child_has_a_logger_that_blocks").assert_exit(0);
}

#[test]
fn child_has_a_logger_that_panics() {
    if is_child("child_has_a_logger_that_panics") {
        log_to(LevelFilter::Trace, |record| {
            if record.args().to_string().starts_with("client") {
                std::panic::resume_unwind(Box::new("on purpose"));
            }
        });
        see_service_go_on();
        assert_eq!(kept("the machine has stopped").len(), 1);
        see_a_stuck_thread_given_up();
        exit(0);
    }
}

#[test]
fn a_logger_that_panics_holds_up_nobody_and_gets_the_next_record() {
    Child::start("child_has_a_logger_that_panics").assert_exit(0);
}

#[test]
fn child_has_a_logger_whose_thread_local_blocks() {
    struct BlockForEver;
    impl Drop for BlockForEver {
        fn drop(&mut self) {
            block_for_ever();
        }
    }
    thread_local!(static LOCAL: BlockForEver = const { BlockForEver });
    if is_child("child_has_a_logger_whose_thread_local_blocks") {
        log_to(LevelFilter::Trace, |_| LOCAL.with(|_| ()));
        see_service_go_on();
        see_a_stuck_thread_given_up();
        exit(0);
    }
}

#[test]
fn a_logger_whose_thread_local_blocks_at_the_end_of_the_thread_holds_up_nobody() {
    Child::start("child_has_a_logger_whose_thread_local_blocks").assert_exit(0);
}

#[test]
fn child_logs_to_stderr() {
    if is_child("child_logs_to_stderr") {
        env_logger::Builder::new().filter_level(LevelFilter::Trace).init();
        see_service_go_on();
        see_service_go_on();
        see_a_stuck_thread_given_up();
        exit(0);
    }
}

#[test]
fn a_log_into_a_pipe_that_nobody_reads_holds_up_nobody() {
    let mut command = command(&[], "child_logs_to_stderr");
    command.stderr(Stdio::piped());
    Child::start_as(command).assert_exit(0);
}

#[test]
fn child_is_told_to_stop() {
    if is_child("child_is_told_to_stop") {
        log_to(LevelFilter::Trace, |_| block_for_ever());
        drop(Backport::run(|machine| {
            machine.set_drain_timeout(DEADLINE * 2);
            let server = machine.prepare_tcp_server("127.0.0.1:0", || receiving(|_, _| block_for_ever()))?;
            say(server.local_addr());
            Ok(())
        }));
        exit(1);
    }
}

#[test]
fn a_second_signal_ends_a_process_whose_logger_is_stuck() {
    let mut child = Child::start("child_is_told_to_stop");
    let address = child.address();
    let peer = Peer::connect(address);
    peer.send("hang");
    child.signal("INT");
    eventually("it stops", || Peer::try_connect(address).is_err());
    // Two signals within a tenth of a second count as one.
    thread::sleep(Duration::from_millis(250));
    child.signal("INT");
    child.assert_exit(130);
}

#[test]
fn child_has_a_slow_logger() {
    if !is_child("child_has_a_slow_logger") {
        return;
    }
    log_to(LevelFilter::Debug, |_| thread::sleep(Duration::from_micros(100)));
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(moody()));
    for _ in 0..100 {
        let peer = served.connect();
        peer.send("fail");
        peer.wait_for_end();
    }
    let peers: Vec<_> = (0..100).map(|_| served.connect()).collect();
    peers.iter().for_each(|peer| peer.assert_echo(b"x"));
    served.stop().unwrap();

    // `run` has returned, so every record must be there without waiting.
    let all = KEPT.lock().clone();
    assert!(all[0].text.ends_with("is ready"), "{:?}", all[0]);
    assert_eq!(all[all.len() - 1].text, "the machine has stopped");
    for record in &all {
        assert!(record.module.starts_with("backport::"), "{record:?}");
        assert!(!record.module.starts_with("backport::logging"), "{record:?}");
        assert!(record.file.ends_with(".rs") && record.line > 0, "{record:?}");
        assert_eq!(record.thread, "backport-log", "{record:?}");
    }
    watch.assert_balanced();
    for client in watch.opened.try_iter() {
        let name = format!("client {} ", client.id());
        let said: Vec<_> = all.iter().filter(|record| record.text.starts_with(&name)).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].text.ends_with("connected"), "{said:?}");
    }
    eventually("the log thread ends", || !has_log_thread());

    let result = Backport::run(|machine| {
        machine.prepare_tcp_server("127.0.0.1:0", || Echo)?;
        Err("on purpose".into())
    });
    assert!(result.is_err());
    let all = KEPT.lock().clone();
    assert!(all[all.len() - 1].text.ends_with(" stops"), "{:?}", all[all.len() - 1]);
    exit(0);
}

#[test]
fn every_record_is_in_the_log_and_in_order_when_run_returns() {
    Child::start("child_has_a_slow_logger").assert_exit(0);
}

fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // A line starts with `1234 (name) S`, see proc(5). A thread may end before its file is read.
    tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok()).collect()
}

fn has_log_thread() -> bool {
    threads().iter().any(|thread| thread.contains("(backport-log)"))
}

#[test]
fn child_logs_little() {
    if !is_child("child_logs_little") {
        return;
    }
    log_to(LevelFilter::Info, |_| ());
    let served = serve(|| Echo);
    eventually("it is logged", || !kept("is ready").is_empty());
    eventually("the thread has gone", || !has_log_thread());
    served.assert_echoes();
    served.stop().unwrap();
    exit(0);
}

#[test]
fn the_log_thread_ends_when_no_record_comes() {
    Child::start("child_logs_little").assert_exit(0);
}

/// A logger that wants records up to info, and counts the questions about trace.
struct Picky;

static QUESTIONS: AtomicUsize = AtomicUsize::new(0);

impl log::Log for Picky {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        if metadata.level() == Level::Trace {
            QUESTIONS.fetch_add(1, Ordering::SeqCst);
        }
        metadata.level() <= Level::Info
    }
    fn log(&self, record: &log::Record<'_>) {
        assert!(record.level() <= Level::Info);
    }
    fn flush(&self) {}
}

#[test]
fn child_has_a_logger_that_wants_no_trace() {
    const READS: usize = 5_000;
    if !is_child("child_has_a_logger_that_wants_no_trace") {
        return;
    }
    log::set_logger(&Picky).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let served = serve(|| Echo);
    let peer = served.connect();
    for _ in 0..READS {
        peer.assert_echo(b"x");
    }
    served.stop().unwrap();
    // A busy machine may delay an answer. A few more reads are then asked about.
    let questions = QUESTIONS.load(Ordering::SeqCst);
    assert!((1..READS / 2).contains(&questions), "{questions} questions about {READS} reads");
    exit(0);
}

#[test]
fn a_logger_is_not_asked_about_each_read_if_it_wants_no_trace() {
    Child::start("child_has_a_logger_that_wants_no_trace").assert_exit(0);
}

#[test]
fn child_has_a_logger_that_is_stuck_for_a_while() {
    const SIZE: usize = 50_000;
    const CLIENTS: usize = 40;
    if !is_child("child_has_a_logger_that_is_stuck_for_a_while") {
        return;
    }
    let (keeper, gate) = gate();
    let stuck: Gate = gate.clone();
    log_to(LevelFilter::Warn, move |_| stuck.wait());
    let served = serve(|| receiving(|_, _| Err("x".repeat(SIZE).into())));
    for _ in 0..CLIENTS {
        let peer = served.connect();
        peer.send("more than there is room for");
        peer.wait_for_end();
    }
    served.wait_until_empty();
    drop(keeper);
    let mut logged = 0;
    let mut remarks = Vec::new();
    eventually("each record is logged or counted", || {
        (logged, remarks) = (kept("xxx").len(), kept("log records dropped"));
        let counts = remarks.iter().map(|record| record.text.split(' ').next().unwrap().parse::<usize>());
        logged + counts.sum::<Result<usize, _>>().unwrap() == CLIENTS
    });
    assert!(logged < CLIENTS, "{logged} of {CLIENTS} records");
    assert!(remarks.iter().all(|record| record.level == Level::Warn));
    served.stop().unwrap();
    exit(0);
}

#[test]
fn records_that_find_no_room_are_dropped_and_counted() {
    Child::start("child_has_a_logger_that_is_stuck_for_a_while").assert_exit(0);
}

#[test]
fn child_has_a_logger_that_calls_back() {
    static SERVER: OnceLock<ServerHandle> = OnceLock::new();
    if !is_child("child_has_a_logger_that_calls_back") {
        return;
    }
    // Each broadcast causes records too.
    log_to(LevelFilter::Trace, |record| {
        if let Some(server) = SERVER.get() {
            server.broadcast(format!("{}\n", record.args()));
            server.set_idle_timeout(None);
            let machine = Machine::new();
            drop(machine.prepare_tcp_server("127.0.0.1:0", || Echo));
            machine.stop();
            drop(machine.run());
        }
    });
    let served = serve(|| Echo);
    assert!(SERVER.set(served.server.handle.clone()).is_ok());
    let listener = served.connect();
    eventually("it is served", || served.server.client_count() == 1);
    let other = served.connect();
    let address = other.address();
    eventually("the listener hears of the other", || {
        listener.read_line().contains(&format!("from {address}: connected"))
    });
    drop((other, listener));
    served.wait_until_empty();
    served.stop().unwrap();
    // The log has the records of this machine. It has none about the calls of the logger.
    let count = KEPT.lock().len();
    assert!(count < 20, "{count}: {:?}", KEPT.lock());
    exit(0);
}

#[test]
fn a_logger_that_calls_the_crate_does_not_hang_and_gets_no_record_about_its_calls() {
    Child::start("child_has_a_logger_that_calls_back").assert_exit(0);
}

#[test]
fn child_can_start_no_thread() {
    if !is_child("child_can_start_no_thread") {
        return;
    }
    log_to(LevelFilter::Info, |_| ());
    let machine = Machine::new();
    let server = machine.prepare_tcp_server("127.0.0.1:0", || Echo).unwrap();
    let first = KEPT.lock()[0].clone();
    assert!(first.text.ends_with("is ready"), "{first:?}");
    assert_ne!(first.thread, "backport-log");
    server.stop();
    assert_eq!(kept(" stops").len(), 1);
    exit(0);
}

#[test]
fn the_log_is_written_even_if_no_thread_can_be_started() {
    if !has("strace") {
        return;
    }
    let inject = "inject=clone,clone3:error=EAGAIN";
    let wrapper = ["strace", "-f", "-o", "/dev/null", "-e", "trace=clone,clone3", "-e", inject];
    Child::start_as(command(&wrapper, "child_can_start_no_thread")).assert_exit(0);
}

#[test]
fn child_becomes_a_daemon() {
    if !is_child("child_becomes_a_daemon") {
        return;
    }
    log_to(LevelFilter::Info, |record| say(record.args()));
    let machine = Machine::new();
    let server = machine.prepare_tcp_server("127.0.0.1:0", || Echo).unwrap();
    eventually("the parent has logged", || !kept("is ready").is_empty());
    eventually("its thread waits", || threads().iter().any(|thread| thread.contains("(backport-log) S")));
    // The process forks, and the parent exits. The child has none of the parent's threads.
    nix::unistd::daemon(true, true).unwrap();
    server.stop();
    machine.run().unwrap();
    exit(0);
}

#[test]
fn a_process_that_forks_after_the_first_record_still_logs() {
    let mut child = Child::start("child_becomes_a_daemon");
    child.assert_exit(0);
    // The output ends when the daemon ends.
    let said = in_time("the daemon ends", move || child.rest());
    assert_eq!(said.iter().filter(|line| line.ends_with("is ready")).count(), 1, "{said:?}");
    assert_eq!(said.last().unwrap(), "the machine has stopped", "{said:?}");
}
