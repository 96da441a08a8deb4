//! Plain text that must never be taken for text that came through TLS (CVE-2011-0411).

use crate::start_tls_scene::{contains, scenes, LONG};
use crate::support::next;
use crate::tls_peer::client_hello;

#[test]
fn plain_text_after_the_command_in_the_same_segment_is_never_interpreted() {
    let hello = client_hello();
    let injections: [&[u8]; 5] = [b"evil\r\n", b"evil", b"evil\r\nmore\r\n", b"\r\n", &hello];
    for injection in injections {
        for (way, scene) in scenes(LONG) {
            let peer = scene.served.connect();
            peer.send([b"STARTTLS\r\n", injection].concat());
            assert_eq!(next(&scene.told), (b"STARTTLS".to_vec(), false), "{way}");
            let reason = next(&scene.watch.closed);
            assert_eq!(reason, "Failed", "{way}, {:?}", injection.escape_ascii().to_string());
            let rest = peer.read_to_end();
            assert_eq!(rest, b"220 go ahead\r\n", "{way}: {}", rest.escape_ascii());
            assert!(scene.told.try_recv().is_err(), "{way}: a line that was added was interpreted");
        }
    }
}

/// The same, with a command that completes a line of an earlier segment.
#[test]
fn plain_text_after_the_rest_of_a_command_is_never_interpreted() {
    for (way, scene) in scenes(LONG) {
        let peer = scene.served.connect();
        peer.send("hello\r\nSTART");
        assert_eq!(next(&scene.told), (b"hello".to_vec(), false), "{way}");
        assert_eq!(peer.read(7), b"hello\r\n");
        peer.send("TLS\r\nevil\r\n");
        assert_eq!(next(&scene.told), (b"STARTTLS".to_vec(), false), "{way}");
        assert_eq!(next(&scene.watch.closed), "Failed", "{way}");
        drop(peer.read_to_end());
        assert!(scene.told.try_recv().is_err(), "{way}: a line that was added was interpreted");
    }
}

/// Plain text that comes a little later is no handshake.
#[test]
fn plain_text_instead_of_a_handshake_ends_the_connection() {
    for (way, scene) in scenes(LONG) {
        let peer = scene.begin();
        peer.send("evil\r\n".repeat(100));
        assert_eq!(next(&scene.watch.closed), "Lost", "{way}");
        let rest = peer.read_to_end();
        assert!(!contains(&rest, b"secret"), "{way}: {}", rest.escape_ascii());
        assert_eq!(rest.first(), Some(&21), "{way}: an alert");
        assert!(scene.told.try_recv().is_err(), "{way}");
    }
}
