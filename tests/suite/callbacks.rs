//! When callbacks run, on which thread, how often (P1 to P4).

use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{self, ThreadId};

use backport::{Adapter, BoxError, Client, Closing, Input, Result};
use crossbeam_channel::{unbounded, Sender};

use crate::support::{gate, next, nothing, serve, Echo, Gate, Watch};

#[test]
fn every_callback_of_a_client_runs_on_one_thread_of_its_own() {
    struct Tell(Sender<(&'static str, ThreadId)>);
    impl Tell {
        fn tell(&self, what: &'static str) {
            assert!(thread::current().name().unwrap().starts_with("backport-"));
            self.0.send((what, thread::current().id())).unwrap();
        }
    }
    impl Adapter for Tell {
        fn opening(&mut self, _: &Client) -> Result {
            self.tell("opening");
            Ok(())
        }
        fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
            self.tell("receiving");
            Ok(client.write(data)?)
        }
        fn closing(&mut self, _: &Client, _: &Closing) {
            self.tell("closing");
        }
    }
    impl Drop for Tell {
        fn drop(&mut self) {
            self.tell("drop");
        }
    }

    let (sender, told) = unbounded();
    let served = serve(move || {
        let tell = Tell(sender.clone());
        tell.tell("factory");
        tell
    });
    let mut threads = Vec::new();
    let peers: Vec<_> = (0..2)
        .map(|_| {
            let peer = served.connect();
            peer.assert_echo(b"x");
            let seen: Vec<_> = (0..3).map(|_| next(&told)).collect();
            assert_eq!(
                seen.iter().map(|seen| seen.0).collect::<Vec<_>>(),
                ["factory", "opening", "receiving"]
            );
            assert!(seen.iter().all(|one| one.1 == seen[0].1));
            threads.push(seen[0].1);
            peer
        })
        .collect();
    assert_ne!(threads[0], threads[1], "two clients at once, two threads");
    for (peer, thread) in peers.into_iter().zip(threads) {
        drop(peer);
        assert_eq!((next(&told), next(&told)), (("closing", thread), ("drop", thread)));
    }
}

#[test]
fn a_blocked_opening_keeps_no_other_client_waiting() {
    struct Blocked(Gate, Sender<()>);
    impl Adapter for Blocked {
        fn opening(&mut self, _: &Client) -> Result {
            self.1.send(())?;
            self.0.wait();
            Ok(())
        }
    }
    let (keeper, gate) = gate();
    let (sender, opened) = unbounded();
    let served = serve(move || Blocked(gate.clone(), sender.clone()));
    let _peers: Vec<_> = (0..5).map(|_| served.connect()).collect();
    for _ in 0..5 {
        next(&opened);
    }
    drop(keeper);
}

#[test]
fn closing_runs_once_after_end_of_input() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    drop(served.connect());
    assert_eq!(next(&watch.closed), "ByPeer");
    nothing(&watch.closed);
    watch.assert_settled(&served);
    served.assert_echoes();
}

#[test]
fn closing_runs_once_after_peer_reset() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    let peer = served.connect();
    peer.send(b"here");
    assert_eq!(peer.read(3), b"her", "the rest stays unread");
    peer.reset();
    assert_eq!(next(&watch.closed), "Lost");
    nothing(&watch.closed);
    watch.assert_settled(&served);
    served.assert_echoes();
}

#[test]
fn a_reset_during_receiving_is_lost() {
    struct Slow(Sender<()>, Gate);
    impl Adapter for Slow {
        fn receiving(&mut self, client: &Client, _: &[u8]) -> Result {
            self.0.send(())?;
            self.1.wait();
            loop {
                client.write("into the void")?;
            }
        }
    }
    let watch = Watch::new();
    let watched = watch.clone();
    let (sender, receiving) = unbounded();
    let (keeper, gate) = gate();
    let served = serve(move || watched.around(Slow(sender.clone(), gate.clone())));
    let peer = served.connect();
    peer.send(b"go");
    next(&receiving);
    peer.reset();
    drop(keeper);
    assert_eq!(next(&watch.closed), "Lost");
    watch.assert_settled(&served);
}

#[test]
fn an_error_in_opening_ends_the_client_with_one_closing() {
    struct Refuse;
    impl Adapter for Refuse {
        fn opening(&mut self, _: &Client) -> Result {
            Err("no entry".into())
        }
        fn receiving(&mut self, _: &Client, _: &[u8]) -> Result {
            unreachable!("the client was refused");
        }
        fn closing(&mut self, client: &Client, reason: &Closing) {
            client.write(reason.to_string()).unwrap();
        }
    }
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Refuse));
    let peer = served.connect();
    peer.send(b"unread");
    assert_eq!(peer.read_to_end(), b"failed: no entry");
    assert_eq!(next(&watch.closed), "Failed");
    nothing(&watch.closed);
    watch.assert_settled(&served);
    assert_eq!(served.server.stats().failures, 1);
}

