//! The zone of verified tokens: a bounded memory, so that a token is verified once and not once a request. It can only
//! forget; whether an entry still counts (time, keys) is asked at every look-up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use ring::digest;
use serde_json::{Map, Value};

use super::issuer::{Trusted, Validity};
use super::verify::Verified;
use crate::claims::Claims;
use crate::client::Now;
use crate::tenant::{Scope, Scoped};

/// Shards, each behind its own lock.
const SHARDS: usize = 64;
/// Entries that an insertion looks at before it takes the next best place.
const SECOND_CHANCES: usize = 8;

/// SHA-256 of the rules of a link's issuers and of the token: neither can be had from, nor made to meet, another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenKey([u8; 32]);

/// The rules that a link verifies tokens by, ready to be hashed in front of them.
#[derive(Clone)]
pub struct Rules(digest::Context);

impl Rules {
    /// The rules of these issuers.
    pub fn of(issuers: &[Trusted]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for issuer in issuers {
            issuer.digest(&mut context);
        }
        let mut front = digest::Context::new(&digest::SHA256);
        // As long as a block of the hash, so that it is done with here and not at every request.
        let rules = context.finish();
        front.update(rules.as_ref());
        front.update(&[0; 32]);
        Self(front)
    }

    /// The key of a token that somebody of this scope shows.
    pub fn key(&self, scope: &Scope, token: &[u8]) -> Scoped<TokenKey> {
        let mut context = self.0.clone();
        context.update(token);
        let mut key = [0; 32];
        for (to, from) in key.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        scope.key(TokenKey(key))
    }
}

