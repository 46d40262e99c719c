//! From counts and happenings to batches on the disk. Who sends them is not known here.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_filters::record::{Action, Decision};
use portcullis_filters::verdict::Reason;

use super::event::{Bundle, Event, Gateway, Lost};
use super::queue::{Queue, Sealed};
use super::tally::Tally;
use crate::control_plane::wire::{Batch, VERSION};
use crate::state::StateFolder;
use crate::telemetry::stamp::Stamp;

/// Most happenings that wait to be sealed.
const MOST_WAITING: usize = 1_000;
/// Most events in a batch.
const MOST_IN_BATCH: usize = 100;

/// Gathers events, where there is a control plane to tell them.
#[derive(Debug, Default)]
pub struct Reporter {
    on: AtomicBool,
    tally: Tally,
    gathered: Mutex<Gathered>,
    queue: Mutex<Option<Queue>>,
    sent: AtomicU64,
    rejected: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Gathered {
    waiting: VecDeque<Event>,
    /// What was told last of bundles, so that the same refusal is told once.
    last_bundle: Option<Bundle>,
    /// Since when counts are gathered.
    since: Option<f64>,
    /// Losses that were told.
    told_lost: u64,
}

impl Reporter {
    /// Gathers from now on, for this control plane, into this state folder.
    pub(in crate::control_plane) fn begin(&self, state: Arc<StateFolder>, url: &str, edge_id: &str) -> io::Result<()> {
        *self.queue() = Some(Queue::open(state, url, edge_id)?);
        self.gathered().since.get_or_insert_with(now);
        self.on.store(true, Relaxed);
        Ok(())
    }

    /// Gathers nothing any more, until it begins again.
    pub(in crate::control_plane) fn end(&self) {
        self.on.store(false, Relaxed);
        *self.queue() = None;
    }

    /// Counts a request that has come to its end.
    pub fn count(&self, status: Option<u16>, decisions: &[Decision]) {
        if self.on.load(Relaxed) {
            self.tally.count(status, decisions);
        }
    }

    /// Counts a request that was refused before it was judged, as a decision of nobody's policy.
    pub fn count_refused(&self, status: Option<u16>, reason: Reason) {
        if self.on.load(Relaxed) {
            self.tally.count(status, &[Decision::new(Action::Deny, reason)]);
        }
    }

    /// A bundle came into force (`error` is `None`) or did not.
    pub fn bundle(&self, version: Option<u64>, hash: Option<String>, error: Option<&'static str>) {
        if !self.on.load(Relaxed) {
            return;
        }
        let status = if error.is_some() { "rejected" } else { "applied" };
        let bundle = Bundle {
            at: now(),
            status,
            version,
            hash,
            error,
        };
        let mut gathered = self.gathered();
        let same = gathered.last_bundle.as_ref().is_some_and(|last| {
            Bundle {
                at: bundle.at,
                ..last.clone()
            } == bundle
        });
        if !same {
            gathered.last_bundle = Some(bundle.clone());
            self.add(&mut gathered, Event::Bundle(bundle));
        }
    }

    /// The gateway started or stops.
    pub(in crate::control_plane) fn gateway(&self, change: &'static str) {
        let at = now();
        let event = Gateway {
            at,
            change,
            version: VERSION,
        };
        self.add(&mut self.gathered(), Event::Gateway(event));
    }

    fn add(&self, gathered: &mut Gathered, event: Event) {
        if gathered.waiting.len() >= MOST_WAITING {
            gathered.waiting.pop_front();
            self.lost.fetch_add(1, Relaxed);
        }
        gathered.waiting.push_back(event);
    }

    /// Seals what was gathered into batches on the disk. This is I/O. What cannot be written is lost, and counted.
    pub(in crate::control_plane) fn seal(&self, edge_id: &str, skew: Option<f64>) -> io::Result<()> {
        let events = self.take();
        let mut queue = self.queue();
        let Some(queue) = queue.as_mut() else { return Ok(()) };
        let mut written = Ok(());
        for events in events.chunks(MOST_IN_BATCH) {
            let batch = Batch {
                edge_id,
                clock_skew_suspected: skew.is_some(),
                clock_skew_seconds: skew.unwrap_or(0.0),
                events,
            };
            let at = Stamp::now().0;
            // The number is what makes it unique; the rest is for people.
            let key = format!("batch_{edge_id}_{}_{:016x}", at / 1000, fastrand::u64(..));
            let sealed = serde_json::to_vec(&batch).map_err(io::Error::other);
            match sealed.and_then(|body| queue.push(at, events.len() as u64, &key, &body)) {
                Ok(lost) => self.lose(lost),
                Err(error) => {
                    self.lose(events.len() as u64);
                    written = Err(error);
                }
            }
        }
        written
    }

