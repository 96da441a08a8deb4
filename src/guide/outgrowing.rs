//! Outgrowing one machine: several processes behind a load balancer, with messages between them.
//!
//! One process serves a few thousand clients. If you need more clients, or a service that survives the failure of a
//! computer, run several processes. This crate has no cluster of its own, and needs none: existing programs do the
//! rest. HAProxy spreads the clients over the processes, and Redis passes messages between them.
//!
//! The example `cluster_chat` in `examples/protocols` is such a program, with the configuration of HAProxy. Every
//! process of it is a *node*. This page uses it as the example.
//!
//! | part | task | what this crate has for it |
//! |---|---|---|
//! | HAProxy | one address for all clients, and a node for each of them | [`proxy_protocol`], so that a client keeps its address |
//! | a node | serves its clients | [`Group::broadcast`], and [`drain`] for a restart |
//! | Redis | passes each message on to all nodes | [`TcpClient`], which connects again by itself |
//!
//! # First: one larger machine
//!
//! Several nodes have costs: more programs to run, and messages that can be lost on the way. Before that, check which
//! limit you have reached.
//!
//! | limit of one process | where it is | what to do |
//! |---|---|---|
//! | [`max_clients`] | 1,024 | raise it |
//! | open files | `ulimit -n`, one for each client | [`Backport::run`] raises the soft limit, the system sets the hard one |
//! | threads | about 16,000 with the defaults of Linux | use [`Threads::WhileBusy`](super::threads), or raise the [limits](super::limits#limits-of-the-operating-system) |
//! | memory | about 10 KiB for a client that is idle, 17 KiB in this chat | use [`Threads::WhileBusy`](super::threads), which takes about 1 KiB, and add what your adapter keeps |
//! | CPU time | all cores | [measure](#what-fan-out-costs) |
//!
//! A good size for a node is a few thousand clients. Leave room: when one node fails, the others get its clients.
//!
//! # What fan-out costs
//!
//! A line in a chat is one message for Redis, and one write for each client. Therefore the writes decide. In both
//! columns, 900 clients get 20 lines a second, which are 18,000 deliveries a second:
//!
//! | | 3 nodes with 300 clients each | 1 node with 900 clients |
//! |---|---|---|
//! | CPU time of a node for each delivery | 10.9 µs | 10.1 µs |
//! | the same, as a share of one CPU | 7 % on each node | 18 % |
//! | CPU time of HAProxy for each delivery | 21.1 µs | 21.1 µs |
//! | the same, as a share of one CPU | 38 % | 38 % |
//! | CPU time of Redis for each line | 191 µs | 94 µs |
//! | the same, as a share of one CPU | 0.6 % | 0.4 % |
//! | memory of a node for each client | 17 KiB | 17 KiB |
//!
//! - The cost of a node is its own deliveries. The clients of other nodes cost it nothing.
//! - Every node gets every line. If most lines are for a few clients, use a channel for each room, and subscribe only
//!   on the nodes that have members of the room.
//! - HAProxy reads and writes each delivery, so it costs twice as much as the nodes together. It is the first part
//!   that needs more cores. By default, it uses all of them.
//! - Redis is far from its limit. A further node costs it about 50 µs for each line.
//!
//! The numbers come from these commands. They are medians of three runs of 20 s on a virtual machine with two CPUs
//! (Intel Xeon, 2.5 GHz, Linux 6.18), which the clients, HAProxy and Redis shared with the nodes.
//!
//! ```sh
//! cargo build --release -p protocol-examples --example cluster_chat
//! python3 .ci/clients/cluster.py --measure --nodes 3 --clients 300
//! python3 .ci/clients/cluster.py --measure --nodes 1 --clients 900
//! ```
//!
//! Nearly all of this is the time of system calls. A real network has other costs than the loopback device, and lines
//! that are longer than the 70 bytes of this test cost more. Measure your own messages on your own computers.
//!
//! # The connection to Redis
//!
//! A node needs three things of this connection: it must come back soon, notice a peer that is silent, and tell the
//! clients about the gap.
//!
//! ```no_run
//! use std::time::Duration;
//! use backport::{receiving, Backport, Result, TcpClient};
//!
//! fn main() -> Result {
//!     Backport::run(|machine| {
//!         let client = TcpClient::new("redis:6379", || receiving(|_, _| Ok(())))
//!             // The longest delay is half a second, also after a long absence.
//!             .reconnect(Some((Duration::from_millis(50), Duration::from_millis(500))))
//!             .connect_timeout(Duration::from_secs(1))
//!             // A peer that does not answer to three questions is dead, also if its system is alive.
//!             .idle_timeout(Duration::from_secs(3));
//!         let redis = machine.prepare(client)?;
//!         machine.prepare_interval(Duration::from_secs(1), move |_| {
//!             redis.broadcast("PING\r\n"); // does nothing without a connection
//!         });
//!         Ok(())
//!     })
//! }
//! ```
//!
//! - Redis 6 or newer lets one connection subscribe and publish, with version 3 of its protocol (`HELLO 3`). If Redis
//!   has taken a line of a node, then that node has a subscription, and its own clients see the line.
//! - Redis passes the lines of all nodes on in one order. A node also sends the lines of its own clients to Redis, and
//!   not directly to its clients. Therefore all clients see the same order. The echo tells a client that Redis has
//!   taken its line.
//! - The answer to PUBLISH wakes the thread of the client that has said the line. A client has only one line under way,
//!   so a flood of one client slows down that client, and no queue grows.
//! - Redis ends the connection of a node that does not read fast enough (`client-output-buffer-limit`). The node then
//!   connects again, and its clients are told.
//!
//! # What clients see
//!
//! | event | clients |
//! |---|---|
//! | a node dies | its clients see the end of their connection, connect again through the same port, and get another node |
//! | Redis dies | all stay connected, and are told; a line that was not sent is answered with a note |
//! | Redis comes back | the chat continues in less than two seconds, and the clients are told that lines may be missing |
//! | the computer of Redis is silent | the same, three seconds later |
//! | a node restarts | new clients get other nodes; its clients are asked to connect again, and no line is cut |
//! | HAProxy dies | all connections end; two of them with one address (VRRP) shorten the pause |
//!
//! # A restart of one node
//!
//! A node gets SIGTERM. Its steps are:
//!
//! 1. The agent of the node answers `drain` to the next questions of HAProxy. HAProxy asks each half second, sends new
//!    clients to other nodes, and keeps the connections that exist.
//! 2. After three seconds, HAProxy has asked several times, and no new client comes. The node calls [`drain`].
//! 3. Each client gets a line that asks it to connect again. It can finish first. After ten seconds, clients that are
//!    left get a goodbye.
//! 4. When the last client has left, the connection to Redis is closed. It belongs to a [`Machine`](crate::Machine) of
//!    its own, because a stop ends all servers of a machine at once, and the last lines still need Redis.
//! 5. The next process listens on the same port. Its agent says `ready`, because HAProxy remembers the drain. If Redis
//!    answers, the node serves its first client only after it has subscribed.
//!
//! On a single computer, [handing the listener over](super::stopping#a-restart) is simpler.
//!
//! # What is not offered
//!
//! | not offered | take instead |
//! |---|---|
//! | delivery of messages that were published while a node was not connected; Redis pub/sub delivers at most once | Redis Streams, NATS JetStream or Kafka: each node reads on from its last position |
//! | messages of the past, for a client that connects again | a stream or a database, and a number in each message that the client sends back |
//! | a list of all members, or their number | a key with an expiry in Redis for each member, which its node renews |
//! | a farewell for the clients of a node that has died | the same keys: they expire |
//! | discovery of nodes | `server-template` and DNS in HAProxy, or an orchestrator that writes its configuration |
//! | agreement between nodes, locks, a leader | etcd, Consul or ZooKeeper |
//! | a Redis that does not fail | Sentinel or a managed Redis, with one address; a client of the crate `redis` knows Sentinel |
//! | protection of the messages between nodes | [`TcpClient::tls`](crate::TcpClient), a password (`HELLO 3 AUTH …`), and a network of their own |
//! | a client on the same node as before | `stick-table` in HAProxy, if an adapter keeps state between connections |
//!
//! Everybody who can publish in Redis can speak as anybody. The nodes believe it.
//!
//! [`Backport::run`]: crate::Backport::run
//! [`drain`]: crate::ServerHandle::drain
//! [`Group::broadcast`]: crate::Group::broadcast
//! [`max_clients`]: crate::TcpServer::max_clients
//! [`proxy_protocol`]: crate::TcpServer::proxy_protocol
//! [`TcpClient`]: crate::TcpClient
