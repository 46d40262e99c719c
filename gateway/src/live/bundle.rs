//! Where the policy comes from: trust, state folder and source as the configuration names them, and the verdict about
//! what is found there. Nothing is in force because of this file; [`super::load`] swaps.

mod tried;

use std::sync::Arc;
use std::time::Duration;

use portcullis_bundles::digest::Digest;
use portcullis_bundles::format::OnMissing;
use portcullis_bundles::loader::{Accepted, Loader, Refused, Settings};
use portcullis_bundles::policies::Policies;
use portcullis_bundles::source::FileSource;
use portcullis_bundles::store::{LastGood, Store, StoreError};
use portcullis_bundles::trust::Trust;
use portcullis_bundles::version::Floor;
use portcullis_config::activation::Activation;
use portcullis_config::control_plane::ControlPlane;
use portcullis_config::policy::{BundleSource, Policy as Written};
use portcullis_filters::policy::{PolicyExaminer, prepare};

use self::tried::Tried;
pub(super) use self::tried::rolled_back;
use super::kill_state::KillState;
use super::record::within_budget;
use super::{aside, now};
use crate::compile::Misfit;
use crate::http_client::{self, Client, Fetched, Url, Validator};
use crate::recorder::Recorder;
use crate::snapshot::BundleState;
use crate::state::StateFolder;

/// Media types under which a bundle may be served.
pub(super) const MEDIA_TYPES: [&str; 4] = [
    "application/octet-stream",
    "application/json",
    "application/vnd.dsse.envelope.v1+json",
    "text/plain",
];
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// Everything that a configuration's `policy` stands for.
pub struct PolicySource {
    loader: Loader,
    store: Arc<Store>,
    /// The bundle accepted last.
    floor: Option<Floor>,
    source: Source,
    /// The last good bundle as it was found at the start, until one is in force.
    last_good: Option<LastGood>,
    /// What a new bundle may change.
    activation: Option<Activation>,
    /// The bundle of this source that came into force or on trial last.
    known: Option<Known>,
    /// What is tried first.
    tried: Tried,
}

/// A bundle and the bytes in which it came, so that the same bytes are not verified again and again.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Known {
    bytes: Digest,
    bundle: Digest,
}

enum Source {
    File(FileSource),
    Url {
        client: Client,
        url: Url,
        validator: Option<Validator>,
    },
    /// The control plane's client brings it.
    ControlPlane,
}

/// Why a configuration's `policy` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A key of `trust`.
    #[error("policy.trust: {0}")]
    Trust(String),
    /// The state folder.
    #[error("policy.state_dir: {0}")]
    State(#[from] StoreError),
    /// The source.
    #[error("policy.bundle: {0}")]
    Source(String),
    /// The kill-switch document's keys or source.
    #[error("policy.kill_switches: {0}")]
    KillSwitches(String),
}

/// Hints about one bundle that are logged.
const HINTS: usize = 20;

/// A bundle that was verified and is good, and is not yet in force.
pub struct Candidate {
    policies: Arc<Policies>,
    known: Known,
    floor: Floor,
    bytes: Vec<u8>,
    validator: Option<Validator>,
    activation_override: Option<Box<str>>,
}

impl Candidate {
    fn new(accepted: Accepted, bytes: Vec<u8>, validator: Option<Validator>) -> Self {
        for hint in accepted.hints.iter().take(HINTS) {
            tracing::warn!(%hint, "bundle");
        }
        if let Some(more @ 1..) = accepted.hints.len().checked_sub(HINTS) {
            tracing::warn!(
                more,
                "more hints about the bundle: `portcullis bundle lint` has them all"
            );
        }
        prepare(&accepted.policies);
        Self {
            known: Known {
                bytes: Digest::of(&bytes),
                bundle: *accepted.policies.digest(),
            },
            policies: Arc::new(accepted.policies),
            floor: accepted.floor,
            bytes,
            validator,
            activation_override: accepted.activation_override,
        }
    }

    /// SHA-256 of its text.
    pub fn digest(&self) -> &Digest {
        self.policies.digest()
    }

    /// As part of a snapshot.
    pub fn state(&self) -> BundleState {
        BundleState::Loaded(Arc::clone(&self.policies))
    }
}

