//! `Client::on_close`: it runs once, before `closing`, and unblocks a callback that waits for something else (P22).

use std::io::Read;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use backport::framing::Lines;
use backport::{Adapter, Client, Closing, Result};
use crossbeam_channel::{bounded, unbounded, Receiver, Sender};

use crate::support::watch::reason;
use crate::support::{eventually, has_resets, in_time, next, nothing, serve, serve_with, Peer, Served};

/// Reports the order of the events of an ending, with the name of the thread.
struct Ordered(Sender<String>);

impl Ordered {
    fn register(&self, client: &Client, name: &'static str) {
        let events = self.0.clone();
        client.on_close(move || {
            let thread = thread::current().name().unwrap_or("?").to_owned();
            events.send(format!("{name} on {thread}")).unwrap();
        });
    }
}

impl Adapter for Ordered {
    fn opening(&mut self, client: &Client) -> Result {
        self.register(client, "first");
        self.register(client, "second");
        Ok(client.write("!")?)
    }
    fn receiving(&mut self, client: &Client, line: &[u8]) -> Result {
        match line {
            b"close" => client.close(),
            b"abort" => client.abort(),
            b"fail" => return Err("on purpose".into()),
            b"panic" => std::panic::resume_unwind(Box::new("on purpose")),
            b"flood" => client.write(vec![0; 50_000_000])?,
            _ => {}
        }
        Ok(())
    }
    fn closing(&mut self, client: &Client, closing: &Closing) {
        self.0.send(format!("closing {}", reason(closing))).unwrap();
        self.register(client, "late");
    }
}

fn scene() -> (Served, Receiver<String>, Peer) {
    let (sender, events) = unbounded();
    let served = serve_with(
        move || Ordered(sender.clone()).framed(Lines::default()),
        |server| {
            let limit = Duration::from_millis(500);
            server.idle_timeout(limit).write_timeout(limit)
        },
    );
    let peer = served.connect();
    assert_eq!(peer.read(1), b"!");
    (served, events, peer)
}

/// Asserts the order of events, and that the two functions have run on a thread with this name.
#[track_caller]
fn assert_order(events: &Receiver<String>, thread: &str, reason: &str) {
    for name in ["first", "second"] {
        let said = next(events);
        assert!(said.starts_with(&format!("{name} on ")), "{said}");
        assert!(said.contains(thread), "{reason}: {said}");
    }
    assert_eq!(next(events), format!("closing {reason}"));
    let late = next(events);
    assert!(late.starts_with("late on backport-worker"), "at once, on the calling thread: {late}");
    nothing(events);
}

#[test]
fn on_close_runs_once_before_closing_whatever_ends_the_connection() {
    for (line, reason) in [
        ("close", "ByServer"),
        ("abort", "ByServer"),
        ("fail", "Failed"),
        ("panic", "Panicked"),
        ("flood", "TooSlow"),
        ("wait", "Idle"),
    ] {
        let (_served, events, peer) = scene();
        peer.send(format!("{line}\n"));
        assert_order(&events, "backport-worker", reason);
    }
    let (_served, events, peer) = scene();
    peer.half_close();
    assert_order(&events, "backport-worker", "ByPeer");
    let (_served, events, peer) = scene();
    // Without a reset, a peer that is gone looks like one that has ended its output.
    peer.reset();
    assert_order(&events, "backport-worker", if has_resets() { "Lost" } else { "ByPeer" });
}

#[test]
fn on_close_runs_on_the_thread_that_ends_the_connection() {
    for end in [Client::close as fn(&Client), Client::abort] {
        let (served, events, _peer) = scene();
        let client = served.server.clients().remove(0);
        let closer = thread::Builder::new().name("the closer".to_owned());
        closer.spawn(move || end(&client)).unwrap().join().unwrap();
        assert_order(&events, "the closer", "ByServer");
    }
    let (served, events, peer) = scene();
    served.machine().stop();
    assert_order(&events, "backport-machine", "Stopping");
    drop(peer);
    served.join().unwrap();
}