#[test]
fn an_error_of_a_callback_ends_that_connection_alone_and_keeps_its_type() {
    #[derive(Debug, PartialEq)]
    struct Unwell(u8);
    impl std::fmt::Display for Unwell {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("unwell")
        }
    }
    impl std::error::Error for Unwell {}

    struct Fail(Sender<u8>);
    impl Adapter for Fail {
        fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
            if data == b"fail" {
                return Err(Unwell(7).into());
            }
            Ok(client.write(data)?)
        }
        fn closing(&mut self, _: &Client, reason: &Closing) {
            if let Closing::Failed(error) = reason {
                self.0.send(error.downcast_ref::<Unwell>().unwrap().0).unwrap();
            }
        }
    }
    let (sender, failed) = unbounded();
    let served = serve(move || Fail(sender.clone()));
    let bystander = served.connect();
    bystander.assert_echo(b"before");
    let peer = served.connect();
    peer.send(b"fail");
    assert_eq!(next(&failed), 7);
    assert_eq!(peer.read_to_end(), b"");
    bystander.assert_echo(b"after");
}

/// The reason with which a client ends whose adapter fails with this error.
fn reason_for(error: impl Fn() -> BoxError + Send + Sync + 'static) -> &'static str {
    let watch = Watch::new();
    let (watched, error) = (watch.clone(), Arc::new(error));
    let served = serve(move || {
        let error = error.clone();
        watched.around(backport::receiving(move |_, _| Err(error())))
    });
    served.connect().send(b"x");
    next(&watch.closed)
}

#[test]
fn an_io_error_that_says_that_the_peer_went_away_is_a_loss() {
    for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset, io::ErrorKind::UnexpectedEof] {
        assert_eq!(reason_for(move || io::Error::from(kind).into()), "Lost", "{kind:?}");
    }
    assert_eq!(reason_for(|| io::Error::from(io::ErrorKind::NotFound).into()), "Failed");
    assert_eq!(reason_for(|| "other".into()), "Failed");
}

#[test]
fn no_receiving_starts_after_a_close_inside_receiving() {
    let (sender, received) = unbounded();
    let served = serve(move || {
        let sender = sender.clone();
        backport::receiving(move |client, data| {
            sender.send(data.len())?;
            // More is in the kernel by now, or comes soon.
            client.close();
            Ok(())
        })
    });
    let peer = served.connect();
    // The close may come while it still sends.
    drop((&peer.stream).write_all(&[b'x'; 300_000]));
    next(&received);
    nothing(&received);
    peer.wait_for_end();
    served.wait_until_empty();
    assert!(received.is_empty());
}

#[test]
fn no_receiving_starts_after_a_close_from_another_thread() {
    struct Gated(Sender<()>, Gate);
    impl Adapter for Gated {
        fn receiving(&mut self, _: &Client, _: &[u8]) -> Result {
            self.0.send(())?;
            self.1.wait();
            Ok(())
        }
    }
    let watch = Watch::new();
    let watched = watch.clone();
    let (sender, received) = unbounded();
    let (keeper, gate) = gate();
    let served = serve(move || watched.around(Gated(sender.clone(), gate.clone())));
    let peer = served.connect();
    let client = next(&watch.opened);
    peer.send(b"first");
    next(&received);
    peer.send(b"second, which waits in the kernel");
    client.close();
    drop(keeper);
    assert_eq!(next(&watch.closed), "ByServer");
    assert!(received.is_empty(), "a second receiving started");
}

#[test]
fn a_conversation_that_returns_closes() {
    struct Greeter;
    impl Adapter for Greeter {
        fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
            use std::io::BufRead;
            client.write_line("What is your name?")?;
            let mut name = String::new();
            input.read_line(&mut name)?;
            client.write_line(format!("Hello, {}!", name.trim()))?;
            Ok(())
        }
    }
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around_serving(Greeter));
    let peer = served.connect();
    assert_eq!(peer.read_line(), "What is your name?");
    peer.send(b"Ada\nand more that nobody reads");
    assert_eq!(peer.read_to_end(), b"Hello, Ada!\n");
    assert_eq!(next(&watch.closed), "ByServer");
    watch.assert_settled(&served);
}

#[test]
fn a_factory_may_choose_between_boxed_adapters() {
    let served = serve(|| -> Box<dyn Adapter> {
        Box::new(backport::receiving(|client, data| Ok(client.write(data.to_ascii_uppercase())?)))
    });
    let peer = served.connect();
    peer.send(b"loud");
    assert_eq!(peer.read(4), b"LOUD");
}

#[test]
fn clients_have_ordered_unique_numbers_and_know_their_remote() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    let one = served.connect();
    let first = next(&watch.opened);
    let _two = served.connect();
    let second = next(&watch.opened);
    assert!(first.id() < second.id());
    assert!(first.remote().to_string().starts_with(&one.shown()), "{}", first.remote());
    let backport::Remote::Tcp { local, .. } = first.remote() else {
        assert_eq!(first.remote().address(), None);
        assert_eq!((first.remote().ip(), first.remote().port()), (None, None));
        return;
    };
    assert_eq!(first.remote().address(), Some(one.address()));
    assert_eq!(first.remote().ip(), Some(one.address().ip()));
    assert_eq!(first.remote().port(), Some(one.address().port()));
    assert_eq!(*local, served.address().tcp());
}

#[test]
fn a_large_adapter_fits_the_stack_of_its_thread() {
    struct Large([u8; 400 * 1024]);
    impl Adapter for Large {
        fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
            self.0[0] = data[0];
            Ok(client.write(&self.0[..1])?)
        }
    }
    let served = serve(|| Large([0; 400 * 1024]));
    served.connect().assert_echo(b"x");
}
