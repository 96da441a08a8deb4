//! A chat of several processes behind a load balancer. Each process is a node with clients of its own. Redis passes
//! every line on to all nodes, so all clients see the same lines in the same order.
//!
//! Run it:      redis-server
//!              cargo run -p protocol-examples --example cluster_chat -- localhost:8001 localhost:9001
//!              and in the same way with the ports 8002 and 9002, and 8003 and 9003
//!              haproxy -f examples/protocols/cluster_chat/haproxy.cfg
//! Talk to it:  nc localhost 8000               in two terminals
//! Restart it:  kill PID, and start the same node again; its clients may leave within ten seconds
//! Stop it:     press Ctrl-C; the node says goodbye to its clients
//!
//! The arguments are the address for clients, the address of the agent that HAProxy asks, the address of Redis, and
//! the IP address of HAProxy if it runs on another computer.

#[cfg(unix)]
mod member;
#[cfg(unix)]
mod node;
#[cfg(unix)]
mod redis_link;

#[cfg(unix)]
fn main() -> backport::Result {
    node::run()
}

#[cfg(not(unix))]
fn main() {
    eprintln!("Only Unix has the signal that restarts a node.");
}
