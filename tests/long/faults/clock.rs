//! The wall clock jumps: intervals and time-outs are on the monotonic one (P16).

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::host::Setup;
use crate::support::child::skip;

/// Where Debian's package puts it.
fn faketime() -> Option<String> {
    let machine = std::env::consts::ARCH;
    let path = format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1");
    if Path::new(&path).exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "libfaketime is not there, and CI must not skip tests");
    skip("for want of libfaketime");
    None
}

#[test]
fn ticks_and_timeouts_are_unchanged_when_the_wall_clock_jumps() {
    let Some(library) = faketime() else { return };
    let offset = std::env::temp_dir().join(format!("backport-clock-{}", std::process::id()));
    fs::write(&offset, "+0").unwrap();
    let host = Setup::new()
        .set("LD_PRELOAD", library)
        .set("FAKETIME_TIMESTAMP_FILE", offset.display())
        .set("FAKETIME_NO_CACHE", 1)
        .set("FAKETIME_DONT_FAKE_MONOTONIC", 1)
        .set("IDLE_TIMEOUT", 2500)
        .set("TICK", 20)
        .start();
    let wall = || host.ask("wall").parse::<i64>().unwrap();
    let before = wall();
    let (start, first) = (Instant::now(), host.report().get("ticks"));
    let idle = host.connect();
    for (jump, seconds) in [("-3600", -3600), ("+86400", 86_400)] {
        fs::write(&offset, jump).unwrap();
        // It has jumped, as far as the subject sees.
        let off = wall() - before - seconds;
        assert!((0..10).contains(&off), "{off} s off");
        std::thread::sleep(Duration::from_secs(1));
    }
    let (passed, ticks) = (start.elapsed(), host.report().get("ticks") - first);
    fs::remove_file(&offset).unwrap();
    let expected = passed.as_millis() as u64 / 20;
    // A busy computer misses some. A clock that jumps back would stop them, one that jumps forward
    // would make a burst.
    assert!(ticks >= expected / 3 && ticks <= expected + 5, "{ticks} ticks in {passed:?}");
    assert_eq!(idle.read_to_end(), b"idle for too long");
    let idled = start.elapsed();
    assert!(idled >= Duration::from_millis(2400) && idled < Duration::from_secs(4), "{idled:?}");
    host.end();
}
