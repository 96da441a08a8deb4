//! A stop while an answer is being computed: the answer arrives whole, then the goodbye, then the end (P9).

use std::sync::atomic::Ordering;
use std::sync::Arc;

use crossbeam_channel::unbounded;

use super::variants::{all, Context, Variant};
use super::ways::{Scene, Way};
use crate::support::{eventually, gate, next};

#[test]
fn an_answer_that_is_computed_at_a_stop_arrives_whole_over_tcp() {
    for variant in all() {
        for way in Way::ALL {
            let case = format!("{} / {way:?} / tcp", variant.name);
            check(&case, &variant, way, |context, way| {
                let (make, here) = (variant.make, Arc::clone(&context.stop_here));
                Scene::socket(move || make(context.clone()), way, &here)
            });
        }
    }
}

#[test]
fn an_answer_that_is_computed_at_a_stop_arrives_whole_over_memory() {
    for variant in all() {
        for way in Way::IN_MEMORY {
            let case = format!("{} / {way:?} / memory", variant.name);
            check(&case, &variant, way, |context, way| {
                let here = Arc::clone(&context.stop_here);
                Scene::memory((variant.make)(context), way, &here)
            });
        }
    }
}

#[track_caller]
fn check(case: &str, variant: &Variant, way: Way, scene: impl FnOnce(Context, Way) -> Scene) {
    let (keeper, gate) = gate();
    let ((begin, begun), (closings, closed)) = (unbounded(), unbounded());
    let context =
        Context { begun: begin, gate, stop_here: Arc::default(), requests: Arc::default(), closings };
    let requests = Arc::clone(&context.requests);
    let mut scene = scene(context, way);
    // This stop races with the answer and with the next request, so there is no next request.
    let races = way == Way::MachineInCallback;
    scene.send(if races {
        variant.sends.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default()
    } else {
        variant.sends
    });
    let client = next(&begun);
    if variant.half_closes {
        scene.half_close();
    } else if !races && !variant.holds {
        // This request was received, and its turn has not come.
        scene.send(b"queued\n");
    }
    if !way.is_in_callback() {
        scene.stop(way);
        eventually(case, || client.is_stopping());
    }
    assert!(!client.is_closed(), "{case}: the output is open");
    drop(keeper);
    let (said, result) = scene.finish();
    let closing = next(&closed);
    let reason = match closing.strip_suffix(", Ok(())") {
        // The end of the peer's input may come before a stop that races with it.
        Some("closed by the peer") if races && variant.half_closes => "closed by the peer",
        _ => "the server is stopping",
    };
    assert_eq!(closing, format!("{reason}, Ok(())"), "{case}");
    let mut expected = (variant.answer)();
    expected.extend_from_slice(format!(" goodbye: {reason}").as_bytes());
    let tail = |bytes: &[u8]| String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(70)..]).into_owned();
    assert_eq!(tail(&said), tail(&expected), "{case}: {} of {} bytes", said.len(), expected.len());
    assert!(said == expected, "{case}: the bytes differ");
    assert!(result.is_ok(), "{case}: {result:?}");
    assert!(closed.is_empty(), "{case}: one closing");
    assert_eq!(requests.load(Ordering::SeqCst), 1, "{case}: the queued requests are not started");
}
