//! Tests of how one client ends: holds, stops, the end of input, aborts, half-closes, and functions of
//! `on_close`.

use std::sync::Arc;

use super::client::{connect_with_transport, end, parse, record, spawn};
use super::transport::Wire;
use super::{explore, pick, Time};
use crate::client::Client;
use crate::closing::Closing;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::transport::{Received, Transport};

/// Reads like a session until the peer ends its output or the input is ended. Returns whether the peer has
/// ended its output.
fn read(client: &Client, transport: Arc<dyn Transport>) -> bool {
    while !client.is_input_ended() {
        match transport.read(&mut [0; 4], None) {
            Ok(Received::EndOfInput) => return true,
            Ok(Received::Bytes(_) | Received::Interrupted | Received::TimedOut) => {}
            // After an abort.
            Err(_) => break,
        }
    }
    false
}

fn reader(wire: &Arc<Wire>) -> crate::sync::thread::JoinHandle<Vec<u8>> {
    let wire = Arc::clone(wire);
    spawn(move || wire.read_to_end())
}

/// Answers under a hold, while the peer ends its input, a stop comes, and perhaps `meddle` ends the connection.
/// If nothing forces the end, the answer arrives before the goodbye.
fn answer_under_a_hold(forced: bool, meddle: fn(&Client)) {
    let (wire, client, threads, transport) = connect_with_transport(true);
    let peer = reader(&wire);
    let ender = spawn({
        let wire = Arc::clone(&wire);
        move || wire.end()
    });
    let (hold, released) = (client.hold(), Arc::new(AtomicBool::new(false)));
    let answerer = spawn({
        let released = Arc::clone(&released);
        move || {
            let second = hold.clone();
            drop(hold);
            let written = second.write(record(b'a', 1)).is_ok() && second.post(record(b'a', 2)).is_ok();
            released.store(true, Ordering::SeqCst);
            drop(second);
            written
        }
    });
    let stopper = spawn({
        let client = client.clone();
        move || client.stop()
    });
    let meddler = spawn({
        let client = client.clone();
        move || meddle(&client)
    });
    let end_of_input = read(&client, transport);
    let reason = client.shared().begin_closing(Ok(Ok(())), end_of_input);
    let waited = released.load(Ordering::SeqCst);
    let said_goodbye = client.write(record(b'g', 0)).is_ok();
    drop(client.shared().finish_closing());
    for thread in [ender, stopper, meddler] {
        thread.join().unwrap();
    }
    let (answered, received) = (answerer.join().unwrap(), peer.join().unwrap());
    if !forced {
        assert!(waited && answered && said_goodbye, "{reason}: {waited} {answered} {said_goodbye}");
        assert!(matches!(reason, Closing::Stopping | Closing::ByPeer), "{reason}");
        let (records, torn) = parse(&received);
        assert!(torn.is_empty() && records[&b'a'] == [1, 2] && received.ends_with(&record(b'g', 0)));
    }
    assert!(client.is_stopping() && client.is_closed());
    end(&threads);
}

#[test]
fn an_answer_under_a_hold_arrives_after_the_end_of_input_and_a_stop() {
    explore(Time::Stands, || answer_under_a_hold(false, |_| ()));
}

#[test]
fn a_close_and_an_abort_do_not_wait_for_a_hold() {
    explore(Time::Stands, || answer_under_a_hold(true, Client::close));
    explore(Time::Stands, || answer_under_a_hold(true, Client::abort));
}

/// Holds are taken and dropped by several threads while a stop comes. The session is woken in any case.
#[test]
fn the_last_hold_lets_the_stop_take_effect() {
    explore(Time::Stands, || {
        let (_wire, client, threads, transport) = connect_with_transport(true);
        let holders = [0, 1].map(|_| {
            let hold = client.hold();
            spawn(move || {
                let again = Client::hold(&hold);
                drop(hold);
                drop(again);
            })
        });
        let stopper = spawn({
            let client = client.clone();
            move || client.stop()
        });
        // Only the stop ends this wait, because the peer sends nothing.
        assert!(!read(&client, transport));
        assert!(matches!(client.shared().begin_closing(Ok(Ok(())), false), Closing::Stopping));
        drop(client.shared().finish_closing());
        for thread in holders.into_iter().chain([stopper]) {
            thread.join().unwrap();
        }
        end(&threads);
    });
}

