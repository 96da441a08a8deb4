//! The far end of a connection through TLS, as a [`Wire`] for the suite.
//!
//! A thread does the handshake, because the server may serve the peer much later than it connects. The first
//! read waits for it. What is written before is sent after it, as long as rustls has room.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustls::pki_types::ServerName;
use rustls::ClientConnection;
use socket2::SockRef;

use super::identity::identity;
use super::peer::Wire;

/// A client of TLS over a socket. One thread reads and one thread writes.
pub(crate) struct Encrypted {
    socket: TcpStream,
    state: Mutex<State>,
    /// Signalled when the handshake has ended.
    established: Condvar,
    /// Held while ciphertext is sent, so that it is sent in order.
    sending: Mutex<()>,
}

struct State {
    tls: ClientConnection,
    /// Ciphertext that is not decrypted yet, because rustls keeps only a little plain text.
    received: VecDeque<u8>,
    handshake: Option<Result<(), io::ErrorKind>>,
}

impl Encrypted {
    /// Begins the handshake.
    pub(crate) fn over(socket: TcpStream) -> Arc<Encrypted> {
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(identity().client(), name).unwrap();
        let wire = Arc::new(Encrypted {
            socket,
            state: Mutex::new(State { tls, received: VecDeque::new(), handshake: None }),
            established: Condvar::new(),
            sending: Mutex::default(),
        });
        let shaking = Arc::clone(&wire);
        thread::spawn(move || {
            let result = shaking.shake_hands().map_err(|error| error.kind());
            shaking.lock().handshake = Some(result);
            shaking.established.notify_all();
        });
        wire
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shake_hands(&self) -> io::Result<()> {
        loop {
            self.send()?;
            if !self.lock().tls.is_handshaking() {
                return self.send();
            }
            self.receive()?;
        }
    }

    /// Waits for the handshake.
    fn established(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        loop {
            match state.handshake {
                Some(Ok(())) => return Ok(state),
                Some(Err(kind)) => return Err(kind.into()),
                None => state = self.established.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Sends the ciphertext that is there.
    fn send(&self) -> io::Result<()> {
        let _sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Vec::new();
        {
            let mut state = self.lock();
            while state.tls.wants_write() {
                state.tls.write_tls(&mut bytes)?;
            }
        }
        (&self.socket).write_all(&bytes)
    }

    /// Decrypts ciphertext, and receives some if there is none. The end of the connection is an error, unless the
    /// end of TLS came before.
    fn receive(&self) -> io::Result<()> {
        if self.lock().received.is_empty() {
            let mut bytes = [0; 8 * 1024];
            match Read::read(&mut &self.socket, &mut bytes)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.lock().received.extend(&bytes[..count]),
            }
        }
        let State { tls, received, .. } = &mut *self.lock();
        if tls.read_tls(received)? == 0 {
            received.clear();
        }
        tls.process_new_packets().map(drop).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl Drop for Encrypted {
    /// A peer that drops its stream has ended its output.
    fn drop(&mut self) {
        if self.lock().handshake == Some(Ok(()))
            && SockRef::from(&self.socket).linger().is_ok_and(|limit| limit.is_none())
        {
            self.lock().tls.send_close_notify();
            drop(self.send());
        }
    }
}

impl Wire for Encrypted {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.established()?.tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            self.receive()?;
        }
    }

    fn write(&self, data: &[u8]) -> io::Result<usize> {
        let early = self.lock().tls.writer().write(data)?;
        let count = if early > 0 { early } else { self.established()?.tls.writer().write(data)? };
        self.send()?;
        Ok(count)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Read {
            self.established()?.tls.send_close_notify();
            self.send()?;
        }
        self.socket.shutdown(how)
    }

    fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.socket)
    }
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypted").field("socket", &self.socket).finish_non_exhaustive()
    }
}
