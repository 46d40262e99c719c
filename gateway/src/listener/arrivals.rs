//! How fast a client opens new connections: a token bucket for each, in a table of bounded size.
//!
//! How many a client has open is [`super::admission`]'s.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Instant;

use portcullis_config::gateway::NewConnections;
use portcullis_filters::buckets::{BucketTable, Charge, Cost, KeyHasher, Params};
use portcullis_filters::tenant::Scope;

/// Clients that are told apart. Those beyond share a bucket until others are forgotten, as who has a full one is.
const CLIENTS: usize = 1 << 17;

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrivalRate(Option<Params>);

impl From<&NewConnections> for ArrivalRate {
    fn from(config: &NewConnections) -> Self {
        Self(Params::new(config.rate.per_second, f64::from(config.burst)))
    }
}

/// The new connections of all clients. Outlives configurations.
#[derive(Debug)]
pub(super) struct Arrivals {
    buckets: BucketTable,
    keys: KeyHasher,
    since: Instant,
    hasher: RandomState,
}

impl Default for Arrivals {
    fn default() -> Self {
        let hasher = RandomState::new();
        let secret = u128::from(hasher.hash_one(0)) << 64 | u128::from(hasher.hash_one(1));
        Self {
            buckets: BucketTable::new(CLIENTS),
            keys: KeyHasher::new(&secret.to_ne_bytes(), &["new_connections"]),
            since: Instant::now(),
            hasher,
        }
    }
}

impl Arrivals {
    /// Counts a connection of the client at `address` (an IPv6 /64 is one), and says whether it may come in.
    ///
    /// Loopback is not counted: nobody out there is behind it, and who is stands for many.
    pub(super) fn permit(&self, address: IpAddr, rate: ArrivalRate, now: Instant) -> bool {
        let Some(params) = rate.0.filter(|_| !address.to_canonical().is_loopback()) else {
            return true;
        };
        let now = u64::try_from(now.saturating_duration_since(self.since).as_nanos()).unwrap_or(u64::MAX);
        // Nobody has said yet whose connection it is.
        let mut key = self.keys.within(&Scope::gateway());
        key.add_address(address);
        let charge = Charge::new(key.finish(), params, Cost::ONE);
        self.buckets
            .in_use(self.hasher.hash_one(params), now, || params.fill_ns());
        self.buckets.take(&charge, now).allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portcullis_config::units::Rate;

    use super::*;

    fn rate(per_second: f64, burst: u32) -> ArrivalRate {
        ArrivalRate::from(&NewConnections {
            rate: Rate { per_second },
            burst,
        })
    }

    #[test]
    fn each_client_has_its_own_bucket_and_loopback_none() {
        let arrivals = Arrivals::default();
        let start = Instant::now();
        let come = |address: &str, milliseconds| {
            let address = address.parse().unwrap();
            arrivals.permit(address, rate(2.0, 3), start + Duration::from_millis(milliseconds))
        };
        assert_eq!([0, 0, 0, 0].map(|at| come("192.0.2.1", at)), [true, true, true, false]);
        assert!(come("192.0.2.2", 0));
        assert_eq!(
            ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"].map(|address| come(address, 0)),
            [true, true, true, false]
        );
        assert!(!come("192.0.2.1", 400));
        assert!(come("192.0.2.1", 500));
        assert!(!come("192.0.2.1", 500));
        assert!((0..100).all(|_| come("127.0.0.1", 0) && come("::1", 0)));
    }

    #[test]
    fn a_new_configuration_refills_nothing() {
        let arrivals = Arrivals::default();
        let now = Instant::now();
        let client = "192.0.2.1".parse().unwrap();
        assert!(arrivals.permit(client, rate(1.0, 1), now));
        assert!(!arrivals.permit(client, rate(1.0, 1), now));
        assert!(!arrivals.permit(client, rate(2.0, 1), now));
    }
}
