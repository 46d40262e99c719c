//! Weaknesses of policy engines, each shown not to be there: what is charged, what ends an evaluation, what a shadow does.
//! Keys and what clients put into them have a file of their own.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking, as tests do

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use portcullis_e2e::bundle::{Signer, json};
use portcullis_e2e::gateway::{Builder, Gateway, wait};
use portcullis_e2e::h1;
use portcullis_e2e::policies::{SITES, bucket, budget, bundle, get, policy, statuses, under};

#[test]
fn w_02_rps_is_enforced() {
    let rule = "{ name: r, limit_keys: [], algorithm: token_bucket, algorithm_config: { rps: 0.001, burst: 2 } }";
    let gateway = under(&[policy("p", "", &[rule.to_owned()])], "{}");
    assert_eq!(statuses(&gateway, "/", &[&[], &[], &[]]), [200, 200, 429]);
}

#[test]
fn w_05_shadow_never_ends_the_evaluation() {
    let gateway = under(
        &[
            policy("a", "mode: shadow, priority: 9,", &[bucket("r", "", 1, "")]),
            policy("b", "", &[bucket("r", "", 3, "")]),
        ],
        "{}",
    );
    assert_eq!(
        statuses(&gateway, "/", &[&[], &[], &[], &[], &[]]),
        [200, 200, 200, 429, 429]
    );
}

#[test]
fn w_06_a_shadow_is_not_seen_in_the_answer() {
    let stages = "{ threshold_percent: 1, action: warn }, ";
    let rules = [bucket("r", "", 1, ""), budget("s", "", 100, stages)];
    let gateway = under(&[policy("a", "mode: shadow,", &rules)], "{}");
    let names = [
        "retry-after",
        "ratelimit",
        "ratelimit-policy",
        "ratelimit-remaining",
        "x-portcullis-warning",
    ];
    for _ in 0..4 {
        let answer = get(&gateway, "/", &[]);
        assert_eq!(answer.status, 200);
        assert!(
            names.iter().all(|name| answer.header(name).is_none()),
            "{:?}",
            answer.text()
        );
    }
    let log = gateway.access_log(4);
    let would = log.last().expect("a line").to_string();
    assert!(
        would.contains("token_bucket_exceeded") && would.contains("shadow"),
        "{would}"
    );
}

#[test]
fn w_07_a_loop_that_warns_lets_no_limit_out() {
    for action in ["warn", "throttle"] {
        let spec = format!(
            "priority: 9, loop_detection: {{ enabled: true, window_seconds: 600, threshold_identical_requests: 2, action: {action} }},"
        );
        let gateway = under(
            &[
                policy("a", &spec, &[bucket("r", "", 1000, "")]),
                policy("b", "", &[bucket("r", "", 3, "")]),
            ],
            "{}",
        );
        assert_eq!(
            statuses(&gateway, "/", &[&[], &[], &[], &[]]),
            [200, 200, 200, 429],
            "{action}"
        );
    }
}

#[test]
fn w_11_blocks_are_checked_and_have_their_defaults() {
    let block = "circuit_breaker: { enabled: true, spend_rate_threshold_per_minute: 2 }, \
                 loop_detection: { enabled: true, window_seconds: 60, threshold_identical_requests: 100 },";
    let gateway = under(&[policy("a", block, &[bucket("r", "", 1000, "")])], "{}");
    assert_eq!(
        statuses(&gateway, "/", &[&[], &[], &[], &[]]),
        [200, 429, 429, 429],
        "and never 500"
    );
    let signer = Signer::new("k1");
    let good = String::from_utf8(json(&bundle(&[policy("a", "", &[bucket("r", "", 1, "")])]))).expect("JSON");
    for wrong in ["circuit_breaker", "loop_detection"] {
        let block = format!("\"spec\": {{ \"{wrong}\": {{ \"enabled\": true }},");
        let text = good.replacen("\"spec\": {", &block, 1);
        assert_ne!(text, good);
        let yaml = signer.policy() + &SITES.replace("FILTER", "{}");
        let file = signer.sign_text(text.as_bytes());
        let gateway = Builder::new(&yaml).file("policy.bundle", file).start_without_waiting();
        let ready = gateway.wait_for("/readyz", |_, body| body.contains("invalid"));
        assert!(ready.contains("when enabled is true"), "{ready}");
    }
}

