//! Kill switches set at run time: written to the state folder first, then in force for every request that begins after.

use portcullis_bundles::format::KillSwitch as Written;
use portcullis_bundles::runtime::{RuntimeError, RuntimeSwitch, RuntimeSwitches};
use portcullis_bundles::switches::Origin;
use portcullis_bundles::timestamp::Timestamp;
use portcullis_config::units::Duration;
use portcullis_filters::attributes;

use super::{Live, now};
use crate::admin::control::KillError;
use crate::admin::wire::{KillRequest, KillSwitch};
use crate::request_id::RequestId;
use crate::telemetry::stamp::Stamp;

/// Longest that a switch set at run time holds. What must hold longer belongs into the bundle.
const LONGEST_TTL: std::time::Duration = std::time::Duration::from_secs(31 * 24 * 3600);

impl Live {
    /// Sets a kill switch.
    pub(super) async fn set_switch(&self, request: KillRequest) -> Result<KillSwitch, KillError> {
        let switch = read(&request)?;
        let mut cold = self.cold.lock().await;
        let policy = cold.policy.as_mut().ok_or_else(|| {
            KillError::Invalid(
                "the configuration has no `policy`, and its state_dir is where switches are kept".to_owned(),
            )
        })?;
        let mut switches = policy.switches.clone();
        switches.drop_expired(now().unix());
        switches.set(switch.clone()).map_err(refused)?;
        policy
            .store
            .save_switches(&switches)
            .map_err(|error| KillError::NotPersisted(error.to_string()))?;
        policy.switches = switches;
        self.publish_switches(&cold);
        tracing::warn!(
            id = switch.id,
            key = request.key,
            by = request.by,
            reason = request.reason,
            "kill switch set"
        );
        Ok(show(&switch))
    }

    /// Clears one.
    pub(super) async fn clear_switch(&self, id: &str) -> Result<KillSwitch, KillError> {
        let mut cold = self.cold.lock().await;
        let policy = cold.policy.as_mut().ok_or_else(|| KillError::NotFound(id.to_owned()))?;
        let mut switches = policy.switches.clone();
        let cleared = switches.clear(id).ok_or_else(|| KillError::NotFound(id.to_owned()))?;
        policy
            .store
            .save_switches(&switches)
            .map_err(|error| KillError::NotPersisted(error.to_string()))?;
        policy.switches = switches;
        self.publish_switches(&cold);
        tracing::warn!(id, "kill switch cleared");
        Ok(show(&cleared))
    }

    /// Those in force: set at run time, then the bundle's.
    pub(super) fn active_switches(&self) -> Vec<KillSwitch> {
        let (snapshot, now) = (self.snapshot(), now().unix());
        let switches = snapshot
            .policy
            .switches
            .as_slice()
            .iter()
            .filter(|switch| switch.is_active(now));
        switches
            .map(|switch| {
                let id = match &switch.origin {
                    Origin::Runtime(id) => Some(id.to_string()),
                    Origin::Bundle(_) => None,
                };
                let set = id.as_ref().and_then(|id| snapshot.policy.runtime.get(id));
                KillSwitch {
                    key: switch.key.to_string(),
                    value: switch.value.to_string(),
                    route: switch.route.as_deref().map(str::to_owned),
                    reason: switch.reason.as_deref().map(str::to_owned),
                    by: set.and_then(|set| set.set_by.clone()),
                    set_at: set.map(|set| Stamp::from_unix(set.set_at.unix())),
                    expires_at: switch.expires_at.map(|at| Stamp::from_unix(at.unix())),
                    id,
                }
            })
            .collect()
    }
}

/// The switch that a request asks for.
fn read(request: &KillRequest) -> Result<RuntimeSwitch, KillError> {
    let invalid = |message: String| KillError::Invalid(message);
    let ttl: Duration = request.ttl.parse().map_err(|error| invalid(format!("ttl: {error}")))?;
    if ttl.get() > LONGEST_TTL || ttl.get().is_zero() {
        return Err(invalid(
            "ttl: from 1s to 31d; what must hold longer belongs into the bundle".to_owned(),
        ));
    }
    if request.reason.trim().is_empty() {
        return Err(invalid("reason: say why, for those who read it later".to_owned()));
    }
    // A key that is none is told by those who compile the switch.
    let never = request.key.parse().ok().as_ref().and_then(attributes::unsupported);
    if let Some(why) = never {
        return Err(invalid(format!("key: `{}` would never match: {why}", request.key)));
    }
    let set_at = now().unix();
    let seconds = i64::try_from(ttl.get().as_secs().max(1)).unwrap_or(i64::MAX);
    Ok(RuntimeSwitch {
        id: RequestId::new().as_str().chars().take(12).collect(),
        switch: Written {
            scope_key: request.key.clone(),
            scope_value: request.value.clone(),
            route: request.route.clone(),
            reason: Some(request.reason.clone()),
            expires_at: Some(Timestamp::from_unix(set_at.saturating_add(seconds))),
        },
        set_at: Timestamp::from_unix(set_at),
        set_by: request.by.clone(),
    })
}

fn refused(error: RuntimeError) -> KillError {
    match error {
        RuntimeError::TooMany => KillError::Full(RuntimeSwitches::MAX),
        other => KillError::Invalid(other.to_string()),
    }
}

fn show(switch: &RuntimeSwitch) -> KillSwitch {
    KillSwitch {
        id: Some(switch.id.clone()),
        key: switch.switch.scope_key.clone(),
        value: switch.switch.scope_value.clone(),
        route: switch.switch.route.clone(),
        reason: switch.switch.reason.clone(),
        by: switch.set_by.clone(),
        set_at: Some(Stamp::from_unix(switch.set_at.unix())),
        expires_at: switch.switch.expires_at.map(|at| Stamp::from_unix(at.unix())),
    }
}
