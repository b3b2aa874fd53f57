//! Requests a second for each client address.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// A burst is as large as so many seconds of requests: a page asks for many things at once.
const BURST_SECONDS: u32 = 10;
/// Addresses are looked through for ones that came long ago this often.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Addresses remembered; beyond it all strangers share one allowance until some are forgotten.
const MAX_ADDRESSES: usize = 65_536;

/// The allowances.
pub(crate) struct RateLimit {
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>,
    clock: DefaultClock,
    forgot: Mutex<Instant>,
}

impl std::fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimit").field("addresses", &self.limiter.len()).finish_non_exhaustive()
    }
}

impl RateLimit {
    pub(crate) fn per_second(requests: NonZeroU32) -> Self {
        let quota = Quota::per_second(requests)
            .allow_burst(requests.saturating_mul(const { NonZeroU32::new(BURST_SECONDS).expect("not zero") }));
        let clock = DefaultClock::default();
        Self {
            limiter: RateLimiter::hashmap_with_clock(quota, clock.clone()),
            clock,
            forgot: Mutex::new(Instant::now()),
        }
    }

    /// `Err` says how long to wait.
    pub(crate) fn check(&self, address: IpAddr) -> Result<(), Duration> {
        self.forget_old();
        let mut key = network(address);
        if self.limiter.len() >= MAX_ADDRESSES {
            key = IpAddr::from([0; 16]);
        }
        self.limiter.check_key(&key).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    fn forget_old(&self) {
        let Ok(mut forgot) = self.forgot.try_lock() else { return };
        if forgot.elapsed() >= FORGET_EVERY {
            *forgot = Instant::now();
            self.limiter.retain_recent();
        }
    }
}

/// One client has a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_an_allowance_of_its_own() {
        let limit = RateLimit::per_second(NonZeroU32::new(1).unwrap());
        let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..BURST_SECONDS {
            limit.check(a).unwrap();
        }
        assert!(limit.check(a).is_err_and(|wait| wait <= Duration::from_secs(1)));
        limit.check(b).unwrap();
        // The same client, seen through IPv6.
        assert!(limit.check("::ffff:192.0.2.1".parse().unwrap()).is_err());
        assert_eq!(network("2001:db8::1".parse().unwrap()), network("2001:db8::ffff:2".parse().unwrap()));
    }
}