/// A bundle that was refused.
#[derive(Debug, Clone)]
pub struct BundleRefused {
    /// The stable code.
    pub reason: &'static str,
    /// For people.
    pub detail: String,
}

impl From<Misfit> for BundleRefused {
    fn from(misfit: Misfit) -> Self {
        let Misfit { reason, detail } = misfit;
        Self { reason, detail }
    }
}

impl From<Refused> for BundleRefused {
    fn from(refused: Refused) -> Self {
        Self {
            reason: refused.reason.as_str(),
            detail: refused.detail,
        }
    }
}

impl PolicySource {
    /// Opens what the configuration names, with the kill switches beside it. Nothing is written but the state folder
    /// itself, where it is missing. `skips`: a rule that does not say what becomes of a request without its key is left
    /// out for it.
    pub fn open(
        written: &Written,
        folder: &StateFolder,
        control_plane: Option<&ControlPlane>,
        skips: bool,
    ) -> Result<(Self, KillState), PolicyError> {
        let trust = Trust::resolve(&written.trust).map_err(|errors| {
            PolicyError::Trust(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
        let store = Arc::new(folder.files()?);
        let state = store.load()?;
        let kill = KillState::open(
            Arc::clone(&store),
            state.switches,
            state.kill_document,
            written.kill_switches.as_ref(),
        )?;
        let examiner = Box::new(PolicyExaminer);
        let on_missing = if skips { OnMissing::Skip } else { OnMissing::default() };
        let source = Self {
            loader: Loader::new(Settings::of(written, control_plane), trust, examiner).on_missing(on_missing),
            store,
            floor: state.last_good.as_ref().map(|last| last.floor),
            source: Source::open(&written.bundle, written.max_bytes.get()).map_err(PolicyError::Source)?,
            last_good: state.last_good,
            activation: written.activation,
            known: None,
            tried: Tried::new(written.rollout, control_plane, state.rollout),
        };
        Ok((source, kill))
    }

    /// The last good bundle of the state folder, verified again: what a restart begins with. `None` once a bundle was in
    /// force.
    pub fn last_good(&self) -> Option<Result<Candidate, BundleRefused>> {
        let LastGood { floor, bytes } = self.last_good.as_ref()?;
        let restored = self.loader.restore(bytes, *floor, now().unix());
        Some(
            restored
                .map(|accepted| Candidate::new(accepted, bytes.clone(), None))
                .map_err(BundleRefused::from),
        )
    }

    /// The bundle of a source that is a file. `None`: the source is a URL, which the background polls.
    pub fn look_at_file(&self) -> Option<Result<Candidate, BundleRefused>> {
        let Source::File(file) = &self.source else { return None };
        let read = file.read(self.loader.max_bytes()).map_err(unreadable);
        Some(read.and_then(|(bytes, _)| self.accept(bytes, None)))
    }

    /// Looks at the source. `None`: it has what is in force, whose digest is `in_force`.
    pub async fn look(&mut self, in_force: Option<&Digest>) -> Result<Option<Candidate>, BundleRefused> {
        let found = self.look_at_source(in_force).await;
        self.unless_in_force(found, in_force)
    }

    /// A bundle that the control plane has sent. `None`: it is in force already.
    pub fn offered(&mut self, bytes: &[u8], in_force: Option<&Digest>) -> Result<Option<Candidate>, BundleRefused> {
        if !matches!(self.source, Source::ControlPlane) {
            return Err(unreadable("bundles do not come from the control plane any more"));
        }
        let found = aside(|| self.judge(bytes.to_vec(), None, in_force));
        self.unless_in_force(found, in_force)
    }

    /// What was found, unless it is in force or on trial already.
    fn unless_in_force(
        &mut self,
        found: Result<Option<Candidate>, BundleRefused>,
        in_force: Option<&Digest>,
    ) -> Result<Option<Candidate>, BundleRefused> {
        let candidate = match found {
            Ok(Some(candidate)) => candidate,
            Ok(None) => return Ok(None),
            // What a configuration kept from coming into force at the start may fit the one of now.
            Err(refused) if in_force.is_none() => {
                return self.last_good().map_or(Err(refused), |restored| restored.map(Some));
            }
            Err(refused) => return Err(refused),
        };
        if in_force != Some(candidate.digest()) && !self.is_on_trial(candidate.digest()) {
            return Ok(Some(candidate));
        }
        self.known = Some(candidate.known);
        self.remember(candidate.validator);
        Ok(None)
    }

    async fn look_at_source(&mut self, in_force: Option<&Digest>) -> Result<Option<Candidate>, BundleRefused> {
        let (bytes, validator) = match &self.source {
            Source::File(file) => (file.read(self.loader.max_bytes()).map_err(unreadable)?.0, None),
            Source::ControlPlane => return Ok(None),
            Source::Url { client, url, validator } => {
                match http_client::get(client, url, &MEDIA_TYPES, validator.as_ref())
                    .await
                    .map_err(unreadable)?
                {
                    Fetched::NotModified { .. } => return Ok(None),
                    Fetched::Document(document) => (document.body.to_vec(), document.validator),
                }
            }
        };
        aside(|| self.judge(bytes, validator, in_force))
    }

    /// Judges what was found. `None`: it is in force or on trial already, byte for byte, and was verified with the same keys.
    fn judge(
        &mut self,
        bytes: Vec<u8>,
        validator: Option<Validator>,
        in_force: Option<&Digest>,
    ) -> Result<Option<Candidate>, BundleRefused> {
        let in_use = |known: &Known| Some(&known.bundle) == in_force || self.is_on_trial(&known.bundle);
        let known = self.known.filter(in_use);
        if known.is_some_and(|known| known.bytes == Digest::of(&bytes)) {
            self.remember(validator);
            return Ok(None);
        }
        self.accept(bytes, validator).map(Some)
    }

    /// What a URL's server said of the bundle in force: the next poll only asks whether there is another one.
    fn remember(&mut self, of_bundle: Option<Validator>) {
        if let Source::Url { validator, .. } = &mut self.source {
            *validator = of_bundle;
        }
    }

    fn accept(&self, bytes: Vec<u8>, validator: Option<Validator>) -> Result<Candidate, BundleRefused> {
        let accepted = self.loader.accept(&bytes, now().unix(), self.seen())?;
        Ok(Candidate::new(accepted, bytes, validator))
    }

    /// Tries a bundle on the recorded requests, where the configuration says what it may change about them.
    pub fn try_out(
        &self,
        recorder: Option<&Recorder>,
        old: &BundleState,
        candidate: &Candidate,
    ) -> Result<(), BundleRefused> {
        let reason = candidate.activation_override.as_deref();
        within_budget(recorder, self.activation, old, &candidate.policies, reason)
    }

    /// Makes a bundle the floor, durably. Only then may it come into force.
    pub fn commit(&mut self, candidate: &Candidate) -> Result<(), BundleRefused> {
        if self.floor != Some(candidate.floor) {
            let failed = |error: StoreError| BundleRefused {
                reason: "state_not_written",
                detail: error.to_string(),
            };
            self.store.commit(candidate.floor, &candidate.bytes).map_err(failed)?;
            self.floor = Some(candidate.floor);
        }
        self.last_good = None;
        self.known = Some(candidate.known);
        self.remember(candidate.validator.clone());
        Ok(())
    }
}

impl Source {
    fn open(written: &BundleSource, max_bytes: u64) -> Result<Self, String> {
        match (&written.file, &written.url) {
            (None, None) if written.control_plane => Ok(Self::ControlPlane),
            (Some(file), None) => Ok(Self::File(FileSource::new(file))),
            (None, Some(url)) => Ok(Self::Url {
                client: Client {
                    ca: written.ca.clone(),
                    connect_timeout: CONNECT_TIMEOUT,
                    timeout: FETCH_TIMEOUT,
                    max_bytes,
                },
                url: Url::parse(url).map_err(|error| error.to_string())?,
                validator: None,
            }),
            _ => Err("exactly one of `file` and `url` is needed".to_owned()),
        }
    }
}

pub(super) fn unreadable(error: impl std::fmt::Display) -> BundleRefused {
    BundleRefused {
        reason: "source_unreadable",
        detail: error.to_string(),
    }
}
