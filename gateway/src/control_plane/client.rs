//! The task that speaks to the control plane: makes the call that is due, and tells the course and the status page how it
//! went. Requests never wait for it, and it never ends by itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use portcullis_bundles::digest::Digest;
use portcullis_config::control_plane::ControlPlane;
use tokio::time::Instant;

use super::call::{Caller, Pulled, REGION_MISMATCH, Trouble};
use super::course::{Call, Course, Intervals, Next};
use super::shared::{ControlPlaneStatus, EventsStatus, Shared};
use super::skew;
use super::token::Tokens;
use super::wire::{Ack, Applied, Heartbeat, HeartbeatAnswer, Register, RegisterAnswer, VERSION, Verdict};
use crate::live::Live;
use crate::snapshot::BundleState;
use crate::state::StateFolder;
use crate::telemetry::stamp::Stamp;

/// How often the token is looked at after a denial.
const LOOK: Duration = Duration::from_secs(1);

/// What the client goes by. Another one is another client.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// As written.
    pub written: ControlPlane,
    /// Whether bundles come from the control plane.
    pub pulls: bool,
    /// Largest bundle.
    pub max_bundle: u64,
    /// Where events are kept until they are sent.
    pub state: Arc<StateFolder>,
}

/// The client of one control plane.
pub struct Client {
    live: Arc<Live>,
    shared: Arc<Shared>,
    settings: Settings,
    caller: Caller,
    course: Course,
    origin: Instant,
    flush_due: Duration,
    tokens: Option<Tokens>,
    /// The tag under which the bundle with this digest came.
    tag: Option<(Digest, HeaderValue)>,
    /// What the control plane is to be told of a bundle, and what it was told last.
    verdict: Option<Verdict>,
    told: Option<Verdict>,
}

impl Client {
    /// A client that tells `shared`.
    pub fn new(live: Arc<Live>, shared: Arc<Shared>, settings: Settings) -> Self {
        let written = &settings.written;
        let intervals = Intervals {
            heartbeat: written.heartbeat_interval.get(),
            poll: settings.pulls.then(|| written.poll_interval.get()),
        };
        let course = Course::new(intervals, Duration::ZERO);
        let status = ControlPlaneStatus {
            url: written.url.clone(),
            edge_id: written.edge_id.clone(),
            link: course.link(),
            registered: false,
            reachable: false,
            last_success_at: None,
            last_error: None,
            clock_skew_seconds: None,
            events: EventsStatus::default(),
        };
        shared.begin(settings.clone(), status);
        Self {
            flush_due: written.event_flush_interval.get(),
            caller: Caller::new(written, settings.max_bundle),
            live,
            shared,
            settings,
            course,
            origin: Instant::now(),
            tokens: None,
            tag: None,
            verdict: None,
            told: None,
        }
    }

    /// Speaks to the control plane until it is dropped.
    pub async fn run(mut self) {
        self.begin_events().await;
        loop {
            self.flush().await;
            match self.course.next(self.origin.elapsed()) {
                Next::Call(call) => {
                    let made = self.make(call).await;
                    self.note(call, made);
                }
                Next::Wait(wait) => self.rest(wait).await,
            }
        }
    }

    /// Waits for a call to become due, for somebody to ask for a bundle, or after a denial for another token.
    async fn rest(&mut self, wait: Duration) {
        let denied = self.course.is_denied();
        let wait = wait.min(self.flush_due.saturating_sub(self.origin.elapsed()));
        tokio::select! {
            () = tokio::time::sleep(if denied { wait.min(LOOK) } else { wait }) => {}
            () = self.shared.asked_to_pull() => self.course.want_pull(self.origin.elapsed()),
        }
        if denied && let Ok(tokens) = self.read_tokens().await {
            self.take(tokens);
        }
    }

    async fn make(&mut self, call: Call) -> Result<(), Trouble> {
        let tokens = self.read_tokens().await?;
        self.take(tokens.clone());
        match call {
            Call::Register => self.register(&tokens).await,
            Call::Heartbeat => self.heartbeat(&tokens).await,
            Call::Pull => self.pull(&tokens).await,
            Call::Ack => self.ack(&tokens).await,
            Call::Events => self.events(&tokens).await,
        }
    }

