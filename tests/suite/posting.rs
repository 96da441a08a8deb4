//! Posts and broadcasts: never blocking, bounded, in order (P14).

use std::io;
use std::time::{Duration, Instant};

use backport::Client;

use crate::support::{
    assert_same, eventually, next, nothing, pattern, serve, serve_plain_with, serve_with, Echo, Peer, Served,
    Watch,
};

fn server(backlog: usize) -> (Served, Watch) {
    let watch = Watch::new();
    let watched = watch.clone();
    (serve_with(move || watched.around(Echo), |server| server.max_backlog(backlog)), watch)
}

/// Posts until some of it waits in the backlog; how much was posted in all.
fn fill(client: &Client, chunk: usize) -> usize {
    let data = pattern(16_000_000);
    let mut posted = 0;
    while client.stats().backlog == 0 {
        client.post(&data[posted..posted + chunk]).unwrap();
        posted += chunk;
    }
    posted
}

#[test]
fn a_post_never_blocks_and_goes_out_as_the_peer_reads() {
    let (served, watch) = server(16 << 20);
    let peer = served.connect();
    let client = next(&watch.opened);
    let data = pattern(12_000_000);
    let start = Instant::now();
    for chunk in data.chunks(100_000) {
        client.post(chunk).unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(5), "a post blocked: {:?}", start.elapsed());
    assert!(client.stats().backlog > 0);
    assert_same(&peer.read(data.len()), &data);
    eventually("the backlog is empty", || client.stats().backlog == 0);
    assert_eq!(client.stats().bytes_out, data.len() as u64);
    peer.assert_echo(b"as before");
}

#[test]
fn posts_and_writes_stay_in_order() {
    let (served, watch) = server(16 << 20);
    let peer = Peer::connect_narrow(served.address());
    let client = next(&watch.opened);
    let data = pattern(8_000_000);
    let (writer, sent) = (client.clone(), data.clone());
    let thread = std::thread::spawn(move || {
        for (index, chunk) in sent.chunks(40_000).enumerate() {
            if index % 3 == 0 { writer.write(chunk) } else { writer.post(chunk) }.unwrap();
        }
    });
    assert_same(&peer.read(data.len()), &data);
    thread.join().unwrap();
}

