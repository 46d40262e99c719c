//! The gateway's own metrics: a handful of families, every label bounded, every hot counter an atomic behind a handle that was
//! taken when the configuration was compiled. Who else has samples adds them at scrape time through [`Collect`].

mod cells;
mod connections;
mod loads;
mod process;
mod routes;

use std::sync::{Arc, PoisonError, RwLock};

pub use cells::BOUNDS;
pub use connections::Connections;
pub use loads::{CountBy, Loads};
pub use routes::{MOST_ROUTES, Observation, RouteMetrics, UpstreamObservation};

use crate::telemetry::exposition::{Collect, Exposition};
use crate::telemetry::stamp::Stamp;

/// The route label of requests that no route matched.
pub const UNROUTED: &str = "-";

/// Most sources that may be added.
const MOST_SOURCES: usize = 64;

/// Every metric of the process. It outlives all configurations.
pub struct Metrics {
    /// Connections of clients.
    pub connections: Connections,
    /// Loads of the configuration.
    pub config_loads: Loads,
    /// Loads of the policy bundle.
    pub bundle_loads: Loads,
    /// Loads of the kill-switch document.
    pub kill_loads: Loads,
    routes: routes::Routes,
    unrouted: RouteMetrics,
    process: process::Process,
    sources: RwLock<Vec<Arc<dyn Collect>>>,
}

impl Metrics {
    /// All at zero; the process starts now.
    pub fn new() -> Self {
        let routes = routes::Routes::new();
        Self {
            connections: Connections::new(),
            config_loads: Loads::of_config(),
            bundle_loads: Loads::of_bundle(),
            kill_loads: Loads::of_kill_document(),
            unrouted: routes.get(UNROUTED),
            routes,
            process: process::Process { started: Stamp::now() },
            sources: RwLock::default(),
        }
    }

    /// When the process started.
    pub fn started(&self) -> Stamp {
        self.process.started
    }

    /// The counters of a route: those it had before, if a configuration named it before.
    pub fn route(&self, name: &str) -> RouteMetrics {
        self.routes.get(name)
    }

    /// The counters of requests that no route matched.
    pub fn unrouted(&self) -> &RouteMetrics {
        &self.unrouted
    }

    /// Adds a source of samples. False when there are too many.
    pub fn add_source(&self, source: Arc<dyn Collect>) -> bool {
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        let room = sources.len() < MOST_SOURCES;
        if room {
            sources.push(source);
        }
        room
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Collect for Metrics {
    fn collect(&self, out: &mut Exposition) {
        self.connections.collect(out);
        self.config_loads.collect(out);
        self.bundle_loads.collect(out);
        self.kill_loads.collect(out);
        self.routes.collect(out);
        self.process.collect(out);
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner).clone();
        for source in sources {
            source.collect(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Extra;
    impl Collect for Extra {
        fn collect(&self, out: &mut Exposition) {
            out.gauge_u64("portcullis_extra", "Extra.", &[], 7);
        }
    }

    #[test]
    fn everything_is_in_one_scrape() {
        let metrics = Metrics::new();
        assert!(metrics.add_source(Arc::new(Extra)));
        metrics.unrouted().record(
            None,
            &Observation {
                status: Some(404),
                ..Observation::default()
            },
        );
        metrics.config_loads.accepted(Stamp(1000));
        let mut out = Exposition::new();
        metrics.collect(&mut out);
        let text = out.render();
        for start in [
            "portcullis_extra 7",
            "portcullis_requests_total{listener=\"other\",route=\"-\",status_class=\"4xx\"} 1",
            "portcullis_config_load_total{result=\"ok\"} 1",
            "portcullis_build_info{",
        ] {
            assert!(text.contains(&format!("\n{start}")), "{start}\n{text}");
        }
        for _ in 0..MOST_SOURCES {
            metrics.add_source(Arc::new(Extra));
        }
        assert!(!metrics.add_source(Arc::new(Extra)));
    }
}