/// Sends from several connections at once; gives how many passed.
fn passed_at_once(address: SocketAddr, connections: usize, requests: usize) -> usize {
    let one = move || {
        let mut client = h1::Connection::open(address);
        let send = |_| {
            let answer = client.ask("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
            usize::from(answer.expect("an answer").status == 200)
        };
        (0..requests).map(send).sum::<usize>()
    };
    let threads: Vec<_> = (0..connections).map(|_| std::thread::spawn(one)).collect();
    threads.into_iter().map(|thread| thread.join().expect("a thread")).sum()
}

#[test]
fn w_19_limits_are_exact_under_concurrency() {
    for rule in [bucket("r", "", 100, ""), budget("r", "", 100, "")] {
        let gateway = under(&[policy("p", "", &[rule])], "{}");
        assert_eq!(passed_at_once(gateway.public, 8, 40), 100);
    }
}

#[test]
fn w_25_prefixes_cover_whole_segments_and_order_is_declared() {
    let of = |id: &str, priority: i32, prefix: &str| {
        let rule = bucket("r", "", 1, "");
        format!(
            "- {{ id: {id}, spec: {{ selector: {{ pathPrefix: {prefix} }}, priority: {priority}, rules: [{rule}] }} }}\n"
        )
    };
    for prefix in ["/v1", "/v1/"] {
        let gateway = under(&[of("p", 0, prefix)], "{}");
        let send = |path: &str| get(&gateway, path, &[]).status;
        assert_eq!(
            [send("/v1"), send("/v1/"), send("/v1/x"), send("/v10")],
            [200, 429, 429, 200],
            "{prefix}"
        );
    }
    let gateway = under(&[of("a", 0, "/"), of("z", 5, "/")], "{}");
    assert_eq!(get(&gateway, "/", &[]).status, 200);
    assert_eq!(get(&gateway, "/", &[]).status, 429);
    let lines = gateway.access_log(2);
    let refused = lines.iter().find(|line| line["status"] == 429).expect("a line");
    assert_eq!(refused["decisions"][0]["policy"], "z", "{refused}");
}

#[test]
fn w_28_requests_that_are_held_back_are_bounded() {
    let stages = "{ threshold_percent: 0, action: throttle, delay_ms: 3000 }, ";
    let gateway = under(
        &[policy("p", "", &[budget("b", "", 1000, stages)])],
        "{ throttle: { max_waiting: 2 } }",
    );
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let address = gateway.public;
            std::thread::spawn(move || {
                let began = Instant::now();
                (h1::get(address, "a.example", "/", &[]).status, began.elapsed())
            })
        })
        .collect();
    wait("two that wait", || waiting_now(&gateway) >= 2.0);
    let refused = get(&gateway, "/", &[]);
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (429, "throttle_queue_full")
    );
    for thread in waiting {
        let (status, took) = thread.join().expect("a thread");
        assert!(
            status == 200 && took >= Duration::from_secs(3),
            "{status} after {took:?}"
        );
    }
    assert!(waiting_now(&gateway) < 1.0);
}

