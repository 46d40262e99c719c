//! The sessions of a realm, in memory: what requests look at. Every change is handed to the keeper under the same lock that
//! makes it, so that the store sees changes in their order and nothing that was revoked comes back.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use ring::hmac;

use super::id::{Id, Key, Random, Standing};
use super::keeper::{Keeper, Keeping, NotKept};
pub use super::operators::{Counts, Full, Listed, Revoked, Which};
use super::record::{Ended, Limits, Record, Renewal, Tokens};
use crate::claims::Claims;
use crate::zones::{Entropy, OneShape, ZoneState};

const SHARDS: usize = 16;
/// After a failed renewal, nobody asks the provider again for so long.
const PATIENCE_MS: u64 = 5_000;

/// For how long a logout token is known again.
const LOGOUT_MS: u64 = 3_600_000;
/// Most of them.
const MOST_LOGOUTS: usize = 10_000;

/// The zone of a realm's sessions.
pub struct SessionTable {
    shards: Box<[Mutex<Shard>]>,
    keeper: ArcSwapOption<Hook>,
    sessions: AtomicUsize,
    /// Logout tokens that came, and when.
    logouts: Mutex<HashMap<Box<str>, u64>>,
    /// What became of sessions.
    pub counts: Counts,
}

struct Hook(Arc<dyn Keeper>);

#[derive(Default)]
struct Shard {
    entries: HashMap<Key, Entry>,
    /// Ended here, and perhaps not yet in the store.
    gone: HashSet<Key>,
}

struct Entry {
    record: Record,
    seen_ms: u64,
    claims: Arc<Claims>,
    access: Option<HeaderValue>,
    not_before_ms: u64,
    /// Raised by each renewal of tokens.
    serial: u64,
}

/// What a request shows, and by which rules it is judged.
pub struct Shown<'a> {
    /// The id in its cookie.
    pub id: &'a Id,
    /// The key that ids are made with.
    pub key: &'a hmac::Key,
    /// The device that it comes from, where that counts.
    pub device: Option<Random>,
    /// The limits.
    pub limits: &'a Limits,
    /// Now, in milliseconds since 1970.
    pub now_ms: u64,
}

/// What is known of an id.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // made and taken apart once a request, and never kept
pub enum Found {
    /// A session.
    Here(View),
    /// None.
    Absent,
    /// It has just ended.
    Ended(Ended),
    /// The id is an old one: the session has ended, for somebody has a copy of its ids.
    Reused,
    /// The session is bound to another device.
    OtherDevice,
}

/// A session as a request sees it.
#[derive(Debug)]
pub struct View {
    /// By what it is found.
    pub key: Key,
    /// The claims of its user.
    pub claims: Arc<Claims>,
    /// The access token.
    pub access: Option<HeaderValue>,
    /// The id that takes the place of the one that was shown.
    pub next: Option<Id>,
    /// What is to be done about the access token.
    pub renewal: Renewal,
    /// Which of its tokens these are.
    pub serial: u64,
    /// When the session ends if it is not used, and at the latest, milliseconds since 1970.
    pub ends_ms: (u64, u64),
    /// The tenant that it acts for.
    pub tenant: Option<String>,
}

impl ZoneState for SessionTable {
    const KIND: &'static str = "sessions";
    type Shape = OneShape;

    fn open(_: &OneShape, _: &Entropy) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            keeper: ArcSwapOption::empty(),
            sessions: AtomicUsize::new(0),
            logouts: Mutex::default(),
            counts: Counts::default(),
        }
    }
}

impl SessionTable {
    /// Says who keeps it.
    pub fn set_keeper(&self, keeper: Arc<dyn Keeper>) {
        self.keeper.store(Some(Arc::new(Hook(keeper))));
    }

