//! [`Adapter`]: the trait that users implement. Each client has its own adapter.
//!
//! The session of a client owns the adapter and calls it on the session's thread. The session drops it after
//! `closing`.

pub(crate) mod framed;

use crate::adapter::framed::Framed;
use crate::client::Client;
use crate::closing::Closing;
use crate::error::Result;
use crate::frame::Framing;
use crate::input::Input;

/// Serves one client. The server's factory makes one value for each client.
///
/// A session calls these methods in this order:
///
/// | method | when | how often |
/// |---|---|---|
/// | [`opening`](Adapter::opening) | the client has connected | once |
/// | [`serving`](Adapter::serving) | after `opening`, unless the connection is already ending | at most once |
/// | [`receiving`](Adapter::receiving) | from the default `serving`, when bytes have arrived | any number of times |
/// | [`closing`](Adapter::closing) | the connection ends | once for each `opening` |
///
/// The factory and all these methods run on the client's own thread, one after another. The crate holds no
/// lock while they run, so a callback may block, write to other clients, and stop the machine. A callback
/// that blocks delays no other client.
///
/// With [`Threads::WhileBusy`](crate::Threads::WhileBusy), the thread changes from one callback to the next. The guide
/// describes [what that means](crate::guide::threads).
///
/// A panic ends only the connection of that client ([`Closing::Panicked`]), and is logged as an error. A
/// panic in `closing` or in the adapter's `drop` is only logged, because the reason is already determined.
///
/// All methods have defaults. Most adapters implement only `receiving`.
///
/// ```
/// use backport::{Adapter, Client, Closing, Result};
///
/// struct Counter {
///     bytes: usize,
/// }
///
/// impl Adapter for Counter {
///     fn opening(&mut self, client: &Client) -> Result {
///         client.write_line("send me something")?;
///         Ok(())
///     }
///
///     fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
///         self.bytes += data.len();
///         client.write_line(format!("{} bytes so far", self.bytes))?;
///         Ok(())
///     }
///
///     fn closing(&mut self, client: &Client, reason: &Closing) {
///         println!("client {}: {} bytes, {reason}", client.id(), self.bytes);
///     }
/// }
/// # drop(Counter { bytes: 0 });
/// ```
pub trait Adapter: Send + 'static {
    /// Called once when the client has connected, before anything is read. Does nothing by default.
    ///
    /// It runs on the client's own thread and may block. The connection is open. Bytes that arrive wait until
    /// `opening` has finished.
    ///
    /// It is not called if the factory has panicked, or if the client connected while the server was
    /// stopping.
    ///
    /// # Errors
    /// The same as for [`receiving`](Adapter::receiving).
    fn opening(&mut self, client: &Client) -> Result {
        let _ = client;
        Ok(())
    }

    /// Called each time bytes have arrived from the client. Ignores them by default.
    ///
    /// The bytes arrive in order, and none is lost. The network decides how many bytes `data` has, but there
    /// is at least one. The next call comes after this call has finished.
    ///
    /// It runs on the client's own thread and may block. The connection is open, also if the server or the
    /// machine is asked to stop while `receiving` runs: the answer is still delivered. After a
    /// [close](Client::close), writes fail with [`BrokenPipe`](std::io::ErrorKind::BrokenPipe).
    ///
    /// If another thread writes the answer after `receiving` has returned, give that thread a
    /// [hold](Client::hold).
    ///
    /// It is not called:
    ///
    /// - after [`Client::close`] or [`Client::abort`] has returned, even if bytes are unread. A call that is
    ///   already running finishes.
    /// - after a stop of the server or machine has reached the client, unless the client has a hold.
    /// - after the end of input. Only a [framed](Adapter::framed) adapter may get a last frame then.
    /// - if the adapter has its own [`serving`](Adapter::serving), which then reads the bytes itself.
    ///
    /// # Errors
    /// Every error ends the connection of this client alone. `closing` is called with one of these reasons:
    ///
    /// - [`Closing::Lost`] if the error is an I/O error which means that the peer has disconnected or cannot
    ///   be reached. Therefore the errors of writes can be passed on with `?`. If the connection was already
    ///   asked to end, the earlier reason is kept.
    /// - [`Closing::Failed`] for every other error, which is also logged as a warning.
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        let _ = (client, data);
        Ok(())
    }

    /// Called exactly once for each `opening` that has begun, as the last callback. Does nothing by default.
    ///
    /// It is also called if `opening` has failed or panicked. It is not called if `opening` was not called.
    /// `reason` says why the connection ends. The adapter is dropped afterwards.
    ///
    /// It runs on the client's own thread and may block. If the callbacks before it have succeeded, it is
    /// called after the last [hold](Client::hold) is dropped, unless the connection is asked to end earlier.
    /// The functions of [`Client::on_close`] run before it.
    ///
    /// After a [`close`](Client::close), it begins when the callback that runs has returned. A peer that does not
    /// read the output that it was sent can delay that by a second.
    ///
    /// The connection is ending but not closed yet. Only `closing` can still write or post. Writes of all other threads
    /// fail with [`BrokenPipe`](std::io::ErrorKind::BrokenPipe).
    ///
    /// Output that is written here is [delivered](crate::guide::endings#delivered-output) to a peer that keeps
    /// reading. A write fails if the reason is [`Lost`](Closing::Lost) or [`TooSlow`](Closing::TooSlow), or if
    /// the connection was aborted. It also fails after [`Client::close_write`].
    ///
    /// A panic in this method is logged as an error. The reason stays the same.
    fn closing(&mut self, client: &Client, reason: &Closing) {
        let _ = (client, reason);
    }

    /// Called once after `opening`, for the whole conversation. The connection ends when it returns.
    ///
    /// By default it reads until the end of input, and passes each chunk to
    /// [`receiving`](Adapter::receiving). Implement it if a protocol is easier to write as straight-line
    /// code. Then `receiving` is not called, unless your code calls it.
    ///
    /// It runs on the client's own thread and may block. The connection is open, unless it is asked to end
    /// while `serving` runs:
    ///
    /// - After a stop of the server or machine, the input has ended, and writes still succeed. If the client
    ///   has a [hold](Client::hold), the input ends when the last hold is dropped.
    /// - After a [close](Client::close), the input has ended, and writes fail with
    ///   [`BrokenPipe`](std::io::ErrorKind::BrokenPipe).
    ///
    /// [`Input`] describes the result of reads after that. A `serving` that writes for a long time without
    /// reading should check [`Client::is_stopping`].
    ///
    /// It is not called if `opening` has failed or panicked, or if the connection was asked to end during
    /// `opening`.
    ///
    /// # Errors
    /// The same as for [`receiving`](Adapter::receiving).
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        while let Some(data) = input.chunk_or_pause::<Self>()? {
            self.receiving(client, data)?;
        }
        Ok(())
    }

    /// Wraps this adapter so that its `receiving` gets one frame of `framing` per call.
    ///
    /// `opening` and `closing` are called as before. This adapter's own `serving` is not used.
    fn framed<F: Framing>(self, framing: F) -> Framed<Self, F>
    where
        Self: Sized,
    {
        Framed::new(self, framing)
    }
}

