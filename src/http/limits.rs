//! How much anybody may ask, and how many connections an address and sockets a subject may hold. What is limited here keeps nobody
//! else waiting.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::settings::Http;

/// An address as it is counted: of IPv6 the network that one customer is given, for all of it is theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Network(IpAddr);

impl Network {
    /// The network of an address; of none that is known, one for all of those.
    pub(super) fn of(address: Option<IpAddr>) -> Self {
        Self(match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V6(address)) => {
                let network = address.to_bits() >> 64 << 64;
                Ipv6Addr::from_bits(network).into()
            }
            Some(address) => address,
            None => Ipv4Addr::UNSPECIFIED.into(),
        })
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What is counted of everybody.
pub(super) struct Limits {
    probes: Counted<Network>,
    requests: Counted<Network>,
    subjects: Counted<String>,
    seats: Arc<Seats<Network>>,
    sockets: Arc<Seats<String>>,
}

impl Limits {
    pub(super) fn new(settings: &Http) -> Self {
        Self {
            probes: Counted::a_second(settings.requests_per_address),
            requests: Counted::a_second(settings.requests_per_address),
            subjects: Counted::a_second(settings.requests_per_subject),
            seats: Seats::new(settings.connections_per_address),
            sockets: Seats::new(settings.sockets_per_subject),
        }
    }

    /// Whether an address may ask for a probe now; the error says how long to wait.
    pub(super) fn probe(&self, network: Network) -> Result<(), Duration> {
        self.probes.admit(&network)
    }

    /// The same of anything else.
    pub(super) fn request(&self, network: Network) -> Result<(), Duration> {
        self.requests.admit(&network)
    }

    /// The same by whom its token names.
    pub(super) fn subject(&self, name: &String) -> Result<(), Duration> {
        self.subjects.admit(name)
    }

    /// Seats for connections.
    pub(super) fn seats(&self) -> &Arc<Seats<Network>> {
        &self.seats
    }

    /// A seat for a socket of whom a token names, if they have not too many.
    pub(super) fn socket(&self, name: &str) -> Option<Seat<String>> {
        self.sockets.take(name.to_owned())
    }

    /// Forgets whoever has not asked for a while.
    pub(super) fn sweep(&self) {
        self.probes.sweep();
        self.requests.sweep();
        self.subjects.sweep();
    }
}

fn at_least_one(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)
}

/// Requests of each of many.
pub(super) struct Counted<K: Clone + Hash + Eq>(DefaultKeyedRateLimiter<K>);

impl<K: Clone + Hash + Eq> Counted<K> {
    fn a_second(count: u32) -> Self {
        Self(RateLimiter::keyed(Quota::per_second(at_least_one(count))))
    }

    /// So many a minute of each.
    pub(super) fn a_minute(count: u32) -> Self {
        Self(RateLimiter::keyed(Quota::per_minute(at_least_one(count))))
    }

    /// Whether another one is within the limit; the error says how long to wait.
    pub(super) fn admit(&self, key: &K) -> Result<(), Duration> {
        let wait =
            |refused: governor::NotUntil<_>| refused.wait_time_from(DefaultClock::default().now());
        self.0.check_key(key).map_err(wait)
    }

    /// Forgets whoever has not come for a while.
    pub(super) fn sweep(&self) {
        self.0.retain_recent();
    }
}

/// What each of many holds at a time: connections of an address, sockets of a subject.
pub(super) struct Seats<K: Ord> {
    most: usize,
    taken: Mutex<BTreeMap<K, usize>>,
}

/// A seat that is counted until this goes.
pub(super) struct Seat<K: Ord> {
    whose: K,
    seats: Arc<Seats<K>>,
}

impl<K: Ord + Clone> Seats<K> {
    fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// A seat, if there are not too many of this one's.
    pub(super) fn take(self: &Arc<Self>, whose: K) -> Option<Seat<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(whose.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Seat { whose, seats: Arc::clone(self) })
    }
}

impl<K: Ord> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.whose) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn network(address: &str) -> Network {
        Network::of(Some(address.parse().expect("an address")))
    }

    #[test]
    fn whoever_has_a_network_of_ipv6_is_counted_once() {
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:10.0.0.7"), network("10.0.0.7"));
        assert_ne!(network("10.0.0.7"), network("10.0.0.8"));
    }

    #[test]
    fn who_asks_too_much_waits_and_nobody_else_does() {
        let settings = Http { requests_per_address: 3, ..Settings::default().http };
        let limits = Limits::new(&settings);
        let (greedy, other) = (network("10.0.0.7"), network("10.0.0.8"));
        let admitted = (0..20).filter(|_| limits.request(greedy).is_ok()).count();
        assert!((3..20).contains(&admitted), "{admitted}");
        let wait = limits.request(greedy).expect_err("too many");
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert!(limits.request(other).is_ok());
        assert!(limits.probe(greedy).is_ok(), "probes are counted apart");
    }

    #[test]
    fn an_address_has_so_many_connections_and_gets_them_back() {
        let settings = Http { connections_per_address: 2, ..Settings::default().http };
        let seats = Arc::clone(Limits::new(&settings).seats());
        let (greedy, other) = (network("10.0.0.7"), network("10.0.0.8"));
        let held: Vec<Seat<Network>> =
            (0..2).map(|_| seats.take(greedy).expect("a seat")).collect();
        assert!(seats.take(greedy).is_none());
        assert!(seats.take(other).is_some());
        drop(held);
        assert!(seats.take(greedy).is_some());
        assert!(seats.taken.lock().expect("whole").is_empty(), "nobody is remembered who has none");
    }
}
