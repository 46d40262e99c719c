//! The task of one key set: waits until it is due or wanted, fetches, publishes, and plans the next time.

use std::sync::Arc;

use portcullis_config::identity::Refresh;
use portcullis_filters::jwt::{KeyPlace, KeySet};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Clock;
use super::counters::Counters;
use super::gate::Gate;
use super::schedule::{after_failure, after_success};
use crate::http_client::{Client, FetchError, Fetched, Url, Validator, get};

/// Media types of a key set (RFC 7517, section 8.5) and what most providers send instead.
const MEDIA_TYPES: [&str; 2] = ["application/jwk-set+json", "application/json"];

pub(super) struct Refresher {
    pub(super) keys: Arc<KeySet>,
    pub(super) clock: Clock,
    pub(super) settings: watch::Receiver<Refresh>,
    pub(super) gate: Arc<Gate>,
    pub(super) counters: Arc<Counters>,
}

/// What a task knows of its fetches.
struct Course {
    validator: Option<Validator>,
    failures: u32,
    /// When the last fetch ended, and how long its answer stays fresh.
    last: Instant,
    fresh_for: Option<std::time::Duration>,
    chance: f64,
}

impl Refresher {
    pub(super) async fn run(mut self) {
        let _open = self.gate.close_after();
        let mut course = Course {
            validator: None,
            failures: 0,
            last: Instant::now(),
            fresh_for: None,
            chance: fastrand::f64(),
        };
        let mut due = self.first();
        loop {
            tokio::select! {
                () = sleep_until(due) => {}
                () = self.gate.wanted() => {}
                changed = self.settings.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if course.failures > 0 || self.keys.status().loaded.is_some() {
                        due = self.due(&course);
                    }
                    continue;
                }
            }
            if let Some(from) = self.gate.open_from() {
                sleep_until(from).await;
            }
            self.fetch(&mut course).await;
            due = self.due(&course);
        }
    }

    /// The first fetch is at once, unless the keys were taken over from a configuration of before and are still fresh.
    fn first(&self) -> Instant {
        let now = Instant::now();
        let Some(loaded) = self.keys.status().loaded else {
            return now;
        };
        let age = std::time::Duration::from_nanos((self.clock)().monotonic_ns.saturating_sub(loaded.monotonic_ns));
        now + after_success(&self.settings.borrow(), None, fastrand::f64()).saturating_sub(age)
    }

    fn due(&self, course: &Course) -> Instant {
        let refresh = self.settings.borrow();
        course.last
            + match course.failures {
                0 => after_success(&refresh, course.fresh_for, course.chance),
                failures => after_failure(&refresh, failures, course.chance),
            }
    }

    async fn fetch(&self, course: &mut Course) {
        let refresh = self.settings.borrow().clone();
        let fetching = self.gate.begin(refresh.cooldown.get());
        course.chance = fastrand::f64();
        let issuer = &*self.keys.source().issuer;
        match self.fetch_once(&refresh, course).await {
            Ok(result) => {
                if course.failures > 0 {
                    tracing::info!(issuer, "the issuer's keys can be fetched again");
                }
                course.failures = 0;
                self.counters.succeeded(result);
            }
            Err((reason, detail)) => {
                tracing::warn!(issuer, reason, error = detail, "the issuer's keys were not refreshed");
                course.failures = course.failures.saturating_add(1);
                self.counters.failed(reason, detail);
            }
        }
        course.last = Instant::now();
        // Requests that waited find the keys published.
        drop(fetching);
    }

    /// Fetches and publishes; gives the result's name, or the reason and a text.
    async fn fetch_once(&self, refresh: &Refresh, course: &mut Course) -> Result<&'static str, (&'static str, String)> {
        let validator = course.validator.take();
        let fetched = self.get(refresh, validator.as_ref()).await.map_err(|error| {
            self.keys.mark_failed(&error.to_string());
            (error.code(), error.to_string())
        });
        match fetched {
            Ok(Fetched::NotModified { fresh_for }) => {
                // Without keys there is nothing to confirm; the next fetch then asks for all of them.
                if !self.keys.confirm((self.clock)()) {
                    let text = "answered 304 although there are no keys to confirm";
                    self.keys.mark_failed(text);
                    return Err(("status", text.to_owned()));
                }
                course.validator = validator;
                course.fresh_for = fresh_for;
                Ok("not_modified")
            }
            Ok(Fetched::Document(document)) => {
                let published = self.keys.publish(&document.body, (self.clock)());
                published.map_err(|error| ("invalid", error.to_string()))?;
                course.validator = document.validator;
                course.fresh_for = document.fresh_for;
                Ok("ok")
            }
            Err(failure) => {
                course.validator = validator;
                Err(failure)
            }
        }
    }

    async fn get(&self, refresh: &Refresh, validator: Option<&Validator>) -> Result<Fetched, FetchError> {
        let KeyPlace::Url { jwks_url, ca } = &self.keys.source().place else {
            return Err(FetchError::Url("its keys are nowhere to be fetched"));
        };
        let url = Url::parse(jwks_url)?;
        let timeout = refresh.timeout.get();
        let client = Client {
            ca: ca.as_deref().map(Into::into),
            connect_timeout: timeout,
            timeout,
            max_bytes: refresh.max_bytes.get(),
        };
        get(&client, &url, &MEDIA_TYPES, validator).await
    }
}
