//! Kill switches, of the bundle and of run time alike.

use std::collections::HashSet;
use std::sync::Arc;

use portcullis_config::key::Key;

use super::{Compiler, scalars};
use crate::format::KillSwitch;
use crate::kill_document::KillDocument;
use crate::problem::{Place, Problem, Problems};
use crate::switches::{Origin, Switch};
use crate::timestamp::Timestamp;

impl Compiler {
    /// The list of a bundle or of a document: `origin` says whose, for each place.
    pub(super) fn switches(
        &mut self,
        written: &[KillSwitch],
        suspended: Option<Timestamp>,
        origin: fn(u32) -> Origin,
    ) -> Vec<Switch> {
        let list = Place::ROOT.field("kill_switches");
        self.at_most(written.len(), scalars::MAX_SWITCHES, &list, "kill switches");
        let mut switches = Vec::with_capacity(written.len());
        for (number, entry) in (0u32..).zip(written) {
            let place = list.item(number as usize);
            if let Some(switch) = self.switch(entry, origin(number), &place) {
                switches.push(Switch {
                    suspended_until: suspended,
                    ..switch
                });
            }
        }
        let keys: HashSet<&Key> = switches.iter().map(|switch| &switch.key).collect();
        self.at_most(
            keys.len(),
            scalars::MAX_SWITCH_KEYS,
            &list,
            "different keys of kill switches",
        );
        switches
    }

    fn switch(&mut self, written: &KillSwitch, origin: Origin, place: &Place<'_>) -> Option<Switch> {
        let before = self.problems.count();
        let key = self.key(&written.scope_key, &place.field("scope_key"), "scope_key");
        let value = key
            .as_ref()
            .and_then(|key| self.value(key, &written.scope_value, &place.field("scope_value")));
        let route = written
            .route
            .as_deref()
            .and_then(|route| self.path(route, &place.field("route"), "route"));
        let reason = written
            .reason
            .as_deref()
            .map(|reason| self.reason(reason, &place.field("reason")));
        (before == self.problems.count()).then_some(())?;
        Some(Switch {
            key: key?,
            value: value?,
            route,
            reason,
            expires_at: written.expires_at,
            suspended_until: None,
            origin,
        })
    }
}

/// Compiles the switches of a kill-switch document, with the checks of a bundle's.
pub(crate) fn document_switches(written: &KillDocument) -> Result<Vec<Switch>, Problems> {
    let mut compiler = Compiler::default();
    let suspension = compiler.suspension(written.kill_switch_override.as_ref(), "kill_switch_override");
    let until = suspension.map(|suspension| suspension.until);
    let switches = compiler.switches(&written.kill_switches, until, Origin::Document);
    if compiler.problems.is_empty() {
        Ok(switches)
    } else {
        Err(compiler.problems)
    }
}

/// Compiles a kill switch that an operator sets at run time under `id`, with the checks of a bundle's.
pub(crate) fn runtime_switch(written: &KillSwitch, id: Arc<str>) -> Result<Switch, Vec<Problem>> {
    let mut compiler = Compiler::default();
    match compiler.switch(written, Origin::Runtime(id), &Place::ROOT) {
        Some(switch) => Ok(switch),
        None => Err(compiler.problems.as_slice().to_vec()),
    }
}
