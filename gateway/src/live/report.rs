//! What operators are told of loads: what is in force since when, and the last attempt that failed. Readiness is made of
//! it. It decides nothing.

use portcullis_config::policy::Policy as Written;

use crate::admin::wire::{self, ConfigState, LastError, Readiness, ReadyStatus};
use crate::snapshot::{BundleState, Snapshot};
use crate::telemetry::stamp::Stamp;

/// What is known of loads.
#[derive(Debug, Clone)]
pub struct Report {
    config_at: Stamp,
    bundle_at: Option<Stamp>,
    config_error: Option<LastError>,
    bundle_error: Option<LastError>,
    /// When the kill-switch document in force came into force.
    pub kill_at: Option<Stamp>,
    /// The last look at the document, where that failed.
    pub kill_error: Option<LastError>,
    /// Changes that need a restart.
    pub needs_restart: Vec<String>,
}

impl Report {
    /// At the start.
    pub fn new(now: Stamp) -> Self {
        Self {
            config_at: now,
            bundle_at: None,
            config_error: None,
            bundle_error: None,
            kill_at: None,
            kill_error: None,
            needs_restart: Vec::new(),
        }
    }

    /// A configuration is in force; `changed`: another one than before.
    pub fn config_loaded(&mut self, changed: bool) {
        self.config_error = None;
        if changed {
            self.config_at = Stamp::now();
        }
    }

    /// A configuration was refused.
    pub fn config_refused(&mut self, reason: &str, detail: &str) {
        self.config_error = Some(error(reason, detail));
    }

    /// A bundle is in force; `changed`: another one than before.
    pub fn bundle_loaded(&mut self, changed: bool) {
        self.bundle_error = None;
        if changed || self.bundle_at.is_none() {
            self.bundle_at = Some(Stamp::now());
        }
    }

    /// A bundle was refused.
    pub fn bundle_refused(&mut self, reason: &str, detail: &str) {
        self.bundle_error = Some(error(reason, detail));
    }

    /// A kill-switch document is in force; `changed`: another one than before.
    pub fn kill_document_loaded(&mut self, changed: bool) {
        self.kill_error = None;
        if changed || self.kill_at.is_none() {
            self.kill_at = Some(Stamp::now());
        }
    }

    /// A kill-switch document was refused or could not be had.
    pub fn kill_document_refused(&mut self, reason: &str, detail: &str) {
        let same = |known: &LastError| known.reason == reason && known.detail == detail;
        if !self.kill_error.as_ref().is_some_and(same) {
            self.kill_error = Some(error(reason, detail));
        }
    }

    /// The configuration in force.
    pub fn config(&self, snapshot: &Snapshot) -> ConfigState {
        ConfigState {
            digest: snapshot.gateway.digest.clone(),
            loaded_at: self.config_at,
            last_error: self.config_error.clone(),
        }
    }

    /// The bundle. `None`: the configuration has no `policy`.
    pub fn bundle(&self, snapshot: &Snapshot) -> Option<wire::BundleState> {
        let written = snapshot.gateway.config.policy.as_ref()?;
        let mut state = wire::BundleState {
            version: None,
            digest: None,
            loaded_at: self.bundle_at,
            expires_at: None,
            expired: false,
            insecure_unsigned: written.insecure_unsigned,
            last_error: self.bundle_error.clone(),
        };
        if let BundleState::Loaded(policies) = &snapshot.policy.bundle {
            state.version = Some(policies.version());
            state.digest = Some(policies.digest().to_string());
            state.expires_at = policies.expires_at().map(|at| Stamp::from_unix(at.unix()));
            state.expired = policies.is_expired(super::now().unix());
        }
        Some(state)
    }

    /// Whether traffic should be sent here.
    pub fn readiness(&self, snapshot: &Snapshot, draining: bool) -> Readiness {
        let mut reasons = Vec::new();
        let mut warnings = Vec::new();
        if draining {
            reasons.push("draining".to_owned());
        }
        let bundle = self.bundle(snapshot);
        if let (Some(state), Some(written)) = (&bundle, &snapshot.gateway.config.policy) {
            judge(state, written, &mut reasons, &mut warnings);
        }
        let document = snapshot.gateway.config.policy.as_ref();
        if document.is_some_and(|policy| policy.kill_switches.is_some()) && self.kill_error.is_some() {
            warnings.push("kill_document_refused".to_owned());
        }
        if self.config_error.is_some() {
            warnings.push("config_refused".to_owned());
        }
        if !self.needs_restart.is_empty() {
            warnings.push("restart_needed".to_owned());
        }
        let status = if reasons.is_empty() {
            ReadyStatus::Ready
        } else {
            ReadyStatus::NotReady
        };
        Readiness {
            status,
            reasons,
            config: Some(self.config(snapshot)),
            bundle,
            warnings,
        }
    }
}

fn judge(state: &wire::BundleState, written: &Written, reasons: &mut Vec<String>, warnings: &mut Vec<String>) {
    use portcullis_config::policy::Expired;
    if state.version.is_none() {
        reasons.push("bundle_missing".to_owned());
    }
    match (state.expired, written.expired) {
        (true, Expired::Deny) => reasons.push("bundle_expired".to_owned()),
        (true, Expired::Keep) => warnings.push("bundle_expired".to_owned()),
        (false, _) => {}
    }
    if state.insecure_unsigned {
        warnings.push("insecure_unsigned".to_owned());
    }
    if state.last_error.is_some() {
        warnings.push("bundle_refused".to_owned());
    }
}

fn error(reason: &str, detail: &str) -> LastError {
    LastError {
        at: Stamp::now(),
        reason: reason.to_owned(),
        detail: detail.to_owned(),
    }
}
