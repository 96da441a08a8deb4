//! Tests of one client, with writes, posts, flushes, closes and aborts at the same time.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use shuttle::thread;

use super::transport::Wire;
use super::{explore, pick, Time};
use crate::client::state::{ClientContext, Upgraded};
use crate::client::{id::ClientId, Client};
use crate::closing::Closing;
use crate::remote::Remote;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::channel::unbounded;
use crate::sync::thread::JoinHandle;
use crate::threads::MachineThreads;
use crate::transport::{Received, Transport};

const WINDOW: usize = 3;

pub(super) fn connect(watched: bool) -> (Arc<Wire>, Client, Arc<MachineThreads>) {
    let (wire, client, threads, _) = connect_with_transport(watched);
    (wire, client, threads)
}

/// Also returns the transport, for a session that reads. It must be dropped when the session has read.
pub(super) fn connect_with_transport(
    watched: bool,
) -> (Arc<Wire>, Client, Arc<MachineThreads>, Arc<dyn Transport>) {
    let (wire, threads) = (Wire::new(WINDOW, watched), MachineThreads::new());
    threads.open().unwrap();
    let context = Arc::new(ClientContext::for_tests(Arc::clone(&threads)));
    let transport = wire.transport();
    let client = Client::new(ClientId::next(), Arc::clone(&transport), Remote::Memory, context);
    (wire, client, threads, transport)
}

/// Waits until the threads that flush have ended.
pub(super) fn end(threads: &MachineThreads) {
    let (sender, ended) = unbounded();
    threads.close(move || sender.send(()).expect("this thread waits for it"));
    ended.recv().expect("the last thread reports its end");
    threads.join();
}

pub(super) fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::spawn(f)
}

/// Makes a record. Each byte identifies the writer, and the length is the number of the record.
pub(super) fn record(writer: u8, number: usize) -> Vec<u8> {
    let mut record = vec![writer; number + 1];
    record.push(b'\n');
    record
}

/// Returns the records that a peer has received, by writer, and the bytes of an incomplete record.
pub(super) fn parse(received: &[u8]) -> (BTreeMap<u8, Vec<usize>>, Vec<u8>) {
    let mut found: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
    let mut rest = received;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, tail) = (&rest[..end], &rest[end + 1..]);
        assert!(line.iter().all(|byte| *byte == line[0]), "records are mixed: {line:?}");
        found.entry(line[0]).or_default().push(line.len() - 1);
        rest = tail;
    }
    (found, rest.to_vec())
}

/// Writes or posts records until a record is refused, and returns the numbers of the accepted records.
fn produce(client: Client, writer: u8, call: fn(&Client, &[u8]) -> io::Result<()>) -> Vec<usize> {
    let mut accepted = Vec::new();
    for number in 0..3 {
        match call(&client, &record(writer, number)) {
            Ok(()) => accepted.push(number),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
                assert!(client.is_closed(), "an open connection has refused a record");
                break;
            }
        }
    }
    accepted
}

fn write(client: &Client, data: &[u8]) -> io::Result<()> {
    client.write(data)
}

fn post(client: &Client, data: &[u8]) -> io::Result<()> {
    client.post(data)
}

fn corked(client: &Client, data: &[u8]) -> io::Result<()> {
    let corked = client.cork();
    let (one, two) = data.split_at(1);
    client.write_vectored_all(&[one, two])?;
    corked.flush()
}

/// Closes the client while other threads write, post and cork. Each accepted record arrives complete and in
/// order, and nothing else arrives.
fn deliver(watched: bool) {
    let (wire, client, threads) = connect(watched);
    let peer = spawn({
        let wire = Arc::clone(&wire);
        move || wire.read_to_end()
    });
    let calls: [(u8, fn(&Client, &[u8]) -> io::Result<()>); 3] = [(b'w', write), (b'p', post), (b'v', write)];
    let producers = calls.map(|(writer, call)| {
        let client = client.clone();
        (writer, spawn(move || produce(client, writer, call)))
    });
    let closer = spawn({
        let client = client.clone();
        move || {
            client.close();
            let late = client.write(b"late\n").unwrap_err();
            assert_eq!(late.kind(), io::ErrorKind::BrokenPipe);
            assert!(client.post(b"late\n").is_err());
        }
    });
    let reason = client.shared().begin_closing(Ok(Ok(())), false);
    assert!(matches!(reason, Closing::ByServer));
    let goodbye = if pick(2) == 0 { record(b'g', 0) } else { Vec::new() };
    client.write(&goodbye).expect("the session may still write");
    drop(client.shared().finish_closing());
    assert!(client.write(b"late\n").is_err());
    closer.join().unwrap();
    let received = peer.join().unwrap();
    assert!(received.ends_with(&goodbye), "something was written after the goodbye");
    let (mut received, torn) = parse(&received);
    assert!(torn.is_empty(), "an incomplete record: {torn:?}");
    received.remove(&b'g');
    for (writer, producer) in producers {
        let accepted = producer.join().unwrap();
        assert_eq!(received.remove(&writer).unwrap_or_default(), accepted, "of writer {}", writer as char);
    }
    assert!(received.is_empty());
    end(&threads);
    assert!(wire.is_dropped(), "a handle keeps the transport open");
}

#[test]
fn records_that_were_accepted_before_a_close_arrive_whole_and_in_order() {
    explore(Time::Stands, || deliver(true));
}

