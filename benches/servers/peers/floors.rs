//! Servers that do one thing and no more. Each shows the least that a part of the crate can cost, so that nobody looks
//! for a way below it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::time::{clock_gettime, ClockId};
use rustix::event::epoll;

use super::std_loop::echo_with;
use super::{listen, Serving, BUFFER, NEWS};

/// As large as the buffer that the crate begins with.
const SMALL_BUFFER: usize = 1024;

struct Server {
    address: SocketAddr,
    /// Empty unless the server broadcasts.
    clients: Arc<Mutex<Vec<Arc<Mutex<TcpStream>>>>>,
}

/// Starts an echo server with a thread for each client. It shows the memory that threads need.
pub(super) fn bare() -> io::Result<Box<dyn Serving>> {
    let address = listen(|stream| drop(thread::spawn(move || echo_with(&stream, &mut [0; SMALL_BUFFER]))))?;
    Ok(Box::new(Server { address, clients: Arc::default() }))
}

/// Starts an echo server whose accepting thread serves the clients.
pub(super) fn alone() -> io::Result<Box<dyn Serving>> {
    let mut buffer = [0; SMALL_BUFFER];
    let address = listen(move |stream| drop(echo_with(&stream, &mut buffer)))?;
    Ok(Box::new(Server { address, clients: Arc::default() }))
}

/// Starts an echo server that hands its clients over to threads, which wait for them at a channel.
pub(super) fn handing_over() -> io::Result<Box<dyn Serving>> {
    const THREADS: usize = 64;
    let (sender, clients) = crossbeam_channel::unbounded::<TcpStream>();
    for _ in 0..THREADS {
        let clients = clients.clone();
        thread::spawn(move || {
            let mut buffer = [0; SMALL_BUFFER];
            for stream in clients {
                drop(echo_with(&stream, &mut buffer));
            }
        });
    }
    let address = listen(move |stream| drop(sender.send(stream)))?;
    Ok(Box::new(Server { address, clients: Arc::default() }))
}

/// Starts an echo server that does for each message what the promises of the crate need. It sets a mark before each
/// read, which a stop would look at. It takes the times of the last read and the last write. It holds a lock during each
/// write, which other threads would take to write or to close.
pub(super) fn promised() -> io::Result<Box<dyn Serving>> {
    let address = listen(|stream| drop(thread::spawn(move || keep_promises(&stream))))?;
    Ok(Box::new(Server { address, clients: Arc::default() }))
}

#[derive(Default)]
struct Client {
    reading: AtomicBool,
    last_read: AtomicI64,
    last_write: Mutex<i64>,
}

fn keep_promises(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let client = Arc::new(Client::default());
    let mut buffer = vec![0; BUFFER];
    loop {
        client.reading.store(true, Ordering::SeqCst);
        let count = stream.read(&mut buffer)?;
        client.reading.store(false, Ordering::Release);
        client.last_read.store(now()?, Ordering::Relaxed);
        if count == 0 {
            return Ok(());
        }
        let mut last_write = lock(&client.last_write);
        stream.write_all(&buffer[..count])?;
        *last_write = now()?;
    }
}

fn now() -> io::Result<i64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts an echo server that also broadcasts. Each client has a lock, so that records of two threads never mix.
pub(super) fn locked() -> io::Result<Box<dyn Serving>> {
    let clients: Arc<Mutex<Vec<Arc<Mutex<TcpStream>>>>> = Arc::default();
    let list = Arc::clone(&clients);
    let address = listen(move |stream| {
        let Ok(input) = stream.try_clone() else { return };
        let client = Arc::new(Mutex::new(stream));
        lock(&list).push(Arc::clone(&client));
        thread::spawn(move || echo_locked(&input, &client));
    })?;
    Ok(Box::new(Server { address, clients }))
}

fn echo_locked(mut input: &TcpStream, client: &Mutex<TcpStream>) -> io::Result<()> {
    input.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(()),
            count => lock(client).write_all(&buffer[..count])?,
        }
    }
}

impl Serving for Server {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn broadcast(&self) -> io::Result<()> {
        for client in &*lock(&self.clients) {
            lock(client).write_all(&NEWS)?;
        }
        Ok(())
    }
}

/// Waits for standard input and for a stop, then reads, then writes.
pub(super) fn stdio() -> io::Result<()> {
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let (stop, _stopper) = UnixStream::pair()?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (number, asked) in [input.as_fd(), stop.as_fd()].into_iter().enumerate() {
        epoll::add(&epoll, asked, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
    }
    let mut buffer = vec![0; BUFFER];
    let mut events =
        [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 2];
    loop {
        epoll::wait(&epoll, &mut events, None)?;
        match input.read(&mut buffer)? {
            0 => return Ok(()),
            count => output.write_all(&buffer[..count])?,
        }
    }
}