    /// Opens the queue. What was left there by the process before is sent first.
    async fn begin_events(&mut self) {
        let (shared, settings) = (Arc::clone(&self.shared), self.settings.clone());
        let begun = move || {
            let Settings { written, state, .. } = settings;
            shared.events().begin(state, &written.url, &written.edge_id)
        };
        match tokio::task::spawn_blocking(begun).await {
            Ok(Ok(())) => self.shared.started(),
            Ok(Err(error)) => tracing::error!(%error, "no events can be kept for the control plane"),
            Err(error) => tracing::error!(%error, "no events can be kept for the control plane"),
        }
        self.events_wait();
    }

    /// Seals what was gathered, when it is time.
    async fn flush(&mut self) {
        let now = self.origin.elapsed();
        if now < self.flush_due {
            return;
        }
        let interval = self.settings.written.event_flush_interval.get();
        self.flush_due = now + interval.mul_f64(0.9 + 0.2 * fastrand::f64());
        let shared = Arc::clone(&self.shared);
        // An error of the task would be a panic of ours, which its own report tells.
        let _ = tokio::task::spawn_blocking(move || shared.seal()).await;
        self.events_wait();
    }

    fn events_wait(&mut self) {
        if self.shared.events().waiting() > 0 {
            self.course.want_events();
        }
    }

    async fn events(&mut self, tokens: &Tokens) -> Result<(), Trouble> {
        let shared = Arc::clone(&self.shared);
        let first = tokio::task::spawn_blocking(move || shared.events().first()).await;
        if let Ok(Some(sealed)) = first {
            let taken = self.caller.post_batch(tokens, sealed.clone()).await?;
            if !taken {
                tracing::warn!(
                    events = sealed.events,
                    "the control plane refused a batch of events for good"
                );
            }
            let shared = Arc::clone(&self.shared);
            let _ = tokio::task::spawn_blocking(move || shared.events().done(&sealed, taken)).await;
        }
        Ok(())
    }

    fn note(&mut self, call: Call, made: Result<(), Trouble>) {
        let (now, chance) = (self.origin.elapsed(), fastrand::f64());
        let before = self.course.link();
        let good = made.is_ok();
        match made {
            Ok(()) => {
                self.course.succeeded(call, now, chance);
                self.shared.succeeded(call);
                self.events_wait();
            }
            Err(trouble) => {
                let (reason, error) = (trouble.reason, &*trouble.detail);
                tracing::warn!(call = call.as_str(), reason, error, "the control plane");
                if trouble.reason == REGION_MISMATCH {
                    self.course.distrust();
                }
                self.course.failed(call, trouble.failure, now, chance);
                self.shared.failed(call, &trouble);
            }
        }
        let (link, registered) = (self.course.link(), self.course.is_registered());
        if before != link {
            tracing::info!(?before, now = ?link, "the control plane");
        }
        self.shared.update(|status| {
            let worked = good || status.last_success_at.is_some();
            status.reachable = worked && link == super::Link::Connected;
            (status.link, status.registered) = (link, registered);
        });
    }

    async fn read_tokens(&self) -> Result<Tokens, Trouble> {
        let written = self.settings.written.token.clone();
        let read = tokio::task::spawn_blocking(move || Tokens::read(&written)).await;
        let unreadable = |detail: String| Trouble::denied("token_unreadable", detail);
        read.map_err(|error| unreadable(error.to_string()))?
            .map_err(|error| unreadable(error.to_string()))
    }

    /// These are the tokens now.
    fn take(&mut self, tokens: Tokens) {
        if self.tokens.as_ref() == Some(&tokens) {
            return;
        }
        if self.tokens.replace(tokens).is_some() {
            tracing::info!("the token of the control plane was replaced");
        }
        if self.course.is_denied() {
            self.course.token_changed(self.origin.elapsed());
        }
    }

    async fn register(&self, tokens: &Tokens) -> Result<(), Trouble> {
        let edge_id = &*self.settings.written.edge_id;
        let body = Register {
            edge_id,
            version: VERSION,
            timestamp: now(),
        };
        let answer: RegisterAnswer = parse(&self.caller.post(Call::Register, tokens, &body).await?)?;
        match answer.edge_id {
            Some(other) if other != edge_id => Err(Trouble::denied(
                "edge_mismatch",
                "the token is that of another edge than control_plane.edge_id",
            )),
            _ => {
                tracing::info!(edge_id, "registered with the control plane");
                Ok(())
            }
        }
    }

