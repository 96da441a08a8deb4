//! The trait [`io::Write`] for clients.

use std::fmt;
use std::io;

use crate::client::Client;

/// Each call of `write` sends one record. `write!(&client, …)` also sends one record, after all text is
/// formatted.
///
/// `flush` is [`Client::flush`].
impl io::Write for &Client {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Client::write(self, data)?;
        Ok(data.len())
    }

    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        Client::write(self, data)
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let parts: Vec<&[u8]> = parts.iter().map(|part| &**part).collect();
        self.write_vectored_all(&parts)?;
        Ok(parts.iter().map(|part| part.len()).sum())
    }

    fn write_fmt(&mut self, record: fmt::Arguments<'_>) -> io::Result<()> {
        Client::write_fmt(self, record)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.shared.flush_now()
    }
}

/// The same as for `&Client`.
impl io::Write for Client {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut &*self, data)
    }

    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut &*self, data)
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        io::Write::write_vectored(&mut &*self, parts)
    }

    fn write_fmt(&mut self, record: fmt::Arguments<'_>) -> io::Result<()> {
        io::Write::write_fmt(&mut &*self, record)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::Write::flush(&mut &*self)
    }
}
