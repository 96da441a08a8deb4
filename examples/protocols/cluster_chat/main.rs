//! A chat of several processes behind a load balancer. Each process is a node with clients of its own. Redis passes
//! every line on to all nodes, so all clients see the same lines in the same order.
//!
//! Run it:      redis-server
//!              cargo run -p protocol-examples --example cluster_chat -- localhost:8001 localhost:9001
//!              and in the same way with the ports 8002 and 9002, and 8003 and 9003
//!              haproxy -f examples/protocols/cluster_chat/haproxy.cfg
//! Talk to it:  nc localhost 8000               in two terminals
//! Restart it:  kill PID, and start the same node again; its clients may leave within ten seconds
//! Stop it:     press Ctrl-C twice; the node says goodbye to its clients and does not wait for them
//!
//! The arguments are the address for clients, the address of the agent that HAProxy asks, the address of Redis, and
//! the IP address of HAProxy if it runs on another computer.

mod member;
mod redis_link;

use std::env;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use backport::{framing::Lines, Adapter, Client, Machine, Result, TcpServer};

use crate::member::Member;
use crate::redis_link::RedisLink;

/// How long a new node waits for Redis before it serves its first client.
const START: Duration = Duration::from_secs(3);
/// How long HAProxy may take to learn that a node stops. It asks every half second (`agent-inter`).
const NOTICE: Duration = Duration::from_secs(3);
/// How long the clients may take to leave.
const DRAIN: Duration = Duration::from_secs(10);

/// The agent. It tells HAProxy whether this node takes new clients.
struct Agent(Arc<AtomicBool>);

impl Adapter for Agent {
    fn opening(&mut self, haproxy: &Client) -> Result {
        // `ready` ends the draining of the process that had this address before.
        haproxy.write_line(if self.0.load(Ordering::SeqCst) { "drain" } else { "ready up" })?;
        haproxy.close();
        Ok(())
    }
}

fn main() -> Result {
    env_logger::init();
    let mut arguments = env::args().skip(1);
    let mut argument = |default: &str| arguments.next().unwrap_or(default.to_owned());
    let (address, agent) = (argument("localhost:8001"), argument("localhost:9001"));
    let (redis, balancer) = (argument("localhost:6379"), argument("127.0.0.1").parse::<IpAddr>()?);

    // The chat has its own machine because it stops first. Its last lines still need Redis.
    let (chat, helpers) = (Machine::new(), Machine::new());
    let link = RedisLink::prepare(&helpers, redis)?;
    let members = link.clone();
    let member = move || Member { link: members.clone(), nickname: None }.framed(Lines::with_limit(1000));
    // Any other computer could claim any address, so only HAProxy is believed.
    let server = TcpServer::new(address, member).proxy_protocol(move |ip| ip.is_loopback() || ip == balancer);
    let server = chat.prepare(server)?;
    let draining = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&draining);
    let agent = helpers.prepare_tcp_server(agent, move || Agent(Arc::clone(&asked)))?;
    println!("listening on {}", server.local_addr());
    println!("agent on {}", agent.local_addr());

    let helpers = helpers.start()?;
    // Clients wait in the queue of the kernel. If Redis does not come, the node serves them and tells them.
    link.wait(START);
    let (chat, timer) = (chat.start()?, helpers.machine().clone());
    ctrlc::set_handler(move || {
        if draining.swap(true, Ordering::SeqCst) {
            // The second signal does not wait for the clients.
            return server.stop();
        }
        let server = server.clone();
        // HAProxy sends no new client after that. The process ends when the last client has left.
        timer.prepare_timeout(NOTICE, move || {
            server.broadcast("* this node will stop, please connect again\n");
            server.drain(DRAIN);
        });
    })?;
    chat.join()?;
    helpers.stop()
}
