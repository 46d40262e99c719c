//! API keys at run time: issued, rotated and revoked through the store, one change at a time, each on the disk before it is
//! acknowledged and in force by then. What a key may do is the filter's matter.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_config::gateway::Config;
use portcullis_config::secret::SecretError;
use portcullis_config::units::Duration;
use portcullis_filters::api_key::record::{BadRecord, MOST_VERSIONS, Record, Version};
use portcullis_filters::api_key::table::{Hasher, Known};
use portcullis_filters::api_key::{KeyTable, text};
use portcullis_filters::secrets::{KEY_BYTES, SecretSlot};
use portcullis_filters::zones::{Entropy, OneShape, ZoneState as _, Zones};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use crate::admin::key_wire::{Issued, KeyRequest, KeyView};
use crate::state::{StateError, StateFolder};
use crate::store::{Change, Rows, Store, StoreError, Table};
use crate::telemetry::stamp::Stamp;

/// Longest that a text of before stays good beside the new one, in seconds.
const LONGEST_OVERLAP: u64 = 31 * 86_400;

/// The API keys of a state folder.
pub struct ApiKeys {
    folder: Arc<StateFolder>,
    table: Arc<KeyTable>,
    store: Store,
    secret: Secret,
    /// One change at a time: each is made of what the one before has left.
    one: Mutex<()>,
}

/// What texts are hashed with.
enum Secret {
    /// A filter's, which a reload may change.
    Slot(Arc<SecretSlot>),
    /// Read just now.
    Own(Hasher),
}

/// Why a key could not be issued, rotated or revoked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyError {
    /// No route of the configuration asks for keys.
    #[error("no route uses `api_key`, so there are no keys")]
    Unused,
    /// What is asked makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// There is no such key.
    #[error("there is no API key `{0}`")]
    NotFound(String),
    /// It was revoked.
    #[error("the API key `{0}` was revoked or has expired")]
    Ended(String),
    /// It could not be written.
    #[error("nothing was changed: {0}")]
    NotWritten(#[from] StoreError),
    /// The hash key or random bytes cannot be had.
    #[error("{0}")]
    Unavailable(String),
}

impl From<BadRecord> for KeyError {
    fn from(bad: BadRecord) -> Self {
        Self::Invalid(bad.why)
    }
}

