//! Handlers that are there already, or can't be installed.

use std::fs::File;
use std::thread;

use backport::{Backport, Error};

use crate::run_until_stopped;
use crate::support::child::{command, exit, is_child, say, Child};
use crate::support::DEADLINE;

#[test]
fn child_has_its_own_handler() {
    if is_child("install::child_has_its_own_handler") {
        ctrlc::set_handler(|| {
            say("its own handler");
            exit(7);
        })
        .unwrap();
        let error = Backport::run(|_| panic!("the setup must not run")).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Error::HandlerTaken)), "{error}");
        say(&error);
        thread::sleep(DEADLINE * 2);
    }
}

#[test]
fn a_handler_that_the_program_has_is_a_clear_error_and_kept() {
    let mut child = Child::start("install::child_has_its_own_handler");
    let error = child.hear();
    assert!(error.contains("SIGINT") && error.contains("Machine::run"), "{error}");
    child.signal("INT");
    child.expect("its own handler");
    child.assert_exit(7);
}

#[test]
fn child_wants_for_descriptors() {
    if is_child("install::child_wants_for_descriptors") {
        let null = || File::open("/dev/null");
        let mut taken: Vec<File> = std::iter::from_fn(|| null().ok()).collect();
        assert_eq!(null().unwrap_err().raw_os_error(), Some(libc::EMFILE));
        let mut failed = 0;
        // With one more each time. The installation may fail in the middle of it.
        while let Err(error) = Backport::run(|_| Ok(())) {
            let Some(Error::Signals(_)) = error.downcast_ref() else { panic!("{error}") };
            failed += 1;
            drop(taken.pop().expect("a few are enough"));
        }
        assert!(failed > 0);
        drop(taken);
        exit(run_until_stopped().map_or(3, |()| 0));
    }
}

#[test]
fn a_run_whose_signal_handlers_could_not_be_installed_can_be_tried_again() {
    let few = ["sh", "-c", "ulimit -n 64; exec \"$0\" \"$@\""];
    for name in ["INT", "TERM"] {
        let mut child = Child::start_as(command(&few, "install::child_wants_for_descriptors"));
        child.address();
        child.signal(name);
        child.assert_exit(0);
    }
}

/// Sets the soft limit of this process's address space.
#[cfg(target_os = "linux")]
fn limit_memory(bytes: &str) {
    let (process, limit) = (std::process::id().to_string(), format!("--as={bytes}:"));
    assert!(std::process::Command::new("prlimit")
        .args(["--pid", &process, &limit])
        .status()
        .unwrap()
        .success());
}

#[test]
#[cfg(target_os = "linux")]
fn child_wants_for_a_thread() {
    if is_child("install::child_wants_for_a_thread") {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let used = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.strip_suffix(" kB")).unwrap();
        let used: u64 = used.trim().parse().unwrap();
        // Less than a thread's stack.
        limit_memory(&((used + 1024) * 1024).to_string());
        let error = Backport::run(|_| Ok(())).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Error::Signals(_))), "{error}");
        limit_memory("unlimited");
        exit(run_until_stopped().map_or(3, |()| 0));
    }
}

/// The handler of SIGINT is there before the thread that it needs.
#[test]
#[cfg(target_os = "linux")]
fn a_run_whose_signal_threads_could_not_be_started_can_be_tried_again() {
    if !crate::support::child::has("prlimit") {
        return;
    }
    for name in ["INT", "TERM"] {
        let mut child = Child::start("install::child_wants_for_a_thread");
        child.address();
        child.signal(name);
        child.assert_exit(0);
    }
}