#[test]
fn a_backlog_over_its_limit_ends_that_client_and_touches_no_other() {
    let (served, watch) = server(100_000);
    let _stalled = Peer::connect_narrow(served.address());
    let client = next(&watch.opened);
    let bystander = served.connect();
    let error = loop {
        if let Err(error) = client.post(vec![0; 50_000]) {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(error.to_string().contains("100000") && error.to_string().contains("max_backlog"), "{error}");
    assert!(client.is_closed());
    assert_eq!(next(&watch.closed), "TooSlow");
    assert_eq!(client.post("x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    bystander.assert_echo(b"fine");
    eventually("it has left", || served.server.client_count() == 1);
    assert_eq!(served.server.stats().too_slow, 1);
    watch.assert_balanced_but_for(1);
}

#[test]
fn a_backlog_of_the_default_size_takes_a_mebibyte_and_no_more() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    let _stalled = Peer::connect_narrow(served.address());
    let client = next(&watch.opened);
    // The kernel's buffers fill first.
    let mut most = 0;
    while client.post(vec![0; 10_000]).is_ok() {
        most = most.max(client.stats().backlog);
    }
    assert!((1 << 20) - 10_000 < most && most <= 1 << 20, "{most}");
    assert_eq!(next(&watch.closed), "TooSlow");
}

#[test]
fn a_backlog_takes_its_limit_to_the_byte_and_is_for_what_has_to_wait_alone() {
    let (served, watch) = server(10);
    let _peer = served.connect();
    let client = next(&watch.opened);
    client.post(pattern(1000)).unwrap();
    let stats = client.stats();
    assert_eq!((stats.bytes_out, stats.backlog), (1000, 0));
    let _corked = client.cork();
    client.post("0123456789").unwrap();
    let stats = client.stats();
    assert_eq!((stats.bytes_out, stats.backlog), (1000, 10));
    assert_eq!(client.post("x").unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(next(&watch.closed), "TooSlow");
}

#[test]
fn what_a_cork_holds_back_does_not_go_out_as_the_peer_reads() {
    let watch = Watch::new();
    let watched = watch.clone();
    // Over TLS, bytes that are sent cannot be read before their whole record is.
    let served = serve_plain_with(move || watched.around(Echo), |server| server.max_backlog(64 << 20));
    let peer = Peer::connect_narrow(served.address());
    let client = next(&watch.opened);
    let posted = fill(&client, 400_000);
    let corked = client.cork();
    client.post("and this").unwrap();
    // The backlog's beginning may have gone out until the cork came.
    let sent = usize::try_from(client.stats().bytes_out).unwrap();
    let mut got = peer.read(sent);
    peer.assert_silent();
    let thread = std::thread::spawn(move || {
        got.extend(peer.read(posted + 8 - sent));
        got
    });
    drop(corked);
    let got = thread.join().unwrap();
    assert_same(&got[..posted], &pattern(posted));
    assert_eq!(&got[posted..], b"and this");
}

#[test]
fn what_was_posted_before_a_close_is_delivered() {
    let (served, watch) = server(64 << 20);
    let peer = Peer::connect_narrow(served.address());
    let client = next(&watch.opened);
    let posted = fill(&client, 400_000);
    client.close();
    assert_eq!(client.post("late").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_same(&peer.read_to_end(), &pattern(posted));
    assert_eq!(next(&watch.closed), "ByServer");
    watch.assert_settled(&served);
}

#[test]
fn what_was_posted_before_a_stop_is_delivered() {
    let (served, watch) = server(64 << 20);
    let peer = Peer::connect_narrow(served.address());
    let client = next(&watch.opened);
    let posted = fill(&client, 400_000);
    served.machine().stop();
    assert_same(&peer.read_to_end(), &pattern(posted));
    assert_eq!(next(&watch.closed), "Stopping");
    served.join().unwrap();
}

#[test]
fn a_write_waits_for_the_backlog_before_it() {
    let (served, watch) = server(64 << 20);
    let peer = Peer::connect_narrow(served.address());
    let client = next(&watch.opened);
    let posted = fill(&client, 400_000);
    let (sender, written) = crossbeam_channel::bounded(1);
    let writer = client.clone();
    let thread = std::thread::spawn(move || sender.send(writer.write("the end")).unwrap());
    nothing(&written);
    assert_same(&peer.read(posted), &pattern(posted));
    assert_eq!(peer.read(7), b"the end");
    next(&written).unwrap();
    thread.join().unwrap();
}

#[test]
fn a_broadcast_reaches_all_and_waits_for_none() {
    let (served, watch) = server(1 << 20);
    let readers: Vec<_> = (0..10).map(|_| served.connect()).collect();
    (0..10).for_each(|_| drop(next(&watch.opened)));
    let _stalled = Peer::connect_narrow(served.address());
    let slow = next(&watch.opened);
    let mut rounds = 0;
    while !slow.is_closed() {
        let took = served.server.broadcast(vec![b'x'; 100_000]);
        assert!(took == 11 || took == 10, "{took}");
        rounds += 1;
        // The others read as fast as they are sent to.
        readers.iter().for_each(|peer| assert!(peer.read(100_000).iter().all(|byte| *byte == b'x')));
    }
    assert!(rounds > 10, "the backlog took {rounds} rounds");
    assert_eq!(next(&watch.closed), "TooSlow");
    eventually("it has left", || served.server.client_count() == 10);
    assert_eq!(served.server.broadcast("bye"), 10);
    readers.iter().for_each(|peer| assert_eq!(peer.read(3), b"bye"));
    served.stop().unwrap();
}

#[test]
fn posting_to_nobody_is_fine() {
    let (served, _watch) = server(1000);
    assert_eq!(served.server.broadcast("anyone?"), 0);
}

#[test]
fn what_a_blocked_writer_has_taken_out_of_the_backlog_counts_until_it_is_sent() {
    const LIMIT: usize = 1_000_000;
    let (served, watch) = server(LIMIT);
    let peer = Peer::connect_narrow(served.address());
    let client = next(&watch.opened);
    let mut posted = fill(&client, 1000);
    let mut post = |bytes: usize| {
        client.post(vec![b'p'; bytes]).unwrap();
        posted += bytes;
    };
    while client.stats().backlog < LIMIT - 10_000 {
        post(1000);
    }
    let waiting = client.stats();
    let (writer, flusher) = (client.clone(), client.clone());
    let writer = std::thread::spawn(move || writer.write(b"w"));
    // It holds the turn now, or is about to: what it does can't be told apart from here.
    std::thread::sleep(Duration::from_millis(100));
    assert!(client.stats().backlog > LIMIT / 2, "{:?} after {waiting:?}", client.stats());
    let (sender, flushed) = crossbeam_channel::bounded(1);
    let flusher = std::thread::spawn(move || sender.send(io::Write::flush(&mut &flusher)).unwrap());
    nothing(&flushed);
    post(LIMIT - client.stats().backlog);
    assert_eq!(client.post(vec![b'p'; LIMIT]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    peer.wait_for_end();
    writer.join().unwrap().unwrap_err();
    next(&flushed).unwrap_err();
    flusher.join().unwrap();
    assert_eq!(client.stats().backlog, 0);
    assert_eq!(next(&watch.closed), "TooSlow");
}

#[test]
fn what_was_gathered_is_no_backlog_that_could_be_over_its_limit() {
    let (served, watch) = server(4096);
    let peer = served.connect();
    let client = next(&watch.opened);
    let corked = client.cork();
    client.write(vec![b'g'; 5000]).unwrap();
    assert_eq!(served.server.broadcast("posted"), 1);
    drop(corked);
    assert_eq!(peer.read(5006), [&[b'g'; 5000][..], b"posted"].concat());
    peer.assert_echo(b"as before");
}

#[test]
fn posts_under_a_cork_go_out_early_when_they_are_many() {
    let (served, watch) = server(200_000);
    let peer = served.connect();
    let client = next(&watch.opened);
    let corked = client.cork();
    let data = pattern(60_000);
    let mut sent = Vec::new();
    // Far more than the limit in all, to a peer that reads, while the cork is held for long.
    for _ in 0..20 {
        assert_eq!(served.server.broadcast(&data), 1);
        sent.extend_from_slice(&data);
        let waiting = client.stats().backlog;
        sent.drain(..peer.read(sent.len() - waiting).len());
    }
    drop(corked);
    assert_same(&peer.read(sent.len()), &data[60_000 - sent.len()..]);
    peer.assert_echo(b"as before");
}
