//! Requests by route and listener. Handles are taken when a configuration is compiled, so that a request only adds to atomics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::cells::{Cells, Counts, HISTOGRAM};
use crate::listener::ListenerInfo;
use crate::telemetry::exposition::{Collect, Exposition};

/// Most routes that are counted apart. Routes of older configurations make room first; the rest counts as `other`.
pub const MOST_ROUTES: usize = 10_000;
/// Most listeners that are counted apart. The rest counts as `other`.
const MOST_LISTENERS: usize = 32;

const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
const REQUEST_BYTES: usize = CLASSES.len();
const RESPONSE_BYTES: usize = REQUEST_BYTES + 1;
const ATTEMPTS: usize = RESPONSE_BYTES + 1;
const RETRIES: usize = ATTEMPTS + 1;
const CONNECTS: usize = RETRIES + 1;
const REUSES: usize = CONNECTS + 1;
const DURATION: usize = REUSES + 1;
const CONNECT: usize = DURATION + HISTOGRAM;
const FIRST_BYTE: usize = CONNECT + HISTOGRAM;
const ALL: usize = FIRST_BYTE + HISTOGRAM;

/// A finished exchange, as far as metrics care.
#[derive(Debug, Clone, Copy, Default)]
pub struct Observation {
    /// The status of the answer. `None` when there was none.
    pub status: Option<u16>,
    /// From the request's header to the end of the answer.
    pub took: Duration,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
    /// The way to the upstream, if it was gone.
    pub upstream: Option<UpstreamObservation>,
}

/// The way to an upstream, as far as metrics care.
#[derive(Debug, Clone, Copy, Default)]
pub struct UpstreamObservation {
    /// Attempts.
    pub attempts: u32,
    /// Whether the last connection had been used before. `None` when there was none.
    pub reused: Option<bool>,
    /// How long the last attempt took to get its connection.
    pub connect: Option<Duration>,
    /// From the last attempt's begin to the answer's header.
    pub first_byte: Option<Duration>,
}

/// The counters of a route. Cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub struct RouteMetrics(Arc<Route>);

#[derive(Debug)]
struct Route {
    name: Arc<str>,
    listeners: [OnceLock<Slot>; MOST_LISTENERS + 1],
}

#[derive(Debug)]
struct Slot {
    listener: Arc<str>,
    cells: Cells<ALL>,
}

impl RouteMetrics {
    fn new(name: &str) -> Self {
        Self(Arc::new(Route {
            name: name.into(),
            listeners: [const { OnceLock::new() }; MOST_LISTENERS + 1],
        }))
    }

    /// Counts a finished exchange.
    pub fn record(&self, listener: Option<&ListenerInfo>, seen: &Observation) {
        let cells = self.cells(listener);
        cells.add(
            seen.status
                .map_or(0, |status| usize::from(status / 100).min(CLASSES.len() - 1)),
            1,
        );
        cells.add(REQUEST_BYTES, seen.request_bytes);
        cells.add(RESPONSE_BYTES, seen.response_bytes);
        cells.observe(DURATION, seen.took);
        let Some(upstream) = &seen.upstream else { return };
        cells.add(ATTEMPTS, u64::from(upstream.attempts));
        cells.add(RETRIES, u64::from(upstream.attempts.saturating_sub(1)));
        match upstream.reused {
            Some(true) => cells.add(REUSES, 1),
            Some(false) => cells.add(CONNECTS, 1),
            None => {}
        }
        // The time to take a connection from the pool says nothing about the network.
        if let (Some(connect), Some(false)) = (upstream.connect, upstream.reused) {
            cells.observe(CONNECT, connect);
        }
        if let Some(first_byte) = upstream.first_byte {
            cells.observe(FIRST_BYTE, first_byte);
        }
    }

    fn cells(&self, listener: Option<&ListenerInfo>) -> &Cells<ALL> {
        let slots = &self.0.listeners;
        let [.., other] = slots;
        let own = listener.and_then(|listener| slots.get(listener.index).filter(|_| listener.index < MOST_LISTENERS));
        let name = || {
            own.and(listener)
                .map_or_else(|| "other".into(), |listener| Arc::clone(&listener.name))
        };
        let slot = own.unwrap_or(other);
        &slot
            .get_or_init(|| Slot {
                listener: name(),
                cells: Cells::new(),
            })
            .cells
    }
}

/// The counters of every route.
#[derive(Debug)]
pub(super) struct Routes {
    known: Mutex<BTreeMap<Arc<str>, RouteMetrics>>,
    other: RouteMetrics,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self {
            known: Mutex::default(),
            other: RouteMetrics::new("other"),
        }
    }

    /// The counters of a route, the ones it had before if there are any.
    pub(super) fn get(&self, name: &str) -> RouteMetrics {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = known.get(name) {
            return route.clone();
        }
        if known.len() >= MOST_ROUTES {
            known.retain(|_, route| Arc::strong_count(&route.0) > 1);
        }
        if known.len() >= MOST_ROUTES {
            return self.other.clone();
        }
        let route = RouteMetrics::new(name);
        known.insert(Arc::clone(&route.0.name), route.clone());
        route
    }

    fn all(&self) -> Vec<RouteMetrics> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().chain([&self.other]).cloned().collect()
    }
}

impl Collect for Routes {
    fn collect(&self, out: &mut Exposition) {
        for route in self.all() {
            for slot in route.0.listeners.iter().filter_map(OnceLock::get) {
                requests(out, &route.0.name, &slot.listener, &slot.cells.read());
            }
        }
    }
}

