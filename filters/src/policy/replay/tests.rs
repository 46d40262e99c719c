//! Recording and replay: what is kept, and what another bundle is said to change.

use portcullis_bundles::author::{self, Format};
use portcullis_bundles::policies::Policies;
use proptest::prelude::*;

use super::{Keep, Outcome, Recording, replay};
use crate::testing::RequestBuilder;

const SECRET: [u8; 16] = [7; 16];
const ALLOWED: Outcome<'static> = Outcome {
    allowed: true,
    reason: "allowed",
    by: None,
};

fn policies(burst: u32, more: &str) -> Policies {
    let yaml = format!(
        "bundle_version: 1\npolicies:\n- id: api\n  spec:\n    selector: {{ pathPrefix: /v1 }}\n    rules:\n    - {{ name: per-key, limit_keys: [\"header:x-key\"], algorithm: token_bucket, algorithm_config: {{ tokens_per_second: 0.001, burst: {burst} }} }}\n{more}"
    );
    author::read("bundle.yaml", &yaml, Format::Yaml)
        .unwrap()
        .compiled
        .policies
}

/// The lines of so many requests to a path.
fn lines(keep: &Keep, path: &str, key: &str, times: usize) -> Vec<Box<[u8]>> {
    let request = RequestBuilder::get(path)
        .header("X-Key", key)
        .header("Authorization", "Bearer secret-token");
    (0..times)
        .map(|_| {
            request.with(&mut request.facts(), |request| {
                keep.line(request, &SECRET, ALLOWED).unwrap()
            })
        })
        .collect()
}

fn read(lines: &[Box<[u8]>], bundles: &[&Policies]) -> Recording {
    Recording::read(lines.iter().map(|line| &**line), &SECRET, bundles).unwrap()
}

#[test]
fn the_rules_and_examples_of_a_change_are_named() {
    let (old, new) = (policies(10, ""), policies(3, ""));
    let recorded = lines(&Keep::of(Some(&old), &[]), "/v1/items", "k1", 5);
    let recording = read(&recorded, &[&old, &new]);
    let report = replay(&recording, Some(&old), &new);
    assert_eq!((report.requests, report.unjudged), (5, 0));
    assert_eq!((report.new_denies.total, report.new_allows.total), (2, 0));
    let change = &report.new_denies.groups["api/per-key token_bucket_exceeded"];
    assert_eq!(change.count, 2);
    assert!(change.examples[0].starts_with("GET a.example/v1/items at ") || change.examples[0].contains("/v1/items"));
    let back = replay(&recording, Some(&new), &old);
    assert_eq!((back.new_denies.total, back.new_allows.total), (0, 2));
    assert!(
        back.summary()
            .contains("2 newly allowed, 2 by api/per-key token_bucket_exceeded"),
        "{}",
        back.summary()
    );
    let same = replay(&recording, Some(&old), &old);
    assert_eq!((same.new_denies.total, same.new_allows.total), (0, 0));
    // Without the old bundle what became of them counts.
    assert_eq!(replay(&recording, None, &new).new_denies.total, 2);
}

#[test]
fn tenants_are_counted_apart_as_they_were() {
    let (old, new) = (policies(10, ""), policies(3, ""));
    let keep = Keep::of(Some(&old), &[]);
    let line = |tenant: &str| {
        let request = RequestBuilder::get("/v1/items").header("X-Key", "k1").tenant(tenant);
        let line = request.with(&mut request.facts(), |request| {
            keep.line(request, &SECRET, ALLOWED).unwrap()
        });
        assert!(!String::from_utf8_lossy(&line).contains("acme"), "kept as it is");
        line
    };
    let denied = |tenants: &[&str]| {
        let recorded: Vec<_> = tenants.iter().map(|tenant| line(tenant)).collect();
        replay(&read(&recorded, &[&old, &new]), Some(&old), &new)
            .new_denies
            .total
    };
    assert_eq!(
        denied(&["acme", "acme-2", "acme", "acme-2", "acme", "acme-2"]),
        0,
        "three each"
    );
    assert_eq!(denied(&["acme"; 5]), 2);
}

#[test]
fn conditions_and_switches_are_compared_by_their_hashes() {
    let old = policies(100, "");
    let recorded = lines(&Keep::of(Some(&old), &[]), "/v1/items", "evil", 1);
    let switch = "kill_switches: [{ scope_key: header:x-key, scope_value: evil }]\n";
    let other = "kill_switches: [{ scope_key: header:x-key, scope_value: good }]\n";
    for (more, denied) in [(switch, 1), (other, 0)] {
        let new = policies(100, more);
        let report = replay(&read(&recorded, &[&old, &new]), Some(&old), &new);
        assert_eq!(report.new_denies.total, denied, "{more}");
    }
}

