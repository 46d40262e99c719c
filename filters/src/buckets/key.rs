//! Keys of buckets: a keyed 128-bit hash of length-prefixed values. Nobody without the key can make two sets of values
//! meet in one bucket, and no value can run into the next.
//!
//! A key has a tenant in it, or says that there is none:
//!
//! ```
//! # use portcullis_filters::{buckets::KeyHasher, tenant::Scope};
//! let limit = KeyHasher::new(&[0; 16], &["limit"]);
//! let key = limit.within(&Scope::gateway()).finish();
//! ```
//!
//! There is no key without that step:
//!
//! ```compile_fail,E0599
//! # use portcullis_filters::{buckets::KeyHasher, tenant::Scope};
//! let limit = KeyHasher::new(&[0; 16], &["limit"]);
//! let key = limit.finish();
//! ```

use std::borrow::Cow;
use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::tenant::Scope;

/// Where a request is counted. Made by [`ScopedHasher::finish`] alone: counters of two tenants never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BucketKey {
    /// The limit and the request's values.
    pub(super) own: u128,
    /// The limit alone: the bucket that new keys share when the table is full.
    pub(super) shared: u128,
}

impl BucketKey {
    /// The request's own, and the one that new keys share.
    pub(crate) fn parts(self) -> (u128, u128) {
        (self.own, self.shared)
    }
}

/// Makes keys of one limit. Compiled once; a request begins with [`Self::within`].
#[derive(Debug, Clone)]
pub struct KeyHasher {
    hasher: SipHasher24,
    shared: u128,
}

/// Takes the values of one request. Made by [`KeyHasher::within`] alone.
#[derive(Debug, Clone)]
pub struct ScopedHasher {
    hasher: SipHasher24,
    shared: u128,
}

impl KeyHasher {
    /// For the limit that these parts name, such as a policy's id and a rule's name.
    pub fn new(secret: &[u8; 16], parts: &[&str]) -> Self {
        let mut hasher = SipHasher24::new_with_key(secret);
        hasher.write_u64(length(parts.len()));
        for part in parts {
            write(&mut hasher, part);
        }
        let shared = hasher.finish128().as_u128();
        Self { hasher, shared }
    }

    /// For a limit that has a number of its own, such as a bundle's rule.
    pub fn of(secret: &[u8; 16], identity: u128, shadow: bool) -> Self {
        let mut hasher = SipHasher24::new_with_key(secret);
        hasher.write_u64(u64::MAX);
        hasher.write_u128(identity);
        hasher.write_u8(u8::from(shadow));
        let shared = hasher.finish128().as_u128();
        Self { hasher, shared }
    }

    /// For a request of this scope. The gateway's adds nothing and costs nothing; a tenant has counters of its own in every
    /// limit, the one that new keys share included.
    pub fn within(&self, scope: &Scope) -> ScopedHasher {
        let Self { mut hasher, mut shared } = *self;
        if let Some(tenant) = scope.tenant() {
            hasher.write_u8(7);
            write(&mut hasher, tenant.as_str());
            shared = hasher.finish128().as_u128();
        }
        ScopedHasher { hasher, shared }
    }
}

impl ScopedHasher {
    /// Adds a value of the request; `None` is a value of its own, unlike every text.
    pub fn add(&mut self, value: Option<&str>) {
        match value {
            Some(text) => {
                self.hasher.write_u8(1);
                write(&mut self.hasher, text);
            }
            None => self.hasher.write_u8(0),
        }
    }

    /// Adds an address as a value: an IPv4 address, or the /64 of an IPv6 address.
    pub fn add_address(&mut self, address: IpAddr) {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                self.hasher.write_u8(3);
                self.hasher.write(&address.octets());
            }
            IpAddr::V6(address) => {
                self.hasher.write_u8(4);
                self.hasher.write(&(address.to_bits() >> 64).to_be_bytes());
            }
        }
    }

    /// Adds pairs as a value, whatever their order.
    pub fn add_unordered<'q>(&mut self, pairs: impl IntoIterator<Item = (Cow<'q, str>, Cow<'q, str>)>) {
        // A sum of keyed hashes: nobody without the key can make two sets of pairs have the same.
        let (mut sum, mut count) = (0_u128, 0_u64);
        for (name, value) in pairs {
            let mut hasher = self.hasher;
            hasher.write_u8(5);
            write(&mut hasher, &name);
            write(&mut hasher, &value);
            sum = sum.wrapping_add(hasher.finish128().as_u128());
            count += 1;
        }
        self.hasher.write_u8(6);
        self.hasher.write_u64(count);
        self.hasher.write_u128(sum);
    }

    /// The key of the values so far.
    pub fn finish(&self) -> BucketKey {
        self.finish_part(0)
    }

    /// The same for a limit with several counters: each has a number of its own. A counter of another kind (another
    /// algorithm or period under the same name) has another number, so that one is never taken for the other.
    pub fn finish_part(&self, part: u8) -> BucketKey {
        let mut hasher = self.hasher;
        hasher.write_u8(2);
        if part > 0 {
            hasher.write_u8(part);
        }
        BucketKey {
            own: hasher.finish128().as_u128(),
            shared: self.shared.wrapping_add(u128::from(part)),
        }
    }
}

fn write(hasher: &mut SipHasher24, text: &str) {
    hasher.write_u64(length(text.len()));
    hasher.write(text.as_bytes());
}

fn length(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