    fn take(&self) -> Vec<Event> {
        let mut gathered = self.gathered();
        let to = now();
        let from = gathered.since.replace(to).unwrap_or(to);
        let mut events: Vec<Event> = gathered.waiting.drain(..).collect();
        let (counts, lost) = self.tally.take(from, to);
        events.extend(counts);
        self.lose(lost);
        let all_lost = self.lost.load(Relaxed);
        if all_lost > gathered.told_lost {
            let lost = Lost {
                at: to,
                events: all_lost - gathered.told_lost,
            };
            gathered.told_lost = all_lost;
            events.push(Event::Lost(lost));
        }
        events
    }

    /// The oldest batch. This is I/O.
    pub(in crate::control_plane) fn first(&self) -> Option<Sealed> {
        let mut lost = 0;
        let first = self.queue().as_mut()?.first(&mut lost);
        self.lose(lost);
        first
    }

    /// The control plane has a batch, or will never take it.
    pub(in crate::control_plane) fn done(&self, sealed: &Sealed, taken: bool) {
        if let Some(queue) = self.queue().as_mut() {
            queue.remove(sealed);
        }
        let count = if taken { &self.sent } else { &self.rejected };
        count.fetch_add(sealed.events, Relaxed);
    }

    /// Batches that wait on the disk.
    pub fn waiting(&self) -> usize {
        self.queue().as_ref().map_or(0, Queue::len)
    }

    /// Events so far: those that the control plane took, those that it refused for good, those that were lost.
    pub fn counts(&self) -> [u64; 3] {
        [&self.sent, &self.rejected, &self.lost].map(|count| count.load(Relaxed))
    }

    fn lose(&self, events: u64) {
        self.lost.fetch_add(events, Relaxed);
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Option<Queue>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    Stamp::now().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(sealed: &Sealed) -> serde_json::Value {
        serde_json::from_slice(&sealed.body).unwrap()
    }

    #[test]
    fn what_was_gathered_is_sealed_in_batches_whose_keys_differ_and_stay() {
        let dir = tempfile::tempdir().unwrap();
        let reporter = Reporter::default();
        reporter
            .begin(StateFolder::clear(dir.path()), "https://a", "edge-1")
            .unwrap();
        for version in 0..250 {
            reporter.bundle(Some(version), None, None);
            reporter.bundle(Some(version), None, None);
        }
        reporter.count(Some(200), &[]);
        reporter.seal("edge-1", Some(12.5)).unwrap();
        assert_eq!(reporter.waiting(), 3);
        let mut keys = std::collections::BTreeSet::new();
        let mut events = 0;
        while let Some(sealed) = reporter.first() {
            assert_eq!(reporter.first().as_ref(), Some(&sealed));
            assert!(keys.insert(sealed.key.clone()));
            let body = body(&sealed);
            assert_eq!(body["clock_skew_suspected"], true);
            let batch = body["events"].as_array().unwrap();
            assert!(batch.len() <= 100 && batch.len() as u64 == sealed.events);
            events += batch.len();
            reporter.done(&sealed, true);
        }
        assert_eq!((events, reporter.counts()), (251, [251, 0, 0]));
    }

    #[test]
    fn what_is_too_much_is_counted_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let reporter = Reporter::default();
        reporter
            .begin(StateFolder::clear(dir.path()), "https://a", "edge-1")
            .unwrap();
        for version in 0..MOST_WAITING as u64 + 3 {
            reporter.bundle(Some(version), None, None);
        }
        reporter.seal("edge-1", None).unwrap();
        let mut all = Vec::new();
        while let Some(sealed) = reporter.first() {
            all.extend(body(&sealed)["events"].as_array().unwrap().clone());
            reporter.done(&sealed, true);
        }
        assert_eq!(all[0]["version"], 3, "the oldest went");
        let last = all.last().unwrap();
        assert_eq!((&last["kind"], &last["events"]), (&"lost".into(), &3.into()));
        reporter.seal("edge-1", None).unwrap();
        assert!(reporter.first().is_none(), "it is told once");
    }

    #[test]
    fn without_a_control_plane_nothing_is_counted() {
        let reporter = Reporter::default();
        reporter.count(Some(200), &[]);
        reporter.seal("edge-1", None).unwrap();
        assert_eq!((reporter.first(), reporter.waiting()), (None, 0));
        assert!(reporter.take().is_empty());
    }
}
