//! `Client::close_write`: the output ends after what was written, and the input goes on. And `Client::flush`.

use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use backport::framing::Lines;
use backport::testing::{self, Setup};
use backport::{receiving, Adapter, Client, Closing, Result};
use crossbeam_channel::{unbounded, Receiver, Sender};

use crate::support::{
    assert_same, eventually, gate, next, pattern, serve, serve_with, Gate, Peer, Served, Watch,
};

/// Tells the test of each line, and fails to say goodbye.
struct Listener(Sender<String>);

impl Adapter for Listener {
    fn receiving(&mut self, _: &Client, line: &[u8]) -> Result {
        Ok(self.0.send(String::from_utf8_lossy(line).into_owned())?)
    }
    fn closing(&mut self, client: &Client, _: &Closing) {
        let said = client.write("goodbye").map_err(|error| error.kind());
        self.0.send(format!("closing, {said:?}")).unwrap();
    }
}

fn scene() -> (Served, Peer, Client, Receiver<String>) {
    let (watch, (sender, lines)) = (Watch::new(), unbounded());
    let watched = watch.clone();
    let served = serve_with(
        move || watched.around(Listener(sender.clone())).framed(Lines::default()),
        |server| server.max_backlog(40_000_000),
    );
    let peer = served.connect();
    let client = next(&watch.opened);
    (served, peer, client, lines)
}

#[test]
fn the_peer_reads_the_end_and_can_still_send() {
    let (served, peer, client, lines) = scene();
    client.write("all of it").unwrap();
    client.close_write();
    client.close_write();
    assert_eq!(peer.read_to_end(), b"all of it");
    assert!(client.is_closed() && !client.is_stopping());
    for refused in [client.write("x"), client.post("x"), client.write_line("x")] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
    client.flush().unwrap();
    peer.send("one\ntwo\n");
    assert_eq!((next(&lines), next(&lines)), ("one".to_owned(), "two".to_owned()));
    peer.half_close();
    assert_eq!(next(&lines), "closing, Err(BrokenPipe)");
    served.wait_until_empty();
    served.stop().unwrap();
}

