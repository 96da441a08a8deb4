//! Address space that runs out: the stacks of threads are what takes it.

use std::io::{Read, Write};

use crate::host::Setup;
use crate::support::is_while_busy;

#[test]
fn clients_beyond_the_address_space_for_their_stacks_are_refused_and_the_rest_served() {
    let host = Setup::new().start();
    let before = host.address_space();
    drop(host);
    // Room for a dozen stacks of 2 MiB. About half a stack is left for the heap.
    let limit = format!("ulimit -v {}; exec \"$0\" \"$@\"", before / 1024 + 27 * 1024);
    let host = Setup::new().behind(&["sh", "-c", &limit]).start();
    for _ in 0..2 {
        let peers = host.connect_many(60);
        let is_served = |peer: &&crate::support::Peer| {
            drop((&peer.stream).write(b"x"));
            matches!((&peer.stream).read(&mut [0]), Ok(1))
        };
        let served = peers.iter().filter(is_served).count();
        if is_while_busy() {
            assert_eq!(served, 60, "those without threads are served by the leader");
        } else {
            assert!((3..60).contains(&served), "{served} of 60");
        }
        drop(peers);
        host.eventually("all have left", |report| report.get("current") == 0);
        host.assert_unharmed();
    }
    assert_eq!(host.report().get("refused") > 0, !is_while_busy());
    host.finish();
}
