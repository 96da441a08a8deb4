//! Servers that users bring: threads, stopping, hooks.

use std::io;
use std::time::Duration;

use backport::{Control, Machine, Server};
use crossbeam_channel::{bounded, select, unbounded, Receiver, Sender};

use crate::support::{
    eventually, free, in_time, next, nothing, prepare_with, serve, Echo, Prepare, Settings,
};

/// A server from a closure.
struct Custom<F>(F);

impl<T, F: FnOnce(Control) -> io::Result<T> + Send + 'static> Server for Custom<F> {
    type Handle = T;

    fn prepare(self, control: Control) -> io::Result<T> {
        (self.0)(control)
    }
}

/// One thread, which doubles what it gets until it shall stop.
fn doubler(control: Control) -> io::Result<(Sender<u32>, Receiver<u32>)> {
    let (input, requests) = bounded::<u32>(1);
    let (replies, output) = bounded(1);
    let stopping = control.stopping();
    control.spawn("doubler", move || {
        assert_eq!(std::thread::current().name(), Some("backport-doubler"));
        loop {
            select! {
                recv(requests) -> request => replies.send(request.unwrap() * 2).unwrap(),
                recv(stopping) -> _ => break,
            }
        }
    })?;
    Ok((input, output))
}

#[test]
fn a_server_of_ones_own_serves_and_stops_with_the_machine() {
    let machine = Machine::new();
    let (input, output) = machine.prepare(Custom(doubler)).unwrap();
    input.send(21).unwrap();
    // Its thread starts when the machine does.
    nothing(&output);
    let running = machine.start().unwrap();
    assert_eq!(next(&output), 42);
    assert_eq!(machine.servers().len(), 1);
    assert_eq!(machine.servers()[0].client_count(), 0);
    assert_eq!(machine.servers()[0].name(), "Custom", "its type, for want of another name");
    in_time("the machine stops", || running.stop()).unwrap();
    assert!(output.recv().is_err(), "its thread has ended");
}

#[test]
fn a_server_of_ones_own_stops_alone_and_stops_the_machine_as_the_last() {
    let machine = Machine::new();
    let (_handle, stays) = machine
        .prepare(Custom(|control: Control| {
            control.set_name("stays");
            let handles = doubler(control.clone())?;
            Ok((handles, control.handle()))
        }))
        .unwrap();
    let goes = machine
        .prepare(Custom(|control: Control| {
            control.set_name("goes");
            let ending = control.clone();
            control.spawn("goes", move || assert!(ending.stopping().recv().is_err()))?;
            Ok(control)
        }))
        .unwrap();
    let running = machine.start().unwrap();
    assert_eq!(machine.servers().iter().map(|server| server.name()).collect::<Vec<_>>(), ["stays", "goes"]);
    assert!(!goes.is_stopping());
    goes.stop();
    goes.stop();
    assert!(goes.is_stopping() && goes.handle().is_stopped());
    eventually("it has left", || machine.servers().len() == 1);
    assert!(!machine.is_stopped());
    goes.spawn("late", || ()).unwrap_err();
    stays.stop();
    in_time("the machine ends", || running.join()).unwrap();
}

#[test]
fn hooks_run_once_at_the_stop_and_at_once_after_it() {
    let (sender, hooked) = unbounded();
    let (late, machine) = (sender.clone(), Machine::new());
    let control = machine
        .prepare(Custom(move |control: Control| {
            // A thread that only the hook gets out of its wait.
            let (keeper, gate) = bounded::<()>(0);
            control.spawn("waits", move || assert!(gate.recv().is_err()))?;
            control.on_stop(move || {
                sender.send("first").unwrap();
                drop(keeper);
            });
            control.on_stop(|| panic!("a hook panics, on purpose"));
            Ok(control)
        }))
        .unwrap();
    let running = machine.start().unwrap();
    nothing(&hooked);
    in_time("the machine stops", || running.stop()).unwrap();
    assert_eq!(hooked.try_iter().collect::<Vec<_>>(), ["first"]);
    control.on_stop(move || late.send("late").unwrap());
    assert_eq!(hooked.try_recv(), Ok("late"));
}

