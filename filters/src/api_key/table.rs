//! The zone of API keys: what is looked up at a request, by keyed hash. Who fills it and where keys are kept is not known
//! here.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use ring::hmac;
use serde_json::{Map, json};

use super::record::{BadRecord, Record, Version};
use super::refusal::Refusal;
use crate::claims::Claims;
use crate::cors::origin::Origin;
use crate::ip_access::networks::Networks;
use crate::tenant::TenantId;
use crate::zones::{Entropy, OneShape, ZoneState};

/// Most keys.
pub const MOST_KEYS: usize = 200_000;
/// Parts of the table, each behind a lock of its own that is held for a look only.
const SHARDS: usize = 64;

/// A keyed hash of a key's text.
pub type Digest = [u8; 32];

/// A key that is known, ready to be asked.
#[derive(Debug)]
pub struct Known {
    /// As it was stored.
    pub record: Record,
    /// Whose it is.
    pub organisation: TenantId,
    pub(super) origins: Vec<Origin>,
    pub(super) networks: Networks,
    pub(super) scopes: String,
    pub(super) claims: Arc<Claims>,
    used_ms: Arc<AtomicU64>,
}

/// What a text was found to be.
#[derive(Debug, Clone)]
pub struct Found {
    /// The key.
    pub key: Arc<Known>,
    /// When this text of it ends, seconds since 1970.
    pub expires_at: Option<u64>,
    digest: Digest,
}

/// All keys.
#[derive(Debug)]
pub struct KeyTable {
    by_hash: [RwLock<HashMap<[u8; 16], Found>>; SHARDS],
    by_id: RwLock<BTreeMap<String, Arc<Known>>>,
    refused: [AtomicU64; Refusal::ALL.len()],
}

/// Makes keyed hashes.
#[derive(Debug, Clone)]
pub struct Hasher(hmac::Key);

impl Hasher {
    /// With the secret of `identity.api_keys.hash_key`.
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The hash of a text.
    pub fn hash(&self, text: &[u8]) -> Digest {
        let mut digest = [0; 32];
        digest.copy_from_slice(hmac::sign(&self.0, text).as_ref());
        digest
    }

    /// The same in hexadecimal digits.
    pub fn hex(&self, text: &[u8]) -> String {
        let mut hex = String::with_capacity(64);
        for byte in self.hash(text) {
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}

impl KeyTable {
    /// The one zone.
    pub const NAME: &'static str = "keys";

    /// The key with this hash. It is found by one half of the hash and compared with the other in constant time; nobody
    /// without the secret can choose either.
    pub fn find(&self, digest: &Digest) -> Option<Found> {
        let (half, _) = digest.split_first_chunk::<16>()?;
        let shard = self.shard(half)?.read().unwrap_or_else(PoisonError::into_inner);
        let found = shard.get(half)?;
        let differ = found
            .digest
            .iter()
            .zip(digest)
            .fold(0, |sum, (one, other)| sum | (one ^ other));
        (std::hint::black_box(differ) == 0).then(|| found.clone())
    }

    /// Takes a record in, in the place of one of the same id.
    pub fn put(&self, record: Record) -> Result<(), BadRecord> {
        let organisation = record.check()?;
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        let before = by_id.get(&record.id).cloned();
        if before.is_none() && by_id.len() >= MOST_KEYS {
            let why = "there are as many keys as may be".to_owned();
            return Err(BadRecord { id: record.id, why });
        }
        let used_ms = before
            .as_ref()
            .map(|before| Arc::clone(&before.used_ms))
            .unwrap_or_default();
        used_ms.fetch_max(record.last_used_at.unwrap_or(0).saturating_mul(1000), Relaxed);
        let key = Arc::new(Known::new(record, organisation, used_ms));
        for version in &key.record.versions {
            let Some(digest) = version.digest() else { continue };
            let (Some((half, _)), expires_at) = (digest.split_first_chunk::<16>(), version.expires_at) else {
                continue;
            };
            if let Some(shard) = self.shard(half) {
                let key = Arc::clone(&key);
                let found = Found {
                    key,
                    expires_at,
                    digest,
                };
                shard
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(*half, found);
            }
        }
        if let Some(before) = before {
            let gone = |version: &&Version| !key.record.versions.iter().any(|now| now.hash == version.hash);
            self.forget(before.record.versions.iter().filter(gone));
        }
        by_id.insert(key.record.id.clone(), key);
        Ok(())
    }

    /// Forgets a key.
    pub fn remove(&self, id: &str) {
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = by_id.remove(id) {
            self.forget(before.record.versions.iter());
        }
    }

    fn forget<'v>(&self, versions: impl Iterator<Item = &'v Version>) {
        for digest in versions.filter_map(Version::digest) {
            let Some((half, _)) = digest.split_first_chunk::<16>() else {
                continue;
            };
            if let Some(shard) = self.shard(half) {
                shard.write().unwrap_or_else(PoisonError::into_inner).remove(half);
            }
        }
    }

    fn shard(&self, half: &[u8; 16]) -> Option<&RwLock<HashMap<[u8; 16], Found>>> {
        self.by_hash.get(usize::from(half.first()?.wrapping_rem(64)))
    }

    /// A key by its id.
    pub fn get(&self, id: &str) -> Option<Arc<Known>> {
        self.by_id
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// All keys, by id.
    pub fn all(&self) -> Vec<Arc<Known>> {
        self.by_id
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    pub(super) fn count(&self, refusal: Refusal) {
        if let Some(count) = self.refused.get(refusal as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Requests that were refused for their key, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.refused.iter().map(|count| count.load(Relaxed));
        Refusal::ALL.iter().map(|refusal| refusal.reason()).zip(counts)
    }
}

impl Known {
    fn new(record: Record, organisation: TenantId, used_ms: Arc<AtomicU64>) -> Self {
        let scopes = record.scopes.join(" ");
        let mut claims = Map::new();
        claims.insert("sub".into(), json!(record.id));
        claims.insert("org".into(), json!(record.organisation));
        claims.insert("class".into(), json!(record.class.as_str()));
        claims.insert("environment".into(), json!(record.environment.as_str()));
        claims.insert("scope".into(), json!(scopes));
        let expires_at = record.expires_at.and_then(|at| i64::try_from(at).ok());
        Self {
            origins: record.origins.iter().filter_map(|origin| origin.parse().ok()).collect(),
            networks: Networks::new(record.networks.iter().copied()),
            claims: Arc::new(Claims::new("api_key", expires_at.unwrap_or(i64::MAX), claims)),
            scopes,
            record,
            organisation,
            used_ms,
        }
    }

    /// When it was last let through, milliseconds since 1970; 0: never.
    pub fn used_ms(&self) -> u64 {
        self.used_ms.load(Relaxed)
    }

    /// It was let through.
    pub fn used(&self, unix_ms: u64) {
        self.used_ms.fetch_max(unix_ms, Relaxed);
    }
}

impl ZoneState for KeyTable {
    const KIND: &'static str = "API keys";
    type Shape = OneShape;

    fn open(_: &OneShape, _: &Entropy) -> Self {
        Self {
            by_hash: std::array::from_fn(|_| RwLock::default()),
            by_id: RwLock::default(),
            refused: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}