    async fn heartbeat(&mut self, tokens: &Tokens) -> Result<(), Trouble> {
        let in_force = self.in_force();
        let body = Heartbeat {
            edge_id: &self.settings.written.edge_id,
            version: VERSION,
            policy_hash: in_force.map(|(_, digest)| hash(&digest)),
            policy_version: in_force.map(|(version, _)| version),
            uptime: self.live.uptime().as_secs(),
            timestamp: now(),
        };
        let before = now();
        let answer = self.caller.post(Call::Heartbeat, tokens, &body).await?;
        let answer: HeartbeatAnswer = parse(&answer)?;
        let skew = answer.server_time.and_then(|theirs| skew::of(theirs, before, now()));
        if let Some(seconds) = skew {
            tracing::warn!(seconds, "the control plane's clock and this one do not agree");
        }
        self.shared.update(|status| status.clock_skew_seconds = skew);
        if answer.config_update_available == Some(true) {
            self.course.want_pull(self.origin.elapsed());
        }
        Ok(())
    }

    async fn pull(&mut self, tokens: &Tokens) -> Result<(), Trouble> {
        let digest = self.live.newest_bundle();
        let known = match &self.tag {
            Some((of, tag)) if Some(*of) == digest => Some(tag.clone()),
            _ => digest.and_then(|digest| HeaderValue::try_from(format!("\"{}\"", hash(&digest))).ok()),
        };
        match self.caller.pull(tokens, known).await? {
            Pulled::NotModified => self.judged(None, None),
            Pulled::Bundle(bytes, tag) => {
                let refused = self.live.offer_bundle(&bytes).await.err();
                let digest = self.live.newest_bundle();
                if let (None, Some(digest), Some(tag)) = (&refused, digest, &tag) {
                    self.tag = Some((digest, tag.clone()));
                }
                self.judged(refused.map(|refused| refused.reason), tag.as_ref());
            }
        }
        Ok(())
    }

    /// What is in force after a pull, and why another bundle is not. The control plane is told what it was not told before.
    fn judged(&mut self, error: Option<&'static str>, tag: Option<&HeaderValue>) {
        let in_force = self.in_force();
        if error.is_none() && in_force.is_none() {
            return;
        }
        let verdict = Verdict {
            status: if error.is_some() {
                Applied::Rejected
            } else {
                Applied::Applied
            },
            version: in_force.map(|(version, _)| version),
            hash: in_force.map(|(_, digest)| hash(&digest)),
            etag: tag
                .filter(|_| error.is_some())
                .and_then(|tag| Some(tag.to_str().ok()?.to_owned())),
            error,
        };
        if self.told.as_ref() != Some(&verdict) {
            self.verdict = Some(verdict);
            self.course.want_ack();
        }
    }

    async fn ack(&mut self, tokens: &Tokens) -> Result<(), Trouble> {
        let Some(verdict) = &self.verdict else { return Ok(()) };
        let body = Ack {
            edge_id: &self.settings.written.edge_id,
            verdict,
            timestamp: now(),
        };
        self.caller.post(Call::Ack, tokens, &body).await?;
        self.told = self.verdict.take();
        Ok(())
    }

    /// Version and digest of the bundle in force.
    fn in_force(&self) -> Option<(u64, Digest)> {
        match &self.live.snapshot().policy.bundle {
            BundleState::Loaded(policies) => Some((policies.version(), *policies.digest())),
            BundleState::Unconfigured | BundleState::Missing(_) => None,
        }
    }
}

/// An answer's body. An empty one says nothing, and that is well.
fn parse<T: serde::de::DeserializeOwned + Default>(body: &Bytes) -> Result<T, Trouble> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    // What was wrong with it is not repeated: it would be a piece of the body.
    serde_json::from_slice(body)
        .map_err(|_| Trouble::new("answer_invalid", "the answer is not the JSON that was expected"))
}

fn hash(digest: &Digest) -> String {
    format!("sha256:{digest}")
}

/// Seconds since 1970.
fn now() -> f64 {
    Stamp::now().as_secs_f64()
}
