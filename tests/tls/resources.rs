//! What only the system sees: memory and CPU time, each with a process of its own.

use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use backport::{receiving, Client};

use crate::support::child::{command, exit, is_child, say, wait_for_parent, Child};
use crate::support::{pattern, serve_tcp_with};
use crate::tls_peer::{identity, tcp, TlsPeer};

const CLIENTS: usize = 500;

/// The memory that this process has now, in KiB.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The CPU time of this process, in hundredths of a second.
fn cpu() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn child_tells_its_memory() {
    if !is_child("resources::child_tells_its_memory") {
        return;
    }
    // `?` asks for the memory. Other input is answered when all of it is there.
    let factory = || {
        let mut received = 0;
        receiving(move |client: &Client, data| {
            if data == b"?" {
                return Ok(client.write(format!("{:>10}", resident()))?);
            }
            received += data.len();
            if received == 100_000 {
                received = 0;
                client.write(pattern(100_000))?;
            }
            Ok(())
        })
    };
    let served = serve_tcp_with(factory, |server| server.tls(identity().server()).max_clients(CLIENTS + 10));
    say(served.address());
    // The parent trusts this certificate.
    say(std::str::from_utf8(&hex(&identity().certificate)).unwrap());
    wait_for_parent();
    served.stop().unwrap();
    exit(0);
}

fn hex(data: &[u8]) -> Vec<u8> {
    data.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// An idle client keeps no buffer that much traffic needed.
#[test]
fn idle_clients_that_have_sent_much_take_little_memory() {
    // With that threshold, memory that is freed goes back to the system, so this does not measure the holes that
    // the allocator keeps.
    let script = "ulimit -n 4096; MALLOC_MMAP_THRESHOLD_=8192 exec \"$0\" \"$@\"";
    let mut child = Child::start_as(command(&["sh", "-c", script], "resources::child_tells_its_memory"));
    let address = child.address();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(from_hex(&child.hear()).into()).unwrap();
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    let config = std::sync::Arc::new(config);
    let mut asking = TlsPeer::over(tcp(address), config.clone());
    let mut ask = || -> usize {
        asking.send("?");
        String::from_utf8(asking.read(10)).unwrap().trim().parse().unwrap()
    };
    let talk = |peer: &mut TlsPeer| {
        peer.send(pattern(100_000));
        assert_eq!(peer.read(100_000), pattern(100_000));
    };
    let mut first = TlsPeer::over(tcp(address), config.clone());
    talk(&mut first);
    thread::sleep(Duration::from_millis(500));
    let before = ask();
    let mut peers: Vec<_> = (0..CLIENTS).map(|_| TlsPeer::over(tcp(address), config.clone())).collect();
    let quiet = ask();
    peers.iter_mut().for_each(talk);
    // The buffers are freed when nothing has come for a tenth of a second.
    thread::sleep(Duration::from_secs(1));
    let after = ask();
    let each = |now: usize| now.saturating_sub(before) as f64 / CLIENTS as f64;
    println!("KiB for each of {CLIENTS} clients: {:.1} new, {:.1} after traffic", each(quiet), each(after));
    // Every kept buffer for records of the largest size would be at least 16 KiB.
    let grown = each(after) - each(quiet);
    assert!(grown < 12.0, "{grown:.1} KiB more after traffic");
    // Without optimization, a handshake needs a much deeper stack.
    assert!(cfg!(debug_assertions) || each(after) < 56.0, "{:.1} KiB", each(after));
    drop(peers);
    child.go_on();
    child.assert_exit(0);
}

#[test]
fn child_has_ended_peers() {
    if !is_child("resources::child_has_ended_peers") {
        return;
    }
    // Each client is kept open by a hold after its input has ended.
    let (sender, holds) = crossbeam_channel::unbounded();
    let served = serve_tcp_with(
        move || {
            let sender = sender.clone();
            receiving(move |client: &Client, data| {
                sender.send(client.hold())?;
                Ok(client.write(data)?)
            })
        },
        |server| server.tls(identity().server()),
    );
    let mut peers: Vec<_> = (0..9).map(|_| TlsPeer::connect(served.address())).collect();
    for (number, peer) in peers.iter_mut().enumerate() {
        peer.assert_echo(b"hello");
        match number % 3 {
            0 => peer.close_notify(),
            1 => {
                peer.close_notify();
                // What comes after the end counts for nothing.
                peer.stream.sock.write_all(&pattern(10_000)).unwrap();
            }
            _ => peer.stream.sock.shutdown(Shutdown::Write).unwrap(),
        }
    }
    // Handshakes that do not go on.
    let mut halves: Vec<_> = (0..6).map(|_| tcp(served.address())).collect();
    for half in &mut halves {
        half.write_all(&crate::tls_peer::client_hello()[..30]).unwrap();
    }
    thread::sleep(Duration::from_millis(300));
    let before = cpu();
    thread::sleep(Duration::from_secs(3));
    let used = cpu() - before;
    // One loop without a wait would use 300.
    assert!(used < 60, "{used} hundredths of a second of CPU in 3 s");
    assert!(served.server.client_count() >= 12);
    drop((halves, holds));
    say(used);
    exit(0);
}

#[test]
fn peers_that_have_ended_their_output_cost_no_time() {
    let mut child = Child::start("resources::child_has_ended_peers");
    println!("{} hundredths of a second of CPU in 3 s", child.hear());
    child.assert_exit(0);
}
