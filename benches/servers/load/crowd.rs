//! Many clients of one server, driven by one thread.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::{histogram, record, silence, MESSAGE};
use crate::server::PATIENCE;

/// Connected clients.
pub(crate) struct Crowd {
    poll: Poll,
    events: Events,
    members: Vec<Member>,
}

struct Member {
    stream: TcpStream,
    /// The number of bytes of an answer that have not come yet.
    due: usize,
    sent: Instant,
    parted: bool,
}

/// The result of an exchange.
pub(crate) struct Exchange {
    pub(crate) answers: u64,
    pub(crate) latency: Histogram<u64>,
}

impl Crowd {
    /// Connects one client after another, so that no listen queue overflows. Each of them has had an answer then.
    pub(crate) fn connect(address: SocketAddr, count: usize) -> io::Result<Crowd> {
        Crowd::connect_with(address, count, true)
    }

    /// Connects clients that have not sent anything yet. They must be few, so that no listen queue overflows.
    pub(crate) fn connect_silently(address: SocketAddr, count: usize) -> io::Result<Crowd> {
        Crowd::connect_with(address, count, false)
    }

    fn connect_with(address: SocketAddr, count: usize, greets: bool) -> io::Result<Crowd> {
        let poll = Poll::new()?;
        let mut members = Vec::with_capacity(count);
        for index in 0..count {
            let mut stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            if greets {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.write_all(&MESSAGE)?;
                stream.read_exact(&mut [0; MESSAGE.len()])?;
            }
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
            members.push(Member { stream, due: 0, sent: Instant::now(), parted: false });
        }
        Ok(Crowd { poll, events: Events::with_capacity(1_024), members })
    }

    /// Has `active` clients send `batch` and wait until it comes back, again and again for `span`. These
    /// clients are spread evenly over the crowd.
    pub(crate) fn exchange(&mut self, active: usize, batch: &[u8], span: Duration) -> io::Result<Exchange> {
        let mut exchange = Exchange { answers: 0, latency: histogram()? };
        let active = active.min(self.members.len());
        for nth in 0..active {
            let index = nth * self.members.len() / active;
            self.members[index].send(batch)?;
        }
        let end = Instant::now() + span;
        let mut waiting = active;
        while waiting > 0 {
            self.wait(PATIENCE)?;
            for event in &self.events {
                let member = &mut self.members[event.token().0];
                if member.due == 0 || !member.receive()? {
                    continue;
                }
                let now = Instant::now();
                record(&mut exchange.latency, now - member.sent);
                exchange.answers += 1;
                if now < end {
                    member.send(batch)?;
                } else {
                    waiting -= 1;
                }
            }
        }
        Ok(exchange)
    }

    /// Has one client send a message and wait until it comes back.
    pub(crate) fn exchange_one(&mut self, index: usize) -> io::Result<()> {
        self.members[index].send(&MESSAGE)?;
        while self.members[index].due > 0 {
            self.wait(PATIENCE)?;
            self.members[index].receive()?;
        }
        Ok(())
    }

    /// Has each client send `count` messages and wait for each answer. The clients take turns after each message.
    pub(crate) fn exchange_each(&mut self, count: usize) -> io::Result<()> {
        (0..count).try_for_each(|_| (0..self.members.len()).try_for_each(|index| self.exchange_one(index)))
    }

    /// Reads until every client has received `each` bytes.
    pub(crate) fn collect(&mut self, each: usize) -> io::Result<()> {
        self.members.iter_mut().for_each(|member| member.due = each);
        let mut waiting = self.members.len();
        while waiting > 0 {
            self.wait(PATIENCE)?;
            for event in &self.events {
                let member = &mut self.members[event.token().0];
                if member.due > 0 && member.receive()? {
                    waiting -= 1;
                }
            }
        }
        Ok(())
    }

    /// Closes the connections that the server has closed. Waits at most `limit` for one.
    pub(crate) fn part(&mut self, limit: Duration) -> io::Result<()> {
        self.poll.poll(&mut self.events, Some(limit))?;
        for event in &self.events {
            let member = &mut self.members[event.token().0];
            if member.parted || !event.is_read_closed() || !matches!(member.stream.read(&mut [0; 64]), Ok(0))
            {
                continue;
            }
            // Each shutdown causes another event, so it is called once. The descriptor is closed later.
            member.parted = true;
            match member.stream.shutdown(Shutdown::Both) {
                Err(error) if error.kind() != io::ErrorKind::NotConnected => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn wait(&mut self, limit: Duration) -> io::Result<()> {
        self.poll.poll(&mut self.events, Some(limit))?;
        if self.events.is_empty() {
            return Err(silence());
        }
        Ok(())
    }
}

impl Member {
    fn send(&mut self, batch: &[u8]) -> io::Result<()> {
        self.due = batch.len();
        self.sent = Instant::now();
        self.stream.write_all(batch)
    }

    /// Reads what has come. Returns `true` if the whole answer is there.
    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        while self.due > 0 {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.due = self.due.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
