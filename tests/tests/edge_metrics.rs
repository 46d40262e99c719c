//! The families of metrics that `portcullis edge` has under known names, each by what makes it move; and what its answers and its
//! log say beside them.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_e2e::bundle::{json, moment};
use portcullis_e2e::chat::{OPENAI, bundle as of_tokens, chat};
use portcullis_e2e::edge::Edge;
use portcullis_e2e::gateway::{replace, wait};
use portcullis_e2e::h1;
use portcullis_e2e::llm::Model;
use serde_json::json;

/// One policy `p` for everything, with these rules and blocks.
fn bundle(rules: &str, more: &str) -> String {
    format!(
        r#"{{ "bundle_version": 1, "policies": [{{ "id": "p", "spec": {{ "selector": {{ "pathPrefix": "/" }}, "rules": [{rules}]{more} }} }}] }}"#
    )
}

fn rule(name: &str, key: &str, algorithm: &str, numbers: &str) -> String {
    format!(
        r#"{{ "name": "{name}", "limit_keys": [{key}], "algorithm": "{algorithm}", "algorithm_config": {{ {numbers} }} }}"#
    )
}

const WIDE: &str = r#""tokens_per_second": 1000, "burst": 1000"#;

/// Waits for a series with this value: requests are counted once they have been answered.
fn series(edge: &Edge, line: &str) {
    let mut text = String::new();
    let mut there = || {
        text = edge.get("/metrics").text();
        text.lines().any(|known| known == line)
    };
    wait(line, &mut there);
}

