//! Requests a second for each client address.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use sidecar_http::client_address;

/// A burst is as large as so many seconds of requests: a page asks for many things at once.
const BURST_SECONDS: u32 = 10;
/// Addresses are looked through for ones that came long ago this often.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// And this often while there is no room for others: whoever owns a network has more addresses than are remembered.
const FORGET_WHEN_FULL: Duration = Duration::from_secs(1);
/// Addresses remembered; beyond it all share one allowance until some are forgotten.
const MAX_ADDRESSES: usize = 65_536;

/// The allowances.
pub(crate) struct RateLimit<C: Clock = DefaultClock> {
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, C, NoOpMiddleware<C::Instant>>,
    clock: C,
    forgot: Mutex<C::Instant>,
}

impl<C: Clock> std::fmt::Debug for RateLimit<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimit").field("addresses", &self.limiter.len()).finish_non_exhaustive()
    }
}

impl RateLimit {
    pub(crate) fn per_second(requests: NonZeroU32) -> Self {
        Self::with_clock(requests, DefaultClock::default())
    }
}

impl<C: Clock + Clone> RateLimit<C> {
    fn with_clock(requests: NonZeroU32, clock: C) -> Self {
        let quota = Quota::per_second(requests)
            .allow_burst(requests.saturating_mul(const { NonZeroU32::new(BURST_SECONDS).expect("not zero") }));
        Self { limiter: RateLimiter::hashmap_with_clock(quota, clock.clone()), forgot: Mutex::new(clock.now()), clock }
    }

    /// `Err` says how long to wait.
    pub(crate) fn check(&self, address: IpAddr) -> Result<(), Duration> {
        self.forget_old();
        let key = if self.is_full() { IpAddr::from([0; 16]) } else { client_address(address) };
        self.limiter.check_key(&key).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    fn is_full(&self) -> bool {
        self.limiter.len() >= MAX_ADDRESSES
    }

    fn forget_old(&self) {
        let Ok(mut forgot) = self.forgot.try_lock() else { return };
        let every = if self.is_full() { FORGET_WHEN_FULL } else { FORGET_EVERY };
        let now = self.clock.now();
        if Duration::from(now.duration_since(*forgot)) >= every {
            *forgot = now;
            self.limiter.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limit() -> (RateLimit<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (RateLimit::with_clock(NonZeroU32::new(1).unwrap(), clock.clone()), clock)
    }

    #[test]
    fn each_client_has_an_allowance_of_its_own() {
        let (limit, clock) = limit();
        let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..BURST_SECONDS {
            limit.check(a).unwrap();
        }
        assert!(limit.check(a).is_err_and(|wait| wait <= Duration::from_secs(1)));
        limit.check(b).unwrap();
        // The same client, seen through IPv6.
        assert!(limit.check("::ffff:192.0.2.1".parse().unwrap()).is_err());
        clock.advance(Duration::from_secs(1));
        limit.check(a).unwrap();
    }

    #[test]
    fn who_comes_with_every_address_of_a_network_shuts_nobody_out_for_long() {
        let (limit, clock) = limit();
        let client = "192.0.2.1".parse().unwrap();
        limit.check(client).unwrap();
        // One network of IPv6 that a site is given has as many clients as are remembered.
        for subnet in 0..=u16::MAX {
            let _shared_at_last = limit.check(IpAddr::from([0x2001, 0xdb8, 0, subnet, 0, 0, 0, 1]));
        }
        while limit.check("198.51.100.1".parse().unwrap()).is_ok() {}
        assert!(limit.check(client).is_err(), "there is no room, and what is shared is used up");
        // Whoever came once counts as idle after two seconds of one request each.
        clock.advance(3 * FORGET_WHEN_FULL);
        for _ in 0..BURST_SECONDS {
            limit.check(client).unwrap();
        }
        assert!(limit.check(client).is_err(), "it has its own allowance again");
    }
}
