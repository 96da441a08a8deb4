//! The adapters of the table: each of them computes in a callback and then answers in its own way.

use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;

use backport::framing::Lines;
use backport::{receiving, Adapter, Client, Closing, Input, Result};
use crossbeam_channel::Sender;

use super::ways::StopHere;
use crate::support::{pattern, Gate};

/// What an adapter shares with its test.
#[derive(Clone)]
pub(super) struct Context {
    /// Tells the test that a callback computes.
    pub(super) begun: Sender<Client>,
    /// Where the computation waits until the stop was asked for.
    pub(super) gate: Gate,
    /// Stops within the callback, if that is the way to stop.
    pub(super) stop_here: StopHere,
    pub(super) requests: Arc<AtomicUsize>,
    pub(super) closings: Sender<String>,
}

impl Context {
    /// A computation, which ends after the stop has begun.
    fn compute(&self, client: &Client) {
        self.begun.send(client.clone()).expect("the test waits for it");
        self.gate.wait();
        self.stop_here.get().expect("the test sets it first")(client);
    }

    fn request(&self) {
        self.requests.fetch_add(1, Ordering::SeqCst);
    }
}

type Make = fn(Context) -> Box<dyn Adapter>;

/// One way to answer.
pub(super) struct Variant {
    pub(super) name: &'static str,
    /// What the peer sends before the computation.
    pub(super) sends: &'static [u8],
    /// The peer ends its output before the computation ends.
    pub(super) half_closes: bool,
    /// A hold exists when the stop is asked for, so the input stays open.
    pub(super) holds: bool,
    pub(super) answer: fn() -> Vec<u8>,
    pub(super) make: Make,
}

fn whole() -> Vec<u8> {
    b"the first half, the second half".to_vec()
}

fn large() -> Vec<u8> {
    pattern(3_000_000)
}

/// A variant whose computation and answer are one function, called for each chunk.
macro_rules! on_receiving {
    ($name:literal, $answer:expr, |$client:ident, $context:ident| $body:expr) => {
        Variant {
            name: $name,
            sends: b"go\n",
            half_closes: false,
            holds: false,
            answer: $answer,
            make: |context| Box::new(closing(context, |$client: &Client, $context: &Context| $body)),
        }
    };
}

/// A variant with straight-line code.
macro_rules! on_serving {
    ($name:literal, |$client:ident, $input:ident, $context:ident| $body:expr) => {
        Variant {
            name: $name,
            sends: b"go\nnext\n",
            half_closes: false,
            holds: false,
            answer: whole,
            make: |context| {
                Box::new(Serving(context, |$client: &Client, $input: &mut Input, $context: &Context| $body))
            },
        }
    };
}

