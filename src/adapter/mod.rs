//! The adapter: the user's type, one value a client.

pub(crate) mod framed;

use crate::adapter::framed::Framed;
use crate::client::Client;
use crate::closing::Closing;
use crate::error::Result;
use crate::frame::Framing;
use crate::input::Input;

/// What a server does with one client. One value a client, made by the server's factory.
///
/// Every method runs on the client's own thread, one after another, never two at once, with no lock
/// of the crate's held: a callback may block, write to other clients, and stop the machine. A panic
/// ends that client alone.
///
/// All methods have defaults; most adapters implement [`receiving`](Adapter::receiving) alone.
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
    /// The client has connected. Called once, before anything is read; the connection is open.
    ///
    /// # Errors
    /// An error ends the connection ([`Closing::Failed`]); `closing` is called.
    fn opening(&mut self, client: &Client) -> Result {
        let _ = client;
        Ok(())
    }

    /// Bytes have come from the client, in order, none lost; how many at once is up to the network.
    ///
    /// Not called once [`Client::close`] has returned, whatever was still to be read, nor after the
    /// end of input.
    ///
    /// # Errors
    /// An error ends the connection ([`Closing::Failed`]); `closing` is called. An I/O error that
    /// only says that the peer went away is passed on with `?` safely: it ends the connection as
    /// [`Closing::Lost`], or as what closed it before.
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        let _ = (client, data);
        Ok(())
    }

    /// The connection ends, for this reason. Called exactly once for each `opening` begun (also one
    /// that failed or panicked), last, and never otherwise: not when the factory panicked, and not
    /// when the client came too late to a server that was stopping. Then the adapter is dropped.
    ///
    /// The connection is still there: unless the reason is [`Lost`](Closing::Lost) or
    /// [`TooSlow`](Closing::TooSlow), or it was aborted, a last word written here is delivered to a
    /// peer that reads. Only this call may write then; other threads get
    /// [`BrokenPipe`](std::io::ErrorKind::BrokenPipe).
    fn closing(&mut self, client: &Client, reason: &Closing) {
        let _ = (client, reason);
    }

    /// The whole conversation, between `opening` and `closing`. Returning ends the connection.
    ///
    /// By default: reads until the connection ends, handing each chunk to `receiving`. Implement it
    /// where a protocol reads better as straight-line code; `receiving` is not called then. Not called
    /// for a client that `opening` has closed.
    ///
    /// # Errors
    /// As for `receiving`.
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        while let Some(data) = input.chunk()? {
            self.receiving(client, data)?;
        }
        Ok(())
    }

    /// This adapter, with `receiving` given one frame a call, as an iterator adaptor would do it.
    /// Its own `serving` is not used.
    fn framed<F: Framing>(self, framing: F) -> Framed<Self, F>
    where
        Self: Sized,
    {
        Framed::new(self, framing)
    }
}

/// So that `Box<dyn Adapter>` is an adapter: a factory may choose between several.
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
        (**self).serving(client, input)
    }
}

/// An adapter from a closure, which is its [`receiving`](Adapter::receiving).
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
