//! Going on where another process stops: the counters that it left, and what it wrote to the state folder until then.

use std::path::Path;
use std::sync::Arc;

use portcullis_filters::zones::{Imported, Zones};

use super::bundle::PolicySource;
use super::first::First;
use super::secrets::PreparedSecrets;
use super::{Live, now};
use crate::compile::{Heritage, compile};
use crate::identity::ApiKeys;
use crate::snapshot::{Gateway, InForce, Snapshot};
use crate::state::unseal_from_last;

impl Live {
    /// Takes over from a process that has just handed its sockets over. To be called before anything is served, and not
    /// from within a tokio runtime. `counters` is the file that it left.
    pub fn take_over(&self, counters: &Path) {
        match self.with_counters(counters) {
            Ok((gateway, imported)) => {
                tracing::info!(buckets = imported.buckets, "counters taken over");
                self.put(|before| Snapshot::new(Arc::new(gateway), Arc::clone(&before.policy)));
            }
            Err(error) => {
                tracing::error!(error, path = %counters.display(), "no counters taken over: buckets start full");
            }
        }
        // The file holds what keys are hashed with: it is read once.
        let _ = std::fs::remove_file(counters);
        if let Err(error) = self.reread_state() {
            tracing::error!(%error, "the state folder could not be read again");
        }
    }

    /// The configuration in force, compiled upon the other process's counters.
    fn with_counters(&self, counters: &Path) -> Result<(Gateway, Imported), String> {
        let bytes = std::fs::read(counters).map_err(|error| error.to_string())?;
        let opened = unseal_from_last(self.state_folder().as_deref(), bytes);
        let bytes = opened.map_err(|error| error.to_string())?;
        let (zones, imported) = Zones::import(&bytes, now()).map_err(|error| error.to_string())?;
        let loaded = self.source.load().map_err(|failed| failed.render_text())?;
        let before = self.snapshot();
        let heritage = Heritage {
            zones: &zones,
            upstreams: Some(&*before.gateway.upstreams),
            metrics: &self.observers.metrics,
            geoip: before.gateway.geoip.as_ref(),
        };
        let gateway = compile(&loaded, &heritage).map_err(|wrong| wrong.render_text(&loaded.sources))?;
        let secrets = PreparedSecrets::read(&gateway.zones).map_err(|error| error.to_string())?;
        secrets.commit();
        let (folder, keys) = (self.state_folder(), self.api_keys.load_full());
        let keys = ApiKeys::open(&loaded.config, folder.as_ref(), &gateway.zones, keys.as_ref());
        self.api_keys.store(keys.map_err(|error| error.to_string())?);
        Ok((gateway, imported))
    }

    /// Bundles and kill switches that the other process accepted after this one had started.
    fn reread_state(&self) -> anyhow::Result<()> {
        let snapshot = self.snapshot();
        let (Some(written), Some(folder)) = (&snapshot.gateway.config.policy, self.state_folder()) else {
            return Ok(());
        };
        let (mut source, kill) = PolicySource::open(
            written,
            &folder,
            snapshot.gateway.config.control_plane.as_ref(),
            self.stand_in.is_some(),
        )?;
        let totals = self.rollouts.totals();
        let First {
            bundle,
            rollout,
            refused,
        } = First::of(Some(&mut source), &snapshot.gateway, None, totals);
        self.cold.blocking_lock().policy = Some(source);
        let in_force = InForce::new(bundle, rollout, kill.view());
        *self.kill() = Some(kill);
        self.put(|before| Snapshot::new(Arc::clone(&before.gateway), Arc::new(in_force)));
        self.note_bundle(&snapshot, refused.as_ref());
        self.note_begun(&self.snapshot());
        self.begin_kill_document();
        Ok(())
    }
}
