//! Connections by listener: open, accepted, refused, failed in the handshake, closed, and requests that ended before any phase.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use crate::listener::{CloseReason, EarlyReject, HandshakeFailure, ListenerInfo, Refusal};
use crate::telemetry::exposition::{Collect, Exposition};

/// Most listeners that are counted apart. The rest counts as `other`.
const MOST_LISTENERS: usize = 32;

/// Connections of all listeners.
#[derive(Debug)]
pub struct Connections {
    listeners: [OnceLock<Slot>; MOST_LISTENERS + 1],
}

#[derive(Debug)]
struct Slot {
    listener: Arc<str>,
    accepted: AtomicU64,
    refused: Named,
    handshakes: Named,
    early: Named,
    closed: Named,
}

/// A counter for each of a few names.
#[derive(Debug)]
struct Named {
    names: Vec<&'static str>,
    counts: Box<[AtomicU64]>,
}

impl Named {
    fn new(names: impl Into<Vec<&'static str>>) -> Self {
        let names = names.into();
        Self {
            counts: names.iter().map(|_| AtomicU64::new(0)).collect(),
            names,
        }
    }

    fn add(&self, name: &str) {
        let place = self.names.iter().position(|known| *known == name);
        if let Some(count) = place.and_then(|place| self.counts.get(place)) {
            count.fetch_add(1, Relaxed);
        }
    }

    fn sum(&self) -> u64 {
        self.counts
            .iter()
            .map(|count| count.load(Relaxed))
            .fold(0, u64::wrapping_add)
    }

    fn collect(&self, out: &mut Exposition, name: &'static str, help: &'static str, listener: &str) {
        for (reason, count) in self.names.iter().zip(&self.counts) {
            out.counter(
                name,
                help,
                &[("listener", listener), ("reason", reason)],
                count.load(Relaxed),
            );
        }
    }
}

impl Connections {
    pub(super) fn new() -> Self {
        Self {
            listeners: [const { OnceLock::new() }; MOST_LISTENERS + 1],
        }
    }

    /// A connection is open.
    pub fn accepted(&self, listener: &ListenerInfo) {
        self.slot(listener).accepted.fetch_add(1, Relaxed);
    }

    /// A connection was not let in.
    pub fn refused(&self, listener: &ListenerInfo, reason: Refusal) {
        self.slot(listener).refused.add(reason.as_str());
    }

    /// A TLS handshake failed.
    pub fn handshake_failed(&self, listener: &ListenerInfo, reason: HandshakeFailure) {
        self.slot(listener).handshakes.add(reason.as_str());
    }

    /// A request ended before any phase.
    pub fn early_reject(&self, listener: &ListenerInfo, reason: EarlyReject) {
        self.slot(listener).early.add(reason.as_str());
    }

    /// A connection that was open is gone.
    pub fn closed(&self, listener: &ListenerInfo, reason: CloseReason) {
        self.slot(listener).closed.add(reason.as_str());
    }

    /// Connections of a listener that are open now.
    pub fn open(&self, listener: &str) -> u64 {
        self.slots()
            .filter(|slot| *slot.listener == *listener)
            .map(Slot::open)
            .sum()
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.listeners.iter().filter_map(OnceLock::get)
    }

    fn slot(&self, listener: &ListenerInfo) -> &Slot {
        let [.., other] = &self.listeners;
        match self
            .listeners
            .get(listener.index)
            .filter(|_| listener.index < MOST_LISTENERS)
        {
            Some(own) => own.get_or_init(|| Slot::new(Arc::clone(&listener.name))),
            None => other.get_or_init(|| Slot::new("other".into())),
        }
    }
}

impl Slot {
    fn new(listener: Arc<str>) -> Self {
        Self {
            listener,
            accepted: AtomicU64::new(0),
            refused: Named::new(Refusal::NAMES),
            handshakes: Named::new(HandshakeFailure::NAMES),
            early: Named::new(EarlyReject::names()),
            closed: Named::new(CloseReason::NAMES),
        }
    }

    fn open(&self) -> u64 {
        let closed = self.closed.sum();
        self.accepted.load(Relaxed).saturating_sub(closed)
    }
}

impl Collect for Connections {
    fn collect(&self, out: &mut Exposition) {
        for slot in self.slots() {
            let listener = &*slot.listener;
            let labels = [("listener", listener)];
            out.gauge_u64(
                "portcullis_connections",
                "Open client connections.",
                &labels,
                slot.open(),
            );
            let accepted = slot.accepted.load(Relaxed);
            let help = "Client connections that opened.";
            out.counter("portcullis_connections_accepted_total", help, &labels, accepted);
            let help = "Client connections that were closed before anything was spoken on them.";
            slot.refused
                .collect(out, "portcullis_connections_refused_total", help, listener);
            let help = "TLS handshakes with clients that failed.";
            slot.handshakes
                .collect(out, "portcullis_tls_handshake_failures_total", help, listener);
            let help = "Requests that ended before any phase saw them.";
            slot.early
                .collect(out, "portcullis_early_rejects_total", help, listener);
            let help = "Client connections that were open and ended.";
            slot.closed
                .collect(out, "portcullis_connections_closed_total", help, listener);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::Cut;
    use crate::strict::Case;

    #[test]
    fn open_is_what_came_less_what_went() {
        let connections = Connections::new();
        let http = ListenerInfo {
            index: 0,
            name: "http".into(),
        };
        let far = ListenerInfo {
            index: 99,
            name: "far".into(),
        };
        for _ in 0..3 {
            connections.accepted(&http);
        }
        connections.closed(&http, CloseReason::Cut(Cut::BodyRate));
        connections.refused(&http, Refusal::ConnectionsPerIp);
        connections.handshake_failed(&http, HandshakeFailure::NotTls);
        connections.early_reject(&far, EarlyReject::Refused(Case::HeaderTimeout));
        assert_eq!((connections.open("http"), connections.open("far")), (2, 0));
        let mut out = Exposition::new();
        connections.collect(&mut out);
        let text = out.render();
        for line in [
            r#"portcullis_connections{listener="http"} 2"#,
            r#"portcullis_connections_accepted_total{listener="http"} 3"#,
            r#"portcullis_connections_refused_total{listener="http",reason="connections_per_ip"} 1"#,
            r#"portcullis_connections_refused_total{listener="http",reason="connections"} 0"#,
            r#"portcullis_tls_handshake_failures_total{listener="http",reason="not_tls"} 1"#,
            r#"portcullis_early_rejects_total{listener="other",reason="header_timeout"} 1"#,
            r#"portcullis_connections_closed_total{listener="http",reason="body_min_rate"} 1"#,
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
        }
    }
}