/// A hold that is leaked keeps the conversation open, but an abort at the drain timeout ends it.
#[test]
fn an_abort_ends_the_wait_for_a_hold_that_is_leaked() {
    explore(Time::Stands, || {
        let (wire, client, threads, transport) = connect_with_transport(true);
        wire.end();
        std::mem::forget(client.hold());
        let machine = spawn({
            let client = client.clone();
            move || {
                client.stop();
                client.end_now(Closing::Stopping);
            }
        });
        let end_of_input = read(&client, transport);
        drop(client.shared().begin_closing(Ok(Ok(())), end_of_input));
        drop(client.shared().finish_closing());
        machine.join().unwrap();
        end(&threads);
    });
}

/// A function of `on_close` runs once, and before `closing`. Any thread may end the connection.
#[test]
fn a_function_for_the_end_runs_once_and_before_closing() {
    explore(Time::Stands, || {
        let (wire, client, threads, transport) = connect_with_transport(true);
        let (calls, closing) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let early = Arc::new(AtomicBool::new(true));
        let count = |early_only: bool| {
            let (calls, closing, early) = (Arc::clone(&calls), Arc::clone(&closing), Arc::clone(&early));
            move || {
                calls.fetch_add(1, Ordering::SeqCst);
                if early_only && closing.load(Ordering::SeqCst) {
                    early.store(false, Ordering::SeqCst);
                }
            }
        };
        client.on_close(count(true));
        let enders: [fn(&Client); 3] = [Client::close, Client::stop, Client::abort];
        let enders = enders.map(|ender| {
            let client = client.clone();
            spawn(move || ender(&client))
        });
        let late = spawn({
            let (client, count) = (client.clone(), count(false));
            move || client.on_close(count)
        });
        if pick(2) == 0 {
            wire.end();
        }
        let end_of_input = read(&client, transport);
        drop(client.shared().begin_closing(Ok(Ok(())), end_of_input));
        closing.store(true, Ordering::SeqCst);
        drop(client.shared().finish_closing());
        for thread in enders.into_iter().chain([late]) {
            thread.join().unwrap();
        }
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        assert!(early.load(Ordering::SeqCst), "`closing` has begun before");
        end(&threads);
    });
}

/// A half-close comes while other threads write and post. Each record that was accepted arrives complete, then
/// the peer sees the end. The input stays open.
#[test]
fn a_half_close_follows_the_records_that_were_accepted() {
    explore(Time::Stands, || {
        let (wire, client, threads, transport) = connect_with_transport(pick(2) == 0);
        let peer = reader(&wire);
        let writers = [b'w', b'p'].map(|writer| {
            let client = client.clone();
            spawn(move || {
                let mut accepted = Vec::new();
                for number in 0..3 {
                    let record = record(writer, number);
                    let result = if writer == b'w' { client.write(record) } else { client.post(record) };
                    match result {
                        Ok(()) => accepted.push(number),
                        Err(_) => break,
                    }
                }
                (writer, accepted)
            })
        });
        client.close_write();
        assert!(client.is_closed() && !client.is_stopping());
        assert!(client.write("late").is_err() && client.post("late").is_err());
        let received = peer.join().unwrap();
        let (mut records, torn) = parse(&received);
        assert!(torn.is_empty());
        for thread in writers {
            let (writer, accepted) = thread.join().unwrap();
            assert_eq!(records.remove(&writer).unwrap_or_default(), accepted);
        }
        assert!(!client.is_input_ended());
        // The peer ends its output when it has seen the end of ours.
        assert!(read(&client, transport));
        assert!(matches!(client.shared().begin_closing(Ok(Ok(())), true), Closing::ByPeer));
        drop(client.shared().finish_closing());
        end(&threads);
    });
}
