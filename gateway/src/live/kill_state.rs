//! Kill switches beside the bundle, as they are kept: those set at run time, and the kill-switch document accepted last.
//! Everything here is quick, so that it can be done under a lock; what is fetched is fetched elsewhere.

use std::sync::Arc;
use std::time::Duration;

use portcullis_bundles::kill_document::{KillList, KillLoader, KillRefused};
use portcullis_bundles::runtime::RuntimeSwitches;
use portcullis_bundles::source::FileSource;
use portcullis_bundles::store::{LastGood, Store, StoreError};
use portcullis_bundles::trust::Trust;
use portcullis_bundles::version::{Floor, Standing};
use portcullis_config::gateway::Config;
use portcullis_config::policy::{DocumentSource, KillSwitches as Written};

use super::bundle::{BundleRefused, PolicyError};
use super::now;
use crate::compile::idle_switch;
use crate::http_client::{Client, Url};
use crate::snapshot::KillView;

/// Time between two looks at a file.
const LOOK: Duration = Duration::from_millis(100);
/// Time between two polls of a URL unless the configuration says otherwise.
const POLL: Duration = Duration::from_millis(500);
/// A document is small, and what it says is urgent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Kill switches beside the bundle, and where they are kept.
pub struct KillState {
    store: Arc<Store>,
    /// Those set at run time.
    pub runtime: RuntimeSwitches,
    document: Option<Document>,
}

/// The kill-switch document.
struct Document {
    loader: Arc<KillLoader>,
    place: Place,
    interval: Duration,
    floor: Option<Floor>,
    in_force: Option<Arc<KillList>>,
    /// Why the one that was accepted last is not in force after a restart.
    lost: Option<KillRefused>,
}

/// Where a document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file.
    File(FileSource),
    /// A URL.
    Url(Client, Url),
}

/// What it takes to look for a document.
pub struct Errand {
    /// Where.
    pub place: Place,
    /// Largest that is accepted.
    pub max_bytes: u64,
    /// When to look again.
    pub interval: Duration,
}

impl KillState {
    /// What the state folder holds, and where the configuration says that the document is.
    pub fn open(
        store: Arc<Store>,
        runtime: RuntimeSwitches,
        kept: Option<LastGood>,
        written: Option<&Written>,
    ) -> Result<Self, PolicyError> {
        let document = written.map(|written| Document::open(written, kept)).transpose()?;
        Ok(Self {
            store,
            runtime,
            document,
        })
    }

    /// Goes on where another state of the same folder was: it may have changed since this one was read.
    pub fn inherit(&mut self, before: Self) {
        if before.store.directory() != self.store.directory() {
            return;
        }
        self.runtime = before.runtime;
        let (Some(own), Some(before)) = (&mut self.document, before.document) else {
            return;
        };
        if before.floor.map(|floor| floor.version) > own.floor.map(|floor| floor.version) {
            own.floor = before.floor;
            own.in_force = before.in_force;
        }
    }

    /// As part of a snapshot.
    pub fn view(&self) -> KillView {
        let document = self.document.as_ref().and_then(|document| document.in_force.clone());
        KillView::new(self.runtime.clone(), document)
    }

    /// Replaces those set at run time, once the new ones are on the disk.
    pub fn keep_runtime(&mut self, switches: RuntimeSwitches) -> Result<(), StoreError> {
        self.store.save_switches(&switches)?;
        self.runtime = switches;
        Ok(())
    }

    /// Where to look for the document. `None`: the configuration names none.
    pub fn errand(&self) -> Option<Errand> {
        let document = self.document.as_ref()?;
        Some(Errand {
            place: document.place.clone(),
            max_bytes: document.loader.max_bytes(),
            interval: document.interval,
        })
    }

    /// Why the document that was accepted last is not in force after a restart.
    pub fn lost_document(&self) -> Option<BundleRefused> {
        self.document.as_ref()?.lost.clone().map(BundleRefused::from)
    }

    /// Judges a document that was found at `place` and keeps it. True: it is another one than before.
    pub fn take(&mut self, place: &Place, bytes: &[u8], config: &Config) -> Result<bool, BundleRefused> {
        // The configuration may have been changed while it was fetched.
        let Some(document) = self.document.as_mut().filter(|document| document.place == *place) else {
            return Ok(false);
        };
        let list = document.loader.accept(bytes, now().unix(), document.floor)?;
        if list.standing == Standing::Same && document.in_force.is_some() {
            return Ok(false);
        }
        if let Some(detail) = idle_switch(config, list.switches.as_slice().iter()) {
            let reason = "unsupported";
            return Err(BundleRefused { reason, detail });
        }
        if document.floor != Some(list.floor) {
            let failed = |error: StoreError| BundleRefused {
                reason: "state_not_written",
                detail: error.to_string(),
            };
            self.store.commit_kill_document(list.floor, bytes).map_err(failed)?;
            document.floor = Some(list.floor);
        }
        document.lost = None;
        document.in_force = Some(Arc::new(list));
        Ok(true)
    }
}

impl Document {
    fn open(written: &Written, kept: Option<LastGood>) -> Result<Self, PolicyError> {
        let trust = Trust::resolve(&written.trust).map_err(|errors| {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            PolicyError::KillSwitches(format!("trust: {}", errors.join("; ")))
        })?;
        let loader = KillLoader::new(written.max_bytes.get(), trust);
        let place = Place::of(&written.document, loader.max_bytes()).map_err(PolicyError::KillSwitches)?;
        let default = if matches!(place, Place::File(_)) { LOOK } else { POLL };
        let mut document = Self {
            place,
            interval: written
                .document
                .poll_interval
                .map_or(default, portcullis_config::units::Duration::get),
            floor: kept.as_ref().map(|kept| kept.floor),
            in_force: None,
            lost: None,
            loader: Arc::new(loader),
        };
        if let Some(LastGood { floor, bytes }) = kept {
            match document.loader.restore(&bytes, floor) {
                Ok(list) => document.in_force = Some(Arc::new(list)),
                Err(refused) => document.lost = Some(refused),
            }
        }
        Ok(document)
    }
}

impl Place {
    fn of(written: &DocumentSource, max_bytes: u64) -> Result<Self, String> {
        match (&written.file, &written.url) {
            (Some(file), None) => Ok(Self::File(FileSource::new(file))),
            (None, Some(url)) => {
                let client = Client {
                    ca: written.ca.clone(),
                    connect_timeout: CONNECT_TIMEOUT,
                    timeout: FETCH_TIMEOUT,
                    max_bytes,
                };
                let url = Url::parse(url).map_err(|error| error.to_string())?;
                Ok(Self::Url(client, url))
            }
            _ => Err("exactly one of `file` and `url` is needed".to_owned()),
        }
    }

    /// Names it for people.
    pub fn name(&self) -> String {
        match self {
            Self::File(file) => file.path().display().to_string(),
            Self::Url(_, url) => url.to_string(),
        }
    }
}

impl From<KillRefused> for BundleRefused {
    fn from(refused: KillRefused) -> Self {
        Self {
            reason: refused.reason.as_str(),
            detail: refused.detail,
        }
    }
}
