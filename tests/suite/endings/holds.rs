//! Holds keep a conversation open past the end of the peer's input and past a stop (P21).

use std::io::{BufRead, Read};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use backport::framing::Lines;
use backport::{receiving, Adapter, Client, Closing, Hold, Input, Machine, Result, ServerHandle};
use crossbeam_channel::{unbounded, Receiver, Sender};

use crate::support::{eventually, next, nothing, serve, Served, Watch};

/// Gives a hold to the test for each line.
pub(super) struct Holder(pub(super) Sender<(Hold, String)>);

impl Adapter for Holder {
    fn receiving(&mut self, client: &Client, line: &[u8]) -> Result {
        Ok(self.0.send((client.hold(), String::from_utf8_lossy(line).into_owned()))?)
    }
    fn closing(&mut self, client: &Client, reason: &Closing) {
        // The output may be lost already.
        drop(client.write_line(format!("goodbye: {reason}")));
    }
}

type Holds = Receiver<(Hold, String)>;

/// Serves holders of lines.
pub(super) fn serve_holders() -> (Served, Watch, Holds) {
    let (watch, (sender, holds)) = (Watch::new(), unbounded());
    let watched = watch.clone();
    let served = serve(move || watched.around(Holder(sender.clone())).framed(Lines::default()));
    (served, watch, holds)
}

#[test]
fn every_line_is_answered_by_a_thread_after_the_peer_has_ended_its_input() {
    let (served, watch, holds) = serve_holders();
    let peer = served.connect();
    peer.send("a\nb\nc\n");
    peer.half_close();
    let holds: Vec<_> = (0..3).map(|_| next(&holds)).collect();
    let answers = thread::spawn(move || {
        for (hold, line) in holds {
            thread::sleep(Duration::from_millis(20));
            hold.write_line(format!("answer {line}")).unwrap();
        }
    });
    let said = peer.read_to_end();
    assert_eq!(String::from_utf8_lossy(&said), "answer a\nanswer b\nanswer c\ngoodbye: closed by the peer\n");
    answers.join().unwrap();
    assert_eq!(next(&watch.closed), "ByPeer");
    watch.assert_settled(&served);
}

#[test]
fn a_hold_that_drops_ends_nothing_by_itself() {
    let (served, watch, holds) = serve_holders();
    let peer = served.connect();
    let client = next(&watch.opened);
    for line in ["first", "second"] {
        peer.send(format!("{line}\n"));
        let (hold, request) = next(&holds);
        assert_eq!(request, line);
        drop(hold.clone());
        hold.write_line(format!("answer to the {line}")).unwrap();
        drop(hold);
        assert_eq!(peer.read_line(), format!("answer to the {line}"));
    }
    nothing(&watch.closed);
    assert!(!client.is_stopping());
    peer.half_close();
    assert_eq!(peer.read_to_end(), b"goodbye: closed by the peer\n");
    watch.assert_settled(&served);
    served.stop().unwrap();
}

/// Asserts that requests are served as before while a hold exists, whoever has asked for a stop.
#[track_caller]
fn goes_on_until_the_hold_drops(stop: fn(&Machine, &ServerHandle)) {
    let (served, watch, holds) = serve_holders();
    let peer = served.connect();
    let client = next(&watch.opened);
    peer.send("first\n");
    let (first, _) = next(&holds);
    stop(served.machine(), &served.server);
    eventually("the stop has reached the client", || client.is_stopping());
    assert!(!client.is_closed());
    peer.send("second\n");
    let (second, line) = next(&holds);
    assert_eq!(line, "second");
    second.write_line("answer to the second").unwrap();
    drop(second);
    nothing(&watch.closed);
    peer.send("third\n");
    let (third, _) = next(&holds);
    third.write_line("answer to the third").unwrap();
    drop(third);
    let copy = first.clone();
    drop(first);
    nothing(&watch.closed);
    copy.write_line("answer to the first").unwrap();
    drop(copy);
    let said = String::from_utf8(peer.read_to_end()).unwrap();
    let answers = "answer to the second\nanswer to the third\nanswer to the first\n";
    assert_eq!(said, format!("{answers}goodbye: the server is stopping\n"));
    drop(peer);
    assert_eq!(next(&watch.closed), "Stopping");
    assert!(client.is_closed());
    served.join().unwrap();
    watch.assert_balanced();
}

#[test]
fn a_hold_keeps_the_conversation_open_after_a_stop_of_the_machine() {
    goes_on_until_the_hold_drops(|machine, _| machine.stop());
}

#[test]
fn a_hold_keeps_the_conversation_open_after_a_stop_of_the_server() {
    goes_on_until_the_hold_drops(|_, server| server.stop());
}

#[test]
fn a_hold_keeps_the_conversation_open_after_a_drain() {
    goes_on_until_the_hold_drops(|machine, _| machine.drain(Duration::ZERO));
    goes_on_until_the_hold_drops(|_, server| server.drain(Duration::ZERO));
}

