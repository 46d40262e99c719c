//! Looking for the kill-switch document, on a task of its own: a load of a large bundle or a slow server of bundles does
//! not hold it up. What is refused changes nothing; what was in force stays.

use std::sync::Arc;
use std::time::Duration;

use portcullis_bundles::source::Fingerprint;

use super::Live;
use super::bundle::{BundleRefused, MEDIA_TYPES, unreadable};
use super::kill_state::{Errand, Place};
use crate::admin::wire::{KillDocument, KillOrigins, KillStatus};
use crate::http_client::{self, Fetched, Validator};
use crate::telemetry::stamp::Stamp;

/// How often it is asked whether the configuration names a document.
const IDLE: Duration = Duration::from_millis(500);

/// What was there at the last look, so that the same bytes are not judged again and again.
#[derive(Default)]
struct Known {
    place: Option<Place>,
    file: Option<Fingerprint>,
    validator: Option<Validator>,
    /// The last failure, told once.
    failure: Option<String>,
}

impl Live {
    /// Looks for the document for as long as the process runs.
    pub(super) async fn tend_kill_document(self: Arc<Self>) {
        let mut known = Known::default();
        loop {
            let errand = self.kill().as_ref().and_then(super::kill_state::KillState::errand);
            let Some(errand) = errand else {
                known = Known::default();
                tokio::time::sleep(IDLE).await;
                continue;
            };
            if known.place.as_ref() != Some(&errand.place) {
                known = Known {
                    place: Some(errand.place.clone()),
                    ..Known::default()
                };
            }
            let looked = self.look_for_document(&errand, &mut known).await;
            self.note_kill_document(looked, &mut known.failure);
            tokio::time::sleep(errand.interval).await;
        }
    }

    /// The first look, before anything is served: a file that is there counts from the first request on.
    pub(super) fn begin_kill_document(&self) {
        let (errand, lost) = match self.kill().as_ref() {
            Some(kill) => (kill.errand(), kill.lost_document()),
            None => return,
        };
        let mut failure = None;
        if let Some(lost) = lost {
            self.note_kill_document(Err(lost), &mut failure);
        }
        if let Some(Errand { place, max_bytes, .. }) = errand
            && let Place::File(file) = &place
        {
            let taken = match file.read(max_bytes) {
                Ok((bytes, _)) => self.take_document(&place, &bytes).map(Some),
                Err(error) => Err(unreadable(error)),
            };
            self.note_kill_document(taken, &mut failure);
        }
    }

    /// `None`: there is nothing new to judge.
    async fn look_for_document(&self, errand: &Errand, known: &mut Known) -> Result<Option<bool>, BundleRefused> {
        match &errand.place {
            Place::File(file) => {
                let now = file.fingerprint().map_err(unreadable)?;
                if known.file.as_ref() == Some(&now) {
                    return Ok(None);
                }
                let (bytes, read) = file.read(errand.max_bytes).map_err(unreadable)?;
                // What was written to while it was read has another fingerprint at the next look.
                known.file = Some(read);
                self.take_document(&errand.place, &bytes).map(Some)
            }
            Place::Url(client, url) => {
                let fetched = http_client::get(client, url, &MEDIA_TYPES, known.validator.as_ref()).await;
                match fetched.map_err(unreadable)? {
                    Fetched::NotModified { .. } => Ok(None),
                    Fetched::Document(document) => {
                        let taken = self.take_document(&errand.place, &document.body)?;
                        known.validator = document.validator;
                        Ok(Some(taken))
                    }
                }
            }
        }
    }

    /// Judges a document and puts it into force. True: it is another one than before.
    fn take_document(&self, place: &Place, bytes: &[u8]) -> Result<bool, BundleRefused> {
        let config = Arc::clone(&self.snapshot().gateway.config);
        let mut held = self.kill();
        let Some(kill) = held.as_mut() else { return Ok(false) };
        let before = kill.view().document;
        if !kill.take(place, bytes, &config)? {
            return Ok(false);
        }
        self.publish_switches(kill);
        let after = kill.view().document;
        drop(held);
        let table = |list: &Option<Arc<_>>| {
            list.as_ref()
                .map(|list: &Arc<portcullis_bundles::kill_document::KillList>| Arc::clone(&list.switches))
                .unwrap_or_default()
        };
        self.audit("document", &table(&before), &table(&after));
        Ok(true)
    }

    /// How a look went.
    fn note_kill_document(&self, looked: Result<Option<bool>, BundleRefused>, failure: &mut Option<String>) {
        let loads = &self.observers.metrics.kill_loads;
        match looked {
            Ok(None) => {}
            Ok(Some(changed)) => {
                *failure = None;
                self.report().kill_document_loaded(changed);
                loads.accepted(Stamp::now());
            }
            Err(BundleRefused { reason, detail }) => {
                let told = format!("{reason}: {detail}");
                if failure.as_ref() != Some(&told) {
                    tracing::error!(reason, detail, "kill-switch document refused; the one in force stays");
                    loads.refused(reason);
                    *failure = Some(told);
                }
                self.report().kill_document_refused(reason, &detail);
            }
        }
    }

    /// What `portcullis kill status` shows.
    pub(super) fn kill_status_now(&self) -> KillStatus {
        let (snapshot, now) = (self.snapshot(), super::now().unix());
        let (mut active, mut suspended) = (KillOrigins::default(), KillOrigins::default());
        for switch in snapshot.policy.switches.iter() {
            if switch.is_suspended(now) {
                suspended.add(&switch.origin);
            } else if switch.is_active(now) {
                active.add(&switch.origin);
            }
        }
        let place = self.kill().as_ref().and_then(super::kill_state::KillState::errand);
        let list = snapshot.policy.kill.document.as_deref();
        let report = self.report();
        let document = place.map(|errand| KillDocument {
            source: errand.place.name(),
            version: list.map(|list| list.floor.version),
            digest: list.map(|list| list.floor.digest.to_string()),
            signed_by: list
                .map(|list| list.signed_by.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
            loaded_at: report.kill_at,
            last_error: report.kill_error.clone(),
        });
        KillStatus {
            active,
            suspended,
            document,
        }
    }
}