pub(super) fn all() -> Vec<Variant> {
    let mut all = vec![
        on_receiving!("write", whole, |client, context| {
            context.compute(client);
            Ok(client.write(whole())?)
        }),
        on_receiving!("write of 3 MB", large, |client, context| {
            context.compute(client);
            Ok(client.write(large())?)
        }),
        on_receiving!("post", whole, |client, context| {
            context.compute(client);
            Ok(client.post(whole())?)
        }),
        on_receiving!("post of 3 MB", large, |client, context| {
            context.compute(client);
            Ok(client.post(large())?)
        }),
        on_receiving!("two writes after the stop", whole, |client, context| {
            context.compute(client);
            client.write("the first half, ")?;
            Ok(client.write("the second half")?)
        }),
        on_receiving!("the stop between two writes", whole, |client, context| {
            client.write("the first half, ")?;
            context.compute(client);
            Ok(client.write("the second half")?)
        }),
        on_receiving!("the stop between a post and a write", whole, |client, context| {
            client.post("the first half, ")?;
            context.compute(client);
            Ok(client.write("the second half")?)
        }),
        on_receiving!("the stop under a cork", whole, |client, context| {
            let _corked = client.cork();
            client.write("the first half, ")?;
            context.compute(client);
            Ok(client.write("the second half")?)
        }),
        on_receiving!("a cork that is flushed", whole, |client, context| {
            let corked = client.cork();
            client.post("the first half, ")?;
            context.compute(client);
            client.write("the second half")?;
            Ok(corked.flush()?)
        }),
        on_receiving!("a large record under a cork", large, |client, context| {
            let _corked = client.cork();
            context.compute(client);
            large().chunks(50_000).try_for_each(|part| client.write(part)).map_err(Into::into)
        }),
        on_receiving!("write_vectored_all and write!", whole, |client, context| {
            context.compute(client);
            client.write_vectored_all(&[b"the first", b" half, "])?;
            let which = "second";
            Ok(write!(client, "the {which} half")?)
        }),
        on_receiving!("post and flush", whole, |client, context| {
            context.compute(client);
            client.post("the first half, the second half")?;
            Ok(client.flush()?)
        }),
        on_receiving!("another thread within the callback", whole, |client, context| {
            context.compute(client);
            thread::scope(|scope| scope.spawn(|| client.write(whole())).join().expect("no panic"))?;
            Ok(())
        }),
        on_receiving!("another thread with a hold", whole, |client, context| {
            let (hold, context) = (client.hold(), context.clone());
            drop(thread::spawn(move || {
                context.compute(&hold);
                hold.write(whole()).expect("the hold keeps the output open");
            }));
            Ok(())
        }),
        on_receiving!("a hold that is taken after the stop", whole, |client, context| {
            context.compute(client);
            let hold = client.hold();
            drop(thread::spawn(move || hold.write(whole()).expect("the output is open")));
            Ok(())
        }),
        on_serving!("serving with chunk", |client, input, context| {
            while input.chunk()?.is_some() {
                context.request();
                context.compute(client);
                client.write(whole())?;
            }
            Ok(())
        }),
        on_serving!("serving with read_line", |client, input, context| {
            loop {
                let mut line = String::new();
                if input.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                context.request();
                assert_eq!(line, "go\n");
                context.compute(client);
                client.write(whole())?;
            }
        }),
        on_serving!("serving with frame", |client, input, context| {
            let mut lines = Lines::default();
            while input.frame(&mut lines)?.is_some() {
                context.request();
                context.compute(client);
                client.write(whole())?;
            }
            Ok(())
        }),
        on_serving!("serving with stream", |client, input, context| {
            let mut stream = input.stream();
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                context.request();
                stream.write_all(b"the first half, ")?;
                context.compute(client);
                stream.write_all(b"the second half")?;
                stream.flush()?;
            }
        }),
        Variant {
            name: "framed",
            sends: b"go\nnext\nafter that\n",
            half_closes: false,
            holds: false,
            answer: whole,
            make: |context| Box::new(answering(context).framed(Lines::default())),
        },
        Variant {
            name: "framed and gathering",
            sends: b"go\nnext\nafter that\n",
            half_closes: false,
            holds: false,
            answer: whole,
            make: |context| Box::new(answering(context).framed(Lines::default()).gathering()),
        },
        Variant {
            name: "a banner",
            sends: b"",
            half_closes: false,
            holds: false,
            answer: whole,
            make: |context| Box::new(Banner(context)),
        },
    ];
    all.iter_mut().for_each(|variant| variant.holds = variant.name == "another thread with a hold");
    let halves = [("a peer that has half-closed, ", all[0].make), ("half-closed and post, ", all[3].make)];
    all.extend(halves.into_iter().zip([whole as fn() -> Vec<u8>, large]).map(|((name, make), answer)| {
        Variant { name, sends: b"go\n", half_closes: true, holds: false, answer, make }
    }));
    all
}

fn answering(context: Context) -> impl Adapter {
    closing(context, |client, context| {
        client.write("the first half, ")?;
        context.compute(client);
        Ok(client.post("the second half")?)
    })
}

/// Answers each request with `f`, and says goodbye.
fn closing(context: Context, f: fn(&Client, &Context) -> Result) -> impl Adapter {
    let own = context.clone();
    let adapter = receiving(move |client, _| {
        own.request();
        f(client, &own)
    });
    Goodbye(context, adapter)
}

/// Says goodbye, and tells the test of it.
fn say_goodbye(context: &Context, client: &Client, reason: &Closing) {
    let said = client.write(format!(" goodbye: {reason}"));
    context.closings.send(format!("{reason}, {said:?}")).expect("the test listens");
}

struct Goodbye<A>(Context, A);

impl<A: Adapter> Adapter for Goodbye<A> {
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        self.1.receiving(client, data)
    }
    fn closing(&mut self, client: &Client, reason: &Closing) {
        say_goodbye(&self.0, client, reason);
    }
}

struct Serving(Context, fn(&Client, &mut Input, &Context) -> Result);

impl Adapter for Serving {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        (self.1)(client, input, &self.0)
    }
    fn closing(&mut self, client: &Client, reason: &Closing) {
        say_goodbye(&self.0, client, reason);
    }
}

struct Banner(Context);

impl Adapter for Banner {
    fn opening(&mut self, client: &Client) -> Result {
        self.0.request();
        client.write("the first half, ")?;
        self.0.compute(client);
        Ok(client.write("the second half")?)
    }
    fn receiving(&mut self, _: &Client, _: &[u8]) -> Result {
        self.0.request();
        Ok(())
    }
    fn closing(&mut self, client: &Client, reason: &Closing) {
        say_goodbye(&self.0, client, reason);
    }
}
