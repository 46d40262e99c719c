//! What happened to the fetches of one key set.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::admin::wire::LastError;
use crate::telemetry::exposition::Exposition;
use crate::telemetry::metrics::CountBy;
use crate::telemetry::stamp::Stamp;

#[derive(Debug, Default)]
pub(super) struct Counters {
    fetches: CountBy,
    asked: AtomicU64,
    last_error: Mutex<Option<LastError>>,
}

impl Counters {
    /// A request has asked for newer keys.
    pub(super) fn asked(&self) {
        self.asked.fetch_add(1, Relaxed);
    }

    pub(super) fn succeeded(&self, result: &'static str) {
        self.fetches.add(result);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn failed(&self, reason: &'static str, detail: String) {
        self.fetches.add(reason);
        let error = LastError {
            at: Stamp::now(),
            reason: reason.to_owned(),
            detail,
        };
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// The last fetch, where that failed.
    pub(super) fn last_error(&self) -> Option<LastError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn collect(&self, out: &mut Exposition, issuer: &str) {
        let issuer = [("issuer", issuer)];
        let family = (
            "portcullis_jwks_fetches_total",
            "Fetches of an issuer's keys, by result.",
        );
        self.fetches
            .collect(out, family, &issuer, "result", &["ok", "not_modified"]);
        let help = "Requests that asked for newer keys of an issuer. Few of them lead to a fetch.";
        out.counter(
            "portcullis_jwks_refresh_requests_total",
            help,
            &issuer,
            self.asked.load(Relaxed),
        );
    }
}
