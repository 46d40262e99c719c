//! What the admin listener needs of the running gateway, and nothing else of it.

use async_trait::async_trait;

use crate::admin::key_wire::{Issued, KeyRequest, KeyView, RotateRequest};
use crate::admin::wire::{
    DebugSession, KillList, KillRequest, KillStatus, KillSwitch, Readiness, Reloaded, RolloutStatus, Status,
};
use crate::identity::KeyError;
use crate::session::RevokeError;
use crate::session::wire::{SessionList, SessionRevoke, SessionsRevoked};
use crate::telemetry::exposition::Exposition;

/// The running gateway as its operators see it.
///
/// The sync calls answer from memory and are made on the admin listener's own thread, never on a worker's.
#[async_trait]
pub trait Control: Send + Sync + 'static {
    /// Whether traffic should be sent here, and why not.
    fn readiness(&self) -> Readiness;

    /// Everything that `portcullis status` shows.
    fn status(&self) -> Status;

    /// The configuration in force as its authors wrote it (YAML, includes merged in). Secrets are references, never values.
    fn config(&self) -> String;

    /// Loads configuration and bundle anew. On failure nothing changes.
    async fn reload(&self) -> Result<Reloaded, Refused>;

    /// The bundle on trial, and how the last trial ended.
    fn rollout(&self) -> RolloutStatus;

    /// Lets the bundle on trial come into force now, for all.
    async fn rollout_promote(&self) -> Result<RolloutStatus, Refused>;

    /// Ends the trial; the bundle is not tried again.
    async fn rollout_abort(&self) -> Result<RolloutStatus, Refused>;

    /// Puts the state folder under the key that the configuration refers to by now, and under a new data key.
    async fn rotate_state_key(&self) -> Result<(), Refused>;

    /// Kill switches that are active: those set at run time, then the document's, then the bundle's.
    fn kill_list(&self) -> KillList;

    /// How many there are of which source, and what is known of the kill-switch document.
    fn kill_status(&self) -> KillStatus;

    /// Sets a kill switch at once and keeps it over a restart.
    async fn kill_set(&self, request: KillRequest) -> Result<KillSwitch, KillError>;

    /// Clears a kill switch that was set at run time.
    async fn kill_clear(&self, id: &str) -> Result<KillSwitch, KillError>;

    /// All API keys.
    fn api_keys(&self) -> Result<Vec<KeyView>, KeyError>;

    /// Issues a key.
    async fn api_key_issue(&self, request: KeyRequest) -> Result<Issued, KeyError>;

    /// Makes another text of a key.
    async fn api_key_rotate(&self, id: &str, request: RotateRequest) -> Result<Issued, KeyError>;

    /// Ends a key at once.
    async fn api_key_revoke(&self, id: &str) -> Result<KeyView, KeyError>;

    /// Opens a debug session. `None`: there are as many as may be.
    fn debug_open(&self) -> Option<DebugSession>;

    /// Ends all debug sessions. How many.
    fn debug_end(&self) -> usize;

    /// The sessions of users.
    fn sessions(&self) -> SessionList;

    /// Ends sessions: the next request of each is refused. When this returns, no crash brings them back.
    async fn sessions_revoke(&self, request: SessionRevoke) -> Result<SessionsRevoked, RevokeError>;

    /// Adds every sample of the process to a scrape.
    fn metrics(&self, out: &mut Exposition);
}

/// A reload that was refused. What was in force still is.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Refused {
    /// The stable code, such as `config_invalid` or `bundle_invalid_signature`.
    pub reason: &'static str,
    /// One sentence for people.
    pub detail: String,
    /// The diagnostics as `portcullis check --format json` prints them, where there are any.
    pub diagnostics: Option<serde_json::Value>,
}

/// Why a kill switch could not be set or cleared.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KillError {
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// No switch of this id was set at run time. Those of the bundle are cleared by a bundle.
    #[error("no kill switch with the id {0:?} was set at run time")]
    NotFound(String),
    /// There are as many as there may be.
    #[error("there are already {0} kill switches, the most that may be set at run time")]
    Full(usize),
    /// It could not be written to the state folder, so it would not survive a restart: nothing was changed.
    #[error("the state folder could not be written: {0}")]
    NotPersisted(String),
}
