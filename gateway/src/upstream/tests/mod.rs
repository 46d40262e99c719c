//! Tests of the upstreams as a whole: what each promises to its callers. Helpers are here, one file a promise.

// JSON that is made for one call is given to it.
#![allow(clippy::needless_pass_by_value)]

mod checks;
mod choosing;
mod errors;
mod files;
mod handover;
mod names;
mod passive;
mod peers;
mod sharing;
mod tls;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::clock::Clock;
use super::endpoint::{Turns, Verdict};
use super::{Choice, CompileError, Selected, Upstream, Upstreams};

const TURNS: Turns = Turns { up: 1, down: 1 };

/// Upstreams from JSON, with a clock that is moved by hand.
fn compile(config: Value) -> Upstreams {
    try_compile(config, &nothing(Clock::manual())).expect("it compiles")
}

fn try_compile(config: Value, previous: &Upstreams) -> Result<Upstreams, Vec<CompileError>> {
    let config: BTreeMap<_, _> = serde_json::from_value(config).expect("as written");
    Upstreams::compile(&config, Some(previous))
}

fn nothing(clock: Clock) -> Upstreams {
    Upstreams {
        list: Box::default(),
        retired: Box::default(),
        clock,
    }
}

/// One upstream, `app`, of this shape.
fn app(shape: Value) -> Arc<Upstream> {
    only(&compile(json!({ "app": shape })))
}

fn only(upstreams: &Upstreams) -> Arc<Upstream> {
    Arc::clone(upstreams.get(0).expect("one upstream"))
}

/// `10.0.0.1:80`, `10.0.0.2:80`, ...
fn address(place: usize) -> String {
    format!("10.0.{}.{}:80", place / 250, place % 250 + 1)
}

fn servers(weights: &[u32]) -> Value {
    weights
        .iter()
        .enumerate()
        .map(|(place, weight)| json!({ "address": address(place), "weight": weight }))
        .collect()
}

/// What an active check would say.
fn set_health(upstream: &Upstream, place: usize, up: bool) {
    let result = if up { Ok(()) } else { Err("told so".into()) };
    upstream.servers()[place].state.endpoints.load()[0].record_check(result, TURNS);
}

fn verdict(upstream: &Upstream, place: usize) -> Verdict {
    upstream.servers()[place].state.endpoints.load()[0].verdict()
}

fn pick(upstream: &Upstream) -> Selected {
    upstream.select(Choice::default()).expect("a server")
}

/// How often each server is chosen.
fn shares(upstream: &Upstream, times: usize, hash: impl Fn(usize) -> Option<u64>) -> Vec<usize> {
    let mut counts = vec![0; upstream.servers().len()];
    for time in 0..times {
        counts[upstream
            .select(Choice {
                hash: hash(time),
                tried: &[],
            })
            .expect("a server")
            .index()] += 1;
    }
    counts
}

/// Waits until something holds that other tasks bring about.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

const HEALTH: &str = "/healthz";

fn quick_health() -> Value {
    json!({ "path": HEALTH, "interval": "20ms", "timeout": "500ms", "unhealthy_after": 2, "healthy_after": 2 })
}