    /// Who keeps it.
    pub fn keeper(&self) -> Option<Arc<dyn Keeper>> {
        self.keeper.load().as_ref().map(|hook| Arc::clone(&hook.0))
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Judges an id, and notes that the session was used.
    pub fn present(&self, shown: &Shown<'_>) -> Found {
        let key = shown.id.key();
        let Some(mut shard) = self.shard(&key) else {
            return Found::Absent;
        };
        let Some(entry) = shard.entries.get_mut(&key) else {
            return Found::Absent;
        };
        if !shown.id.is_genuine(shown.key, &entry.record.salt) {
            return Found::Absent;
        }
        if let Some(ended) = entry.record.ended(entry.seen_ms, shown.limits, shown.now_ms) {
            self.drop_entry(&mut shard, &key);
            count(&self.counts.expired);
            return Found::Ended(ended);
        }
        let family = &entry.record.family;
        let standing = family.standing(shown.id.number(), shown.now_ms, shown.limits.grace_ms);
        match standing {
            Standing::Unknown => return Found::Absent,
            Standing::Reused => {
                self.drop_entry(&mut shard, &key);
                count(&self.counts.reused);
                return Found::Reused;
            }
            Standing::Current | Standing::Before | Standing::Ahead => {}
        }
        if entry.record.device.is_some() && entry.record.device != shown.device {
            count(&self.counts.other_device);
            return Found::OtherDevice;
        }
        let (view, changed) = entry.view(key, shown, standing);
        if changed {
            self.write(&key, entry);
        }
        Found::Here(view)
    }

    /// Takes a session in.
    pub fn insert(&self, handle_key: Key, record: Record, most: usize) -> Result<(), Full> {
        let Some(mut shard) = self.shard(&handle_key) else {
            return Err(Full);
        };
        if self.len() >= most {
            return Err(Full);
        }
        let entry = Entry::new(record);
        self.write(&handle_key, &entry);
        if shard.entries.insert(handle_key, entry).is_none() {
            self.sessions.fetch_add(1, Ordering::Relaxed);
        }
        count(&self.counts.begun);
        Ok(())
    }

    /// The next id takes the place of the one with this number, whether that is due or not. Gives the number that is current
    /// now, and what ids are made with.
    pub fn advance(&self, key: &Key, number: u32, now_ms: u64) -> Option<(u32, Random)> {
        let mut shard = self.shard(key)?;
        let entry = shard.entries.get_mut(key)?;
        // Of requests side by side the first one does it, the others get the same id.
        if entry.record.family.number == number {
            entry.record.family.advance(now_ms);
            self.write(key, entry.changed());
        }
        Some((entry.record.family.number, entry.record.salt))
    }

    /// Whether a logout token comes for the first time. When too many came of late, nobody can tell, and it does not.
    pub fn is_new_logout(&self, id: &str, now_ms: u64) -> bool {
        let mut known = self.logouts.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, since_ms| now_ms.saturating_sub(*since_ms) < LOGOUT_MS);
        if known.len() >= MOST_LOGOUTS || known.contains_key(id) {
            return false;
        }
        known.insert(id.into(), now_ms);
        true
    }

    /// Notes that a session's tokens were not renewed.
    pub fn not_renewed(&self) {
        count(&self.counts.not_renewed);
    }

    /// What a session's tokens are renewed with, unless that was done since `serial`, or tried in vain a moment ago.
    pub fn refresh_token(&self, key: &Key, serial: u64, now_ms: u64) -> Option<String> {
        let mut shard = self.shard(key)?;
        let entry = shard.entries.get_mut(key)?;
        if entry.serial != serial || now_ms < entry.not_before_ms {
            return None;
        }
        entry.not_before_ms = now_ms.saturating_add(PATIENCE_MS);
        entry.record.tokens.refresh.clone()
    }

    /// A session's tokens were renewed. False if it has ended meanwhile.
    pub fn renewed(&self, key: &Key, tokens: Tokens) -> bool {
        let Some(mut shard) = self.shard(key) else {
            return false;
        };
        let Some(entry) = shard.entries.get_mut(key) else {
            return false;
        };
        entry.record.tokens = tokens;
        entry.access = access(&entry.record);
        entry.not_before_ms = 0;
        entry.serial = entry.serial.wrapping_add(1);
        self.write(key, entry.changed());
        count(&self.counts.renewed);
        true
    }

    /// The user of a session: `sub`.
    pub fn subject(&self, key: &Key) -> Option<String> {
        let shard = self.shard(key)?;
        shard.entries.get(key).map(|entry| entry.record.subject.clone())
    }

    /// Ends sessions. What is meant is refused from now on.
    pub fn revoke(&self, which: &Which) -> Revoked {
        let mut revoked = Revoked {
            records: Vec::new(),
            kept: Vec::new(),
        };
        for shard in &self.shards {
            let mut shard = lock(shard);
            let entries = shard.entries.iter();
            let meant = entries.filter(|(key, entry)| which.is(key, &entry.record));
            let keys: Vec<Key> = meant.map(|(key, _)| *key).collect();
            for key in keys {
                if let Some((record, kept)) = self.drop_entry(&mut shard, &key) {
                    count(&self.counts.revoked);
                    revoked.records.push(record);
                    revoked.kept.push(kept);
                }
            }
        }
        revoked
    }