/// Forwards every call, so a factory can choose between several adapters and return a `Box<dyn Adapter>`.
impl<A: Adapter + ?Sized> Adapter for Box<A> {
    fn opening(&mut self, client: &Client) -> Result {
        (**self).opening(client)
    }

    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        (**self).receiving(client, data)
    }

    fn closing(&mut self, client: &Client, reason: &Closing) {
        (**self).closing(client, reason);
    }

    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        input.pass_on::<Self>();
        (**self).serving(client, input)
    }
}

/// Makes an adapter from a closure, which becomes its [`receiving`](Adapter::receiving).
///
/// ```
/// # fn main() -> backport::Result {
/// # let machine = backport::Machine::new();
/// machine.prepare_tcp_server("127.0.0.1:0", || {
///     let mut seen = 0;
///     backport::receiving(move |client, data| {
///         seen += data.len();
///         Ok(client.write_line(seen.to_string())?)
///     })
/// })?;
/// # Ok(())
/// # }
/// ```
pub fn receiving<F>(f: F) -> impl Adapter
where
    F: FnMut(&Client, &[u8]) -> Result + Send + 'static,
{
    struct Receiving<F>(F);

    impl<F: FnMut(&Client, &[u8]) -> Result + Send + 'static> Adapter for Receiving<F> {
        fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
            (self.0)(client, data)
        }
    }

    Receiving(f)
}
