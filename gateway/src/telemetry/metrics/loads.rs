//! Loads of configuration and bundle, and other rare things that are counted by a stable code.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::telemetry::exposition::{Collect, Exposition, Label};
use crate::telemetry::stamp::Stamp;

/// Counts by a code that is a constant of the program. For what is rare: it takes a lock.
#[derive(Debug, Default)]
pub struct CountBy(Mutex<BTreeMap<&'static str, u64>>);

impl CountBy {
    /// Adds one.
    pub fn add(&self, code: &'static str) {
        *self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(code)
            .or_default() += 1;
    }

    /// The count of one code.
    pub fn get(&self, code: &str) -> u64 {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(code)
            .copied()
            .unwrap_or(0)
    }

    /// Adds all counts to a scrape, those of `always` also while they are zero.
    pub fn collect(
        &self,
        out: &mut Exposition,
        (name, help): (&'static str, &'static str),
        labels: &[Label<'_>],
        label: &'static str,
        always: &[&'static str],
    ) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for code in always {
            counts.entry(code).or_default();
        }
        out.declare_counter(name, help);
        for (code, count) in counts {
            let mut labels = labels.to_vec();
            labels.push((label, code));
            out.counter(name, help, &labels, count);
        }
    }
}

/// What happened to loads of a document.
#[derive(Debug)]
pub struct Loads {
    names: Names,
    results: CountBy,
    last_success_ms: AtomicU64,
}

#[derive(Debug)]
struct Names {
    total: (&'static str, &'static str),
    last_success: (&'static str, &'static str),
}

impl Loads {
    pub(super) fn of_config() -> Self {
        Self::named(Names {
            total: (
                "portcullis_config_load_total",
                "Loads of the configuration, by result: ok, or why it was refused.",
            ),
            last_success: (
                "portcullis_config_last_success_timestamp_seconds",
                "When the configuration was last loaded without an error.",
            ),
        })
    }

    pub(super) fn of_bundle() -> Self {
        Self::named(Names {
            total: (
                "portcullis_bundle_load_total",
                "Loads of the policy bundle, by result: ok, or why it was refused.",
            ),
            last_success: (
                "portcullis_bundle_last_success_timestamp_seconds",
                "When the policy bundle was last loaded without an error.",
            ),
        })
    }

    pub(super) fn of_kill_document() -> Self {
        Self::named(Names {
            total: (
                "portcullis_kill_document_load_total",
                "Kill-switch documents, by result: ok, or why it was refused.",
            ),
            last_success: (
                "portcullis_kill_document_last_success_timestamp_seconds",
                "When a kill-switch document was last accepted.",
            ),
        })
    }

    fn named(names: Names) -> Self {
        Self {
            names,
            results: CountBy::default(),
            last_success_ms: AtomicU64::new(0),
        }
    }

    /// It was accepted.
    pub fn accepted(&self, at: Stamp) {
        self.results.add("ok");
        self.last_success_ms.store(at.0, Relaxed);
    }

    /// It was refused, and why: a stable code.
    pub fn refused(&self, reason: &'static str) {
        self.results.add(reason);
    }
}

impl Collect for Loads {
    fn collect(&self, out: &mut Exposition) {
        self.results.collect(out, self.names.total, &[], "result", &["ok"]);
        let (name, help) = self.names.last_success;
        out.gauge(name, help, &[], Stamp(self.last_success_ms.load(Relaxed)).as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_by_reason() {
        let loads = Loads::of_bundle();
        loads.refused("invalid_signature");
        loads.refused("invalid_signature");
        let mut out = Exposition::new();
        loads.collect(&mut out);
        let text = out.render();
        assert!(
            text.contains("portcullis_bundle_load_total{result=\"ok\"} 0\n"),
            "{text}"
        );
        assert!(text.contains("portcullis_bundle_load_total{result=\"invalid_signature\"} 2\n"));
        assert!(text.contains("portcullis_bundle_last_success_timestamp_seconds 0\n"));
        loads.accepted(Stamp(1_500));
        let mut out = Exposition::new();
        loads.collect(&mut out);
        assert!(
            out.render()
                .contains("portcullis_bundle_last_success_timestamp_seconds 1.5\n")
        );
    }
}
