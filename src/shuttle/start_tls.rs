//! Tests of the switch from plain text to TLS, with writes, posts, corks, closes and stops at the same time.

use std::io;
use std::sync::Arc;

use super::client::{connect, end, parse, record, spawn};
use super::transport::Wire;
use super::{explore, pick, Time};
use crate::client::state::Upgraded;
use crate::client::Client;
use crate::closing::Closing;
use crate::remote::Remote;

/// How another thread sends.
const CALLS: [fn(&Client, &[u8]) -> io::Result<()>; 3] = [
    |client, data| client.write(data),
    |client, data| client.post(data),
    |client, data| {
        let _corked = client.cork();
        client.write(data)
    },
];

/// The event during the switch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    Nothing,
    Close,
    Stop,
}

/// Switches while other threads send. Each record is sent completely before the switch or completely after it.
/// A switch that does not succeed lets nothing follow.
fn switch(watched: bool, event: Event) {
    let (_old, client, threads) = connect(watched);
    let wire = Wire::new(3, watched);
    client.shared().hold_back_output();
    client.shared().upgraded(wire.transport(), Upgraded::new(Remote::Memory));
    let peer = spawn({
        let wire = Arc::clone(&wire);
        move || {
            wire.send(b"h");
            wire.read_to_end()
        }
    });
    let senders = [(b'x', CALLS[pick(3)]), (b'y', CALLS[pick(3)])].map(|(writer, call)| {
        let client = client.clone();
        spawn(move || (0..2).take_while(|number| call(&client, &record(writer, *number)).is_ok()).count())
    });
    let other = spawn({
        let client = client.clone();
        move || match event {
            Event::Nothing => {}
            Event::Close => client.close(),
            Event::Stop => client.stop(),
        }
    });
    let before = client.post(record(b'b', 0)).is_ok();
    let result = client.start_tls();
    let after = result.is_ok() && client.write(record(b'a', 0)).is_ok();
    if event == Event::Nothing {
        assert!(before && after, "{result:?}");
    }
    assert_eq!(client.tls().is_some(), result.is_ok());
    // All other threads have begun before the session ends.
    let accepted = senders.map(|sender| sender.join().unwrap());
    other.join().unwrap();
    client.close();
    let reason = client.shared().begin_closing(Ok(result.map_err(Into::into)), false);
    if event == Event::Nothing {
        assert!(matches!(reason, Closing::ByServer), "{reason}");
    }
    drop(client.shared().finish_closing());
    let received = peer.join().unwrap();
    if let Some(switched) = wire.switched() {
        // A record that the switch has cut would be mixed, or incomplete.
        let plain = &received[..switched.min(received.len())];
        assert!(plain.is_empty() || plain.ends_with(b"\n"), "the switch has cut a record: {received:?}");
        let place = |byte| received.iter().position(|other| *other == byte);
        assert!(!before || place(b'b').is_some_and(|at| at < switched), "sent too late: {received:?}");
        assert!(!after || place(b'a').is_some_and(|at| at >= switched), "sent too early: {received:?}");
        if client.tls().is_none() {
            assert_eq!(received.len(), switched, "something follows a failed switch");
        }
    }
    let (mut records, torn) = parse(&received);
    assert!(torn.is_empty(), "an incomplete record: {torn:?}");
    if client.tls().is_some() {
        for (writer, count) in [b'x', b'y'].into_iter().zip(accepted) {
            assert_eq!(records.remove(&writer).unwrap_or_default().len(), count);
        }
    }
    end(&threads);
    assert!(wire.is_dropped(), "a handle keeps the transport open");
}

#[test]
fn a_switch_comes_between_two_records() {
    explore(Time::Stands, || switch(true, Event::Nothing));
    explore(Time::Stands, || switch(false, Event::Nothing));
}

#[test]
fn a_close_or_a_stop_during_a_switch_ends_it() {
    explore(Time::Stands, || switch(true, Event::Close));
    explore(Time::Stands, || switch(true, Event::Stop));
}
