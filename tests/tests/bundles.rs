//! Bundles that must not come into force, and what is seen of that: the last good one goes on serving, and metric, log and
//! `/readyz` say why. Versions only go up, also over `kill -9`. And the ways by which bundles come.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking, as tests do

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use portcullis_e2e::bundle::{Signer, bucket, json, moment};
use portcullis_e2e::gateway::{Builder, Gateway, replace, wait};
use portcullis_e2e::h1;
use portcullis_e2e::origin::Origin;
use serde_json::Value;

/// One route, under the bundle's policies.
const SITES: &str =
    "sites:\n- hosts: [\"*\"]\n  filters: [{ policy: {} }]\n  routes:\n  - respond: { status: 200, body: here }\n";

/// Version `version`, whose bucket has room for `burst` requests of each `x-key`.
fn version(version: u64, burst: u32) -> String {
    bucket(version, "header:x-key", 0.001, f64::from(burst))
}

/// A gateway under version 1 with a burst of 7.
fn under_version_1(signer: &Signer, more: &str) -> Gateway {
    let yaml = signer.policy().trim_end().to_owned() + "\n" + more + SITES;
    let builder = Builder::new(&yaml).file("policy.bundle", signer.sign(&version(1, 7)));
    let gateway = builder.start();
    assert_eq!(state(&gateway), (Some(1), None));
    gateway
}

/// Version in force, and the reason why the last bundle was refused.
fn state(gateway: &Gateway) -> (Option<u64>, Option<String>) {
    let (_, ready) = gateway.admin("GET", "/readyz", "");
    let ready: Value = serde_json::from_str(&ready).expect("JSON");
    let bundle = &ready["bundle"];
    let reason = bundle["last_error"]["reason"].as_str().map(str::to_owned);
    let warned = ready["warnings"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one == "bundle_refused"));
    assert_eq!(warned, reason.is_some(), "{ready}");
    (bundle["version"].as_u64(), reason)
}

/// Puts a bundle into its place and reloads; gives the reason code of the refusal, or `None`.
fn publish(gateway: &Gateway, bundle: &[u8]) -> Option<String> {
    replace(&gateway.path("policy.bundle"), bundle);
    let (status, body) = gateway.reload();
    let body: Value = serde_json::from_str(&body).expect("JSON");
    if status == 200 {
        return None;
    }
    assert_eq!(
        (status, body["reason"].as_str()),
        (422, Some("bundle_refused")),
        "{body}"
    );
    let detail = body["detail"].as_str().unwrap_or_default();
    Some(detail.split(':').next().unwrap_or_default().to_owned())
}

