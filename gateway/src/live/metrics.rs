//! Samples that are read from the snapshot in force when somebody scrapes: decisions of links, the bundle, kill switches,
//! upstreams. Labels come from the configuration and the bundle, so they are bounded.

mod callers;

use std::sync::{Arc, Weak};

use portcullis_bundles::algorithm::llm::Estimator;
use portcullis_config::site::Mode;
use portcullis_filters::buckets::BucketTable;
use portcullis_filters::geoip::{Asns, Countries};
use portcullis_filters::limit_stats::{ALGORITHMS, LimitStats};
use portcullis_filters::policy::llm::stats::{LlmStats, PolicyTokens, Settled, Span};
use portcullis_filters::policy::{Breakers, Throttle};

use super::{Live, now};
use crate::admin::wire::KillOrigins;
use crate::overload::Shed;
use crate::snapshot::{BundleState, Snapshot};
use crate::telemetry::exposition::{Collect, Exposition};

/// Who estimates prompts, as bundles spell it.
pub(crate) const ESTIMATORS: [(Estimator, &str); 2] = [
    (Estimator::SimpleWord, "simple_word"),
    (Estimator::HeaderHint, "header_hint"),
];

/// Reads the live gateway at scrape time.
pub struct Samples(Weak<Live>);

impl Samples {
    /// Of this gateway.
    pub fn of(live: &Arc<Live>) -> Self {
        Self(Arc::downgrade(live))
    }
}

impl Collect for Samples {
    fn collect(&self, out: &mut Exposition) {
        let Some(live) = self.0.upgrade() else { return };
        let snapshot = live.snapshot();
        out.gauge_u64(
            "portcullis_requests_in_flight",
            "Requests that are being served.",
            &[],
            live.in_flight(),
        );
        out.gauge_u64(
            "portcullis_draining",
            "1 while no new traffic is wanted.",
            &[],
            u64::from(live.is_draining()),
        );
        let help = "How often counters were written to the state folder.";
        out.counter("portcullis_counters_saved_total", help, &[], live.counters_saved());
        decisions(&snapshot, out);
        limits(&snapshot, out);
        geoip(&snapshot, out);
        bundle(&snapshot, out);
        live.collect_rollouts(&snapshot, out);
        switches(&snapshot, out);
        live.kill_changes.collect(out);
        recorded(&live, out);
        upstreams(&snapshot, out);
        load(&live, &snapshot, out);
        held(&live, out);
        staples(&live, out);
    }
}

/// OCSP answers that are stapled.
fn staples(live: &Live, out: &mut Exposition) {
    for (listener, staple) in live.listeners.staples() {
        let file = staple.certificate().file.display().to_string();
        let labels = [("certificate", &*file), ("listener", &*listener.name)];
        let help = "Until when the stapled OCSP answer is good; 0 = there is none.";
        let until = u64::try_from(staple.until().unwrap_or(0)).unwrap_or(0);
        out.gauge_u64("portcullis_ocsp_valid_until_timestamp_seconds", help, &labels, until);
        let (good, failed) = staple.counts();
        for (result, count) in [("ok", good), ("failed", failed)] {
            let labels = [
                ("certificate", &*file),
                ("listener", &*listener.name),
                ("result", result),
            ];
            out.counter(
                "portcullis_ocsp_fetches_total",
                "Questions to OCSP responders.",
                &labels,
                count,
            );
        }
    }
}

fn decisions(snapshot: &Snapshot, out: &mut Exposition) {
    let routes = snapshot.gateway.routes.iter().map(|route| (&*route.name, &route.chain));
    for (route, chain) in routes.chain(std::iter::once(("-", &snapshot.gateway.unrouted))) {
        for link in chain.links() {
            let mode = if link.mode == Mode::Shadow { "shadow" } else { "enforce" };
            let stats = &link.stats;
            let counts = [
                ("allow", stats.allowed()),
                ("deny", stats.denied()),
                ("shadow_deny", stats.shadow_denied()),
                ("error_deny", stats.errors_denied()),
                ("error_allow", stats.errors_allowed()),
                ("reply", stats.replied()),
            ];
            for (action, count) in counts {
                let labels = [
                    ("action", action),
                    ("filter", link.kind),
                    ("link", &*link.name),
                    ("mode", mode),
                    ("route", route),
                ];
                out.counter(
                    "portcullis_filter_decisions_total",
                    "Decisions of links.",
                    &labels,
                    count,
                );
            }
        }
    }
}

