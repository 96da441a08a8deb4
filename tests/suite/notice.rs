//! A close from another thread, while the client's own waits in a read (P6, P8).

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{next, serve, Echo, Peer, Watch};

#[test]
fn a_peer_that_speaks_up_after_the_end_still_reads_what_was_sent_and_the_end() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(backport::receiving(|_, _| Ok(()))));
    let peer = served.connect();
    let client = next(&watch.opened);
    client.write("the last word").unwrap();
    // Its thread waits in a read, and the peer says nothing: its read side has to be shut down.
    client.close();
    assert_eq!(next(&watch.closed), "ByServer");
    for _ in 0..3 {
        // It has not noticed yet. The first is answered with a reset, which the others may see.
        if let Err(error) = io::Write::write_all(&mut &peer.stream, b"are you there?") {
            assert!(is_gone(&error), "{error}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(peer.read_to_end(), b"the last word");
}

#[test]
fn a_silent_client_that_takes_nothing_is_reminded_a_few_times_and_no_more() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    let peer = Peer::connect_narrow(served.address());
    let client = next(&watch.opened);
    client.post(vec![0; 500_000]).unwrap();
    client.close();
    // The rest of it is given a second, and then the connection is reset.
    assert_eq!(next(&watch.closed), "ByServer");
    served.wait_until_empty();
    peer.wait_for_end();
}

#[test]
fn a_silent_client_of_whom_nothing_is_under_way_is_closed_at_once() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    let start = Instant::now();
    // One after another: with a notice of a tenth of a second each it would take five.
    for _ in 0..50 {
        let peer = served.connect();
        next(&watch.opened).close();
        assert_eq!(peer.read_to_end(), b"");
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// The peer has ended its input, so no thread reads. Its reset must be noticed all the same.
#[test]
fn a_reset_is_noticed_while_a_hold_keeps_the_conversation_open() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    let peer = served.connect();
    let hold = next(&watch.opened).hold();
    peer.half_close();
    thread::sleep(Duration::from_millis(100));
    assert!(watch.closed.is_empty(), "the hold keeps it open");
    hold.write("unread").unwrap();
    peer.reset();
    assert_eq!(next(&watch.closed), "Lost");
    assert!(hold.is_closed());
}