/// The burst of the bundle in force, as clients are told of it.
fn burst(gateway: &Gateway) -> Option<String> {
    let key = format!("{:?}", std::time::Instant::now());
    let answer = h1::get(gateway.public, "a", "/", &[("X-Key", &key)]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("ratelimit-limit").map(str::to_owned)
}

/// The bundle is refused for this reason, version 1 goes on serving, and everybody is told.
#[track_caller]
fn refused(gateway: &Gateway, bundle: &[u8], reason: &str) {
    let series = format!("portcullis_bundle_load_total{{result=\"{reason}\"}}");
    let before = gateway.metric(&series);
    let said = gateway.log().len();
    assert_eq!(publish(gateway, bundle).as_deref(), Some(reason));
    assert_eq!(state(gateway), (Some(1), Some(reason.to_owned())));
    assert_eq!(burst(gateway).as_deref(), Some("7"), "the last good one serves");
    assert!(gateway.metric(&series) > before, "{series}");
    wait("a line of the log that says so", || {
        let log = gateway.log().split_off(said);
        log.lines()
            .any(|line| line.contains("bundle refused") && line.contains(reason))
    });
    let (status, _) = gateway.admin("GET", "/readyz", "");
    assert_eq!(status, 200, "traffic goes on");
}

/// And a good one is taken afterwards, which clears the complaint.
#[track_caller]
fn heals(gateway: &Gateway, signer: &Signer) {
    assert_eq!(publish(gateway, &signer.sign(&version(50, 5))), None);
    assert_eq!(state(gateway), (Some(50), None));
    assert_eq!(burst(gateway).as_deref(), Some("5"));
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let signer = Signer::new("k1");
    let gateway = under_version_1(&signer, "");
    let good = signer.sign(&version(2, 3));
    let find = |what: &[u8]| {
        good.windows(what.len())
            .position(|window| window == what)
            .expect("a part of the envelope")
    };
    let mut positions: Vec<usize> = (0..48).map(|n| n * (good.len() - 1) / 47).collect();
    for part in [
        &b"\"payload\""[..],
        b"payloadType",
        b"application/vnd",
        b"signatures",
        b"keyid",
        b"k1",
        b"\"sig\"",
        b"}]",
    ] {
        positions.extend([find(part), find(part) + part.len()]);
    }
    let counted = |result: &str| gateway.metric(&format!("portcullis_bundle_load_total{{result=\"{result}\"}}"));
    let reasons = ["invalid_signature", "unknown_key", "signed_bundle_format_error"];
    for (turn, position) in positions.iter().enumerate() {
        let mut flipped = good.clone();
        flipped[*position] ^= 1 << (turn % 8);
        let reason =
            publish(&gateway, &flipped).unwrap_or_else(|| panic!("bit {} of byte {position} was accepted", turn % 8));
        assert!(reasons.contains(&reason.as_str()), "byte {position}: {reason}");
        assert_eq!(state(&gateway), (Some(1), Some(reason)), "byte {position}");
    }
    assert_eq!(burst(&gateway).as_deref(), Some("7"), "the last good one serves");
    let all: f64 = reasons.iter().map(|reason| counted(reason)).sum();
    assert!(all >= 60.0, "every refusal is counted: {all}");
    assert!(reasons.iter().all(|reason| counted(reason) > 0.0), "of each kind");
    for shortened in [0, 1, good.len() / 2, good.len() - 1] {
        let reason = publish(&gateway, &good[..shortened]);
        assert_eq!(
            reason.as_deref(),
            Some("signed_bundle_format_error"),
            "only {shortened} bytes"
        );
    }
    assert_eq!(publish(&gateway, &good), None, "it was good before it was flipped");
    assert_eq!(state(&gateway), (Some(2), None));
}

#[test]
fn versions_only_go_up_also_after_a_crash() {
    let signer = Signer::new("k1");
    let mut gateway = under_version_1(&signer, "");
    let floor = signer.sign(&version(20, 7));
    assert_eq!(publish(&gateway, &floor), None);
    assert_eq!(
        publish(&gateway, &floor),
        None,
        "the same again is no news and no error"
    );
    assert_eq!(state(&gateway), (Some(20), None));
    let (older, beside) = (signer.sign(&version(19, 3)), signer.sign(&version(20, 3)));
    for order in [[&older, &beside], [&beside, &older]] {
        for bundle in order {
            assert_eq!(publish(&gateway, bundle).as_deref(), Some("version_not_monotonic"));
            assert_eq!(state(&gateway), (Some(20), Some("version_not_monotonic".into())));
            assert_eq!(burst(&gateway).as_deref(), Some("7"));
        }
        // What stands in the file is what the restart finds, beside a floor that is above it.
        gateway.crash_and_restart();
        assert_eq!(state(&gateway), (Some(20), Some("version_not_monotonic".into())));
        assert_eq!(
            burst(&gateway).as_deref(),
            Some("7"),
            "the last good one serves from the first request on"
        );
        assert!(gateway.metric("portcullis_bundle_load_total{result=\"version_not_monotonic\"}") >= 1.0);
    }
    std::fs::remove_file(gateway.path("policy.bundle")).expect("the bundle");
    gateway.crash_and_restart();
    assert_eq!(state(&gateway), (Some(20), Some("source_unreadable".into())));
    assert_eq!(burst(&gateway).as_deref(), Some("7"));
    assert_eq!(publish(&gateway, &signer.sign(&version(21, 4))), None);
    assert_eq!(state(&gateway), (Some(21), None));
}

#[test]
fn a_version_may_not_jump_further_than_allowed() {
    let signer = Signer::new("k1");
    let gateway = under_version_1(&signer, "  max_version_jump: 10\n");
    refused(&gateway, &signer.sign(&version(12, 3)), "version_jump");
    refused(
        &gateway,
        &signer.sign(&version(9_007_199_254_740_991, 3)),
        "version_jump",
    );
    assert_eq!(publish(&gateway, &signer.sign(&version(11, 3))), None);
}

#[test]
fn a_bundle_is_only_accepted_in_its_time() {
    let signer = Signer::new("k1");
    let gateway = under_version_1(&signer, "");
    let at = |key: &str, seconds| signer.sign(&format!("{key}: {}\n{}", moment(seconds), version(2, 3)));
    refused(&gateway, &at("expires_at", -1), "bundle_expired");
    refused(&gateway, &at("not_before", 3600), "not_yet_valid");
    refused(&gateway, &at("issued_at", 3600), "issued_in_future");
    let suspended = format!(
        "kill_switch_override: {{ enabled: true, reason: drill, expires_at: {} }}\n{}",
        moment(-1),
        version(2, 3)
    );
    refused(&gateway, &signer.sign(&suspended), "override_expired");
    heals(&gateway, &signer);
}

#[test]
fn one_bad_policy_refuses_the_bundle() {
    const NUMBERS: &str = "{\"tokens_per_second\":1,\"burst\":2}";
    let signer = Signer::new("k1");
    let gateway = under_version_1(&signer, "");
    let good = String::from_utf8(json(&version(2, 3))).expect("JSON");
    let second = |policy: &str| good.replacen("\"policies\": [", &format!("\"policies\": [{policy},"), 1);
    let rules = |rule: &str| {
        second(&format!(
            "{{\"id\":\"second\",\"spec\":{{\"selector\":{{\"pathPrefix\":\"/\"}},\"rules\":[{rule}]}}}}"
        ))
    };
    let rule = |algorithm: &str, config: &str, key: &str| {
        rules(&format!(
            "{{\"name\":\"r\",\"limit_keys\":[\"{key}\"],\"algorithm\":\"{algorithm}\",\"algorithm_config\":{config}}}"
        ))
    };
    for (what, text) in [
        ("no selector", second("{\"id\":\"second\",\"spec\":{\"rules\":[]}}")),
        (
            "an empty selector",
            second("{\"id\":\"second\",\"spec\":{\"selector\":{},\"rules\":[]}}"),
        ),
        (
            "the same id",
            second("{\"id\":\"limit\",\"spec\":{\"selector\":{\"pathPrefix\":\"/\"},\"rules\":[]}}"),
        ),
        (
            "a misspelt key",
            second("{\"id\":\"second\",\"spec\":{\"selektor\":{\"pathPrefix\":\"/\"},\"rules\":[]}}"),
        ),
        (
            "an object for a list",
            second("{\"id\":\"second\",\"spec\":{\"selector\":{\"pathPrefix\":\"/\"},\"rules\":{}}}"),
        ),
        (
            "a negative rate",
            rule("token_bucket", "{\"tokens_per_second\":-1,\"burst\":2}", "header:x"),
        ),
        (
            "a text for a number",
            rule("token_bucket", "{\"tokens_per_second\":\"1\",\"burst\":2}", "header:x"),
        ),
        (
            "no number",
            rule("token_bucket", "{\"tokens_per_second\":NaN,\"burst\":2}", "header:x"),
        ),
        ("a key that is none", rule("token_bucket", NUMBERS, "colour")),
        (
            "a name twice",
            good.replacen("\"policies\"", "\"policies\":[],\"policies\"", 1),
        ),
        ("something behind it", format!("{good}{{}}")),
        ("a version that is a text", good.replacen('2', "\"2\"", 1)),
        ("no JSON", "policies: []".into()),
    ] {
        assert_ne!(text, good, "{what}");
        refused(&gateway, &signer.sign_text(text.as_bytes()), "invalid");
    }
    let text = rule("loop_detection", NUMBERS, "header:x");
    refused(&gateway, &signer.sign_text(text.as_bytes()), "unsupported");
    for key in ["ip:country", "ip:asn", "ip:tor"] {
        let text = rule("token_bucket", NUMBERS, key);
        refused(&gateway, &signer.sign_text(text.as_bytes()), "unsupported");
        let (_, ready) = gateway.admin("GET", "/readyz", "");
        assert!(ready.contains(key), "it says which: {ready}");
    }
    heals(&gateway, &signer);
}

#[test]
fn only_signatures_of_trusted_keys_count() {
    let signer = Signer::new("k1");
    let gateway = under_version_1(&signer, "");
    let (text, bundle) = (json(&version(2, 3)), version(2, 3));
    refused(&gateway, &Signer::new("k2").sign(&bundle), "unknown_key");
    refused(&gateway, &Signer::new("k1").sign(&bundle), "invalid_signature");
    refused(&gateway, &text, "signed_bundle_format_error");
    let signed = String::from_utf8(signer.sign(&bundle)).expect("JSON");
    let (payload, _) = signed.split_once("\"signatures\"").expect("signatures");
    let stripped = format!("{payload}\"signatures\":[]}}");
    refused(&gateway, stripped.as_bytes(), "signed_bundle_format_error");
    // The public key is known to everybody: it is no shared secret, whatever form it is used in.
    let public = &signer.public_key;
    refused(
        &gateway,
        &Signer::of_secret("k1", public.as_bytes()).sign(&bundle),
        "invalid_signature",
    );
    refused(
        &gateway,
        &Signer::of_secret("k1", public.as_bytes()).sign_line(&text),
        "unknown_key",
    );
    // Beside a good signature a bad one under a trusted id is a forgery; one of a stranger is nobody's business.
    let with = |other: &Signer| {
        let mut envelope: Value = serde_json::from_slice(&signer.sign(&bundle)).expect("JSON");
        let other: Value = serde_json::from_slice(&other.sign(&bundle)).expect("JSON");
        let signatures = envelope["signatures"].as_array_mut().expect("a list");
        signatures.insert(0, other["signatures"][0].clone());
        envelope.to_string().into_bytes()
    };
    refused(&gateway, &with(&Signer::new("k1")), "invalid_signature");
    refused(&gateway, &with(&signer), "signed_bundle_format_error");
    assert_eq!(publish(&gateway, &with(&Signer::new("stranger"))), None);
    assert_eq!(state(&gateway), (Some(2), None));
}

#[test]
fn a_bundle_whose_own_tests_fail_is_refused() {
    let signer = Signer::new("k1");
    let gateway = under_version_1(&signer, "");
    let with_test = |repeat: u32| {
        let test = "{ name: the third is too many, request: { path: /x, headers: { x-key: a } }";
        signer.sign(&format!(
            "{}tests:\n- {test}, repeat: {repeat}, expect: {{ decision: reject, policy: limit, rule: per-key }} }}\n",
            version(2, 2)
        ))
    };
    refused(&gateway, &with_test(2), "tests_failed");
    let (_, ready) = gateway.admin("GET", "/readyz", "");
    assert!(ready.contains("the third is too many"), "{ready}");
    assert_eq!(publish(&gateway, &with_test(3)), None);
    assert_eq!(state(&gateway), (Some(2), None));
}

#[test]
fn a_bundle_too_large_is_not_read() {
    let signer = Signer::new("k1");
    let gateway = under_version_1(&signer, "  max_bytes: 4KiB\n");
    let mut large = signer.sign(&version(2, 3));
    large.resize(5000, b'\n');
    let reason = publish(&gateway, &large).expect("a refusal");
    assert!(
        ["source_unreadable", "too_large"].contains(&reason.as_str()),
        "{reason}"
    );
    assert_eq!(state(&gateway).0, Some(1));
    heals(&gateway, &signer);
}

#[test]
fn a_file_that_was_damaged_in_the_state_folder_stops_the_start() {
    let signer = Signer::new("k1");
    let mut gateway = under_version_1(&signer, "");
    for file in ["last-good", "floor"] {
        gateway.crash();
        let path = gateway.path("state").join(file);
        let good = std::fs::read(&path).expect("a file of the state folder");
        let flip = |place: usize| {
            let mut bytes = good.clone();
            bytes[place] ^= 4;
            bytes
        };
        let broken = [
            flip(0),
            flip(good.len() / 2),
            flip(good.len() - 1),
            Vec::new(),
            good[..good.len() - 1].to_vec(),
        ];
        for bytes in broken {
            std::fs::write(&path, bytes).expect("the damage");
            let said = gateway.restart_expecting_refusal();
            assert!(said.contains("is damaged") && said.contains(file), "{said}");
            assert!(
                said.contains("Restore the state directory from a backup"),
                "it says what to do: {said}"
            );
        }
        std::fs::write(&path, &good).expect("the repair");
        gateway.restart();
        assert_eq!(state(&gateway), (Some(1), None));
    }
    // The bundle without which the floor means nothing.
    gateway.crash();
    std::fs::remove_file(gateway.path("state/last-good")).expect("the last good bundle");
    let said = gateway.restart_expecting_refusal();
    assert!(
        said.contains("it is missing, although version 1 was accepted"),
        "{said}"
    );
}

/// Publishes a bundle that will have expired soon. A slow machine may need a later moment to have it accepted at all.
fn publish_short_lived(gateway: &Gateway, signer: &Signer) {
    let accepted = [2, 5, 10, 20].into_iter().any(|seconds| {
        let bundle = format!("expires_at: {}\n{}", moment(seconds), version(2, 7));
        publish(gateway, &signer.sign(&bundle)).is_none()
    });
    assert!(accepted, "it was in time");
}

#[test]
fn an_expired_bundle_is_kept_or_closes_the_gateway() {
    let signer = Signer::new("k1");
    let free = "  - match: { path: /free }\n    respond: { status: 200, body: free }\n";
    let start = |posture: &str| {
        let yaml = format!("{}{posture}{SITES}{free}", signer.policy());
        let builder = Builder::new(&yaml).file("policy.bundle", signer.sign(&version(1, 7)));
        let gateway = builder.start();
        publish_short_lived(&gateway, &signer);
        gateway
    };
    let (kept, mut denied) = (start(""), start("  expired: deny\n"));
    let ready = kept.wait_for("/readyz", |_, body| body.contains("\"expired\":true"));
    assert!(
        ready.contains("\"status\":\"ready\"") && ready.contains("\"warnings\":[\"bundle_expired\"]"),
        "{ready}"
    );
    assert_eq!(burst(&kept).as_deref(), Some("7"), "it goes on");
    assert!(kept.metric("portcullis_bundle_expired") > 0.0);
    for _ in 0..2 {
        let ready = denied.wait_for("/readyz", |status, _| status == 503);
        assert!(ready.contains("\"reasons\":[\"bundle_expired\"]"), "{ready}");
        for path in ["/", "/free", "/nowhere"] {
            let answer = h1::get(denied.public, "a", path, &[]);
            assert_eq!(
                (answer.status, answer.reason().as_str()),
                (503, "bundle_expired"),
                "{path}"
            );
        }
        denied.crash_and_restart();
    }
    assert_eq!(publish(&denied, &signer.sign(&version(3, 4))), None);
    assert_eq!(burst(&denied).as_deref(), Some("4"));
    denied.wait_for("/readyz", |status, _| status == 200);
}

/// A configuration whose route has these filters.
fn with_filters(signer: &Signer, filters: &str) -> String {
    format!(
        "{}sites:\n- hosts: [\"*\"]\n  routes:\n  - filters: [{filters}]\n    respond: {{ status: 200, body: here }}\n",
        signer.policy()
    )
}

const POLICY: &str = "{ policy: {} }";
const LIMIT: &str = "{ rate_limit: { key: \"ip:address\", rate: 1000/s } }";

/// Version `number`, which requires these filters everywhere.
fn requiring(signer: &Signer, number: u64, filters: &str) -> Vec<u8> {
    signer.sign(&format!(
        "{}require:\n- {{ filters: [{filters}] }}\n",
        version(number, 7)
    ))
}

#[test]
fn a_bundle_that_requires_more_than_the_configuration_has_is_refused() {
    let signer = Signer::new("k1");
    let gateway = Builder::new(&with_filters(&signer, POLICY))
        .file("policy.bundle", signer.sign(&version(1, 7)))
        .start();
    refused(
        &gateway,
        &requiring(&signer, 2, "policy, rate_limit"),
        "unmet_requirement",
    );
    let (_, ready) = gateway.admin("GET", "/readyz", "");
    assert!(ready.contains("rate_limit"), "it says which: {ready}");
    // A shadow, or a link that opens when it breaks, is no filter.
    for half in [
        "{ rate_limit: { key: \"ip:address\", rate: 1/s, mode: shadow } }",
        "{ rate_limit: { key: \"ip:address\", rate: 1/s, on_error: allow } }",
    ] {
        gateway.write_config(&with_filters(&signer, &format!("{POLICY}, {half}")));
        assert_eq!(gateway.reload().0, 422, "{half}: the bundle is still refused");
        assert_eq!(state(&gateway), (Some(1), Some("unmet_requirement".into())), "{half}");
    }
    // Both at once: the configuration that has it comes with the bundle that wants it.
    gateway.write_config(&with_filters(&signer, &format!("{POLICY}, {LIMIT}")));
    let (status, body) = gateway.reload();
    assert_eq!(status, 200, "{body}");
    assert_eq!(state(&gateway), (Some(2), None));
}

#[test]
fn a_configuration_that_drops_a_required_filter_is_refused() {
    let signer = Signer::new("k1");
    let full = with_filters(&signer, &format!("{POLICY}, {LIMIT}"));
    let mut gateway = Builder::new(&full)
        .file("policy.bundle", requiring(&signer, 1, "policy, rate_limit"))
        .start();
    for filters in [
        POLICY,
        LIMIT,
        "",
        &format!("{POLICY}, {}", LIMIT.replace("1000/s", "1000/s, mode: shadow")),
    ] {
        gateway.write_config(&with_filters(&signer, filters));
        let (status, body) = gateway.reload();
        assert_eq!(status, 422, "{filters}: {body}");
        assert!(body.contains("config_unmet_requirement"), "{filters}: {body}");
        assert_eq!(burst(&gateway).as_deref(), Some("7"));
        let (_, ready) = gateway.admin("GET", "/readyz", "");
        assert!(
            ready.contains("config_refused") && ready.contains("config_unmet_requirement"),
            "{ready}"
        );
    }
    assert!(gateway.metric("portcullis_config_load_total{result=\"config_unmet_requirement\"}") >= 4.0);
    // Over a restart it cannot be had either: nothing is served under less than the bundle wants.
    for source_is_there in [true, false] {
        gateway.write_config(&with_filters(&signer, POLICY));
        gateway.crash_and_restart();
        let ready = gateway.wait_for("/readyz", |status, _| status == 503);
        assert!(ready.contains("unmet_requirement"), "{ready}");
        let answer = h1::get(gateway.public, "a", "/", &[]);
        assert_eq!((answer.status, answer.reason().as_str()), (503, "no_bundle_loaded"));
        if !source_is_there {
            std::fs::remove_file(gateway.path("policy.bundle")).expect("the bundle");
        }
        gateway.write_config(&full);
        wait("the watcher's reload", || gateway.admin("GET", "/readyz", "").0 == 200);
        assert_eq!(burst(&gateway).as_deref(), Some("7"));
    }
}

#[test]
fn a_bundle_in_the_line_form_is_accepted_from_who_has_the_secret() {
    let secret = b"0123456789abcdef0123456789abcdef";
    let signer = Signer::of_secret("k1", secret);
    let policy = "policy:\n  bundle: { file: \"{dir}/policy.bundle\" }\n  trust: { hmac: [{ id: k1, secret: \"file:{dir}/secret\" }] }\n  state_dir: \"{dir}/state\"\n";
    let line = |number, room| signer.sign_line(&json(&version(number, room)));
    let gateway = Builder::new(&format!("{policy}{SITES}"))
        .file("secret", secret)
        .file("policy.bundle", line(1, 7))
        .start();
    assert_eq!(state(&gateway), (Some(1), None));
    let stranger = Signer::of_secret("k1", b"another secret of more than 32 bytes");
    refused(
        &gateway,
        &stranger.sign_line(&json(&version(2, 3))),
        "invalid_signature",
    );
    let good = line(2, 3);
    for position in [0, 20, 43, 44, 45, good.len() - 1] {
        let mut flipped = good.clone();
        flipped[position] ^= 1;
        let reason = publish(&gateway, &flipped).expect("a refusal");
        assert!(
            ["invalid_signature", "signed_bundle_format_error"].contains(&reason.as_str()),
            "byte {position}: {reason}"
        );
        assert_eq!(state(&gateway).0, Some(1), "byte {position}");
    }
    assert_eq!(publish(&gateway, &good), None);
    assert_eq!(
        publish(&gateway, &signer.sign(&version(3, 3))),
        None,
        "the same key in an envelope"
    );
    assert_eq!(state(&gateway), (Some(3), None));
}

#[test]
fn a_config_map_swap_is_noticed() {
    use std::os::unix::fs::symlink;
    let signer = Signer::new("k1");
    let builder = Builder::new(&format!(
        "{}{SITES}",
        signer.policy().replace("policy.bundle", "mounted/policy.bundle")
    ));
    // As the kubelet lays it out: the file is a link through `..data`, which alone is replaced.
    let mounted = builder.dir().join("mounted");
    let put = |number: u64, bundle: Vec<u8>| {
        std::fs::create_dir_all(mounted.join(format!("..v{number}"))).expect("a folder");
        std::fs::write(mounted.join(format!("..v{number}/policy.bundle")), bundle).expect("a bundle");
        symlink(format!("..v{number}"), mounted.join("..data_tmp")).expect("a link");
        std::fs::rename(mounted.join("..data_tmp"), mounted.join("..data")).expect("the swap");
    };
    put(1, signer.sign(&version(1, 7)));
    symlink("..data/policy.bundle", mounted.join("policy.bundle")).expect("a link");
    let gateway = builder.start();
    assert_eq!(state(&gateway), (Some(1), None));
    put(2, signer.sign(&version(2, 5)));
    wait("the swap", || state(&gateway) == (Some(2), None));
    assert_eq!(burst(&gateway).as_deref(), Some("5"));
    put(3, signer.sign(&version(1, 9)));
    wait("the refusal", || {
        state(&gateway) == (Some(2), Some("version_not_monotonic".into()))
    });
    put(4, signer.sign(&version(4, 4)));
    wait("the next swap", || state(&gateway) == (Some(4), None));
}

#[test]
fn without_a_first_bundle_nothing_is_served() {
    let signer = Signer::new("k1");
    let yaml = format!(
        "{}{SITES}  - match: {{ path: /free }}\n    respond: {{ status: 200, body: free }}\n",
        signer.policy()
    );
    let gateway = Builder::new(&yaml).start();
    let ready = gateway.wait_for("/readyz", |status, _| status == 503);
    assert!(ready.contains("\"reasons\":[\"bundle_missing\"]"), "{ready}");
    assert_eq!(state(&gateway), (None, Some("source_unreadable".into())));
    let closed = || {
        for path in ["/", "/free", "/nowhere"] {
            let answer = h1::get(gateway.public, "a", path, &[]);
            assert_eq!(
                (answer.status, answer.reason().as_str()),
                (503, "no_bundle_loaded"),
                "{path}"
            );
        }
    };
    closed();
    assert_eq!(
        publish(&gateway, &Signer::new("k1").sign(&version(1, 7))).as_deref(),
        Some("invalid_signature")
    );
    closed();
    assert!(gateway.metric("portcullis_bundle_loaded") < 1.0);
    replace(&gateway.path("policy.bundle"), &signer.sign(&version(1, 7)));
    gateway.wait_for("/readyz", |status, _| status == 200);
    assert_eq!(burst(&gateway).as_deref(), Some("7"));
    assert_eq!(h1::get(gateway.public, "a", "/free", &[]).status, 200);
}

/// A server of bundles: what it serves, how often that was sent whole, and how often it was only confirmed.
struct Shelf {
    origin: Origin,
    bundle: Arc<Mutex<(String, Vec<u8>)>>,
    whole: Arc<AtomicU64>,
    confirmed: Arc<AtomicU64>,
}

impl Shelf {
    fn start(bundle: Vec<u8>) -> Self {
        let bundle = Arc::new(Mutex::new(("\"one\"".to_owned(), bundle)));
        let (whole, confirmed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (shelf, sent, unchanged) = (Arc::clone(&bundle), Arc::clone(&whole), Arc::clone(&confirmed));
        let origin = Origin::with(move |seen| {
            let (tag, bundle) = shelf.lock().expect("the shelf").clone();
            let length = bundle.len();
            if seen.all("if-none-match") == [tag.as_str()] {
                unchanged.fetch_add(1, Ordering::SeqCst);
                return format!("HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\nConnection: close\r\n\r\n").into_bytes();
            }
            sent.fetch_add(1, Ordering::SeqCst);
            let head = format!(
                "HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            [head.into_bytes(), bundle].concat()
        });
        Self {
            origin,
            bundle,
            whole,
            confirmed,
        }
    }

    fn put(&self, tag: &str, bundle: Vec<u8>) {
        *self.bundle.lock().expect("the shelf") = (tag.into(), bundle);
    }

    fn whole(&self) -> u64 {
        self.whole.load(Ordering::SeqCst)
    }

    fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::SeqCst)
    }

    /// Waits until the bundle was confirmed another time.
    fn wait_for_confirmation(&self) {
        let before = self.confirmed();
        wait("a poll that is answered with 304", || self.confirmed() > before);
    }
}

#[test]
fn a_bundle_is_polled_from_a_url() {
    let signer = Signer::new("k1");
    let shelf = Shelf::start(signer.sign(&version(1, 7)));
    let source = format!(
        "bundle: {{ url: \"http://{}/policy.bundle\", poll_interval: 200ms }}",
        shelf.origin.address
    );
    let policy = signer
        .policy()
        .replace("bundle: { file: \"{dir}/policy.bundle\" }", &source);
    let mut gateway = Gateway::start(&format!("{policy}{SITES}"));
    wait("the first bundle", || state(&gateway) == (Some(1), None));
    shelf.wait_for_confirmation();
    assert_eq!(shelf.whole(), 1, "sent once, then only confirmed");

    shelf.put("\"two\"", signer.sign(&version(2, 5)));
    wait("the next bundle", || state(&gateway) == (Some(2), None));
    assert_eq!(burst(&gateway).as_deref(), Some("5"));
    shelf.wait_for_confirmation();
    assert_eq!(shelf.whole(), 2);

    // A bundle that is refused is not taken for confirmed.
    shelf.put("\"three\"", Signer::new("k1").sign(&version(3, 3)));
    wait("the refusal", || {
        state(&gateway) == (Some(2), Some("invalid_signature".into()))
    });
    shelf.put("\"two\"", signer.sign(&version(2, 5)));
    wait("the end of the complaint", || state(&gateway) == (Some(2), None));

    // After a crash the bundle of the state folder serves at once, and it need not be sent again and again.
    gateway.crash_and_restart();
    assert_eq!(burst(&gateway).as_deref(), Some("5"));
    shelf.wait_for_confirmation();

    // The server goes down: the bundle stays, over a crash as well.
    shelf.origin.stop();
    wait("a failed poll", || {
        state(&gateway) == (Some(2), Some("source_unreadable".into()))
    });
    assert_eq!(burst(&gateway).as_deref(), Some("5"));
    gateway.crash_and_restart();
    wait("a failed poll", || {
        state(&gateway) == (Some(2), Some("source_unreadable".into()))
    });
    assert_eq!(burst(&gateway).as_deref(), Some("5"));
    assert!(gateway.metric("portcullis_bundle_load_total{result=\"source_unreadable\"}") >= 1.0);
}