#[test]
fn a_hold_that_a_panic_drops_lets_the_conversation_end() {
    let (served, watch, holds) = serve_holders();
    let peer = served.connect();
    peer.send("x\n");
    peer.half_close();
    let (hold, _) = next(&holds);
    let thread = thread::spawn(move || {
        hold.write_line("nearly").unwrap();
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(thread.join().is_err());
    assert_eq!(peer.read_to_end(), b"nearly\ngoodbye: closed by the peer\n");
    watch.assert_settled(&served);
}

#[test]
fn serving_that_returns_leaves_the_output_open_while_a_hold_exists() {
    struct Serving(Sender<Hold>);
    impl Adapter for Serving {
        fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
            input.chunk()?;
            Ok(self.0.send(client.hold())?)
        }
        fn closing(&mut self, client: &Client, reason: &Closing) {
            client.write(format!("goodbye: {reason}")).unwrap();
        }
    }
    for stops in [false, true] {
        let (watch, (sender, holds)) = (Watch::new(), unbounded());
        let watched = watch.clone();
        let served = serve(move || watched.around_serving(Serving(sender.clone())));
        let peer = served.connect();
        peer.send("go");
        let hold = next(&holds);
        nothing(&watch.closed);
        if stops {
            served.machine().stop();
            eventually("the stop has reached the client", || hold.is_stopping());
        }
        hold.write("late, ").unwrap();
        assert_eq!(peer.read(6), b"late, ");
        drop(hold);
        let said = peer.read_to_end();
        assert!(said.starts_with(b"goodbye: "), "{said:?}");
        next(&watch.closed);
        watch.assert_settled(&served);
    }
}

/// The stop comes before the hold, so the next read fails, and its error is passed on with `?`.
#[test]
fn a_hold_that_is_taken_after_a_stop_is_waited_for_although_the_next_read_fails() {
    struct Reader(Sender<()>, Receiver<()>, Sender<Hold>);
    impl Adapter for Reader {
        fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
            let mut line = String::new();
            while input.read_line(&mut line)? > 0 {
                self.0.send(())?;
                self.1.recv()?;
                self.2.send(client.hold())?;
            }
            Ok(())
        }
        fn closing(&mut self, client: &Client, reason: &Closing) {
            client.write(format!("goodbye: {reason}")).unwrap();
        }
    }
    let ((begin, begun), (go, wait), (sender, holds)) = (unbounded(), unbounded(), unbounded());
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around_serving(Reader(begin.clone(), wait.clone(), sender.clone())));
    let peer = served.connect();
    let client = next(&watch.opened);
    peer.send("request\n");
    next(&begun);
    served.machine().stop();
    eventually("the stop has reached the client", || client.is_stopping());
    go.send(()).unwrap();
    let hold = next(&holds);
    nothing(&watch.closed);
    hold.write("answer, ").unwrap();
    drop(hold);
    assert_eq!(peer.read_to_end(), b"answer, goodbye: the server is stopping");
    drop(peer);
    assert_eq!(next(&watch.closed), "Stopping");
    served.join().unwrap();
    watch.assert_balanced();
}

#[test]
fn holds_of_eight_threads_at_once_are_all_waited_for() {
    for round in 0..20 {
        let (served, watch, holds) = serve_holders();
        let peer = served.connect();
        peer.send("x\n");
        let (hold, _) = next(&holds);
        let together = Arc::new(Barrier::new(9));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (hold, together) = (hold.clone(), Arc::clone(&together));
                thread::spawn(move || {
                    together.wait();
                    for _ in 0..50 {
                        let inner = hold.hold();
                        drop(hold.clone());
                        inner.write("x").unwrap();
                    }
                    hold.post("!").unwrap();
                })
            })
            .collect();
        drop(hold);
        if round % 2 == 0 {
            peer.half_close();
        }
        together.wait();
        served.machine().stop();
        let said = peer.read_to_end();
        let count = |byte: u8| said.iter().filter(|&&it| it == byte).count();
        assert_eq!(count(b'!'), 8);
        assert!(said.windows(9).any(|part| part == b"goodbye: "));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(peer);
        served.join().unwrap();
        watch.assert_balanced();
    }
}

#[test]
fn the_stages_of_an_ending_show_in_is_stopping_and_is_closed() {
    let (sender, stages) = unbounded();
    let stage = |client: &Client| (client.is_stopping(), client.is_closed());
    struct Stages(Sender<(bool, bool)>);
    impl Adapter for Stages {
        fn closing(&mut self, client: &Client, _: &Closing) {
            self.0.send((client.is_stopping(), client.is_closed())).unwrap();
        }
    }
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Stages(sender.clone())));
    let peer = served.connect();
    let client = next(&watch.opened);
    assert_eq!(stage(&client), (false, false));
    let hold = client.hold();
    peer.half_close();
    nothing(&watch.closed);
    assert_eq!(stage(&client), (false, false), "the end of input alone closes nothing");
    served.machine().stop();
    eventually("the stop has reached the client", || client.is_stopping());
    assert_eq!(stage(&client), (true, false));
    drop(hold);
    assert_eq!(next(&stages), (true, true));
    assert_eq!(peer.read_to_end(), b"");
    assert_eq!(stage(&client), (true, true));
    served.join().unwrap();
}

#[test]
fn a_hold_of_an_ended_client_is_harmless() {
    let served = serve(|| {
        receiving(|client, _| {
            client.close();
            Ok(())
        })
    });
    let peer = served.connect();
    eventually("it is registered", || served.server.clients().len() == 1);
    let client = served.server.clients().remove(0);
    peer.send("x");
    assert_eq!((&peer.stream).read(&mut [0]).unwrap(), 0);
    drop(peer);
    served.wait_until_empty();
    let holds: Vec<_> = (0..100).map(|_| client.hold()).collect();
    assert_eq!(holds[0].write("x").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    served.stop().unwrap();
}