/// What limits tell beside their decisions. A zone is named after its route and link, its site and link, or by the
/// configuration.
fn limits(snapshot: &Snapshot, out: &mut Exposition) {
    for (zone, table) in snapshot.gateway.zones.each::<BucketTable>() {
        let labels = [("zone", &**zone)];
        out.gauge_u64(
            "portcullis_limit_counters",
            "Counters in use.",
            &labels,
            table.len() as u64,
        );
        let help = "Requests that had to share a counter because there was no room for another.";
        out.counter("portcullis_limit_shared_total", help, &labels, table.shared_total());
        let help = "Requests that needed a counter when there was no room for another, and what became of them.";
        for (then, count) in [
            ("denied", table.refused_total()),
            ("uncounted", table.uncounted_total()),
        ] {
            let labels = [("then", then), ("zone", &**zone)];
            out.counter("portcullis_limit_no_room_total", help, &labels, count);
        }
    }
    callers::tenants(snapshot, out);
    throttles(snapshot, out);
    breakers(snapshot, out);
    for (_, stats) in snapshot.gateway.zones.each::<LlmStats>() {
        for (policy, tokens) in stats.each() {
            llm(&policy, &tokens, out);
        }
        for (estimator, name) in ESTIMATORS {
            let help = "Tokens that answers of models took for each that was reserved, where they said it.";
            if let Some(ratio) = stats.accuracy(estimator) {
                let labels = [("estimator", name)];
                out.gauge("portcullis_llm_estimate_accuracy_ratio", help, &labels, ratio);
            }
        }
    }
    for (zone, stats) in snapshot.gateway.zones.each::<LimitStats>() {
        let missing = [
            ("skipped", stats.missing_skipped()),
            ("anonymous", stats.missing_anonymous()),
            ("denied", stats.missing_denied()),
        ];
        for (then, count) in missing {
            let help = "Requests without the key that a limit counts by, and what became of them.";
            out.counter(
                "portcullis_limit_key_missing_total",
                help,
                &[("then", then), ("zone", zone)],
                count,
            );
        }
        let help = "Conditions of policies and rules that could not be told, and counted as holding.";
        let labels = [("zone", &**zone)];
        out.counter(
            "portcullis_conditions_untold_total",
            help,
            &labels,
            stats.untold_conditions(),
        );
        let help = "Costs that were no usable number.";
        out.counter(
            "portcullis_limit_bad_costs_total",
            help,
            &[("zone", zone)],
            stats.bad_costs(),
        );
        rules(zone, &stats, out);
    }
}

/// What rules of the bundle said, and what they could not be asked for.
fn rules(zone: &str, stats: &LimitStats, out: &mut Exposition) {
    for algorithm in ALGORITHMS {
        for (result, allowed) in [("allowed", true), ("refused", false)] {
            let count = stats.results(algorithm, allowed);
            if count > 0 {
                let help = "Limits of rules that a request was held against, and what they said.";
                let labels = [("algorithm", algorithm), ("result", result), ("zone", zone)];
                out.counter("portcullis_limit_results_total", help, &labels, count);
            }
        }
    }
    for (key, count) in stats.missing_keys() {
        let help = "Keys that rules count by and requests did not have.";
        let labels = [("key", &*key), ("zone", zone)];
        out.counter("portcullis_limit_missing_keys_total", help, &labels, count);
    }
    let help = "Requests of which a rule could not be evaluated.";
    out.counter("portcullis_limit_errors_total", help, &[("zone", zone)], stats.errors());
}

/// Requests that budgets hold back.
fn throttles(snapshot: &Snapshot, out: &mut Exposition) {
    for (zone, throttle) in snapshot.gateway.zones.each::<Throttle>() {
        let labels = [("zone", &**zone)];
        let help = "Requests that a budget holds back now.";
        out.gauge_u64("portcullis_throttle_waiting", help, &labels, throttle.waiting() as u64);
        let help = "Requests that a budget held back.";
        out.counter(
            "portcullis_throttle_requests_total",
            help,
            &labels,
            throttle.throttled_total(),
        );
        let help = "Requests that were refused because too many were held back, or for too long.";
        out.counter(
            "portcullis_throttle_refused_total",
            help,
            &labels,
            throttle.refused_total(),
        );
    }
}

