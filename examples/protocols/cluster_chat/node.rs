//! A node: its servers, and how it stops.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Arc;
use std::time::Duration;
use std::{env, thread};

use backport::{framing::Lines, Adapter, Client, Machine, Result, TcpHandle, TcpServer};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::member::Member;
use crate::redis_link::RedisLink;

/// How long a new node waits for Redis before it serves its first client.
const START: Duration = Duration::from_secs(3);
/// How long HAProxy may take to ask twice. This is more than twice `agent-inter` of its configuration.
const QUESTIONS: Duration = Duration::from_secs(5);
/// How long the clients may take to leave.
const DRAIN: Duration = Duration::from_secs(10);

/// It is also the agent: it tells HAProxy whether this node takes new clients.
#[derive(Clone)]
struct Node {
    chat: TcpHandle,
    draining: Arc<AtomicBool>,
    /// How often HAProxy was told not to send new clients.
    refusals: Arc<AtomicU32>,
}

impl Adapter for Node {
    fn opening(&mut self, haproxy: &Client) -> Result {
        if !self.draining.load(Ordering::SeqCst) {
            // `ready` ends the draining of the process that had this address before.
            haproxy.write_line("ready up")?;
        } else {
            haproxy.write_line("drain")?;
            // HAProxy has acted on the first answer when it asks again. No new client comes after that.
            if self.refusals.fetch_add(1, Ordering::SeqCst) == 1 {
                self.drain();
            }
        }
        haproxy.close();
        Ok(())
    }
}

impl Node {
    /// Lets the clients leave. The process ends when the last one has left.
    fn drain(&self) {
        if !self.chat.is_stopped() {
            self.chat.broadcast("* this node will stop, please connect again\n");
            self.chat.drain(DRAIN);
        }
    }
}

pub(crate) fn run() -> Result {
    env_logger::init();
    let mut arguments = env::args().skip(1);
    let mut argument = |default: &str| arguments.next().unwrap_or(default.to_owned());
    let (address, agent) = (argument("localhost:8001"), argument("localhost:9001"));
    let (redis, balancer) = (argument("localhost:6379"), argument("127.0.0.1").parse::<IpAddr>()?);
    let mut signals = Signals::new([SIGINT, SIGTERM])?;

    // The chat has its own machine because it stops first. Its last lines still need Redis.
    let (chat, helpers) = (Machine::new(), Machine::new());
    let link = RedisLink::default();
    link.prepare(&helpers, redis)?;
    let members = link.clone();
    let member = move || Member::new(members.clone()).framed(Lines::with_limit(1000));
    // Any other computer could claim any address, so only HAProxy is believed.
    let server = TcpServer::new(address, member).proxy_protocol(move |ip| ip.is_loopback() || ip == balancer);
    let node = Node { chat: chat.prepare(server)?, draining: Arc::default(), refusals: Arc::default() };
    let answers = node.clone();
    let agent = helpers.prepare_tcp_server(agent, move || answers.clone())?;
    println!("listening on {}", node.chat.local_addr());
    println!("agent on {}", agent.local_addr());

    let helpers = helpers.start()?;
    // Clients wait in the queue of the kernel. If Redis does not come, the node serves them and tells them.
    link.wait(START);
    let (chat, timer) = (chat.start()?, helpers.machine().clone());
    thread::spawn(move || {
        for signal in signals.forever() {
            // Ctrl-C does not wait for the clients, and neither does a second signal.
            if node.draining.swap(true, Ordering::SeqCst) || signal == SIGINT {
                node.chat.stop();
            } else {
                let node = node.clone();
                timer.prepare_timeout(QUESTIONS, move || node.drain());
            }
        }
    });
    chat.join()?;
    helpers.stop()
}