impl TokenKey {
    fn number(&self) -> u64 {
        self.0.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

/// Verified tokens. Shared by all `jwt` links.
pub struct TokenCache {
    shards: Box<[Mutex<Shard>]>,
    entries: usize,
    bytes: usize,
    hits: AtomicU64,
    misses: AtomicU64,
}

struct Shard {
    table: HashTable<u32>,
    entries: Vec<Entry>,
    hand: usize,
    bytes: usize,
}

struct Entry {
    key: Scoped<TokenKey>,
    issuer: u16,
    used: bool,
    generation: u64,
    validity: Validity,
    weight: usize,
    claims: Arc<Claims>,
}

impl TokenCache {
    /// Most tokens that are remembered.
    pub const ENTRIES: usize = 65_536;
    /// About the most memory that they take, in bytes.
    pub const BYTES: usize = 64 << 20;

    /// A cache of about so many entries and bytes.
    pub fn new(entries: usize, bytes: usize) -> Self {
        let shard = || Shard {
            table: HashTable::new(),
            entries: Vec::new(),
            hand: 0,
            bytes: 0,
        };
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(),
            entries: entries.div_ceil(SHARDS),
            bytes: bytes / SHARDS,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The claims of a token that was verified by the rules in `key`, if it is still valid and its issuer still has the
    /// keys that it was verified with.
    pub fn get(&self, key: &Scoped<TokenKey>, issuers: &[Trusted], now: Now) -> Option<Arc<Claims>> {
        let found = self.shard(key).and_then(|mut shard| {
            let entry = shard.find(key)?;
            entry.used = true;
            let issuer = issuers.get(usize::from(entry.issuer))?;
            let time = now.unix();
            let valid = entry.validity.from <= time && time < entry.validity.until;
            let current = valid && issuer.keys.is_current(entry.generation, now, issuer.stale_for);
            current.then(|| Arc::clone(&entry.claims))
        });
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Remembers a token, and forgets others where it must.
    pub fn insert(&self, key: &Scoped<TokenKey>, verified: &Verified, now: Now) {
        let weight = verified.weight.saturating_add(size_of::<Entry>());
        let Ok(issuer) = u16::try_from(verified.issuer) else {
            return;
        };
        // One token may not push out a large part of the others.
        if weight > self.bytes / 16 {
            return;
        }
        let entry = Entry {
            key: key.clone(),
            issuer,
            used: false,
            generation: verified.generation,
            validity: verified.validity,
            weight,
            claims: Arc::clone(&verified.claims),
        };
        if let Some(mut shard) = self.shard(key) {
            shard.remove(key);
            while !shard.entries.is_empty()
                && (shard.entries.len() >= self.entries || shard.bytes + weight > self.bytes)
            {
                shard.evict(now.unix());
            }
            shard.add(entry);
        }
    }

    /// How many tokens are remembered.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).entries.len()).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Look-ups that found a token, and those that did not.
    pub fn lookups(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    fn shard(&self, key: &Scoped<TokenKey>) -> Option<MutexGuard<'_, Shard>> {
        // The table takes the upper bits of the number, the choice of a shard other bytes.
        let place = key.key().0.last().copied().map_or(0, usize::from) % SHARDS;
        self.shards.get(place).map(lock)
    }
}

impl std::fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenCache")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// A panic elsewhere cannot leave a shard in a state worse than forgetful.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn place(&self, key: &Scoped<TokenKey>) -> Option<usize> {
        let is_it = |at: &u32| self.entries.get(*at as usize).is_some_and(|entry| entry.key == *key);
        self.table.find(key.key().number(), is_it).map(|at| *at as usize)
    }

    fn find(&mut self, key: &Scoped<TokenKey>) -> Option<&mut Entry> {
        let place = self.place(key)?;
        self.entries.get_mut(place)
    }

    fn add(&mut self, entry: Entry) {
        let Ok(place) = u32::try_from(self.entries.len()) else {
            return;
        };
        let number = entry.key.key().number();
        self.bytes += entry.weight;
        self.entries.push(entry);
        let entries = &self.entries;
        let rehash = |at: &u32| entries.get(*at as usize).map_or(0, |entry| entry.key.key().number());
        self.table.insert_unique(number, place, rehash);
    }

    fn remove(&mut self, key: &Scoped<TokenKey>) {
        if let Some(place) = self.place(key) {
            self.remove_at(place);
        }
    }

    /// Removes an entry; the last one takes its place.
    fn remove_at(&mut self, place: usize) {
        let Some(number) = self.entries.get(place).map(|entry| entry.key.key().number()) else {
            return;
        };
        if let Ok(found) = self.table.find_entry(number, |at| *at as usize == place) {
            found.remove();
        }
        let removed = self.entries.swap_remove(place);
        self.bytes = self.bytes.saturating_sub(removed.weight);
        let (before, after) = (self.entries.len(), place);
        if let Some(moved) = self.entries.get(place).map(|entry| entry.key.key().number())
            && let Some(at) = self.table.find_mut(moved, |at| *at as usize == before)
            && let Ok(after) = u32::try_from(after)
        {
            *at = after;
        }
    }

    /// Makes room for one: CLOCK, where what has expired goes first and what was used of late gets a second chance.
    fn evict(&mut self, now: i64) {
        for _ in 0..SECOND_CHANCES {
            self.hand = if self.hand + 1 < self.entries.len() {
                self.hand + 1
            } else {
                0
            };
            let Some(entry) = self.entries.get_mut(self.hand) else {
                return;
            };
            if entry.validity.until <= now || !entry.used {
                break;
            }
            entry.used = false;
        }
        self.remove_at(self.hand);
    }
}

/// About how many bytes claims take in memory.
pub(super) fn weigh(claims: &Map<String, Value>) -> usize {
    claims.iter().map(|(name, value)| member(name, value)).sum::<usize>() + size_of::<Claims>()
}

fn member(name: &str, value: &Value) -> usize {
    // A node of the tree that holds them is at least half full.
    2 * (size_of::<Box<str>>() + size_of::<Value>()) + name.len() + heap(value)
}

fn heap(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.capacity(),
        Value::Array(list) => list.capacity() * size_of::<Value>() + list.iter().map(heap).sum::<usize>(),
        Value::Object(map) => map.iter().map(|(name, value)| member(name, value)).sum(),
    }
}