/// Circuit breakers of policies.
fn breakers(snapshot: &Snapshot, out: &mut Exposition) {
    for (_, breakers) in snapshot.gateway.zones.each::<Breakers>() {
        for (policy, count) in breakers.open() {
            let help = "Circuit breakers of a policy that are open.";
            out.gauge_u64(
                "portcullis_circuit_breakers_open",
                help,
                &[("policy", &policy)],
                count as u64,
            );
        }
        let help = "How often a circuit breaker opened.";
        out.counter(
            "portcullis_circuit_breaker_opened_total",
            help,
            &[],
            breakers.opened_total(),
        );
        let help = "How often a circuit breaker opened whose policy asks for an alert.";
        out.counter(
            "portcullis_circuit_breaker_alerts_total",
            help,
            &[],
            breakers.alerts_total(),
        );
        let help = "Requests that were refused because there was no room for another circuit breaker.";
        out.counter(
            "portcullis_circuit_breaker_no_room_total",
            help,
            &[],
            breakers.refused_total(),
        );
    }
}

/// What models' tokens went to.
fn llm(policy: &str, tokens: &PolicyTokens, out: &mut Exposition) {
    let kinds = [
        ("reserved", tokens.reserved()),
        ("actual", tokens.actual()),
        ("unused", tokens.unused()),
        ("overrun", tokens.overrun()),
    ];
    for (kind, count) in kinds {
        let help = "Tokens of models: reserved, used, given back, used beyond what was reserved.";
        let labels = [("kind", kind), ("policy", policy)];
        out.counter("portcullis_llm_tokens_total", help, &labels, count);
    }
    for how in Settled::ALL {
        let help = "Exchanges with models, by how it is known what they took.";
        let labels = [("policy", policy), ("settled", how.as_str())];
        out.counter("portcullis_llm_exchanges_total", help, &labels, tokens.settled(how));
    }
    for (span, window) in [(Span::Minute, "tpm"), (Span::Day, "tpd")] {
        let help = "Tokens of models that the key that was counted last has left.";
        if let Some(left) = tokens.left(span) {
            let labels = [("policy", policy), ("window", window)];
            out.gauge_u64("portcullis_llm_tokens_remaining", help, &labels, left);
        }
    }
    let help = "Streams that were cut off at their limit.";
    out.counter(
        "portcullis_llm_streams_cut_total",
        help,
        &[("policy", policy)],
        tokens.cut(),
    );
}

/// How old databases of addresses are.
fn geoip(snapshot: &Snapshot, out: &mut Exposition) {
    let Some(files) = &snapshot.gateway.geoip else { return };
    let (countries, asns) = (files.data.countries.as_deref(), files.data.asns.as_deref());
    let built = [
        ("asn", asns.map(Asns::built)),
        ("country", countries.map(Countries::built)),
    ];
    for (database, built) in built {
        let help = "When a database of addresses was made.";
        if let Some(built) = built {
            let name = "portcullis_geoip_built_timestamp_seconds";
            out.gauge_u64(name, help, &[("database", database)], built);
        }
    }
}

fn bundle(snapshot: &Snapshot, out: &mut Exposition) {
    let insecure = snapshot
        .gateway
        .config
        .policy
        .as_ref()
        .is_some_and(|policy| policy.insecure_unsigned);
    out.gauge_u64(
        "portcullis_insecure_unsigned",
        "1 when bundles need no signature.",
        &[],
        u64::from(insecure),
    );
    let (loaded, expired) = match &snapshot.policy.bundle {
        BundleState::Unconfigured => return,
        BundleState::Missing(_) => (0, false),
        BundleState::Loaded(policies) => {
            let (version, digest) = (policies.version().to_string(), policies.digest().to_string());
            let labels = [("digest", digest.as_str()), ("version", version.as_str())];
            out.gauge_u64("portcullis_bundle_info", "The policy bundle in force.", &labels, 1);
            (1, policies.is_expired(now().unix()))
        }
    };
    out.gauge_u64(
        "portcullis_bundle_loaded",
        "1 when a policy bundle is in force.",
        &[],
        loaded,
    );
    out.gauge_u64(
        "portcullis_bundle_expired",
        "1 when its expires_at has passed.",
        &[],
        u64::from(expired),
    );
}

fn switches(snapshot: &Snapshot, out: &mut Exposition) {
    let now = now().unix();
    let mut active = KillOrigins::default();
    for switch in snapshot.policy.switches.iter().filter(|switch| switch.is_active(now)) {
        active.add(&switch.origin);
    }
    let (name, help) = (
        "portcullis_kill_switches_active",
        "Kill switches in force, by who set them.",
    );
    out.gauge_u64(name, help, &[("origin", "bundle")], active.bundle);
    out.gauge_u64(name, help, &[("origin", "document")], active.document);
    out.gauge_u64(name, help, &[("origin", "runtime")], active.runtime);
    if let Some(list) = &snapshot.policy.kill.document {
        let help = "Version of the kill-switch document in force.";
        out.gauge_u64("portcullis_kill_document_version", help, &[], list.floor.version);
    }
}

