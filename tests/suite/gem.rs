//! What the Ruby gem's own tests ask of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use backport::{Adapter, Backport, Client, Machine, Result};
use crossbeam_channel::{bounded, unbounded, Sender};

use crate::support::{eventually, in_time, next, prepare, serve, Echo, Watch};
use crate::FRONT_DOOR;

const TICK: Duration = Duration::from_millis(5);

#[test]
fn machine_runs_the_setup_before_it_starts() {
    let _door = FRONT_DOOR.lock();
    let (said, heard) = unbounded();
    in_time("run returns", move || {
        Backport::run(|machine| {
            let saying = said.clone();
            machine.prepare_interval(TICK, move |interval| {
                saying.send("tick").unwrap();
                interval.stop();
            });
            assert!(!machine.is_stopped());
            said.send("setup")?;
            Ok(())
        })
        .unwrap();
    });
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["setup", "tick"]);
}

#[test]
fn machine_prepares_and_starts_servers_while_it_runs() {
    let first = serve(|| Echo);
    let second = prepare(first.machine(), || Echo);
    assert_eq!(first.machine().servers().len(), 2);
    first.assert_echoes();
    second.connect().assert_echo(b"second");
    first.stop().unwrap();
    assert!(second.is_stopped());
}

#[test]
fn an_interval_stops_the_machine() {
    let served = serve(|| Echo);
    let machine = served.machine().clone();
    served.machine().prepare_interval(TICK, move |_| machine.stop());
    served.join().unwrap();
}

#[test]
fn an_interval_repeats_until_it_stops_itself() {
    let machine = Machine::new();
    let count = Arc::new(AtomicUsize::new(0));
    let counting = count.clone();
    let interval = machine.prepare_interval(TICK, move |interval| {
        if counting.fetch_add(1, Ordering::SeqCst) + 1 == 10 {
            interval.stop();
        }
    });
    in_time("run returns with its last interval", move || machine.run()).unwrap();
    assert_eq!((count.load(Ordering::SeqCst), interval.ticks()), (10, 10));
    assert!(interval.is_stopped());
}

#[test]
fn a_stopped_server_leaves_the_machine_and_the_last_one_stops_it() {
    let served = serve(|| Echo);
    let second = prepare(served.machine(), || Echo);
    second.stop();
    eventually("the server leaves", || served.machine().servers().len() == 1);
    served.assert_echoes();
    assert!(!served.machine().is_stopped());
    served.server.stop();
    served.join().unwrap();
}

#[test]
fn write_and_write_line_reach_the_output() {
    struct Writer;
    impl Adapter for Writer {
        fn opening(&mut self, client: &Client) -> Result {
            client.write("written")?;
            client.write_line(" and a line")?;
            client.write_line("a line that has its end\n")?;
            client.write_line("")?;
            client.close();
            Ok(())
        }
    }
    let served = serve(|| Writer);
    assert_eq!(served.connect().read_to_end(), b"written and a line\na line that has its end\n\n");
}

#[test]
fn a_close_is_seen_by_is_closed() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    let peer = served.connect();
    let client = next(&watch.opened);
    assert!(!client.is_closed());
    client.close();
    assert!(client.is_closed());
    assert_eq!(peer.read_to_end(), b"");
    assert_eq!(next(&watch.closed), "ByServer");
    watch.assert_settled(&served);
}

#[test]
fn tcp_reads_reach_the_adapter() {
    struct Tell(Sender<Vec<u8>>);
    impl Adapter for Tell {
        fn receiving(&mut self, _: &Client, data: &[u8]) -> Result {
            Ok(self.0.send(data.to_vec())?)
        }
    }
    let (sender, received) = bounded(1);
    let served = serve(move || Tell(sender.clone()));
    let peer = served.connect();
    peer.send(b"hello");
    assert_eq!(next(&received), b"hello");
    peer.send(b"\0\xff\r");
    assert_eq!(next(&received), b"\0\xff\r");
}

#[test]
fn a_clients_disconnect_removes_it_from_the_servers_clients() {
    let served = serve(|| Echo);
    let (one, two) = (served.connect(), served.connect());
    one.assert_echo(b"one");
    two.assert_echo(b"two");
    assert_eq!(served.server.clients().len(), 2);
    let stays = served.server.clients()[1].id();
    drop(one);
    eventually("the client leaves", || served.server.client_count() == 1);
    let left = served.server.clients();
    assert_eq!(left.iter().map(|client| client.id()).collect::<Vec<_>>(), [stays]);
    two.assert_echo(b"two again");
}

#[test]
fn a_client_closed_in_opening_is_removed() {
    struct Refuse;
    impl Adapter for Refuse {
        fn opening(&mut self, client: &Client) -> Result {
            client.close();
            Ok(())
        }
        fn receiving(&mut self, _: &Client, _: &[u8]) -> Result {
            panic!("nothing is received after a close in opening");
        }
    }
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Refuse));
    let peer = served.connect();
    peer.send(b"not for you");
    assert_eq!(peer.read_to_end(), b"");
    assert_eq!(next(&watch.closed), "ByServer");
    watch.assert_settled(&served);
    served.stop().unwrap();
}
