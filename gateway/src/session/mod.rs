//! What sessions need of the outside: random bytes, the provider over HTTP, the store, and operators' word. Whether a request
//! has a session, and what becomes of it, is the `session` filter's matter.

mod keeper;
mod provider;
pub mod wire;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_filters::client::Now;
use portcullis_filters::session::id::Key;
use portcullis_filters::session::table::{SessionTable, Which};
use portcullis_filters::zones::Zones;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use self::keeper::RealmKeeper;
use self::wire::{SessionEntry, SessionList, SessionRevoke, SessionsRevoked};
use crate::telemetry::exposition::{Collect, Exposition};
use crate::telemetry::stamp::Stamp;

/// The time as requests have it.
pub type Clock = fn() -> Now;

/// How often sessions that are over make room.
const SWEEP: Duration = Duration::from_secs(10);
/// Most sessions that are listed.
const MOST_LISTED: usize = 10_000;
/// Characters of a session's key that operators see.
const SHOWN: usize = 24;

/// The sessions of all realms, and what goes on for them. Clones are the same.
#[derive(Clone)]
pub struct UserSessions(Arc<Inner>);

struct Inner {
    clock: Clock,
    realms: Mutex<BTreeMap<String, Arc<SessionTable>>>,
    /// What is under way, so that it is asked for once.
    flights: Mutex<HashMap<Flight, watch::Receiver<()>>>,
    /// Where work is done, once there is such a place.
    runtime: Mutex<Option<Handle>>,
    tasks: Mutex<JoinSet<()>>,
}

/// What is asked for once, however many want it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Flight {
    /// What a provider says of itself.
    Discovery(String),
    /// The tokens of a session of a realm.
    Renewal(String, Key),
}

/// Why sessions were not ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RevokeError {
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(&'static str),
    /// They are ended, and a crash could forget that.
    #[error("the sessions are ended, but that is not written: {0}")]
    NotKept(String),
}

impl UserSessions {
    /// Without sessions.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner {
            clock,
            realms: Mutex::default(),
            flights: Mutex::default(),
            runtime: Mutex::default(),
            tasks: Mutex::default(),
        }))
    }

    /// Serves the realms of these zones from now on. To be called within a tokio runtime that lives as long as the process.
    pub fn apply(&self, zones: &Zones) {
        let mut realms = lock(&self.0.realms);
        // Realms that a configuration has left out are kept: it may bring them back, and operators may end what is in them.
        for (realm, table) in zones.each_kept::<SessionTable>() {
            let known = realms.get(&**realm).is_some_and(|known| Arc::ptr_eq(known, &table));
            if !known {
                let keeper = RealmKeeper::new(&self.0, realm);
                table.set_keeper(Arc::new(keeper));
                realms.insert(realm.to_string(), table);
            }
        }
        let begins = !realms.is_empty();
        drop(realms);
        let mut runtime = lock(&self.0.runtime);
        if begins && runtime.is_none() {
            *runtime = Handle::try_current().ok();
            let inner = Arc::downgrade(&self.0);
            lock(&self.0.tasks).spawn(async move {
                let mut ticks = interval(SWEEP);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    let Some(inner) = inner.upgrade() else { return };
                    let now_ms = (inner.clock)().unix_ms;
                    for table in inner.tables() {
                        table.sweep(now_ms);
                    }
                }
            });
        }
    }

    /// The sessions there are, at most 10,000 of them.
    pub fn list(&self) -> SessionList {
        let realms = lock(&self.0.realms);
        let mut sessions = Vec::new();
        for (realm, table) in realms.iter() {
            sessions.extend(table.list().into_iter().map(|listed| SessionEntry {
                id: shown(&listed.key),
                realm: realm.clone(),
                issuer: listed.issuer,
                user: listed.subject,
                tenant: listed.tenant,
                created_at: Stamp(listed.created_ms),
                seen_at: Stamp(listed.seen_ms),
            }));
        }
        let total = sessions.len();
        sessions.sort_by_key(|entry| (entry.created_at.0, entry.id.clone()));
        sessions.truncate(MOST_LISTED);
        SessionList { total, sessions }
    }

    /// Ends sessions: the next request of each is refused. Ready when that survives a crash.
    pub async fn revoke(&self, request: SessionRevoke) -> Result<SessionsRevoked, RevokeError> {
        let chosen = [&request.id, &request.user, &request.tenant];
        if chosen.iter().filter(|choice| choice.is_some()).count() != 1 {
            return Err(RevokeError::Invalid(
                "exactly one of `id`, `user` and `tenant` must be given",
            ));
        }
        let mut kept = Vec::new();
        let mut revoked = 0;
        for table in self.0.tables() {
            for which in meant(&request, &table) {
                let ended = table.revoke(&which);
                revoked += ended.records.len();
                kept.extend(ended.kept);
            }
        }
        let chosen = ["id", "user", "tenant"]
            .into_iter()
            .zip(chosen)
            .find(|(_, choice)| choice.is_some());
        tracing::info!(revoked, by = chosen.map(|(name, _)| name), "sessions were revoked");
        let mut result = Ok(SessionsRevoked { revoked });
        for kept in kept {
            if let Err(error) = kept.await {
                result = Err(RevokeError::NotKept(error.to_string()));
            }
        }
        result
    }
}

/// Which sessions of a table a request means.
fn meant(request: &SessionRevoke, table: &SessionTable) -> Vec<Which> {
    if let Some(user) = &request.user {
        return vec![Which::User(user.clone())];
    }
    if let Some(tenant) = &request.tenant {
        return vec![Which::Tenant(tenant.clone())];
    }
    let is_it = |key: &Key| request.id.as_deref() == Some(&*shown(key));
    let keys = table.list().into_iter().map(|listed| listed.key);
    keys.filter(is_it).map(Which::Key).collect()
}

/// A session's key as operators see it: enough to tell it from others, and nothing that a cookie could be made of.
fn shown(key: &Key) -> String {
    let mut text = String::with_capacity(SHOWN);
    for byte in key.iter().take(SHOWN / 2) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl Inner {
    fn tables(&self) -> Vec<Arc<SessionTable>> {
        lock(&self.realms).values().cloned().collect()
    }
}

impl Collect for UserSessions {
    fn collect(&self, out: &mut Exposition) {
        let realms = lock(&self.0.realms);
        for (realm, table) in realms.iter() {
            let counts = &table.counts;
            let label = [("realm", realm.as_str())];
            out.gauge_u64("portcullis_sessions", "Sessions.", &label, table.len() as u64);
            let count = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
            out.counter(
                "portcullis_session_logins_total",
                "Logins that made a session.",
                &label,
                count(&counts.begun),
            );
            for (why, counter) in [
                ("expired", &counts.expired),
                ("revoked", &counts.revoked),
                ("reused", &counts.reused),
            ] {
                let labels = [("realm", realm.as_str()), ("why", why)];
                let help = "Sessions that ended: by a limit, by somebody, because an old id was used again.";
                out.counter("portcullis_session_ends_total", help, &labels, count(counter));
            }
            let help = "Requests with a session of another device.";
            out.counter(
                "portcullis_session_other_device_total",
                help,
                &label,
                count(&counts.other_device),
            );
            for (result, counter) in [("ok", &counts.renewed), ("failed", &counts.not_renewed)] {
                let labels = [("realm", realm.as_str()), ("result", result)];
                out.counter(
                    "portcullis_session_renewals_total",
                    "Renewals of a session's tokens.",
                    &labels,
                    count(counter),
                );
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
