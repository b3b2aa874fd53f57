//! Places for each client: so many at a time, so that one client cannot take what is there for all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::network::client_address;

/// Places of one client unless somebody chose otherwise: browsers open six connections, and a host has several of them.
const LEAST_PER_ADDRESS: usize = 8;

/// What one client may have of places for all, unless somebody chose otherwise: a quarter, so that it takes several to
/// leave nothing for others.
#[must_use]
pub const fn per_address(all: usize) -> usize {
    if all / 4 > LEAST_PER_ADDRESS { all / 4 } else { LEAST_PER_ADDRESS }
}

/// Places by client; cheap to clone. Remembers a client only while it has a place or waits for one.
#[derive(Debug, Clone)]
pub struct Places {
    each: usize,
    taken: Arc<Mutex<HashMap<IpAddr, Arc<Semaphore>>>>,
}

/// A client's place. It is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    client: IpAddr,
    permit: Option<OwnedSemaphorePermit>,
}

impl Places {
    /// So many for each client.
    #[must_use]
    pub fn new(each: usize) -> Self {
        Self { each: each.min(Semaphore::MAX_PERMITS), taken: Arc::default() }
    }

    /// How many each client has.
    #[must_use]
    pub fn each(&self) -> usize {
        self.each
    }

    /// A place for the client with this address; `None` where it has all that it may have.
    #[must_use]
    pub fn take(&self, address: IpAddr) -> Option<Place> {
        let (mut place, of_client) = self.line_up(address);
        place.permit = Some(of_client.try_acquire_owned().ok()?);
        Some(place)
    }

    /// A place for the client with this address, as soon as it has one left. Nobody but itself makes it wait.
    pub async fn wait(&self, address: IpAddr) -> Place {
        let (mut place, of_client) = self.line_up(address);
        // Nobody closes the semaphore.
        place.permit = of_client.acquire_owned().await.ok();
        place
    }

    fn line_up(&self, address: IpAddr) -> (Place, Arc<Semaphore>) {
        let client = client_address(address);
        let semaphore = Arc::clone(self.taken().entry(client).or_insert_with(|| Arc::new(Semaphore::new(self.each))));
        (Place { places: self.clone(), client, permit: None }, semaphore)
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Semaphore>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.permit.take());
        let mut taken = self.places.taken();
        // Nobody has a place or waits for one; whoever comes is counted from 0 again.
        if taken.get(&self.client).is_some_and(|of_client| Arc::strong_count(of_client) == 1) {
            taken.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_client_has_so_many_places_and_takes_none_of_others() {
        let places = Places::new(2);
        let held = [places.take(address("192.0.2.1")), places.take(address("::ffff:192.0.2.1"))].map(Option::unwrap);
        assert!(places.take(address("192.0.2.1")).is_none(), "the same client, seen through IPv6 or not");
        assert!(places.take(address("192.0.2.2")).is_some());
        let [first, second] = held;
        drop(first);
        let third = places.take(address("192.0.2.1")).unwrap();
        assert!(places.take(address("192.0.2.1")).is_none());
        drop((second, third));
        assert!(places.taken().is_empty(), "nobody is remembered");
    }

    #[test]
    fn who_waits_is_served_in_turn_and_who_goes_is_forgotten() {
        let places = Places::new(1);
        let client = address("2001:db8::1");
        let held = places.take(client).unwrap();
        let mut next = pin!(places.wait(address("2001:db8::2")));
        assert!(poll(next.as_mut()).is_pending(), "its whole network is one client");
        {
            let mut gone = pin!(places.wait(client));
            assert!(poll(gone.as_mut()).is_pending());
        }
        drop(held);
        let Poll::Ready(place) = poll(next.as_mut()) else { panic!("it is its turn") };
        {
            let mut gone = pin!(places.wait(client));
            assert!(poll(gone.as_mut()).is_pending());
            drop(place);
            // It was given the place and went before it knew.
        }
        assert!(places.taken().is_empty(), "nobody is remembered");
    }

    #[test]
    fn one_client_has_a_quarter_of_all() {
        assert_eq!([per_address(256), per_address(200), per_address(4)], [64, 50, 8]);
    }
}
