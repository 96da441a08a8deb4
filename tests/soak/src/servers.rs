//! The servers: an echo, one that broadcasts news to all clients, and one whose adapters panic, fail and
//! close.

use std::net::SocketAddr;
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use backport::{
    Adapter, Client, Closing, Machine, MachineStats, Result, Running, TcpHandle, TcpServer, Threads,
};

use crate::tally::{count, Tally};

/// Each panic and each error that is made on purpose has this in its message.
pub(crate) const ON_PURPOSE: &str = "on purpose";
/// The length of a record of the news. Its bytes are all the same, and one more than those of the record
/// before.
pub(crate) const NEWS: usize = 32 * 1024;

const NEWS_EVERY: Duration = Duration::from_millis(25);
/// The time between two pauses in which the echo server accepts no client, and the length of a pause.
const BREAK_EVERY: Duration = Duration::from_secs(3);
const BREAK: Duration = Duration::from_millis(200);

pub(crate) struct Servers {
    echo: TcpHandle,
    news: TcpHandle,
    faulty: TcpHandle,
    pub(crate) tally: Arc<Tally>,
    running: Running,
}

/// Starts the servers. A process can do this once, because it has one logger and one panic hook.
pub(crate) fn start(clients: u32, threads: Threads) -> Result<Servers> {
    let tally: Arc<Tally> = Arc::default();
    listen_to_the_log(&tally);
    listen_to_panics(&tally);

    let machine = Machine::new();
    let watch = Arc::clone(&tally);
    let echo = machine.prepare(
        TcpServer::new("127.0.0.1:0", move || {
            watch.around(backport::receiving(|client, data| Ok(client.write(data)?)))
        })
        .threads(threads)
        // The limit is low, so that clients sometimes have to wait.
        .max_clients(clients as usize / 2 + 1)
        .write_timeout(Duration::from_secs(1))
        .idle_timeout(Duration::from_secs(10)),
    )?;
    let watch = Arc::clone(&tally);
    let quiet = || backport::receiving(|_, _| Ok(()));
    let news = TcpServer::new("127.0.0.1:0", move || watch.around(quiet())).max_backlog(4 * NEWS);
    let news = machine.prepare(news.threads(threads))?;
    let (watch, turn) = (Arc::clone(&tally), AtomicU64::new(0));
    let faulty = TcpServer::new("127.0.0.1:0", move || {
        let fault = FAULTS[(turn.fetch_add(1, Ordering::Relaxed) % FAULTS.len() as u64) as usize];
        if fault == Fault::PanicInFactory {
            count(&watch.unmade);
            panic!("{ON_PURPOSE}: in the factory");
        }
        watch.around(Faulty(fault))
    });
    let faulty = machine.prepare(faulty.threads(threads))?;

    let (everyone, mut edition) = (news.clone(), 0);
    machine.prepare_interval(NEWS_EVERY, move |_| {
        edition = u8::wrapping_add(edition, 1);
        everyone.broadcast([edition; NEWS]);
    });
    let (doors, clock) = (echo.clone(), machine.clone());
    machine.prepare_interval(BREAK_EVERY, move |_| {
        doors.suspend();
        let doors = doors.clone();
        clock.prepare_timeout(BREAK, move || doors.resume());
    });
    Ok(Servers { echo, news, faulty, tally, running: machine.start()? })
}

impl Servers {
    /// The addresses, in the order that [`crate::visits`] expects.
    pub(crate) fn addresses(&self) -> [SocketAddr; 3] {
        [self.echo.local_addr(), self.news.local_addr(), self.faulty.local_addr()]
    }

    pub(crate) fn stats(&self) -> MachineStats {
        self.running.machine().stats()
    }

    /// Returns `true` if a client was cut off because it did not read the news.
    pub(crate) fn cut_off(&self) -> bool {
        self.news.stats().too_slow > 0
    }

    pub(crate) fn stop(self) -> Result {
        self.running.stop()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    PanicInFactory,
    PanicInOpening,
    PanicInReceiving,
    PanicInClosing,
    PanicInDrop,
    PanicInPayload,
    Fail,
    Close,
    Abort,
}

const FAULTS: [Fault; 9] = [
    Fault::PanicInFactory,
    Fault::PanicInOpening,
    Fault::PanicInReceiving,
    Fault::PanicInClosing,
    Fault::PanicInDrop,
    Fault::PanicInPayload,
    Fault::Fail,
    Fault::Close,
    Fault::Abort,
];

struct Faulty(Fault);

impl Adapter for Faulty {
    fn opening(&mut self, _: &Client) -> Result {
        assert!(self.0 != Fault::PanicInOpening, "{ON_PURPOSE}: in opening");
        Ok(())
    }

    fn receiving(&mut self, client: &Client, _: &[u8]) -> Result {
        match self.0 {
            Fault::PanicInReceiving => panic!("{ON_PURPOSE}: in receiving\r\n\x1b[31m"),
            Fault::PanicInPayload => panic::panic_any(Grenade),
            Fault::Fail => return Err(format!("{ON_PURPOSE}: failed\r\n\x1b[31m").into()),
            Fault::Abort => client.abort(),
            _ => client.close(),
        }
        Ok(())
    }

    fn closing(&mut self, client: &Client, _: &Closing) {
        // Last words, for a peer that can still get them.
        drop(client.write(b"goodbye"));
        assert!(self.0 != Fault::PanicInClosing, "{ON_PURPOSE}: in closing");
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        assert!(self.0 != Fault::PanicInDrop, "{ON_PURPOSE}: in the drop");
    }
}

/// The payload of a panic. Its drop panics.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("{ON_PURPOSE}: in the drop of a payload");
    }
}

/// Counts each panic as a fault, except for those on purpose, which print nothing.
fn listen_to_panics(tally: &Arc<Tally>) {
    let (usual, tally) = (panic::take_hook(), Arc::clone(tally));
    panic::set_hook(Box::new(move |info| {
        let text = info.to_string();
        if !text.contains(ON_PURPOSE) && !info.payload().is::<Grenade>() {
            tally.wrong(format!("a panic: {text}"));
            usual(info);
        }
    }));
}

fn listen_to_the_log(tally: &Arc<Tally>) {
    struct Logger;
    static TALLY: OnceLock<Arc<Tally>> = OnceLock::new();
    impl log::Log for Logger {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            if let Some(tally) = TALLY.get() {
                tally.record(record);
            }
        }
        fn flush(&self) {}
    }
    let first = TALLY.set(Arc::clone(tally)).is_ok() && log::set_logger(&Logger).is_ok();
    assert!(first, "one soak a process");
    log::set_max_level(log::LevelFilter::Debug);
}