/// Why keys cannot be opened while no gateway runs.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The configuration has none.
    #[error("the configuration has no `{0}`")]
    Unconfigured(&'static str),
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The hash key.
    #[error("identity.api_keys.hash_key: {0}")]
    Secret(#[from] SecretError),
}

/// Rows of the store as keys of the table.
struct Stored(Arc<KeyTable>);

impl Rows for Stored {
    fn apply(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        let Some(value) = value else {
            self.0.remove(&String::from_utf8_lossy(key));
            return Ok(());
        };
        let record: Record = serde_json::from_slice(value).map_err(|error| format!("an API key: {error}"))?;
        if record.id.as_bytes() != key {
            return Err(format!("the API key `{}` stands under another id", record.id));
        }
        self.0.put(record).map_err(|error| error.to_string())
    }
}

impl ApiKeys {
    /// The keys that filters of these zones ask for; `before` goes on where it is the same. `None`: none does.
    pub fn open(
        config: &Config,
        folder: Option<&Arc<StateFolder>>,
        zones: &Zones,
        before: Option<&Arc<Self>>,
    ) -> Result<Option<Arc<Self>>, StoreError> {
        let (Some(written), Some(folder)) = (&config.identity.api_keys, folder) else {
            return Ok(None);
        };
        let table = zones.each::<KeyTable>().next().map(|(_, table)| table);
        let slot = zones.each::<SecretSlot>().map(|(_, slot)| slot);
        let slot = slot
            .into_iter()
            .find(|slot| slot.wanted().reference == written.hash_key);
        let (Some(table), Some(slot)) = (table, slot) else {
            return Ok(None);
        };
        let before = before.filter(|before| before.folder == *folder);
        let is_same = |secret: &Secret| matches!(secret, Secret::Slot(known) if Arc::ptr_eq(known, &slot));
        if let Some(before) = before.filter(|before| Arc::ptr_eq(&before.table, &table) && is_same(&before.secret)) {
            return Ok(Some(Arc::clone(before)));
        }
        let store = match before {
            Some(before) => before.store.clone(),
            None => Store::open(folder.directory(), Arc::clone(folder.vault()))?,
        };
        Self::with(folder, table, store, Secret::Slot(slot)).map(|keys| Some(Arc::new(keys)))
    }

    /// The keys of a configuration that no gateway runs with.
    pub fn offline(config: &Config) -> Result<Self, OfflineError> {
        let written = config.identity.api_keys.as_ref();
        let written = written.ok_or(OfflineError::Unconfigured("identity.api_keys"))?;
        let folder = StateFolder::open(config, None)?.ok_or(OfflineError::Unconfigured("state.dir"))?;
        let secret = written.hash_key.resolve()?;
        if secret.expose().len() < KEY_BYTES {
            return Err(OfflineError::Unconfigured("hash_key of 32 bytes or more"));
        }
        let table = Arc::new(KeyTable::open(
            &OneShape,
            &Entropy {
                hash_key: [0; 16],
                jitter_salt: [0; 16],
            },
        ));
        make(folder.directory())?;
        let store = Store::open(folder.directory(), Arc::clone(folder.vault()))?;
        Ok(Self::with(
            &folder,
            table,
            store,
            Secret::Own(Hasher::new(secret.expose())),
        )?)
    }

    fn with(folder: &Arc<StateFolder>, table: Arc<KeyTable>, store: Store, secret: Secret) -> Result<Self, StoreError> {
        store.attach(Table::ApiKeys, Arc::new(Stored(Arc::clone(&table))))?;
        Ok(Self {
            folder: Arc::clone(folder),
            table,
            store,
            secret,
            one: Mutex::new(()),
        })
    }

    /// What is looked up at requests.
    pub fn table(&self) -> &KeyTable {
        &self.table
    }

    /// Lets another process write.
    pub fn release(&self) {
        self.store.release();
    }

    /// Issues a key. This is I/O.
    pub fn issue(&self, asked: &KeyRequest, now: u64) -> Result<Issued, KeyError> {
        let ttl = asked.ttl.as_deref().map(seconds).transpose()?;
        if ttl == Some(0) {
            return Err(KeyError::Invalid("a key that ends at once is none".to_owned()));
        }
        let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = Record {
            id: fresh_id()?,
            name: asked.name.clone(),
            organisation: asked.organisation.clone(),
            class: asked.class,
            environment: asked.environment,
            scopes: asked.scopes.clone(),
            origins: asked.origins.clone(),
            networks: asked.networks.clone(),
            created_at: now,
            expires_at: ttl.map(|ttl| now.saturating_add(ttl)),
            revoked_at: None,
            last_used_at: None,
            versions: Vec::new(),
        };
        record.check()?;
        let key = self.add_version(&mut record, now)?;
        self.write(record, key, now)
    }

    /// Makes another text of a key. The one of before is good for `overlap` still. This is I/O.
    pub fn rotate(&self, id: &str, overlap: &str, now: u64) -> Result<Issued, KeyError> {
        let overlap = seconds(overlap)?;
        if overlap > LONGEST_OVERLAP {
            return Err(KeyError::Invalid(
                "two texts of a key are good for 31 days at most".to_owned(),
            ));
        }
        let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = self.known(id)?;
        if record.status(now) != "active" {
            return Err(KeyError::Ended(id.to_owned()));
        }
        record
            .versions
            .retain(|version| version.expires_at.is_none_or(|at| at > now));
        for version in &mut record.versions {
            let end = now.saturating_add(overlap);
            version.expires_at = Some(version.expires_at.map_or(end, |at| at.min(end)));
        }
        if overlap == 0 {
            record.versions.clear();
        }
        while record.versions.len() >= MOST_VERSIONS {
            record.versions.remove(0);
        }
        let key = self.add_version(&mut record, now)?;
        self.write(record, key, now)
    }

    /// Ends a key. When this returns, no request passes with it any more, whatever becomes of the process. This is I/O.
    pub fn revoke(&self, id: &str, now: u64) -> Result<KeyView, KeyError> {
        let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = self.known(id)?;
        record.revoked_at.get_or_insert(now);
        self.write(record, String::new(), now).map(|revoked| revoked.issued)
    }

    /// All keys.
    pub fn list(&self, now: u64) -> Vec<KeyView> {
        self.table.all().iter().map(|key| view(key, now)).collect()
    }

    /// Writes down when keys were last used. This is I/O.
    pub fn save_used(&self) -> Result<(), StoreError> {
        for key in self.table.all() {
            let used = key.used_ms() / 1000;
            if used <= key.record.last_used_at.unwrap_or(0) {
                continue;
            }
            let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
            // It may have changed since.
            let Some(now) = self.table.get(&key.record.id) else {
                continue;
            };
            let mut record = now.record.clone();
            record.last_used_at = Some(used);
            self.store.write_blocking(row(&record))?;
        }
        Ok(())
    }

    fn known(&self, id: &str) -> Result<Record, KeyError> {
        let known = self.table.get(id).ok_or_else(|| KeyError::NotFound(id.to_owned()))?;
        Ok(known.record.clone())
    }

    fn add_version(&self, record: &mut Record, now: u64) -> Result<String, KeyError> {
        let mut entropy = Zeroizing::new([0; text::ENTROPY]);
        random(entropy.as_mut_slice())?;
        let key = text::mint(record.class, record.environment, &entropy);
        let hash = match &self.secret {
            Secret::Own(hasher) => hasher.hex(key.as_bytes()),
            Secret::Slot(slot) => {
                let secret = slot.get().map_err(|error| KeyError::Unavailable(error.to_string()))?;
                Hasher::new(secret.expose()).hex(key.as_bytes())
            }
        };
        record.versions.push(Version {
            hash,
            created_at: now,
            expires_at: None,
        });
        Ok(key)
    }

    fn write(&self, mut record: Record, key: String, now: u64) -> Result<Issued, KeyError> {
        if let Some(known) = self.table.get(&record.id) {
            let used = known.used_ms() / 1000;
            record.last_used_at = record.last_used_at.max((used > 0).then_some(used));
        }
        self.store.write_blocking(row(&record))?;
        // The store has told the table before it acknowledged.
        let known = self.table.get(&record.id);
        let known = known.ok_or_else(|| KeyError::Invalid("there are as many keys as may be".to_owned()))?;
        Ok(Issued {
            key,
            issued: view(&known, now),
        })
    }
}

fn row(record: &Record) -> Vec<Change> {
    vec![Change {
        table: Table::ApiKeys,
        key: record.id.as_bytes().into(),
        // A record has no map with keys that are no text: this cannot fail.
        value: Some(serde_json::to_vec(record).unwrap_or_default().into()),
    }]
}

fn view(key: &Known, now: u64) -> KeyView {
    let record = &key.record;
    let stamp = |seconds: u64| Stamp(seconds.saturating_mul(1000));
    let good = |version: &&Version| version.expires_at.is_none_or(|at| at > now);
    KeyView {
        id: record.id.clone(),
        name: record.name.clone(),
        organisation: record.organisation.clone(),
        class: record.class,
        environment: record.environment,
        status: record.status(now).to_owned(),
        scopes: record.scopes.clone(),
        origins: record.origins.clone(),
        networks: record.networks.clone(),
        created_at: stamp(record.created_at),
        expires_at: record.expires_at.map(stamp),
        revoked_at: record.revoked_at.map(stamp),
        last_used_at: Some(key.used_ms()).filter(|used| *used > 0).map(Stamp),
        versions: record.versions.iter().filter(good).count(),
    }
}

fn seconds(text: &str) -> Result<u64, KeyError> {
    let span: Duration = text
        .parse()
        .map_err(|_| KeyError::Invalid(format!("`{text}` is no span of time, such as 30d")))?;
    Ok(span.get().as_secs())
}

fn fresh_id() -> Result<String, KeyError> {
    let mut bytes = [0; 8];
    random(&mut bytes)?;
    Ok(format!("key_{:016x}", u64::from_be_bytes(bytes)))
}

fn random(bytes: &mut [u8]) -> Result<(), KeyError> {
    let filled = SystemRandom::new().fill(bytes);
    filled.map_err(|_| KeyError::Unavailable("the system gives no random bytes".to_owned()))
}

/// Makes the folder, where no gateway has so far.
fn make(directory: &Path) -> Result<(), StoreError> {
    use portcullis_bundles::store::{Disk as _, RealDisk};
    let made = RealDisk.make_directory(directory);
    made.map_err(|error| StoreError::io("create", directory, error))
}
