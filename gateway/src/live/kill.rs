//! Kill switches set at run time: written to the state folder first, then in force for every request that begins after.

use portcullis_bundles::format::KillSwitch as Written;
use portcullis_bundles::runtime::{RuntimeError, RuntimeSwitch, RuntimeSwitches};
use portcullis_bundles::switches::Origin;
use portcullis_bundles::timestamp::Timestamp;
use portcullis_config::geoip::GeoIp;
use portcullis_config::key::Key;
use portcullis_config::units::Duration;
use portcullis_filters::attributes;

use super::{Live, now};
use crate::admin::control::KillError;
use crate::admin::wire::{KillList, KillRequest, KillSwitch};
use crate::request_id::RequestId;
use crate::telemetry::stamp::Stamp;

/// Longest that a switch set at run time holds. What must hold longer belongs into the bundle.
const LONGEST_TTL: std::time::Duration = std::time::Duration::from_secs(31 * 24 * 3600);

impl Live {
    /// Sets a kill switch.
    pub(super) fn set_switch(&self, request: &KillRequest) -> Result<KillSwitch, KillError> {
        let geoip = self.snapshot().gateway.config.geoip.clone();
        let switch = read(request, geoip.as_ref())?;
        let mut held = self.kill();
        let kill = held.as_mut().ok_or_else(|| {
            KillError::Invalid(
                "the configuration has no `policy`, and its state_dir is where switches are kept".to_owned(),
            )
        })?;
        let mut switches = kill.runtime.clone();
        switches.drop_expired(now().unix());
        switches.set(switch.clone()).map_err(refused)?;
        kill.keep_runtime(switches)
            .map_err(|error| KillError::NotPersisted(error.to_string()))?;
        self.publish_switches(kill);
        drop(held);
        tracing::warn!(
            source = "runtime",
            id = switch.id,
            key = request.key,
            route = request.route,
            by = request.by,
            reason = request.reason,
            expires_at = switch.switch.expires_at.map(|at| at.to_string()),
            "kill switch set"
        );
        self.kill_changes.add("runtime", 1, 0);
        Ok(show(&switch))
    }

    /// Clears one.
    pub(super) fn clear_switch(&self, id: &str) -> Result<KillSwitch, KillError> {
        let mut held = self.kill();
        let kill = held.as_mut().ok_or_else(|| KillError::NotFound(id.to_owned()))?;
        let mut switches = kill.runtime.clone();
        let cleared = switches.clear(id).ok_or_else(|| KillError::NotFound(id.to_owned()))?;
        kill.keep_runtime(switches)
            .map_err(|error| KillError::NotPersisted(error.to_string()))?;
        self.publish_switches(kill);
        drop(held);
        tracing::warn!(
            source = "runtime",
            id,
            key = cleared.switch.scope_key,
            "kill switch cleared"
        );
        self.kill_changes.add("runtime", 0, 1);
        Ok(show(&cleared))
    }

    /// Those in force: set at run time, then the document's, then the bundle's.
    pub(super) fn active_switches(&self) -> KillList {
        let (snapshot, now) = (self.snapshot(), now().unix());
        let mut active = snapshot.policy.switches.iter().filter(|switch| switch.is_active(now));
        let listed = active.by_ref().take(KillList::MOST);
        let switches = listed
            .map(|switch| {
                let id = match &switch.origin {
                    Origin::Runtime(id) => Some(id.to_string()),
                    Origin::Bundle(_) | Origin::Document(_) => None,
                };
                let set = id.as_ref().and_then(|id| snapshot.policy.kill.runtime.get(id));
                KillSwitch {
                    origin: switch.origin.source().to_owned(),
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
            .collect();
        KillList {
            switches,
            omitted: active.count() as u64,
        }
    }
}

/// The switch that a request asks for.
fn read(request: &KillRequest, geoip: Option<&GeoIp>) -> Result<RuntimeSwitch, KillError> {
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
    let never = |key: Key| attributes::unsupported(&key, geoip);
    if let Some(why) = request.key.parse().ok().and_then(never) {
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
        origin: "runtime".to_owned(),
        key: switch.switch.scope_key.clone(),
        value: switch.switch.scope_value.clone(),
        route: switch.switch.route.clone(),
        reason: switch.switch.reason.clone(),
        by: switch.set_by.clone(),
        set_at: Some(Stamp::from_unix(switch.set_at.unix())),
        expires_at: switch.switch.expires_at.map(|at| Stamp::from_unix(at.unix())),
    }
}