#[test]
fn conditions_are_judged_as_far_as_hashes_can_tell() {
    let old = policies(100, "");
    let keys = ["header:x-plan", "jwt:plan"].map(|key| key.parse().unwrap());
    let request = RequestBuilder::get("/v1/items")
        .header("X-Plan", "free")
        .claims(serde_json::json!({ "plan": "free" }));
    let keep = Keep::of(Some(&old), &keys);
    let line = request.with(&mut request.facts(), |request| {
        keep.line(request, &SECRET, ALLOWED).unwrap()
    });
    for (when, denied, unjudged) in [
        ("request.headers.x_plan == 'free'", 1, 0),
        ("request.headers.x_plan == 'paid'", 0, 0),
        (
            "request.headers.x_plan in ['paid', 'free'] && has(jwt.claims.plan)",
            1,
            0,
        ),
        ("jwt.claims.plan != 'free'", 0, 0),
        ("request.path.startsWith('/v1/') && request.method == 'GET'", 1, 0),
        ("request.headers.x_plan.startsWith('f')", 0, 1),
        ("jwt.claims.plan > 'a'", 0, 1),
        ("request.headers.x_other == 'a'", 0, 1),
    ] {
        let rule = format!(
            "- id: b\n  spec:\n    selector: {{ pathPrefix: /v1 }}\n    when: \"{when}\"\n    rules:\n    - {{ name: r, limit_keys: [], algorithm: cost_based, algorithm_config: {{ budget: 1, period: 7d, cost_key: fixed, fixed_cost: 1, staged_actions: [{{ threshold_percent: 100, action: reject }}] }} }}\n"
        );
        let new = policies(100, &rule);
        let recorded = [line.clone(), line.clone()];
        let report = replay(&read(&recorded, &[&old, &new]), Some(&old), &new);
        assert_eq!(
            (report.new_denies.total, report.unjudged),
            (denied, 2 * unjudged),
            "{when}"
        );
    }
}

#[test]
fn a_key_that_was_not_recorded_is_told() {
    let old = policies(100, "");
    let recorded = lines(&Keep::of(Some(&old), &[]), "/v1/items", "k", 3);
    let yaml = "- id: b\n  spec:\n    selector: { pathPrefix: /v1 }\n    rules:\n    - { name: r, limit_keys: [\"header:x-other\"], algorithm: token_bucket, algorithm_config: { tokens_per_second: 1, burst: 1 } }\n";
    let new = policies(100, yaml);
    let report = replay(&read(&recorded, &[&old, &new]), Some(&old), &new);
    assert_eq!((report.unjudged, report.new_denies.total), (3, 0));
    assert_eq!(report.missing_keys, [("header:x-other".to_owned(), 3)]);
    let keep = Keep::of(Some(&old), &["header:x-other".parse().unwrap()]);
    let report = replay(
        &read(&lines(&keep, "/v1/items", "k", 3), &[&old, &new]),
        Some(&old),
        &new,
    );
    assert_eq!(
        (report.unjudged, report.new_denies.total),
        (0, 2),
        "missing is a value like others: one counter"
    );
}

#[test]
fn broken_lines_are_told_by_their_number() {
    for (lines, number) in [(&[&b"{}"[..]][..], 1), (&[&b""[..], b"x"], 2)] {
        let read = Recording::read(lines.iter().copied(), &SECRET, &[]);
        assert_eq!(read.unwrap_err().number, number);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a request holds, nothing of it is in the line but method, host, path and what is asked for, hashed.
    #[test]
    fn canaries_never_appear(canary in "[a-z]{12}") {
        let keys = ["header:x-key", "query:q", "jwt:sub", "ip:address", "header:cookie"].map(|key| key.parse().unwrap());
        let keep = Keep::of(None, &keys);
        let request = RequestBuilder::get(&format!("/v1/{canary}@example.com?q={canary}&r={canary}"))
            .header("X-Key", &canary)
            .header("Cookie", &format!("session={canary}"))
            .header("Authorization", &format!("Bearer {canary}"))
            .header("User-Agent", &canary);
        let line = request.with(&mut request.facts(), |request| keep.line(request, &SECRET, ALLOWED).unwrap());
        let text = String::from_utf8(line.to_vec()).unwrap();
        prop_assert!(!text.contains(&canary), "{}", text);
        prop_assert!(!text.contains("192.0.2.1"), "{}", text);
        let read = Recording::read([&*line].into_iter(), &SECRET, &[]).unwrap();
        prop_assert_eq!(read.requests.len(), 1);
    }
}

/// How long it takes is printed and asserted nowhere: `cargo test --release` with `--nocapture` shows it.
#[test]
fn replay_of_a_hundred_thousand() {
    let (old, new) = (policies(10, ""), policies(9, ""));
    let keep = Keep::of(Some(&old), &[]);
    let recorded: Vec<Box<[u8]>> = (0..100_000)
        .flat_map(|n| lines(&keep, "/v1/items/42", &format!("k{}", n % 5_000), 1))
        .collect();
    let begun = std::time::Instant::now();
    let recording = read(&recorded, &[&old, &new]);
    let parsed = begun.elapsed();
    let report = replay(&recording, Some(&old), &new);
    println!("read {parsed:?}, read and replayed {:?}", begun.elapsed());
    assert_eq!(report.requests, 100_000);
    assert!(report.new_denies.total > 0);
}