#[test]
fn on_close_after_a_hold_runs_on_the_thread_that_drops_the_last_hold() {
    let (served, events, _peer) = scene();
    let hold = served.server.clients().remove(0).hold();
    served.machine().stop();
    eventually("the stop has reached the client", || hold.is_stopping());
    let (sender, third) = unbounded();
    hold.on_close(move || sender.send("third").unwrap());
    nothing(&events);
    assert!(third.is_empty(), "the conversation goes on");
    let dropper = thread::Builder::new().name("the dropper".to_owned());
    dropper.spawn(move || drop(hold)).unwrap().join().unwrap();
    assert_order(&events, "the dropper", "Stopping");
    assert_eq!(next(&third), "third");
}

#[test]
fn a_panic_in_on_close_disturbs_nothing() {
    let (served, events, peer) = scene();
    let client = served.server.clients().remove(0);
    client.on_close(|| std::panic::resume_unwind(Box::new("on purpose")));
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    client.on_close(move || _ = count.fetch_add(1, Ordering::SeqCst));
    client.close();
    assert_order(&events, "", "ByServer");
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    assert_eq!(peer.read_to_end(), b"");
    client.on_close(|| std::panic::resume_unwind(Box::new("on purpose, late")));
    drop(peer);
    served.stop().unwrap();
}

#[test]
fn on_close_may_use_its_client() {
    let (served, events, _peer) = scene();
    let client = served.server.clients().remove(0);
    let own = client.clone();
    client.on_close(move || {
        own.close();
        own.abort();
        own.close_write();
        assert!(own.write("x").is_err());
        own.on_close(|| ());
        drop(own.hold());
        own.server().stop();
    });
    in_time("close returns", move || client.close());
    assert_order(&events, "", "ByServer");
    served.join().unwrap();
}

/// Waits in a callback for something that is not the client.
struct Stuck<F>(Sender<Client>, F);

impl<F: FnMut(&Client) -> Result + Send + 'static> Adapter for Stuck<F> {
    fn receiving(&mut self, client: &Client, _: &[u8]) -> Result {
        self.0.send(client.clone())?;
        (self.1)(client)
    }
}

/// Ends a stuck client in each way, and asserts that it ends.
#[track_caller]
fn ends(stuck: impl Fn(&Client) -> Result + Clone + Send + Sync + 'static) {
    let ends: [fn(&Client, &Served); 4] = [
        |client, _| client.close(),
        |client, _| client.abort(),
        |_, served| served.machine().stop(),
        |_, served| served.server.stop(),
    ];
    for end in ends {
        let (sender, begun) = unbounded();
        let stuck = stuck.clone();
        let served = serve(move || Stuck(sender.clone(), stuck.clone()));
        served.machine().set_drain_timeout(Duration::from_secs(60));
        let peer = served.connect();
        peer.send("x");
        let client = next(&begun);
        end(&client, &served);
        peer.wait_for_end();
        drop(peer);
        served.stop().unwrap();
    }
}

#[test]
fn on_close_unblocks_a_callback_that_waits_for_a_channel() {
    ends(|client| {
        let (sender, receiver) = bounded::<()>(0);
        client.on_close(move || drop(sender));
        assert!(receiver.recv().is_err());
        Ok(())
    });
}

#[test]
fn on_close_unblocks_a_callback_that_reads_from_another_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    ends(move |client| {
        let upstream = TcpStream::connect(address)?;
        let ending = upstream.try_clone()?;
        client.on_close(move || drop(ending.shutdown(Shutdown::Both)));
        let mut upstream = upstream;
        assert_eq!(upstream.read(&mut [0])?, 0);
        Ok(())
    });
}

#[test]
fn on_close_against_close_runs_exactly_once() {
    let (sender, clients) = unbounded();
    let served = serve(move || {
        struct Opened(Sender<Client>);
        impl Adapter for Opened {
            fn opening(&mut self, client: &Client) -> Result {
                Ok(self.0.send(client.clone())?)
            }
        }
        Opened(sender.clone())
    });
    for _ in 0..200 {
        let peer = served.connect();
        let client = next(&clients);
        let ran = Arc::new(AtomicUsize::new(0));
        let (closer, count) = (client.clone(), Arc::clone(&ran));
        let thread = thread::spawn(move || closer.close());
        client.on_close(move || _ = count.fetch_add(1, Ordering::SeqCst));
        thread.join().unwrap();
        peer.wait_for_end();
        assert_eq!(ran.load(Ordering::SeqCst), 1);
    }
    served.stop().unwrap();
}
