//! Counters in the state folder, so that a restart refills no budget: written on a timer and at the end, read at the start.
//! A hand-over to a new process has its own way, [`super::takeover`].

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_bundles::store::StoreError;
use portcullis_filters::zones::Zones;

use super::{Live, now};
use crate::state::StateFolder;

/// How often they are written, when writing takes no time to speak of.
const EVERY: Duration = Duration::from_secs(1);
/// How many times longer than writing takes there is between two writes.
const REST: u32 = 20;
/// Counters that are whole again so soon are not worth being kept.
const LASTING_NS: u64 = 5_000_000_000;
/// Most bytes that are written.
const MAX_BYTES: usize = 64 << 20;
/// Bytes of the name of a boot.
const BOOT_BYTES: usize = 36;

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Saved {
    /// How often.
    pub(super) count: u64,
    /// The requests that had ended by then.
    served: u64,
}

impl Live {
    /// What an instance starts counting with: what the state folder of the configuration holds, or nothing.
    pub(super) fn kept_counters(folder: Option<&StateFolder>) -> Result<Option<Zones>, StoreError> {
        let counters = folder.map(|folder| folder.files()?.counters()).transpose()?;
        Ok(counters.flatten().and_then(|counters| read(&counters)))
    }

    /// Writes the counters to the state folder again and again, until another process takes over.
    pub(super) async fn keep_counters(self: Arc<Self>) {
        let mut rest = EVERY;
        loop {
            tokio::time::sleep(rest).await;
            let live = Arc::clone(&self);
            let began = Instant::now();
            let _ = tokio::task::spawn_blocking(move || live.save_counters()).await;
            rest = EVERY.max(began.elapsed() * REST);
        }
    }

    /// Writes the counters, unless there is no state folder, nothing was counted since, or another process counts on.
    pub(super) fn save_counters(&self) {
        let Some(folder) = self.state_folder() else { return };
        let snapshot = self.snapshot();
        let mut saved = self.saved();
        let served = (self.served(), self.in_flight());
        if served == (saved.served, 0) {
            return;
        }
        let zones = &snapshot.gateway.zones;
        match write(&folder, zones, &|| *self.handed_over.borrow()) {
            Ok(true) => {
                saved.count += 1;
                saved.served = served.0;
            }
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "counters not written: a crash now refills what was used since"),
        }
    }

    pub(super) fn saved(&self) -> MutexGuard<'_, Saved> {
        self.counters_saved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// False: they are not ours to write any more.
fn write(folder: &StateFolder, zones: &Zones, handed_over: &dyn Fn() -> bool) -> Result<bool, StoreError> {
    let now = now();
    let mut bytes = boot().into_bytes();
    bytes.resize(BOOT_BYTES, b' ');
    bytes.extend(now.monotonic_ns.to_le_bytes());
    bytes.extend(zones.export_lasting(now, LASTING_NS, MAX_BYTES));
    let store = folder.files()?;
    if handed_over() {
        return Ok(false);
    }
    store.save_counters(&bytes).map(|()| true)
}

/// `None`: another version wrote them in a form that this one does not know.
fn read(bytes: &[u8]) -> Option<Zones> {
    let (boot_of, rest) = bytes.split_at_checked(BOOT_BYTES)?;
    let (then, export) = rest.split_first_chunk::<8>()?;
    let now = now();
    let same_boot = !boot().is_empty() && boot_of == boot().as_bytes();
    // Within a boot the clock that never goes back tells how long ago it was, whatever became of the other.
    let elapsed = same_boot.then(|| now.monotonic_ns.saturating_sub(u64::from_le_bytes(*then)));
    match Zones::import_after(export, elapsed, now) {
        Ok((zones, imported)) => {
            tracing::info!(
                buckets = imported.buckets,
                breakers = imported.breakers,
                "counters read from the state folder"
            );
            Some(zones)
        }
        Err(error) => {
            tracing::error!(%error, "counters of the state folder not read: buckets and budgets start full");
            None
        }
    }
}

/// Names this boot of the machine. Empty where nothing does.
fn boot() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let name = name.trim();
    if name.len() == BOOT_BYTES {
        name.to_owned()
    } else {
        String::new()
    }
}
