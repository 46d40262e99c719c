//! The state folder of the running gateway: what is said of it at the start, and another key for it.

use super::{Live, aside};
use crate::admin::control::Refused;

impl Live {
    /// Whether state is sealed is said at every start.
    pub(super) fn note_state(&self) {
        let Some(folder) = self.state_folder() else { return };
        let directory = folder.directory().display();
        if folder.vault().is_sealed() {
            tracing::info!(%directory, "state is sealed");
        } else {
            tracing::warn!(%directory, "state is in the clear: `state.key` is not set");
        }
    }

    /// Puts the state folder under the key that the configuration file refers to by now.
    pub(super) async fn rotate_key(&self) -> Result<(), Refused> {
        let refused = |reason, detail: String| Refused {
            reason,
            detail,
            diagnostics: None,
        };
        // Not while a load opens what is in the folder.
        let _one = self.cold.lock().await;
        let rotated = aside(|| {
            let loaded = self.source.load();
            let loaded = loaded.map_err(|failed| refused("config_invalid", failed.render_text()))?;
            let folder = self.state_folder();
            let folder = folder.ok_or_else(|| refused("state_unconfigured", "there is no state folder".to_owned()))?;
            let rotated = folder.rotate(&loaded.config.state);
            rotated.map_err(|error| refused("state_not_rotated", error.to_string()))
        });
        match &rotated {
            Ok(()) => tracing::info!("the state folder is sealed with another key"),
            Err(Refused { reason, detail, .. }) => tracing::error!(reason, detail, "the state key was not rotated"),
        }
        rotated
    }
}
