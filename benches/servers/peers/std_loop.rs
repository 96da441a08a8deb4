//! A server that is written by hand: a thread per connection, a buffer, a loop.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{mpsc, Arc, Mutex, PoisonError};
use std::thread;

use rustix::event::epoll;

use super::{Serving, BUFFER, NEWS};

/// The buffer of a server that shows how little a connection can cost. It is made once for each thread.
const BARE_BUFFER: usize = 1024;

struct Server {
    address: SocketAddr,
    /// Empty unless the server broadcasts.
    streams: Arc<Mutex<Vec<Arc<TcpStream>>>>,
}

/// Starts an echo server.
pub(super) fn start() -> io::Result<Box<dyn Serving>> {
    let address = listen(|stream| drop(thread::spawn(move || echo(&stream))))?;
    Ok(Box::new(Server { address, streams: Arc::default() }))
}

/// Starts an echo server whose accepting thread serves the clients.
pub(super) fn start_alone() -> io::Result<Box<dyn Serving>> {
    let mut buffer = [0; BARE_BUFFER];
    let address = listen(move |stream| drop(echo_with(&stream, &mut buffer)))?;
    Ok(Box::new(Server { address, streams: Arc::default() }))
}

/// Starts an echo server that hands its clients over to threads, which wait for them at a channel.
pub(super) fn start_handing_over() -> io::Result<Box<dyn Serving>> {
    const THREADS: usize = 64;
    let (sender, clients) = crossbeam_channel::unbounded::<TcpStream>();
    for _ in 0..THREADS {
        let clients = clients.clone();
        thread::spawn(move || {
            let mut buffer = [0; BARE_BUFFER];
            for stream in clients {
                drop(echo_with(&stream, &mut buffer));
            }
        });
    }
    let address = listen(move |stream| drop(sender.send(stream)))?;
    Ok(Box::new(Server { address, streams: Arc::default() }))
}

/// Starts an echo server that keeps a list of its connections.
pub(super) fn start_news() -> io::Result<Box<dyn Serving>> {
    let streams: Arc<Mutex<Vec<Arc<TcpStream>>>> = Arc::default();
    let list = Arc::clone(&streams);
    let address = listen(move |stream| {
        let stream = Arc::new(stream);
        list.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&stream));
        thread::spawn(move || echo(&stream));
    })?;
    Ok(Box::new(Server { address, streams }))
}

fn listen(mut welcome: impl FnMut(TcpStream) + Send + 'static) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => welcome(stream),
                Err(error) => eprintln!("std: accept: {error}"),
            }
        }
    });
    Ok(address)
}

fn echo(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    echo_with(stream, &mut vec![0; BUFFER])
}

fn echo_with(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        match stream.read(buffer)? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count])?,
        }
    }
}

impl Serving for Server {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn broadcast(&self) -> io::Result<()> {
        for stream in &*self.streams.lock().unwrap_or_else(PoisonError::into_inner) {
            (&**stream).write_all(&NEWS)?;
        }
        Ok(())
    }
}

/// Echoes lines that a reader thread sends through a channel. Programs that have to wait for something
/// else as well are written this way.
pub(super) fn stdio() -> io::Result<()> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut output = io::stdout().lock();
    for line in lines {
        let mut line = line?;
        line.push(b'\n');
        output.write_all(&line)?;
        output.flush()?;
    }
    Ok(())
}

/// Waits for standard input and for a stop, then reads, then writes.
pub(super) fn stdio_asking() -> io::Result<()> {
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
