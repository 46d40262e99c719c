//! Counters over restarts: a budget is refilled by no crash, no end and no restart, but for what was used since the last write.
//!
//! `PORTCULLIS_CRASHES` says how often the gateway is killed under load; 5 times by default.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking, as tests do

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use portcullis_e2e::bundle::Signer;
use portcullis_e2e::gateway::{Builder, Gateway, replace, wait};
use portcullis_e2e::policies::{SITES, budget, bundle, get, policy};

const SAVED: &str = "portcullis_counters_saved_total";

/// Version `version` of a bundle with budgets that a test does not use up.
fn budgets(version: u64) -> String {
    let text = bundle(&[policy("p", "", &[budget("b", "header:x-key", 10_000_000, "")])]);
    text.replacen("bundle_version: 1", &format!("bundle_version: {version}"), 1)
}

fn start(signer: &Signer, text: &str) -> Gateway {
    let yaml = signer.policy() + &SITES.replace("FILTER", "{}");
    Builder::new(&yaml).file("policy.bundle", signer.sign(text)).start()
}

/// What is left of the budget of a key, after taking one of it.
fn left(gateway: &Gateway, key: &str) -> u64 {
    let answer = get(gateway, "/", &[("X-Key", key)]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
        .header("ratelimit-remaining")
        .expect("a limit")
        .parse()
        .expect("a number")
}

/// Waits until everything that was counted before this call is written.
fn saved(gateway: &Gateway) {
    let before = gateway.metric(SAVED);
    wait("counters that are written", || {
        // Only what was counted is written, so something is.
        let _ = get(gateway, "/", &[("X-Key", "clock")]);
        gateway.metric(SAVED) >= before + 2.0
    });
}

/// Sends requests until it is told to stop, whatever becomes of them; counts those that were answered.
fn load(address: SocketAddr, stop: &Arc<AtomicBool>, answered: &Arc<AtomicU64>) -> std::thread::JoinHandle<()> {
    let (stop, answered) = (Arc::clone(stop), Arc::clone(answered));
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let Ok(mut stream) = TcpStream::connect(address) else {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let mut bytes = [0; 4096];
            while !stop.load(Ordering::Relaxed) {
                let asked = stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Key: load\r\n\r\n");
                if asked.is_err() || stream.read(&mut bytes).is_ok_and(|length| length == 0) {
                    break;
                }
                answered.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    })
}

#[test]
fn w_18_kill_9_under_load_refills_no_budget() {
    let crashes: u64 =
        std::env::var("PORTCULLIS_CRASHES").map_or(5, |count| count.parse().expect("PORTCULLIS_CRASHES is a number"));
    let signer = Signer::new("k1");
    let mut gateway = start(&signer, &budgets(1));
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let threads = [(); 2].map(|()| load(gateway.public, &stop, &answered));
    let mut known = left(&gateway, "load");
    for crash in 1..=crashes {
        replace(&gateway.path("policy.bundle"), &signer.sign(&budgets(crash + 1)));
        assert_eq!(gateway.reload().0, 200);
        let before = left(&gateway, "load");
        assert!(before < known, "crash {crash}: {before} after {known}");
        saved(&gateway);
        gateway.crash_and_restart();
        let after = left(&gateway, "load");
        assert!(
            after < before,
            "crash {crash}: {after} are left, and {before} were when they were written"
        );
        let ready: serde_json::Value = serde_json::from_str(&gateway.admin("GET", "/readyz", "").1).expect("JSON");
        assert_eq!(
            ready["bundle"]["version"].as_u64(),
            Some(crash + 1),
            "the version never goes back"
        );
        known = after;
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("a thread");
    }
    assert!(answered.load(Ordering::Relaxed) > 0);
}

#[test]
fn an_orderly_end_loses_nothing() {
    let signer = Signer::new("k1");
    let text = bundle(&[policy("p", "", &[budget("b", "header:x-key", 5, "")])]);
    let mut gateway = start(&signer, &text);
    assert_eq!(left(&gateway, "one"), 4);
    assert_eq!(left(&gateway, "one"), 3);
    gateway.signal("TERM");
    assert!(gateway.wait_for_exit());
    gateway.restart();
    assert_eq!(left(&gateway, "one"), 2);
    assert_eq!(left(&gateway, "two"), 4);
}

#[test]
fn damaged_counters_are_not_taken_for_none() {
    let signer = Signer::new("k1");
    let mut gateway = start(&signer, &budgets(1));
    assert!(left(&gateway, "one") > 0);
    saved(&gateway);
    gateway.crash();
    let path = gateway.path("state/counters");
    let mut bytes = std::fs::read(&path).expect("counters");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, &bytes).expect("damage");
    let said = gateway.restart_expecting_refusal();
    assert!(said.contains("counters") && said.contains("checksum"), "{said}");
}

#[test]
fn a_breaker_that_is_open_stays_open() {
    let signer = Signer::new("k1");
    let spec = |reset: u32| {
        format!(
            "circuit_breaker: {{ enabled: true, spend_rate_threshold_per_minute: 3, auto_reset_after_minutes: {reset} }},"
        )
    };
    let text = |version: u32, reset: u32| {
        let text = bundle(&[policy("p", &spec(reset), &[budget("b", "header:x-key", 100, "")])]);
        text.replacen("bundle_version: 1", &format!("bundle_version: {version}"), 1)
    };
    let mut gateway = start(&signer, &text(1, 0));
    let ask = |gateway: &Gateway, key: &str| get(gateway, "/", &[("X-Key", key)]);
    assert_eq!([1, 2, 3].map(|_| ask(&gateway, "a").status), [200, 200, 429]);
    wait("counters that are written", || gateway.metric(SAVED) >= 1.0);
    let written = gateway.metric(SAVED);
    wait("what was counted is written", || {
        // Others' requests are counted, so something is written.
        let _ = ask(&gateway, "clock");
        gateway.metric(SAVED) >= written + 2.0
    });
    gateway.crash_and_restart();
    let refused = ask(&gateway, "a");
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (429, "circuit_breaker_open")
    );
    assert!(gateway.metric("portcullis_circuit_breakers_open{policy=\"p\"}") >= 1.0);
    gateway.signal("TERM");
    assert!(gateway.wait_for_exit());
    gateway.restart();
    assert_eq!(ask(&gateway, "a").status, 429, "nor does an orderly end close it");
    assert_eq!(ask(&gateway, "b").status, 200);
}