#[test]
fn accepted_records_also_arrive_if_a_thread_has_to_flush() {
    explore(Time::Stands, || deliver(false));
}

/// The client is not closed here. Output that waits in a backlog or under a cork must be sent nevertheless.
fn drain(watched: bool, calls: [(u8, fn(&Client, &[u8]) -> io::Result<()>); 2]) {
    let (wire, client, threads) = connect(watched);
    let total = calls.len() * (0..3).map(|number| record(0, number).len()).sum::<usize>();
    let peer = spawn({
        let wire = Arc::clone(&wire);
        move || wire.read(total)
    });
    let producers = calls.map(|(writer, call)| {
        let client = client.clone();
        spawn(move || produce(client, writer, call))
    });
    for producer in producers {
        assert_eq!(producer.join().unwrap(), [0, 1, 2]);
    }
    let (received, torn) = parse(&peer.join().unwrap());
    assert!(torn.is_empty());
    for (writer, _) in calls {
        assert_eq!(received[&writer], [0, 1, 2]);
    }
    end(&threads);
    assert_eq!(client.stats().bytes_out, total as u64);
}

#[test]
fn a_backlog_is_sent_as_the_peer_reads() {
    explore(Time::Stands, || drain(true, [(b'p', post), (b'q', post)]));
    explore(Time::Stands, || drain(true, [(b'p', post), (b'w', write)]));
}

#[test]
fn a_backlog_is_sent_by_a_thread() {
    explore(Time::Stands, || drain(false, [(b'p', post), (b'w', write)]));
}

#[test]
fn gathered_output_is_sent_complete() {
    explore(Time::Stands, || drain(true, [(b'c', corked), (b'p', post)]));
    explore(Time::Stands, || drain(true, [(b'c', corked), (b'w', write)]));
}

/// A close comes during an upgrade, and the upgrade then returns a new transport. The close also applies to
/// the new transport: reads end, and writes are refused.
#[test]
fn a_close_during_an_upgrade_applies_to_the_new_transport() {
    explore(Time::Stands, || {
        let (_old, client, threads) = connect(true);
        let new = Wire::new(WINDOW, true);
        client.shared().hold_back_output();
        assert!(client.post(b"early\n").is_err(), "output got into the upgrade");
        let closer = spawn({
            let client = client.clone();
            move || {
                client.close();
                assert!(client.write(b"late\n").is_err());
            }
        });
        client.shared().upgraded(new.transport(), Upgraded::new(Remote::Memory));
        let session = spawn({
            let new = Arc::clone(&new);
            move || new.transport().read(&mut [0], None).unwrap()
        });
        closer.join().unwrap();
        assert_eq!(session.join().unwrap(), Received::Interrupted);
        assert!(client.write(b"late\n").is_err() && client.is_closed());
        end(&threads);
    });
}

#[test]
fn the_first_reason_stays() {
    explore(Time::Stands, || {
        let (_wire, client, _threads) = connect(true);
        let closed = Arc::new(AtomicBool::new(false));
        let first = spawn({
            let (client, closed) = (client.clone(), Arc::clone(&closed));
            move || {
                client.close();
                closed.store(true, Ordering::SeqCst);
            }
        });
        let second = spawn({
            let client = client.clone();
            move || {
                let late = closed.load(Ordering::SeqCst);
                client.shared().end(Closing::Stopping, false);
                assert!(client.is_closed());
                late
            }
        });
        let third = spawn({
            let client = client.clone();
            move || client.shared().end(Closing::TooSlow, true)
        });
        first.join().unwrap();
        let late = second.join().unwrap();
        third.join().unwrap();
        let reason = client.shared().begin_closing(Ok(Ok(())), false);
        assert!(matches!(reason, Closing::ByServer | Closing::Stopping | Closing::TooSlow));
        assert!(!(late && matches!(reason, Closing::Stopping)), "a later reason has replaced the first");
        drop(client.shared().finish_closing());
        assert!(
            matches!(client.shared().begin_closing(Ok(Ok(())), false), Closing::ByServer),
            "the reason is returned once"
        );
    });
}

/// A peer hangs, a write waits for it, and another thread aborts the connection. No thread waits forever, and
/// the bytes that the peer has received are the beginning of the output.
#[test]
fn an_abort_ends_every_wait_for_a_peer_that_hangs() {
    explore(Time::Passes, || {
        let (wire, client, threads) = connect(true);
        let calls: [(u8, fn(&Client, &[u8]) -> io::Result<()>); 2] = [(b'w', write), (b'p', post)];
        let producers = calls.map(|(writer, call)| {
            let client = client.clone();
            spawn(move || {
                for number in 0..3 {
                    if call(&client, &record(writer, number)).is_err() {
                        assert!(client.is_closed());
                        assert!(call(&client, b"late\n").is_err());
                        return;
                    }
                }
            })
        });
        let hang = spawn({
            let wire = Arc::clone(&wire);
            move || wire.hang()
        });
        let aborter = spawn({
            let client = client.clone();
            move || client.abort()
        });
        drop(client.shared().begin_closing(Ok(Ok(())), false));
        drop(client.shared().finish_closing());
        for thread in producers.into_iter().chain([hang, aborter]) {
            thread.join().unwrap();
        }
        assert!(wire.is_dropped());
        parse(&wire.received());
        end(&threads);
    });
}
