//! `portcullis explain`: each step that decides about a request, without a running gateway.

#![allow(clippy::expect_used, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::process::Command;

use portcullis_e2e::gateway::binary;
use serde_json::Value;
use tempfile::TempDir;

const CONFIG: &str = "\
listeners: [{ name: public, address: \"127.0.0.1:0\" }]
trusted_proxies: [10.0.0.0/8]
identity:
  issuers:
    main: { issuer: \"https://id.example\", jwks_url: \"http://127.0.0.1:9/jwks\", algorithms: [EdDSA], audiences: [api] }
policy: { bundle: { file: policy.yaml }, insecure_unsigned: true, state_dir: state }
sites:
  - hosts: [\"*\"]
    routes:
      - name: items
        match: { path_prefix: /v1, methods: [GET] }
        filters: [{ jwt: { issuer: main } }, { policy: {} }, { headers: { request: { set: { x-a: b } } } }]
        respond: { status: 200, body: here }
      - name: open
        match: { path: /open }
        filters: [{ policy: { mode: shadow } }]
        respond: { status: 200, body: here }
";

const BUNDLE: &str = "\
bundle_version: 3
kill_switches: [{ scope_key: \"jwt:sub\", scope_value: mallory, reason: INC-42 }, { scope_key: \"query:t\", scope_value: evil }]
policies:
  - id: api
    spec:
      selector: { pathPrefix: / }
      rules:
        - { name: free, match: { \"jwt:plan\": free }, limit_keys: [\"jwt:sub\"], algorithm: token_bucket, algorithm_config: { tokens_per_second: 0.001, burst: 2 } }
        - { name: all, limit_keys: [\"ip:address\"], algorithm: token_bucket, algorithm_config: { tokens_per_second: 1, burst: 5 } }
  - id: keyed
    spec:
      selector: { pathPrefix: /v1/keyed }
      rules:
        - { name: key, limit_keys: [\"header:x-key\"], on_missing: deny, algorithm: token_bucket, algorithm_config: { tokens_per_second: 1, burst: 5 } }
";

fn folder() -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("portcullis.yaml"), CONFIG).expect("the configuration");
    std::fs::write(dir.path().join("policy.yaml"), BUNDLE).expect("the bundle");
    dir
}

fn explain(dir: &TempDir, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary())
        .args(["explain", "--config", "portcullis.yaml"])
        .args(arguments)
        .current_dir(dir.path())
        .output()
        .expect("the binary");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

const FREE: &str = "{\"sub\": \"alice\", \"plan\": \"free\"}";

#[test]
fn each_step_is_told() {
    let dir = folder();
    let curl = ["--curl", "curl -H 'X-Key: k' http://a/v1/items?x=1", "--claims", FREE];
    let (code, told) = explain(&dir, &curl);
    assert_eq!(code, Some(0), "{told}");
    for line in [
        "request     GET a /v1/items?x=1",
        "client      203.0.113.1, on listener public",
        "bundle      version 3, sha256 ",
        "route       items: the path begins with /v1",
        "api: enforced, priority 0",
        "free (token_bucket): enough, 1 of 2 left after it",
        "all (token_bucket): enough, 4 of 5 left after it",
        "verdict     let through",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    assert!(!told.contains("keyed:"), "only policies about the request: {told}");
    assert!(!dir.path().join("state").exists(), "nothing is written");
    // The third is too many for one of the rules, and links behind are not reached.
    let (code, told) = explain(&dir, &[&curl[..], &["--repeat", "3"]].concat());
    assert_eq!(code, Some(1), "{told}");
    for line in [
        "free (token_bucket): NOT ENOUGH of 2: token_bucket_exceeded",
        "all (token_bucket): enough, 2 of 5 left after it",
        "deny token_bucket_exceeded by api/free",
        "not reached",
        "verdict     refused: 429 token_bucket_exceeded by link policy, Retry-After ",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
}

#[test]
fn it_says_what_does_not_apply_and_what_is_missing() {
    let dir = folder();
    let paid = "{\"sub\": \"alice\", \"plan\": \"paid\"}";
    let (code, told) = explain(&dir, &["--curl", "http://a/v1/keyed", "--claims", paid]);
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("free (token_bucket): does not apply: jwt:plan is `paid`, not `free`"),
        "{told}"
    );
    assert!(
        told.contains("key (token_bucket): header:x-key is missing: the request is refused"),
        "{told}"
    );
    let (code, told) = explain(&dir, &["--curl", "http://a/v1/x", "--claims", "{\"sub\": \"mallory\"}"]);
    assert!(
        code == Some(1) && told.contains("verdict     refused: 429 kill_switch by "),
        "{told}"
    );
    let (code, told) = explain(&dir, &["--curl", "http://a/nowhere?t=evil"]);
    assert!(
        code == Some(1) && told.contains("kill_switches[1] of the bundle") && told.contains("429"),
        "{told}"
    );
    // A link in shadow says what it would have done.
    let (code, told) = explain(&dir, &["--curl", "http://a/open", "--repeat", "6"]);
    assert!(
        code == Some(0) && told.contains("in shadow: it changes nothing"),
        "{told}"
    );
    // Without claims the filter that verifies tokens runs, and has no keys here.
    let (code, told) = explain(&dir, &["--curl", "http://a/v1/x"]);
    assert!(
        code == Some(1) && told.contains("STOPPED") && told.contains("401"),
        "{told}"
    );
    for (curl, reason) in [
        ("http://a/nowhere", "404 no_route"),
        ("curl -X POST http://a/v1", "405 method_not_allowed"),
        ("http://a/v1/%2f", "400 "),
    ] {
        let (code, told) = explain(&dir, &["--curl", curl]);
        assert!(code == Some(1) && told.contains(reason), "{curl}: {told}");
    }
}

#[test]
fn requests_come_from_files_through_proxies_and_for_tools() {
    let dir = folder();
    let request = "GET /v1/x?q=1 HTTP/1.1\r\nHost: api.example.com\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n";
    std::fs::write(dir.path().join("request.http"), request).expect("a file");
    let file = ["--request", "request.http", "--from", "10.1.2.3", "--claims", FREE];
    let (code, told) = explain(&dir, &file);
    assert!(code == Some(0), "{told}");
    assert!(
        told.contains("client      198.51.100.7, through 10.1.2.3, which is trusted"),
        "{told}"
    );
    let (_, told) = explain(&dir, &[&file[..], &["--format", "json", "--repeat", "3"]].concat());
    let read: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(
        (&read["allowed"], &read["refusal"]["status"], &read["route"]["name"]),
        (&Value::from(false), &Value::from(429), &Value::from("items"))
    );
    let rule = &read["policies"][0]["rules"][0];
    assert_eq!(
        (&rule["counters"][0]["allowed"], &rule["counters"][0]["limit"]),
        (&false.into(), &2.into())
    );
    // Another bundle than the configuration's.
    std::fs::write(dir.path().join("other.yaml"), "bundle_version: 9\npolicies: []\n").expect("a file");
    let (code, told) = explain(
        &dir,
        &[&file[..], &["--bundle", "other.yaml", "--repeat", "100"]].concat(),
    );
    assert!(code == Some(0) && told.contains("version 9"), "{told}");
    for wrong in [
        &["--curl", "curl"][..],
        &["--curl", "http://a/", "--claims", "[]"],
        &["--curl", "http://a/", "--listener", "nobody"],
        &["--curl", "http://a/", "--repeat", "0"],
        &["--request", "nothing"],
        &["--curl", "http://a/", "--bundle", "portcullis.yaml"],
    ] {
        let (code, told) = explain(&dir, wrong);
        assert_eq!(code, Some(2), "{wrong:?}: {told}");
    }
}

#[test]
fn counters_of_loops_and_breakers_are_told() {
    let dir = folder();
    let blocks = "bundle_version: 4
policies:
  - id: agents
    spec:
      selector: { pathPrefix: /open }
      loop_detection: { enabled: true, window_seconds: 60, threshold_identical_requests: 4 }
      circuit_breaker: { enabled: true, spend_rate_threshold_per_minute: 10, auto_reset_after_minutes: 2 }
      rules: [{ name: all, limit_keys: [], algorithm: token_bucket, algorithm_config: { tokens_per_second: 1, burst: 9, fixed_cost: 3 } }]
";
    std::fs::write(dir.path().join("policy.yaml"), blocks.replace("/open", "/v1")).expect("the bundle");
    let ask = |repeat: &str| {
        let curl = ["--curl", "curl http://a/v1/items", "--claims", FREE, "--repeat", repeat];
        explain(&dir, &curl)
    };
    let (code, told) = ask("1");
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("loop_detection: enough, 2 of 3 left after it"), "{told}");
    assert!(
        told.contains("circuit_breaker: enough, 7 of 10 left after it"),
        "{told}"
    );
    let (_, told) = ask("2");
    assert!(told.contains("loop_detection: enough, 1 of 3 left after it"), "{told}");
    assert!(
        told.contains("circuit_breaker: enough, 4 of 10 left after it"),
        "{told}"
    );
    let (code, told) = ask("4");
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("loop_detection: NOT ENOUGH of 3: loop_detected, again in "),
        "{told}"
    );
    // What the bucket refuses is spent of no breaker: 9 of 10 are, and 3 more would open it.
    assert!(
        told.contains("circuit_breaker: NOT ENOUGH of 10: circuit_breaker_open, again in 120 s"),
        "{told}"
    );
    let (_, told) = explain(
        &dir,
        &["--curl", "curl http://a/v1/items", "--claims", FREE, "--format", "json"],
    );
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let blocks = &told["policies"][0]["blocks"];
    assert_eq!(blocks[0]["name"], "loop_detection");
    assert_eq!(blocks[1]["counters"][0]["remaining"], 7);
}