/// Requests that are held back now, whatever the zone is called.
fn waiting_now(gateway: &Gateway) -> f64 {
    let (_, metrics) = gateway.admin("GET", "/metrics", "");
    let line = metrics
        .lines()
        .find(|line| line.starts_with("portcullis_throttle_waiting{"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0.0)
}

#[test]
fn w_29_a_request_that_is_refused_is_charged_to_none() {
    let gateway = under(
        &[
            policy(
                "a",
                "priority: 9,",
                &[budget("wide", "", 5, ""), bucket("narrow", "header:x-key", 1, "")],
            ),
            policy(
                "b",
                "circuit_breaker: { enabled: true, spend_rate_threshold_per_minute: 5 },",
                &[bucket("other", "", 5, "")],
            ),
        ],
        "{}",
    );
    let one: &[(&str, &str)] = &[("x-key", "1")];
    assert_eq!(get(&gateway, "/", one).status, 200);
    for _ in 0..20 {
        let refused = get(&gateway, "/", one);
        assert_eq!(
            (refused.status, refused.reason().as_str()),
            (429, "token_bucket_exceeded")
        );
    }
    for key in ["2", "3", "4"] {
        assert_eq!(get(&gateway, "/", &[("x-key", key)]).status, 200, "{key}");
    }
    let tripped = get(&gateway, "/", &[("x-key", "5")]);
    assert_eq!(
        (tripped.status, tripped.reason().as_str()),
        (429, "circuit_breaker_open"),
        "by the fifth that passed"
    );
}

#[test]
fn w_32_null_is_absent_and_nothing_is_read_loosely() {
    let signer = Signer::new("k1");
    let rule = "{\"name\":\"r\",\"limit_keys\":[],\"algorithm\":\"token_bucket\",\"algorithm_config\":{\"tokens_per_second\":0.001,\"burst\":BURST,\"fixed_cost\":null}}";
    let text = |burst: &str| {
        let rule = rule.replace("BURST", burst);
        format!(
            "{{\"bundle_version\":1,\"expires_at\":null,\"kill_switches\":null,\"policies\":[{{\"id\":\"p\",\"spec\":{{\"selector\":{{\"pathPrefix\":\"/\",\"hosts\":null}},\"mode\":null,\"fallback_limit\":null,\"loop_detection\":null,\"circuit_breaker\":null,\"rules\":[{rule}]}}}}]}}"
        )
    };
    let yaml = signer.policy() + &SITES.replace("FILTER", "{}");
    let good = Builder::new(&yaml)
        .file("policy.bundle", signer.sign_text(text("1").as_bytes()))
        .start();
    assert_eq!(statuses(&good, "/", &[&[], &[]]), [200, 429]);
    for burst in ["NaN", "Infinity", "0x10", "1,\"burst\":2", "\"1\"", "01"] {
        let file = signer.sign_text(text(burst).as_bytes());
        let gateway = Builder::new(&yaml).file("policy.bundle", file).start_without_waiting();
        gateway.wait_for("/readyz", |status, body| status == 503 && body.contains("invalid"));
        assert_eq!(get(&gateway, "/", &[]).status, 503, "{burst}");
    }
}

#[test]
fn w_18_where_there_is_no_room_a_policy_may_refuse() {
    let flood = |gateway: &Gateway| {
        let mut connection = h1::Connection::open(gateway.public);
        let mut statuses = std::collections::BTreeMap::new();
        for number in 0..600 {
            let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-Key: made-up-{number}\r\n\r\n");
            let answer = connection.ask(&request).expect("an answer");
            *statuses.entry(answer.status).or_insert(0) += 1;
        }
        statuses
    };
    let known: &[(&str, &str)] = &[("x-key", "known")];
    let rules = [budget("b", "header:x-key", 2, "")];
    for (on_full, refusal, metric) in [
        (
            "deny",
            (503, "counters_full"),
            "portcullis_limit_no_room_total{then=\"denied\",zone=\"policy\"}",
        ),
        (
            "shared_bucket",
            (429, "budget_exceeded"),
            "portcullis_limit_shared_total{zone=\"policy\"}",
        ),
    ] {
        let gateway = under(
            &[policy("p", &format!("on_full: {on_full},"), &rules)],
            "{ max_keys: 64 }",
        );
        assert_eq!(get(&gateway, "/", known).status, 200);
        let statuses = flood(&gateway);
        assert!(statuses[&200] <= 64 + 2, "{on_full}: {statuses:?}");
        assert_eq!(statuses[&200] + statuses[&refusal.0], 600, "{on_full}: {statuses:?}");
        let refused = get(&gateway, "/", &[("x-key", "new")]);
        assert_eq!((refused.status, refused.reason().as_str()), refusal);
        assert!(refused.header("retry-after").is_some());
        assert_eq!(
            statuses_of(&gateway, known),
            [200, 429],
            "{on_full}: who is known is counted as ever"
        );
        assert!(gateway.metric(metric) > 400.0, "{on_full}");
    }
}

fn statuses_of(gateway: &Gateway, key: &[(&str, &str)]) -> Vec<u16> {
    statuses(gateway, "/", &[key, key])
}
