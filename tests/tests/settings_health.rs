//! Every key of active and passive health, with two values each that judge the same servers differently. How rows, ejections
//! and the last server are counted in every case is shown beside the upstreams' code and not here.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use portcullis_e2e::gateway::{Gateway, wait};
use portcullis_e2e::h1;
use portcullis_e2e::origin::{Origin, Seen};

const SITE: &str = "sites: [{ hosts: [\"*\"], routes: [{ respond: { status: 200 } }] }]\n";

fn answer(status: u16) -> Vec<u8> {
    format!("HTTP/1.1 {status} Text\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

/// Upstreams of the same server that differ by the settings of their checks; each asks for a path of its own.
fn checked(server: SocketAddr, upstreams: &[(&str, &str)]) -> Gateway {
    let upstreams: Vec<String> = upstreams
        .iter()
        .map(|(name, health)| {
            format!("  {name}: {{ servers: [\"{server}\"], health: {{ path: /{name}, {health} }} }}\n")
        })
        .collect();
    Gateway::start(&format!("upstreams:\n{}{SITE}", upstreams.concat()))
}

fn is_healthy(gateway: &Gateway, upstream: &str, server: SocketAddr) -> bool {
    let series = format!("portcullis_upstream_server_healthy{{server=\"{server}\",upstream=\"{upstream}\"}}");
    gateway.metric(&series) > 0.5
}

fn failed_checks(gateway: &Gateway, upstream: &str, server: SocketAddr) -> f64 {
    let labels = format!("kind=\"check_failed\",server=\"{server}\",upstream=\"{upstream}\"");
    gateway.metric(&format!("portcullis_upstream_server_failures_total{{{labels}}}"))
}

/// How often a target was asked for.
fn asked(origin: &Origin, target: &str) -> usize {
    origin.seen().iter().filter(|seen| seen.target() == target).count()
}

#[test]
fn path_and_host() {
    let origin = Origin::with(|seen| {
        let good = seen.target() == "/good" && seen.all("host") == ["checks.internal"];
        answer(if good { 200 } else { 500 })
    });
    let server = origin.address;
    let gateway = checked(
        server,
        &[
            ("good", "interval: 50ms, host: checks.internal"),
            ("bad", "interval: 50ms, host: checks.internal"),
        ],
    );
    wait("the checks", || {
        asked(&origin, "/good") >= 3 && !is_healthy(&gateway, "bad", server)
    });
    assert!(is_healthy(&gateway, "good", server));
    let gateway = checked(server, &[("good", "interval: 50ms")]);
    wait("the check without a host", || !is_healthy(&gateway, "good", server));
}

#[test]
fn interval() {
    let origin = Origin::with(|_| answer(200));
    let _gateway = checked(
        origin.address,
        &[("often", "interval: 50ms"), ("rarely", "interval: 1h")],
    );
    wait("the checks", || {
        asked(&origin, "/rarely") >= 1 && asked(&origin, "/often") >= 10
    });
    assert_eq!(asked(&origin, "/rarely"), 1);
}

#[test]
fn timeout() {
    let origin = Origin::with(|_| {
        std::thread::sleep(Duration::from_secs(1));
        answer(200)
    });
    let server = origin.address;
    let gateway = checked(
        server,
        &[
            ("short", "interval: 50ms, timeout: 200ms"),
            ("long", "interval: 50ms, timeout: 60s"),
        ],
    );
    // The second check begins when the first has ended.
    wait("the checks", || {
        !is_healthy(&gateway, "short", server) && asked(&origin, "/long") >= 2
    });
    assert!(is_healthy(&gateway, "long", server));
    assert!(failed_checks(&gateway, "long", server) < 1.0);
}

/// A server that answers the checks of every path by the same script and then stops answering.
struct Scripted {
    origin: Origin,
    go_on: Arc<(Mutex<bool>, Condvar)>,
    steps: usize,
}

impl Scripted {
    fn start(script: &'static [u16]) -> Self {
        let go_on = Arc::new((Mutex::new(false), Condvar::new()));
        let gate = Arc::clone(&go_on);
        let counts: Mutex<BTreeMap<String, usize>> = Mutex::default();
        let origin = Origin::with(move |seen: &Seen| {
            let step = {
                let mut counts = counts.lock().expect("the counts");
                let count = counts.entry(seen.target().to_owned()).or_default();
                *count += 1;
                *count - 1
            };
            if let Some(status) = script.get(step) {
                return answer(*status);
            }
            let mut open = gate.0.lock().expect("the gate");
            while !*open {
                open = gate.1.wait(open).expect("the gate");
            }
            Vec::new()
        });
        Self {
            origin,
            go_on,
            steps: script.len(),
        }
    }

    /// Waits until every step was judged for these upstreams: the check after the last is on its way.
    fn wait(&self, upstreams: [&str; 2]) {
        wait("the script's end", || {
            upstreams
                .iter()
                .all(|name| asked(&self.origin, &format!("/{name}")) > self.steps)
        });
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        *self.go_on.0.lock().expect("the gate") = true;
        self.go_on.1.notify_all();
    }
}

#[test]
fn unhealthy_after() {
    let script = Scripted::start(&[200, 500, 500, 500]);
    let server = script.origin.address;
    let gateway = checked(
        server,
        &[
            ("two", "interval: 50ms, timeout: 1h, unhealthy_after: 2"),
            ("five", "interval: 50ms, timeout: 1h, unhealthy_after: 5"),
        ],
    );
    script.wait(["two", "five"]);
    assert!(!is_healthy(&gateway, "two", server));
    assert!(is_healthy(&gateway, "five", server));
}

#[test]
fn healthy_after() {
    let script = Scripted::start(&[500, 200, 200, 200]);
    let server = script.origin.address;
    let gateway = checked(
        server,
        &[
            ("two", "interval: 50ms, timeout: 1h, healthy_after: 2"),
            ("five", "interval: 50ms, timeout: 1h, healthy_after: 5"),
        ],
    );
    script.wait(["two", "five"]);
    assert!(is_healthy(&gateway, "two", server));
    assert!(!is_healthy(&gateway, "five", server));
}

#[test]
fn statuses() {
    let origin = Origin::with(|_| answer(418));
    let server = origin.address;
    let gateway = checked(
        server,
        &[
            ("usual", "interval: 50ms"),
            ("teapot", "interval: 50ms, statuses: [200, 418]"),
        ],
    );
    wait("the checks", || {
        !is_healthy(&gateway, "usual", server) && asked(&origin, "/teapot") >= 3
    });
    assert!(is_healthy(&gateway, "teapot", server));
}

/// Upstreams of a server that breaks every request and one that answers; each has a route of its own.
fn failing(broken: SocketAddr, good: SocketAddr, upstreams: &[(&str, &str)]) -> Gateway {
    let written: Vec<String> = upstreams
        .iter()
        .map(|(name, passive)| {
            format!("  {name}: {{ servers: [\"{broken}\", \"{good}\"], passive_health: {{ {passive} }} }}\n")
        })
        .collect();
    let routes: Vec<String> = upstreams
        .iter()
        .map(|(name, _)| format!("{{ match: {{ path: /{name} }}, proxy: {{ upstream: {name} }} }}"))
        .collect();
    Gateway::start(&format!(
        "upstreams:\n{}sites: [{{ hosts: [\"*\"], routes: [{}] }}]\n",
        written.concat(),
        routes.join(", ")
    ))
}

fn ask(gateway: &Gateway, path: &str, times: usize) {
    for _ in 0..times {
        assert_eq!(h1::get(gateway.public, "a", path, &[]).status, 200, "it is tried again");
    }
}

#[test]
fn failures() {
    let (broken, good) = (Origin::with(|_| Vec::new()), Origin::start("good"));
    let gateway = failing(
        broken.address,
        good.address,
        &[
            ("never", "failures: 0, eject_for: 1h"),
            ("one", "failures: 1, eject_for: 1h"),
            ("three", "failures: 3, eject_for: 1h"),
        ],
    );
    for path in ["/never", "/one", "/three"] {
        ask(&gateway, path, 20);
    }
    assert_eq!((asked(&broken, "/one"), asked(&broken, "/three")), (1, 3));
    assert!(asked(&broken, "/never") >= 10, "{}", asked(&broken, "/never"));
}

#[test]
fn eject_for() {
    let (broken, good) = (Origin::with(|_| Vec::new()), Origin::start("good"));
    let gateway = failing(
        broken.address,
        good.address,
        &[
            ("short", "failures: 1, eject_for: 200ms"),
            ("long", "failures: 1, eject_for: 1h"),
        ],
    );
    wait("its return", || {
        ask(&gateway, "/short", 2);
        ask(&gateway, "/long", 2);
        asked(&broken, "/short") >= 3
    });
    assert_eq!(asked(&broken, "/long"), 1);
}