#[test]
fn tokens_of_language_models() {
    let model = Model::start();
    let url = format!("http://{}", model.address);
    let numbers = "tokens_per_minute: 1, burst_tokens: 100000, tokens_per_day: 5000";
    let text = String::from_utf8(json(&of_tokens(numbers, "enforce"))).expect("JSON");
    let edge = Edge::start(
        &text,
        &[("FAIRVISOR_MODE", "reverse_proxy"), ("FAIRVISOR_BACKEND_URL", &url)],
    );
    let body = chat(30, &json!({ "max_tokens": 500 }));
    let fields = [
        ("X-Key", "k"),
        ("Content-Type", "application/json"),
        ("X-Model-Tokens", "212"),
        ("X-Model-Prompt", "53"),
    ];
    let answer = h1::request(edge.address, "POST", "edge", OPENAI, &fields, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    // 30 and 500 are reserved, 53 and 212 are told.
    for line in [
        "fairvisor_tokens_consumed_total{policy=\"chat\",route=\"edge\",type=\"reserved\"} 530",
        "fairvisor_tokens_consumed_total{policy=\"chat\",route=\"edge\",type=\"actual\"} 265",
        "fairvisor_token_reservation_unused_total{route=\"edge\"} 265",
        "fairvisor_token_estimation_accuracy_ratio{estimator=\"simple_word\",route=\"edge\"} 0.5",
        "fairvisor_tokens_remaining{policy=\"chat\",route=\"edge\",window=\"tpm\"} 99470",
        "fairvisor_tokens_remaining{policy=\"chat\",route=\"edge\",window=\"tpd\"} 4470",
        "portcullis_llm_tokens_total{kind=\"actual\",policy=\"chat\"} 265",
        "portcullis_llm_tokens_remaining{policy=\"chat\",window=\"tpd\"} 4470",
        "portcullis_llm_estimate_accuracy_ratio{estimator=\"simple_word\"} 0.5",
        "fairvisor_limiter_result_total{algorithm=\"token_bucket_llm\",allowed=\"true\"} 1",
    ] {
        series(&edge, line);
    }
    let large = chat(30, &json!({ "max_tokens": 6000 }));
    let refused = h1::request(edge.address, "POST", "edge", OPENAI, &fields, &large);
    assert_eq!(refused.status, 429, "the day has not enough");
    series(
        &edge,
        "fairvisor_limiter_result_total{algorithm=\"token_bucket_llm\",allowed=\"false\"} 1",
    );
}

#[test]
fn limiters_and_keys_that_are_missing() {
    let one = rule(
        "one",
        "\"header:x-one\"",
        "token_bucket",
        r#""tokens_per_second": 0.001, "burst": 1"#,
    );
    let two = rule(
        "two",
        "\"header:x-two\"",
        "cost_based",
        r#""budget": 100, "period": "1d", "staged_actions": [{ "threshold_percent": 100, "action": "reject" }]"#,
    );
    let edge = Edge::start(&bundle(&format!("{one}, {two}"), ""), &[]);
    let ask = |fields: &[(&str, &str)]| edge.decide("/a", fields).status;
    assert_eq!(
        [
            ask(&[("X-One", "a"), ("X-Two", "a")]),
            ask(&[("X-One", "a")]),
            ask(&[]),
            ask(&[("X-Two", "canary")])
        ],
        [200, 429, 200, 200]
    );
    for line in [
        "fairvisor_limiter_result_total{algorithm=\"token_bucket\",allowed=\"true\"} 1",
        "fairvisor_limiter_result_total{algorithm=\"token_bucket\",allowed=\"false\"} 1",
        "fairvisor_limiter_result_total{algorithm=\"cost_based\",allowed=\"true\"} 2",
        "fairvisor_descriptor_missing_total{key=\"header:x-one\"} 2",
        "fairvisor_descriptor_missing_total{key=\"header:x-two\"} 2",
        "fairvisor_evaluate_errors_total{reason=\"rule_error\"} 0",
        "# TYPE fairvisor_policy_lookup_miss_total counter",
    ] {
        series(&edge, line);
    }
    assert!(!edge.get("/metrics").text().contains("canary"));
}

#[test]
fn a_rule_that_cannot_be_evaluated() {
    let edge = Edge::start(&bundle(&rule("r", "\"jwt:org\"", "token_bucket", WIDE), ""), &[]);
    let token = |claims: &str| format!("Bearer e30.{}.x", URL_SAFE_NO_PAD.encode(claims));
    let ask = |claims: &str| edge.decide("/a", &[("Authorization", &token(claims))]).status;
    assert_eq!([ask(r#"{"org":"a"}"#), ask(r#"{"org":["a"]}"#)], [200, 500]);
    series(&edge, "fairvisor_evaluate_errors_total{reason=\"rule_error\"} 1");
}

#[test]
fn kill_switches_that_are_suspended() {
    let switch = r#""kill_switches": [{ "scope_key": "header:x-dead", "scope_value": "yes" }]"#;
    let plain = bundle(&rule("r", "", "token_bucket", WIDE), "");
    let with = |version: u32, more: &str| {
        plain.replace(
            "\"bundle_version\": 1",
            &format!("\"bundle_version\": {version}, {switch}{more}"),
        )
    };
    let edge = Edge::start(&with(1, ""), &[]);
    let ask = || edge.decide("/a", &[("X-Dead", "yes")]).status;
    assert_eq!(ask(), 429);
    series(&edge, "fairvisor_kill_switch_override_skips_total 0");
    let suspended = format!(
        r#", "kill_switch_override": {{ "enabled": true, "reason": "drill", "expires_at": "{}" }}"#,
        moment(3600)
    );
    replace(&edge.path("policy.json"), with(2, &suspended).as_bytes());
    wait("version 2", || edge.get("/readyz").json()["policy_version"] == 2);
    assert_eq!([ask(), ask()], [200, 200]);
    series(&edge, "fairvisor_kill_switch_override_skips_total 2");
    series(&edge, "fairvisor_kill_switch_override_active 1");
}

#[test]
fn circuits() {
    let breaker = r#", "circuit_breaker": { "enabled": true, "spend_rate_threshold_per_minute": 3, "auto_reset_after_minutes": 5 }"#;
    let edge = Edge::start(&bundle(&rule("r", "", "token_bucket", WIDE), breaker), &[]);
    let line = |open: u8| format!("fairvisor_circuit_state{{target=\"p\"}} {open}");
    series(&edge, &line(0));
    let statuses: Vec<u16> = (0..4).map(|_| edge.decide("/a", &[]).status).collect();
    assert_eq!(statuses, [200, 200, 429, 429]);
    series(&edge, &line(1));
}

/// What its detector coded and never sent.
#[test]
fn a_loop_says_how_often_it_came() {
    let start = |action: &str| {
        let block = format!(
            r#", "loop_detection": {{ "enabled": true, "window_seconds": 600, "threshold_identical_requests": 3, "action": "{action}" }}"#
        );
        Edge::start(&bundle(&rule("r", "", "token_bucket", WIDE), &block), &[])
    };
    for (action, warning) in [("warn", "loop_warn"), ("throttle", "loop_throttle")] {
        let edge = start(action);
        let said = |uri: &str| {
            let answer = edge.decide(uri, &[]);
            let field = |name: &str| answer.header(name).map(str::to_owned);
            (
                answer.status,
                field("x-fairvisor-warning"),
                field("x-fairvisor-loop-count"),
            )
        };
        assert_eq!([said("/a"), said("/a")], [(200, None, None), (200, None, None)]);
        for count in ["3", "4"] {
            assert_eq!(
                said("/a"),
                (200, Some(warning.to_owned()), Some(count.to_owned())),
                "{action}"
            );
        }
        assert_eq!(said("/b"), (200, None, None), "another request");
        series(&edge, "fairvisor_loop_detected_total{route=\"edge\"} 2");
    }
    let edge = start("reject");
    let counts: Vec<_> = (0..4)
        .map(|_| edge.decide("/a", &[]))
        .map(|answer| {
            (
                answer.status,
                answer.header("x-fairvisor-loop-count").map(str::to_owned),
            )
        })
        .collect();
    let refused = (429, Some("3".to_owned()));
    assert_eq!(counts, [(200, None), (200, None), refused.clone(), refused]);
}

/// At its lowest level the log says more, and still not whose requests they are.
#[test]
fn w_37_the_log_at_its_lowest_level_names_nobody() {
    for (level, says_more) in [("debug", true), ("info", false)] {
        let one = rule(
            "one",
            "\"header:x-one\"",
            "token_bucket",
            r#""tokens_per_second": 0.001, "burst": 1"#,
        );
        let edge = Edge::start(&bundle(&one, ""), &[("FAIRVISOR_LOG_LEVEL", level)]);
        for _ in 0..3 {
            edge.decide(
                "/a",
                &[("X-One", "canary-key"), ("Authorization", "Bearer e30.canary-token.x")],
            );
        }
        series(
            &edge,
            "fairvisor_limiter_result_total{algorithm=\"token_bucket\",allowed=\"false\"} 2",
        );
        // A request that is none is told of at this level only.
        let broken = h1::Connection::open(edge.address).ask("GET / HTTP/1.1\r\nHost: a\r\nX Y: canary-field\r\n\r\n");
        assert_eq!(broken.map(|answer| answer.status), Some(400));
        let told = || edge.log().contains("refused before it was a request");
        if says_more {
            wait("a line of the log", told);
        } else {
            wait("its access log", || edge.log().contains("field_name_malformed"));
            assert!(!told());
        }
        assert!(!edge.log().contains("canary"), "{}", edge.log());
    }
}
