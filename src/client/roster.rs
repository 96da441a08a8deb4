//! [`Roster`]: a set of clients, with a list of them for threads that go through all.

use std::collections::{btree_map, BTreeMap};
use std::sync::Arc;

use crate::client::id::ClientId;
use crate::client::moment::Moment;
use crate::client::Client;

/// Posts `data` to each of the clients, and returns how many have accepted it.
pub(crate) fn broadcast(clients: &[Client], data: &[u8]) -> usize {
    /// This many posts take less than a millisecond together. Therefore one look at the clock is enough for them.
    const AT_ONE_TIME: usize = 16;
    let accepted = clients.chunks(AT_ONE_TIME).map(|clients| {
        let now = Moment::now();
        load(clients);
        clients.iter().filter(|client| client.shared.post_at(now, data).is_ok()).count()
    });
    accepted.sum()
}

/// Loads the part of each client with which a post begins, all at the same time. Otherwise each post waits for the
/// memory by itself: a delivery to one of 5,000 clients takes 13 % more than a blocking write instead of 5 %.
fn load(clients: &[Client]) {
    for client in clients {
        std::hint::black_box(client.shared.is_locked());
    }
}

/// A set of clients. Its owner holds a lock around it.
///
/// A thread that goes through all clients takes the list, and leaves the lock before it begins. The list is made
/// when it is first taken, and kept until a client comes or goes. Therefore a broadcast to clients that stay copies
/// nothing.
#[derive(Default)]
pub(crate) struct Roster {
    clients: BTreeMap<ClientId, Client>,
    list: Option<Arc<[Client]>>,
}

impl Roster {
    pub(crate) fn insert(&mut self, client: Client) {
        self.list = None;
        self.clients.insert(client.id(), client);
    }

    /// Removes a client. The caller drops it without the lock, because that may free values of the user.
    pub(crate) fn remove(&mut self, id: ClientId) -> Option<Client> {
        let removed = self.clients.remove(&id)?;
        // The list shares its clients with the set, except for the one that goes. Therefore this frees no client.
        self.list = None;
        Some(removed)
    }

    pub(crate) fn get(&self, id: ClientId) -> Option<&Client> {
        self.clients.get(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Returns the clients, in the order in which they connected.
    pub(crate) fn iter(&self) -> btree_map::Values<'_, ClientId, Client> {
        self.clients.values()
    }

    /// Returns the list of all clients, in the order in which they connected.
    pub(crate) fn list(&mut self) -> Arc<[Client]> {
        Arc::clone(self.list.get_or_insert_with(|| self.clients.values().cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::state::ClientContext;
    use crate::remote::Remote;
    use crate::threads::MachineThreads;
    use crate::transport::memory::{MemoryTransport, Pipe};

    fn client() -> Client {
        let transport =
            MemoryTransport { inward: Pipe::new(1), outward: Pipe::new(4), flush: Arc::default() };
        let context = Arc::new(ClientContext::for_tests(MachineThreads::new()));
        Client::new(ClientId::next(), Arc::new(transport), Remote::Memory, context)
    }

    fn ids(clients: &[Client]) -> Vec<ClientId> {
        clients.iter().map(Client::id).collect()
    }

    #[test]
    fn the_list_is_kept_until_a_client_comes_or_goes() {
        let mut roster = Roster::default();
        let (ann, bob) = (client(), client());
        roster.insert(ann.clone());
        let first = roster.list();
        assert!(Arc::ptr_eq(&first, &roster.list()));
        roster.insert(bob.clone());
        assert_eq!(ids(&roster.list()), [ann.id(), bob.id()]);
        assert!(roster.remove(ann.id()).is_some());
        assert_eq!(ids(&roster.list()), [bob.id()]);
        assert_eq!(ids(&first), [ann.id()], "a thread that goes through a list is not disturbed");
        assert!(roster.remove(ann.id()).is_none());
    }

    #[test]
    fn a_broadcast_reaches_every_client_that_accepts_it() {
        let clients: Vec<Client> = (0..40).map(|_| client()).collect();
        clients[7].close();
        assert_eq!(broadcast(&clients, b"abcd"), 39);
        assert!(clients
            .iter()
            .all(|client| (client.id() == clients[7].id()) == (client.stats().bytes_out == 0)));
    }
}
