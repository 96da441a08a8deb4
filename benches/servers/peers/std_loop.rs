//! A server that is written by hand: a thread per connection, a buffer, a loop.

use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{mpsc, Arc, Mutex, PoisonError};
use std::thread;

use super::{asks_for_nap, listen, Serving, BUFFER, NAP, NEWS};

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

/// Starts an echo server that sleeps when a client asks for it.
pub(super) fn start_naps() -> io::Result<Box<dyn Serving>> {
    let address = listen(|stream| drop(thread::spawn(move || echo_with_naps(&stream))))?;
    Ok(Box::new(Server { address, streams: Arc::default() }))
}

fn echo_with_naps(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        if asks_for_nap(&buffer[..count]) {
            thread::sleep(NAP);
        }
        stream.write_all(&buffer[..count])?;
    }
}

fn echo(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    echo_with(stream, &mut vec![0; BUFFER])
}

pub(super) fn echo_with(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<()> {
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
