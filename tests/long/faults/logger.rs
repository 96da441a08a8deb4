//! A logger that uses the crate itself: to show the log to clients, say.

use std::cell::Cell;
use std::time::Duration;

use backport::{Client, ServerHandle};
use parking_lot::Mutex;

use crate::support::child::{command, exit, is_child, Child};
use crate::support::{eventually, in_time, serve_with, Echo, Peer, Watch};

const ROLE: &str = "logger::child_shows_its_log_to_its_clients";

static SHOWN_ON: Mutex<Option<ServerHandle>> = Mutex::new(None);

thread_local! {
    /// What a broadcast logs is not shown.
    static SHOWING: Cell<bool> = const { Cell::new(false) };
}

/// Sends every record to every client, and asks the server for all that it can be asked.
struct Show;

impl log::Log for Show {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let server = SHOWN_ON.lock().clone();
        let (Some(server), false) = (server, SHOWING.replace(true)) else { return };
        server.broadcast(format!("{}\n", record.args()));
        assert!(server.stats().peak < 100 && server.name().starts_with("tcp"));
        server.clients().iter().for_each(|client| assert!(client.stats().bytes_in < 1 << 30));
        SHOWING.set(false);
    }
    fn flush(&self) {}
}

#[test]
fn child_shows_its_log_to_its_clients() {
    if !is_child(ROLE) {
        return;
    }
    log::set_logger(&Show).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve_with(
        move || watched.around(Echo),
        |server| server.write_timeout(Duration::from_millis(300)).max_backlog(4 << 20),
    );
    *SHOWN_ON.lock() = Some((*served.server).clone());
    let bystander = served.connect();
    for round in 0..40 {
        let peer = Peer::connect_narrow(served.address());
        peer.send(b"to be logged");
        match round % 4 {
            0 => peer.reset(),
            1 => drop(peer),
            2 => served.server.clients().iter().skip(1).for_each(Client::close),
            // Its end finds a backlog that can't be delivered, and says so in the log.
            _ => {
                eventually("it is there", || served.server.client_count() > 1);
                // The last to come is this one.
                let client = served.server.clients().pop().expect("the bystander at least");
                drop(client.post(vec![b'x'; 3 << 20]));
                client.close();
                drop(peer);
            }
        }
    }
    // Read all the while by nobody, and cut off at the backlog's limit or not: it sees an end.
    drop(bystander);
    in_time("all have left", move || {
        served.wait_until_empty();
        served.stop().unwrap();
    });
    watch.assert_balanced();
    exit(0);
}

#[test]
fn a_logger_that_posts_to_the_clients_that_it_is_told_of_deadlocks_nothing() {
    Child::start_as(command(&[], ROLE)).assert_exit(0);
}