    /// Every session.
    pub fn list(&self) -> Vec<Listed> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            all.extend(shard.entries.iter().map(|(key, entry)| Listed {
                key: *key,
                issuer: entry.record.issuer.clone(),
                subject: entry.record.subject.clone(),
                tenant: entry.record.tenant.clone(),
                created_ms: entry.record.created_ms,
                seen_ms: entry.seen_ms,
            }));
        }
        all
    }

    /// Ends what the limits that it began under have ended, so that it takes no room.
    pub fn sweep(&self, now_ms: u64) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let over = shard.entries.iter().filter(|(_, entry)| {
                let record = &entry.record;
                now_ms.saturating_sub(record.created_ms) >= record.absolute_ms
                    || now_ms.saturating_sub(entry.seen_ms) >= record.idle_ms
            });
            let keys: Vec<Key> = over.map(|(key, _)| *key).collect();
            for key in keys {
                self.drop_entry(&mut shard, &key);
                count(&self.counts.expired);
            }
        }
    }

    /// What the store says of a row: at the start, of what was written, and of what another process wrote.
    pub fn apply(&self, key: &Key, row: Option<&[u8]>) -> Result<(), String> {
        let Some(mut shard) = self.shard(key) else {
            return Ok(());
        };
        let Some(bytes) = row else {
            shard.gone.remove(key);
            if shard.entries.remove(key).is_some() {
                self.sessions.fetch_sub(1, Ordering::Relaxed);
            }
            return Ok(());
        };
        let record = Record::from_bytes(bytes).ok_or("a session in the store cannot be read")?;
        if shard.gone.contains(key) {
            return Ok(());
        }
        let known = shard.entries.get(key).map(|entry| entry.record.version);
        if known.is_none_or(|known| known < record.version) && shard.entries.insert(*key, Entry::new(record)).is_none()
        {
            self.sessions.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn shard(&self, key: &Key) -> Option<MutexGuard<'_, Shard>> {
        let place = key.first().copied().map_or(0, usize::from) % SHARDS;
        self.shards.get(place).map(lock)
    }

    fn write(&self, key: &Key, entry: &Entry) {
        if let (Some(keeper), Some(bytes)) = (self.keeper(), entry.record.to_bytes()) {
            // Whoever must know that it is written asks for it.
            drop(keeper.keep(key, Some(bytes)));
        }
    }

    fn drop_entry(&self, shard: &mut Shard, key: &Key) -> Option<(Record, Keeping)> {
        let entry = shard.entries.remove(key)?;
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        let Some(keeper) = self.keeper() else {
            let nobody = NotKept("nobody keeps sessions".to_owned());
            return Some((entry.record, Box::pin(std::future::ready(Err(nobody)))));
        };
        if keeper.remembers() {
            shard.gone.insert(*key);
        }
        Some((entry.record, keeper.keep(key, None)))
    }
}

impl Entry {
    fn new(record: Record) -> Self {
        let expires_at = i64::try_from(record.created_ms.saturating_add(record.absolute_ms) / 1000).unwrap_or(i64::MAX);
        Self {
            seen_ms: record.seen_ms,
            claims: Arc::new(Claims::new(&record.issuer, expires_at, record.claims.clone())),
            access: access(&record),
            record,
            not_before_ms: 0,
            serial: 0,
        }
    }

    fn changed(&mut self) -> &Self {
        self.record.version = self.record.version.saturating_add(1);
        self.record.seen_ms = self.seen_ms;
        self
    }

    /// The session as the request sees it, and whether it is to be written.
    fn view(&mut self, key: Key, shown: &Shown<'_>, standing: Standing) -> (View, bool) {
        let renewal = self.record.renewal(shown.limits, shown.now_ms);
        let (now_ms, limits) = (shown.now_ms, shown.limits);
        let due = standing == Standing::Current && self.record.family.is_due(now_ms, limits.rotate_ms);
        if due || standing == Standing::Ahead {
            self.record.family.advance(now_ms);
        }
        let number = self.record.family.number;
        let next = (number != shown.id.number()).then(|| shown.id.with_number(shown.key, &self.record.salt, number));
        self.seen_ms = now_ms;
        // Not every request is written: after a crash a session may seem to have been idle for a little longer.
        let idle_ms = self.record.idle_ms.min(limits.idle_ms);
        let write = due
            || standing == Standing::Ahead
            || now_ms.saturating_sub(self.record.seen_ms) >= (idle_ms / 8).max(1_000);
        if write {
            self.changed();
        }
        let latest = self
            .record
            .created_ms
            .saturating_add(self.record.absolute_ms.min(limits.absolute_ms));
        let view = View {
            key,
            claims: Arc::clone(&self.claims),
            access: self.access.clone(),
            next,
            renewal,
            serial: self.serial,
            ends_ms: (now_ms.saturating_add(idle_ms).min(latest), latest),
            tenant: self.record.tenant.clone(),
        };
        (view, write)
    }
}

fn access(record: &Record) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&record.tokens.access).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A panic elsewhere cannot leave a shard in a state worse than forgetful.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for SessionTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionTable")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
