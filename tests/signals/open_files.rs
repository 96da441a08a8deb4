//! The limit of open files, which `Backport::run` raises (P15).

use std::fs::{self, File};
use std::net::SocketAddr;

use backport::{receiving, Backport, Machine, StdioServer, TcpServer};

use crate::support::child::{command, exit, is_child, say, wait_for_parent, Child};
use crate::support::{Echo, Peer};

/// Runs a child with these limits of open files.
fn start(limits: &str, role: &str) -> Child {
    let wrapper = format!("{limits} && exec \"$0\" \"$@\"");
    Child::start_as(command(&["sh", "-c", &wrapper], role))
}

/// The soft limit of this process.
fn limit() -> String {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().to_owned()
}

/// Says each warning.
struct Warnings;

impl log::Log for Warnings {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        if record.level() <= log::Level::Warn {
            say(format_args!("warning: {}", record.args()));
        }
    }
    fn flush(&self) {}
}

#[test]
fn child_opens_a_file_for_each_message() {
    if is_child("open_files::child_opens_a_file_for_each_message") {
        let ended = Backport::run(|machine| {
            let opens = || {
                receiving(|client, _| {
                    let opened =
                        File::open("/dev/null").map_or_else(|error| error.to_string(), |_| "ok".into());
                    Ok(client.write_line(opened)?)
                })
            };
            say(machine.prepare_tcp_server("127.0.0.1:0", opens)?.local_addr());
            Ok(())
        });
        exit(ended.map_or(3, |()| 0));
    }
}

#[test]
fn child_connects_many() {
    if is_child("open_files::child_connects_many") {
        let address: SocketAddr = std::env::var("ADDRESS").unwrap().parse().unwrap();
        let peers: Vec<_> = (0..1_023).map(|_| Peer::connect(address)).collect();
        for peer in &peers {
            peer.send("x");
            assert_eq!(peer.read(3), b"ok\n");
        }
        say("connected");
        wait_for_parent();
        exit(0);
    }
}

#[test]
fn a_callback_can_open_a_file_with_as_many_clients_as_the_defaults_allow() {
    let mut server = start("ulimit -Sn 1024", "open_files::child_opens_a_file_for_each_message");
    let address = server.address();
    let mut many =
        command(&["sh", "-c", "ulimit -n 4096 && exec \"$0\" \"$@\""], "open_files::child_connects_many");
    many.env("ADDRESS", address.to_string());
    let mut many = Child::start_as(many);
    many.expect("connected");
    let last = Peer::connect(address);
    last.send("x");
    assert_eq!(last.read(3), b"ok\n");
    drop(last);
    many.go_on();
    many.assert_exit(0);
    server.signal("TERM");
    server.assert_exit(0);
}

#[test]
fn child_says_its_limit() {
    if is_child("open_files::child_says_its_limit") {
        log::set_logger(&Warnings).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
        Backport::run(|machine| {
            machine.prepare(TcpServer::new("127.0.0.1:0", || Echo).max_clients(300))?;
            machine.prepare(TcpServer::new("127.0.0.1:0", || Echo).max_clients(40))?;
            // This child says something on its standard output.
            machine.prepare(StdioServer::new(|| Echo).keep_descriptors(true))?;
            let stop = machine.clone();
            machine.prepare_timeout(std::time::Duration::ZERO, move || {
                say(limit());
                stop.stop();
            });
            Ok(())
        })
        .unwrap();
        exit(0);
    }
}

#[test]
fn the_soft_limit_is_raised_to_the_sum_of_the_servers_and_never_lowered() {
    for (limits, expected) in
        [("ulimit -Sn 200", "405"), ("ulimit -Sn 404", "405"), ("ulimit -Sn 406", "406")]
    {
        let mut child = start(limits, "open_files::child_says_its_limit");
        child.expect(expected);
        child.assert_exit(0);
        assert!(child.rest().is_empty(), "{limits}: no warning");
    }
}

#[test]
fn a_hard_limit_that_is_lower_is_a_warning_with_both_numbers() {
    for limits in ["ulimit -Sn 200 && ulimit -Hn 250", "ulimit -n 250"] {
        let mut child = start(limits, "open_files::child_says_its_limit");
        let mut said = [child.hear(), child.hear()];
        said.sort();
        assert_eq!(said[0], "250");
        assert!(
            said[1].starts_with("warning: ") && said[1].contains("250") && said[1].contains("405"),
            "{said:?}"
        );
        child.assert_exit(0);
    }
}

#[test]
fn child_runs_a_machine_with_few_files() {
    if is_child("open_files::child_runs_a_machine_with_few_files") {
        let machine = Machine::new();
        machine.prepare_tcp_server("127.0.0.1:0", || Echo).unwrap();
        let stop = machine.clone();
        machine.prepare_timeout(std::time::Duration::ZERO, move || stop.stop());
        machine.run().unwrap();
        say(limit());
        exit(0);
    }
}

#[test]
fn a_machine_alone_does_not_touch_the_limit() {
    let mut child = start("ulimit -Sn 200", "open_files::child_runs_a_machine_with_few_files");
    child.expect("200");
    child.assert_exit(0);
}