/// Ends the connection in each way after a half-close, while its output is still under way.
#[test]
fn the_end_follows_a_backlog_that_is_under_way() {
    let ends: [fn(&Client, &Served); 5] = [
        |_, _| (),
        |client, _| client.close(),
        |_, served| served.server.stop(),
        |_, served| served.machine().stop(),
        |client, served| {
            client.close();
            served.machine().stop();
        },
    ];
    for (index, end) in ends.iter().enumerate() {
        let (served, peer, client, lines) = scene();
        let data = pattern(6_000_000);
        client.post(&data).unwrap();
        client.close_write();
        assert_eq!(client.post("x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        if index == 0 {
            peer.send("still heard\n");
            assert_eq!(next(&lines), "still heard");
        }
        end(&client, &served);
        assert_same(&peer.read_to_end(), &data);
        if index == 0 {
            peer.send("and now\n");
            assert_eq!(next(&lines), "and now");
        }
        drop(peer);
        assert_eq!(next(&lines), "closing, Err(BrokenPipe)", "{index}");
        served.stop().unwrap();
    }
}

#[test]
fn the_end_follows_a_write_of_another_thread_that_is_blocked() {
    let (served, peer, client, _lines) = scene();
    let data = pattern(20_000_000);
    let (writer, record) = (client.clone(), data.clone());
    let writing = thread::spawn(move || writer.write(record));
    eventually("it has begun", || client.stats().bytes_out > 0);
    let late = client.clone();
    let late = thread::spawn(move || late.write("it has not begun, so it is refused"));
    // It waits for its turn by then.
    thread::sleep(Duration::from_millis(50));
    client.post("posted").unwrap();
    client.close_write();
    let flusher = client.clone();
    let flusher = thread::spawn(move || flusher.flush());
    thread::sleep(Duration::from_millis(50));
    assert_same(&peer.read_to_end(), &[&data[..], b"posted"].concat());
    writing.join().unwrap().unwrap();
    flusher.join().unwrap().unwrap();
    assert_eq!(late.join().unwrap().unwrap_err().kind(), ErrorKind::BrokenPipe);
    drop(peer);
    served.stop().unwrap();
}

#[test]
fn the_end_follows_what_was_gathered_under_a_cork() {
    let (served, peer, client, lines) = scene();
    let corked = client.cork();
    client.write("under ").unwrap();
    client.post("the cork").unwrap();
    client.close_write();
    assert!(client.write("x").is_err());
    peer.send("heard\n");
    assert_eq!(next(&lines), "heard");
    drop(corked);
    assert_eq!(peer.read_to_end(), b"under the cork");
    peer.send("and after\n");
    assert_eq!(next(&lines), "and after");
    drop(peer);
    served.stop().unwrap();
}

/// The kernel has taken everything, and the peer has not.
#[test]
fn the_end_follows_what_a_slow_peer_has_not_taken() {
    for under_a_cork in [false, true] {
        let (served, _peer, _client, lines) = scene();
        let slow = Peer::connect_narrow(served.address());
        eventually("it is connected", || served.server.clients().len() == 2);
        let client = served.server.clients().remove(1);
        let data = pattern(30_000);
        client.write(&data).unwrap();
        let corked = under_a_cork.then(|| client.cork());
        client.close_write();
        drop(corked);
        slow.send("heard\n");
        assert_eq!(next(&lines), "heard");
        assert_same(&slow.read_to_end(), &data);
        slow.send("and after\n");
        assert_eq!(next(&lines), "and after");
        served.stop().unwrap();
    }
}

#[test]
fn a_half_close_after_a_close_leaves_closing_its_output() {
    struct Closes;
    impl Adapter for Closes {
        fn receiving(&mut self, client: &Client, _: &[u8]) -> Result {
            client.close();
            client.close_write();
            Ok(())
        }
        fn closing(&mut self, client: &Client, _: &Closing) {
            client.close_write();
            client.write("goodbye").unwrap();
        }
    }
    let served = serve(|| Closes);
    let peer = served.connect();
    peer.send("x");
    assert_eq!(peer.read_to_end(), b"goodbye");
    served.stop().unwrap();
}

#[test]
fn a_half_close_of_both_sides_ends_the_connection() {
    let (served, peer, client, lines) = scene();
    client.close_write();
    peer.half_close();
    assert_eq!(peer.read_to_end(), b"");
    assert_eq!(next(&lines), "closing, Err(BrokenPipe)");
    served.wait_until_empty();
    served.stop().unwrap();
}

#[test]
fn a_half_close_over_memory_goes_the_same_way() {
    let (sender, lines) = unbounded();
    let setup = Setup::new().window(1000).max_backlog(1_000_000);
    let mut client = setup.connect(Listener(sender).framed(Lines::default()));
    let server_side = client.server().clients().remove(0);
    let data = pattern(100_000);
    server_side.post(&data).unwrap();
    server_side.close_write();
    let mut said = Vec::new();
    client.read_to_end(&mut said).unwrap();
    assert_same(&said, &data);
    client.write_all(b"still heard\n").unwrap();
    assert_eq!(next(&lines), "still heard");
    assert!(matches!(client.finish(), Closing::ByPeer));
}

#[test]
fn flush_waits_until_posts_have_gone_out_and_fails_when_they_cannot() {
    let (served, peer, client, _lines) = scene();
    client.flush().unwrap();
    let data = pattern(8_000_000);
    client.post(&data).unwrap();
    assert!(client.stats().backlog > 0);
    let flusher = client.clone();
    let thread = thread::spawn(move || {
        let result = flusher.flush();
        (result, flusher.stats().backlog)
    });
    let mut received = peer.read(1_000_000);
    received.extend(peer.read(7_000_000));
    assert_same(&received, &data);
    let (result, backlog) = thread.join().unwrap();
    result.unwrap();
    assert_eq!(backlog, 0);
    // The buffers of the kernel have grown by now, and take up to ten megabytes.
    client.post(vec![0; 30_000_000]).unwrap();
    let flusher = client.clone();
    let thread = thread::spawn(move || flusher.flush());
    thread::sleep(Duration::from_millis(50));
    client.abort();
    assert!(thread.join().unwrap().is_err());
    assert!(client.flush().is_err() || client.stats().backlog == 0);
    served.stop().unwrap();
}

#[test]
fn flush_fails_on_another_thread_than_that_of_closing_and_cuts_nothing() {
    struct Closes(Sender<()>, Gate);
    impl Adapter for Closes {
        fn closing(&mut self, _: &Client, _: &Closing) {
            self.0.send(()).unwrap();
            self.1.wait();
        }
    }
    let ((keeper, gate), (sender, closing)) = (gate(), unbounded());
    let served =
        serve_with(move || Closes(sender.clone(), gate.clone()), |server| server.max_backlog(40_000_000));
    let peer = served.connect();
    eventually("it is registered", || served.server.clients().len() == 1);
    let client = served.server.clients().remove(0);
    let data = pattern(8_000_000);
    client.post(&data).unwrap();
    client.close();
    next(&closing);
    assert!(client.stats().backlog > 0);
    assert_eq!(client.flush().unwrap_err().kind(), ErrorKind::BrokenPipe);
    drop(keeper);
    assert_same(&peer.read_to_end(), &data);
    served.stop().unwrap();
}

#[test]
fn the_idle_timeout_of_a_client_overrides_that_of_its_server() {
    for (limit, ends) in
        [(Some(Duration::from_millis(50)), true), (None, false), (Some(Duration::MAX), false)]
    {
        let (sender, closed) = unbounded();
        struct Own(Option<Duration>, Sender<String>);
        impl Adapter for Own {
            fn opening(&mut self, client: &Client) -> Result {
                client.set_idle_timeout(self.0);
                Ok(client.write("!")?)
            }
            fn closing(&mut self, _: &Client, reason: &Closing) {
                self.1.send(reason.to_string()).unwrap();
            }
        }
        // The server's own timeout is longer than the first limit, and shorter than the others.
        let own = if ends { Duration::from_secs(60) } else { Duration::from_millis(50) };
        let mut client = Setup::new().idle_timeout(own).connect(Own(limit, sender));
        client.read_exact(&mut [0]).unwrap();
        if ends {
            assert_eq!(next(&closed), "idle for too long");
        } else {
            crate::support::nothing(&closed);
        }
    }
}

#[test]
fn a_client_leads_to_its_server_and_back() {
    let (sender, clients) = unbounded();
    let make = move |sender: &Sender<Client>| {
        let sender = sender.clone();
        receiving(move |client, _| Ok(sender.send(client.clone())?))
    };
    let (mut one, mut two) = (testing::connect(make(&sender)), testing::connect(make(&sender)));
    one.write_all(b"x").unwrap();
    let first = next(&clients);
    two.write_all(b"x").unwrap();
    let second = next(&clients);
    assert_eq!(first.server().client(first.id()).unwrap().id(), first.id());
    assert!(first.server().client(second.id()).is_none(), "it belongs to another server");
    first.server().stop();
    let mut rest = Vec::new();
    one.read_to_end(&mut rest).unwrap();
    let server = first.server();
    drop(one);
    eventually("it has left", || server.client(first.id()).is_none());
    assert!(second.server().client(second.id()).is_some() && !second.is_stopping());
}