fn requests(out: &mut Exposition, route: &str, listener: &str, counts: &Counts<ALL>) {
    const REQUESTS: &str = "Requests that were answered, by class of status. none: the client was gone before.";
    for (place, class) in CLASSES.iter().enumerate() {
        let count = counts.get(place);
        // A class that is usual is there from the first request on, so that its first increase is seen.
        if count > 0 || place >= 2 {
            let labels = [("listener", listener), ("route", route), ("status_class", *class)];
            out.counter("portcullis_requests_total", REQUESTS, &labels, count);
        }
    }
    let route = [("route", route)];
    let mut sum = |name, help, place| out.counter(name, help, &route, counts.get(place));
    sum(
        "portcullis_request_body_bytes_total",
        "Bytes of request bodies.",
        REQUEST_BYTES,
    );
    sum(
        "portcullis_response_body_bytes_total",
        "Bytes of response bodies.",
        RESPONSE_BYTES,
    );
    let took = counts.histogram(DURATION);
    out.histogram(
        "portcullis_request_duration_seconds",
        "From a request's header to the end of its answer.",
        &route,
        took,
    );
    if counts.get(ATTEMPTS) > 0 {
        upstream(out, route, counts);
    }
}

fn upstream(out: &mut Exposition, route: [(&'static str, &str); 1], counts: &Counts<ALL>) {
    let mut sum = |name, help, place| out.counter(name, help, &route, counts.get(place));
    sum(
        "portcullis_upstream_attempts_total",
        "Attempts to reach an upstream's server.",
        ATTEMPTS,
    );
    sum(
        "portcullis_upstream_retries_total",
        "Attempts beyond a request's first.",
        RETRIES,
    );
    for (reused, place) in [("false", CONNECTS), ("true", REUSES)] {
        let labels = [route[0], ("reused", reused)];
        let help = "Connections that carried a request upstream.";
        out.counter(
            "portcullis_upstream_connections_total",
            help,
            &labels,
            counts.get(place),
        );
    }
    let help = "Time to a new connection to an upstream's server, its TLS handshake included.";
    out.histogram(
        "portcullis_upstream_connect_duration_seconds",
        help,
        &route,
        counts.histogram(CONNECT),
    );
    let help = "From the begin of the attempt to the header of the upstream's answer.";
    out.histogram(
        "portcullis_upstream_first_byte_duration_seconds",
        help,
        &route,
        counts.histogram(FIRST_BYTE),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(index: usize, name: &str) -> ListenerInfo {
        ListenerInfo {
            index,
            name: name.into(),
        }
    }

    fn text(routes: &Routes) -> String {
        let mut out = Exposition::new();
        routes.collect(&mut out);
        out.render()
    }

    #[test]
    fn requests_and_the_way_upstream() {
        let routes = Routes::new();
        let route = routes.get("api /v1");
        let ms = Duration::from_millis;
        let mut seen = Observation {
            status: Some(200),
            took: ms(20),
            request_bytes: 3,
            response_bytes: 5,
            upstream: None,
        };
        route.record(Some(&listener(0, "http")), &seen);
        seen.upstream = Some(UpstreamObservation {
            attempts: 2,
            reused: Some(false),
            connect: Some(ms(2)),
            first_byte: Some(ms(9)),
        });
        seen.status = Some(503);
        routes.get("api /v1").record(Some(&listener(1, "https")), &seen);
        seen.status = None;
        route.record(None, &seen);
        let text = text(&routes);
        for line in [
            r#"portcullis_requests_total{listener="http",route="api /v1",status_class="2xx"} 1"#,
            r#"portcullis_requests_total{listener="http",route="api /v1",status_class="5xx"} 0"#,
            r#"portcullis_requests_total{listener="https",route="api /v1",status_class="5xx"} 1"#,
            r#"portcullis_requests_total{listener="other",route="api /v1",status_class="none"} 1"#,
            r#"portcullis_request_duration_seconds_count{route="api /v1"} 3"#,
            r#"portcullis_request_body_bytes_total{route="api /v1"} 9"#,
            r#"portcullis_upstream_attempts_total{route="api /v1"} 4"#,
            r#"portcullis_upstream_retries_total{route="api /v1"} 2"#,
            r#"portcullis_upstream_connections_total{reused="false",route="api /v1"} 2"#,
            r#"portcullis_upstream_connect_duration_seconds_count{route="api /v1"} 2"#,
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
        }
        assert!(!text.contains("1xx") && !text.contains("listener=\"-\""));
    }

    #[test]
    fn labels_are_bounded_and_routes_in_use_stay() {
        let routes = Routes::new();
        let kept = routes.get("kept");
        kept.record(
            None,
            &Observation {
                status: Some(200),
                ..Observation::default()
            },
        );
        for n in 0..MOST_ROUTES + 5 {
            routes.get(&format!("r{n}"));
        }
        assert!(routes.all().len() <= MOST_ROUTES + 1);
        assert!(text(&routes).contains("route=\"kept\""));
        let held: Vec<_> = (0..MOST_ROUTES + 5).map(|n| routes.get(&format!("s{n}"))).collect();
        held.last()
            .unwrap()
            .record(Some(&listener(999, "far")), &Observation::default());
        assert!(text(&routes).contains(r#"{listener="other",route="other",status_class="none"} 1"#));
    }
}
