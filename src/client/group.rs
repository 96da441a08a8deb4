//! [`Group`]: a set of clients to broadcast to, for example a chat room.

use std::fmt;
use std::sync::Arc;

use crate::client::id::ClientId;
use crate::client::roster::{self, Roster};
use crate::client::Client;
use crate::sync::Mutex;

/// The clients in a new group after which ended clients are looked for.
const FIRST_SWEEP: usize = 64;

/// A set of clients to broadcast to, for example the members of a chat room. No method blocks.
///
/// A clone is a handle of the same group. The clients may belong to different servers, and a client can be in
/// several groups. A client leaves by itself when it [closes](Client::is_closed).
///
/// ```
/// use std::io::{BufRead, BufReader, Write};
/// use backport::{testing, Adapter, Client, Group, Result};
///
/// /// Sends each message to everybody in the room.
/// struct Member {
///     room: Group,
/// }
///
/// impl Adapter for Member {
///     fn opening(&mut self, client: &Client) -> Result {
///         self.room.join(client);
///         Ok(())
///     }
///
///     fn receiving(&mut self, _: &Client, message: &[u8]) -> Result {
///         self.room.broadcast(message);
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result {
/// let room = Group::new();
/// let member = || testing::connect(Member { room: room.clone() });
/// let (mut ann, bob) = (member(), member());
/// while room.len() < 2 {
///     std::thread::yield_now();
/// }
/// ann.write_all(b"hello\n")?;
/// let mut said = String::new();
/// BufReader::new(bob).read_line(&mut said)?;
/// assert_eq!(said, "hello\n");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Group {
    members: Arc<Mutex<Members>>,
}

/// Written under the lock by threads that let a client join or leave. Read by threads that broadcast.
#[derive(Default)]
struct Members {
    clients: Roster,
    /// When there are so many members, clients that have ended are removed. It is twice the number of members
    /// that were left the last time, so the work is in proportion to the joins.
    sweep_at: usize,
}

impl Group {
    /// Makes a group without clients.
    #[must_use]
    pub fn new() -> Group {
        Group::default()
    }

    /// Adds a client. If it is already a member, this does nothing.
    pub fn join(&self, client: &Client) {
        let mut members = self.members.lock();
        let ended = if members.clients.len() >= members.sweep_at { members.sweep() } else { Vec::new() };
        if !client.is_closed() {
            members.clients.insert(client.clone());
        }
        drop(members);
        drop(ended);
    }

    /// Removes a client. If it is no member, this does nothing.
    pub fn leave(&self, client: &Client) {
        let removed = self.members.lock().clients.remove(client.id());
        drop(removed);
    }

    /// [Posts](Client::post) `data` to every member, and returns how many members accepted it. A slow member
    /// delays no other member.
    ///
    /// Two broadcasts at the same time may reach two clients in different orders. If the order matters, hold a lock
    /// of your own meanwhile. It is never held for long, because a post never waits for a peer.
    pub fn broadcast(&self, data: impl AsRef<[u8]>) -> usize {
        let data = data.as_ref();
        let clients = self.members.lock().clients.list();
        let accepted = roster::broadcast(&clients, data);
        if accepted < clients.len() {
            drop(clients);
            self.sweep();
        }
        accepted
    }

    /// Returns the members, in the order in which they connected.
    #[must_use]
    pub fn clients(&self) -> Vec<Client> {
        self.sweep();
        self.members.lock().clients.iter().cloned().collect()
    }

    /// Returns the number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sweep();
        self.members.lock().clients.len()
    }

    /// Returns `true` if the group has no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn sweep(&self) {
        let ended = self.members.lock().sweep();
        drop(ended);
    }
}

impl Members {
    /// Removes the clients that have ended. The caller drops them without the lock, because that may free
    /// values of the user.
    fn sweep(&mut self) -> Vec<Client> {
        let ended: Vec<ClientId> =
            self.clients.iter().filter(|client| client.is_closed()).map(Client::id).collect();
        let ended = ended.into_iter().filter_map(|id| self.clients.remove(id)).collect();
        self.sweep_at = (2 * self.clients.len()).max(FIRST_SWEEP);
        ended
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::state::ClientContext;
    use crate::limits::Limits;
    use crate::remote::Remote;
    use crate::threads::MachineThreads;
    use crate::transport::memory::{MemoryTransport, Pipe};

    /// Makes a client that takes 4 bytes, and has a backlog of so many.
    fn client(max_backlog: usize) -> Client {
        let transport =
            MemoryTransport { inward: Pipe::new(1), outward: Pipe::new(4), flush: Arc::default() };
        let limits = Limits::default();
        limits.set_max_backlog(max_backlog);
        let context =
            ClientContext { limits: Arc::new(limits), ..ClientContext::for_tests(MachineThreads::new()) };
        Client::new(ClientId::next(), Arc::new(transport), Remote::Memory, Arc::new(context))
    }

    #[test]
    fn a_member_that_does_not_accept_a_broadcast_is_not_counted() {
        let group = Group::new();
        let members = [client(100), client(0), client(100)];
        members.iter().for_each(|member| group.join(member));
        assert_eq!(group.broadcast("too much"), 2);
        assert_eq!(
            group.clients().iter().map(Client::id).collect::<Vec<_>>(),
            [members[0].id(), members[2].id()]
        );
    }

    #[test]
    fn a_broadcast_removes_members_that_have_ended() {
        let (group, ended) = (Group::new(), client(0));
        group.join(&ended);
        ended.close();
        assert_eq!(group.broadcast("x"), 0);
        assert_eq!(group.members.lock().clients.len(), 0);
    }

    /// A group that nobody broadcasts to does not grow either.
    #[test]
    fn members_that_have_ended_do_not_pile_up() {
        let (group, ended) = (Group::new(), client(0));
        ended.close();
        group.join(&ended);
        assert_eq!(group.members.lock().clients.len(), 0);
        let stays = client(0);
        group.join(&stays);
        for _ in 0..1_000 {
            let member = client(0);
            group.join(&member);
            member.close();
        }
        assert!(group.members.lock().clients.len() <= FIRST_SWEEP);
        assert_eq!(group.clients().len(), 1);
    }
}