fn recorded(live: &Live, out: &mut Exposition) {
    let Some(recorder) = live.recorder() else { return };
    let (held, recorded, dropped) = recorder.counts();
    out.gauge_u64(
        "portcullis_record_requests",
        "Requests in the ring of recorded requests.",
        &[],
        held,
    );
    let (name, help) = (
        "portcullis_record_total",
        "Requests that were recorded, and that were left out.",
    );
    out.counter(name, help, &[("result", "dropped")], dropped);
    out.counter(name, help, &[("result", "recorded")], recorded);
}

fn upstreams(snapshot: &Snapshot, out: &mut Exposition) {
    for upstream in snapshot.gateway.upstreams.status() {
        for server in &upstream.servers {
            let labels = [
                ("server", server.address.as_str()),
                ("upstream", upstream.name.as_str()),
            ];
            let healthy = u64::from(server.healthy);
            out.gauge_u64(
                "portcullis_upstream_server_healthy",
                "1 while the server takes requests.",
                &labels,
                healthy,
            );
            let in_flight = server.in_flight as u64;
            out.gauge_u64(
                "portcullis_upstream_server_in_flight",
                "Requests in flight.",
                &labels,
                in_flight,
            );
            let totals = &server.totals;
            let counts = [
                ("connect_error", totals.connect_errors),
                ("reset", totals.resets),
                ("timeout", totals.timeouts),
                ("status_5xx", totals.status_5xx),
                ("malformed", totals.malformed),
                ("ejection", totals.ejections),
                ("check_failed", totals.checks_failed),
            ];
            for (kind, count) in counts {
                let labels = [
                    ("kind", kind),
                    ("server", &*server.address),
                    ("upstream", &*upstream.name),
                ];
                out.counter(
                    "portcullis_upstream_server_failures_total",
                    "Failures of servers.",
                    &labels,
                    count,
                );
            }
        }
    }
}

/// Request bodies that are held back.
fn held(live: &Live, out: &mut Exposition) {
    let bodies = &live.edge().overload.held;
    let help = "Bytes of request bodies that are held back.";
    out.gauge_u64("portcullis_held_body_bytes", help, &[], bodies.held());
    let help = "Request bodies for which there was no room.";
    out.counter("portcullis_held_bodies_refused_total", help, &[], bodies.refused());
}

fn load(live: &Live, snapshot: &Snapshot, out: &mut Exposition) {
    let overload = &live.edge().overload;
    for (index, listener) in snapshot.gateway.config.listeners.iter().enumerate() {
        let (lag, labels) = (overload.lag(index), [("listener", &*listener.name)]);
        let late = "How long work waits for a worker, at least, of late.";
        out.gauge("portcullis_lag_seconds", late, &labels, lag.least().as_secs_f64());
        let share = "The share of requests that is refused because work waits too long.";
        out.gauge("portcullis_shed_share", share, &labels, lag.share());
    }
    for shed in [Shed::Lag, Shed::Memory] {
        let help = "Requests that were refused because the gateway has too much to do.";
        let labels = [("reason", shed.as_str())];
        out.counter("portcullis_shed_total", help, &labels, overload.shed(shed));
    }
    let memory = &overload.memory;
    let help = "Memory that counts against the ceiling.";
    out.gauge_u64("portcullis_memory_used_bytes", help, &[], memory.used());
    let help = "Memory that may be used; 0: no ceiling.";
    out.gauge_u64("portcullis_memory_ceiling_bytes", help, &[], memory.ceiling());
    let help = "How close to the ceiling: 0 far, 1 new connections are closed, 2 requests are refused.";
    out.gauge_u64("portcullis_memory_pressure", help, &[], memory.pressure() as u64);
    for upstream in snapshot.gateway.upstreams.iter() {
        let (limiter, labels) = (upstream.limiter(), [("upstream", upstream.name())]);
        let help = "Requests that may wait for the upstream's answer at once.";
        out.gauge_u64("portcullis_upstream_limit", help, &labels, u64::from(upstream.limit()));
        let help = "Requests that wait for the upstream's answer.";
        out.gauge_u64(
            "portcullis_upstream_waiting",
            help,
            &labels,
            u64::from(limiter.in_flight()),
        );
        let help = "Requests that were refused because too many wait for the upstream.";
        out.counter("portcullis_upstream_refused_total", help, &labels, limiter.refused());
    }
}