#[test]
fn a_hook_that_is_taken_back_is_dropped_and_not_called() {
    let machine = Machine::new();
    let control = machine
        .prepare(Custom(|control: Control| {
            let stopping = control.stopping();
            control.spawn("waits", move || assert!(stopping.recv().is_err()))?;
            Ok(control)
        }))
        .unwrap();
    let (sender, hooked) = unbounded();
    let hook = |name: &'static str| {
        let sender = sender.clone();
        control.on_stop(move || sender.send(name).unwrap())
    };
    let value = std::sync::Arc::new(());
    for _ in 0..1_000 {
        let captured = value.clone();
        control.on_stop(move || drop(captured)).cancel();
        assert_eq!(std::sync::Arc::strong_count(&value), 1, "the hook is dropped at once");
    }
    hook("first");
    let second = hook("second");
    drop(hook("third"));
    second.cancel();
    let late = hook("fourth");
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("the drop of a hook panics, on purpose");
        }
    }
    let bad = Bad;
    control.on_stop(move || drop(bad)).cancel();
    let running = machine.start().unwrap();
    in_time("the machine stops", || running.stop()).unwrap();
    assert_eq!(hooked.try_iter().collect::<Vec<_>>(), ["first", "third", "fourth"]);
    // It has run already.
    late.cancel();
    hook("late").cancel();
    assert_eq!(hooked.try_recv(), Ok("late"));
}

#[test]
fn a_panic_in_a_servers_thread_ends_that_thread() {
    let machine = Machine::new();
    machine.prepare(Custom(|control: Control| control.spawn("bad", || panic!("on purpose")))).unwrap();
    let other = machine.prepare(Custom(doubler)).unwrap();
    let running = machine.start().unwrap();
    eventually("the server has ended", || machine.servers().len() == 1);
    other.0.send(4).unwrap();
    assert_eq!(next(&other.1), 8);
    in_time("the machine stops", || running.stop()).unwrap();
}

#[test]
fn a_server_whose_threads_have_ended_has_ended() {
    let machine = Machine::new();
    let (sender, hooked) = unbounded();
    let controls = [true, false].map(|has_a_thread| {
        let sender = sender.clone();
        let prepare = move |control: Control| {
            control.on_stop(move || sender.send(()).unwrap());
            if has_a_thread {
                control.spawn("brief", || ())?;
            }
            Ok(control)
        };
        machine.prepare(Custom(prepare)).unwrap()
    });
    in_time("run returns", move || machine.run()).unwrap();
    assert_eq!(hooked.try_iter().count(), 2, "their hooks were called");
    for control in controls {
        assert!(
            control.is_stopping()
                && control.stopping().try_recv().is_err_and(|error| error.is_disconnected())
        );
    }
}

#[test]
fn an_error_of_prepare_is_passed_on_and_leaves_no_server() {
    let machine = Machine::new();
    let error = machine
        .prepare(Custom(|control: Control| {
            control.spawn("in vain", || ())?;
            Err::<(), _>(io::Error::other("no serial port"))
        }))
        .unwrap_err();
    assert_eq!(error.to_string(), "no serial port");
    assert!(machine.servers().is_empty());
}

#[test]
fn a_threads_name_with_nul_in_it_is_refused_at_once() {
    let machine = Machine::new();
    let error = machine.prepare(Custom(|control: Control| control.spawn("a\0b", || ()))).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    in_time("run returns", move || machine.run()).unwrap();
}

#[test]
fn a_thread_that_ignores_the_stop_is_reported_by_name() {
    let machine = Machine::new();
    machine.set_drain_timeout(Duration::from_millis(300));
    let (keeper, gate) = bounded::<()>(0);
    machine
        .prepare(Custom(move |control: Control| control.spawn("deaf", move || assert!(gate.recv().is_err()))))
        .unwrap();
    let running = machine.start().unwrap();
    let error = in_time("the machine gives up", || running.stop()).unwrap_err();
    let Some(backport::Error::Stuck { threads, .. }) = error.downcast_ref() else { panic!("{error}") };
    assert_eq!(threads, &["backport-deaf"]);
    drop(keeper);
}

#[test]
fn a_server_is_prepared_on_a_machine_that_runs() {
    let machine = Machine::new();
    let first = machine.prepare(Custom(doubler)).unwrap();
    let running = machine.start().unwrap();
    let second = machine.prepare(Custom(doubler)).unwrap();
    second.0.send(5).unwrap();
    assert_eq!(next(&second.1), 10);
    first.0.send(6).unwrap();
    assert_eq!(next(&first.1), 12);
    in_time("the machine stops", || running.stop()).unwrap();
}

struct WithControl(Control);

impl Prepare for WithControl {
    fn prepare<S: Server>(self, server: S) -> io::Result<S::Handle> {
        server.prepare(self.0)
    }
}

#[test]
fn a_server_that_fails_to_prepare_leaves_no_client_behind() {
    let served = serve(|| Echo);
    let (sender, peers) = unbounded();
    let prepared = served.machine().prepare(Custom(move |control: Control| -> io::Result<()> {
        let with = WithControl(control);
        let peer = prepare_with(free(), || Echo, Settings::default(), with)?.connect();
        peer.assert_echo(b"served already");
        sender.send(peer).unwrap();
        Err(io::Error::other("on purpose"))
    }));
    assert_eq!(prepared.unwrap_err().to_string(), "on purpose");
    next(&peers).wait_for_end();
    served.stop().unwrap();
}
