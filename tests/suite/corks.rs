//! Corks: writes gather, and go out in one piece (P15).

use std::thread;

use backport::{Adapter, Client, Result};
use crossbeam_channel::unbounded;

use crate::support::{assert_same, eventually, next, pattern, serve};
use crate::writing::connected;

#[test]
fn a_cork_gathers_until_it_drops() {
    let (_served, peer, client, _watch) = connected();
    let corked = client.cork();
    for row in 0..100 {
        client.write_line(row.to_string()).unwrap();
    }
    client.post("posted\n").unwrap();
    let other = client.clone();
    thread::spawn(move || other.write("from another thread\n").unwrap()).join().unwrap();
    assert_eq!(client.stats().bytes_out, 0);
    assert_eq!(client.stats().backlog, 290 + 7 + 20);
    drop(corked);
    let expected: String = (0..100).map(|row| format!("{row}\n")).collect();
    let expected = expected + "posted\nfrom another thread\n";
    assert_eq!(peer.read(expected.len()), expected.as_bytes());
    eventually("all is counted", || client.stats().backlog == 0);
    assert_eq!(client.stats().bytes_out, expected.len() as u64);
}

#[test]
fn a_cork_flushes_and_goes_on_gathering() {
    let (_served, peer, client, _watch) = connected();
    let corked = client.cork();
    client.write("first ").unwrap();
    corked.flush().unwrap();
    corked.flush().unwrap();
    assert_eq!(peer.read(6), b"first ");
    client.write("second").unwrap();
    assert_eq!(client.stats().bytes_out, 6);
    drop(corked);
    assert_eq!(peer.read(6), b"second");
}

#[test]
fn nested_corks_let_go_with_the_last() {
    let (_served, peer, client, _watch) = connected();
    let outer = client.cork();
    let inner = client.cork();
    client.write("a").unwrap();
    drop(outer);
    client.write("b").unwrap();
    assert_eq!(client.stats().bytes_out, 0);
    drop(inner);
    assert_eq!(peer.read(2), b"ab");
    client.write("c").unwrap();
    assert_eq!(peer.read(1), b"c");
}

#[test]
fn a_corks_memory_is_bounded_and_its_order_kept() {
    let (_served, peer, client, _watch) = connected();
    let data = pattern(1_000_000);
    let (sender, done) = unbounded();
    let (writer, sent) = (client.clone(), data.clone());
    let thread = thread::spawn(move || {
        let corked = writer.cork();
        for (number, chunk) in sent.chunks(1000).enumerate() {
            writer.write(chunk).unwrap();
            let stats = writer.stats();
            assert!(stats.backlog <= 128 * 1024);
            assert!(number >= 65 || stats.bytes_out == 0, "not gathered: {stats:?}");
        }
        corked.flush().unwrap();
        drop(corked);
        sender.send(()).unwrap();
    });
    assert_same(&peer.read(data.len()), &data);
    next(&done);
    thread.join().unwrap();
}

#[test]
fn what_is_corked_when_the_client_closes_is_delivered() {
    struct Corker;
    impl Adapter for Corker {
        fn receiving(&mut self, client: &Client, _: &[u8]) -> Result {
            let _corked = client.cork();
            client.write("gathered, then closed")?;
            client.close();
            Ok(())
        }
    }
    let served = serve(|| Corker);
    let peer = served.connect();
    peer.send(b"go");
    assert_eq!(peer.read_to_end(), b"gathered, then closed");
    served.wait_until_empty();
}
