//! Every key of a site's `answers`, with several values each.

#![allow(clippy::expect_used)] // helpers of tests fail by panicking, as tests do

use portcullis_e2e::gateway::Gateway;
use portcullis_e2e::h1::{self, Answer};

fn start() -> Gateway {
    let site = |host: &str, answers: &str| {
        format!(
            "- hosts: [{host}]\n{answers}  filters: [{{ rate_limit: {{ key: \"header:x-key\", rate: 1/h, burst: 2 }} }}]\n  routes: [{{ respond: {{ status: 200 }} }}]\n"
        )
    };
    Gateway::start(&format!(
        "sites:\n{}{}{}{}{}",
        site("both.example", ""),
        site("draft.example", "  answers: { limit_headers: [draft] }\n"),
        site(
            "classic.example",
            "  answers: { limit_headers: [classic], refusals: problem }\n"
        ),
        site(
            "x.example",
            "  answers: { limit_headers: [x_ratelimit], refusals: openai }\n"
        ),
        site("none.example", "  answers: { limit_headers: [] }\n"),
    ))
}

/// A refusal: two requests are let through.
fn refused(gateway: &Gateway, host: &str) -> Answer {
    let mut answers = (0..3).map(|_| h1::get(gateway.public, host, "/", &[("X-Key", host)]));
    answers.find(|answer| answer.status == 429).expect("a refusal")
}

#[test]
fn limit_headers() {
    let gateway = start();
    let draft = ["ratelimit", "ratelimit-policy"];
    let classic = ["ratelimit", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"];
    let x = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    let both: Vec<&str> = draft.iter().chain(&classic).copied().collect();
    for (host, told) in [
        ("both.example", &both[..]),
        ("draft.example", &draft),
        ("classic.example", &classic),
        ("x.example", &x),
        ("none.example", &[]),
    ] {
        let answer = h1::get(gateway.public, host, "/", &[("X-Key", host)]);
        assert_eq!(answer.status, 200);
        for field in draft.iter().chain(&classic).chain(&x) {
            assert_eq!(answer.header(field).is_some(), told.contains(field), "{host} {field}");
        }
        let refused = refused(&gateway, host);
        for field in told.iter().filter(|field| field.ends_with("-remaining")) {
            assert_eq!(refused.header(field), Some("0"), "{host}");
        }
        for field in told.iter().filter(|field| field.ends_with("-reset")) {
            // In seconds from now, and no moment.
            let seconds: u32 = refused
                .header(field)
                .and_then(|value| value.parse().ok())
                .expect("a number");
            assert!((1..=3600).contains(&seconds), "{host} {seconds}");
        }
    }
}

#[test]
fn refusals() {
    let gateway = start();
    let problem = refused(&gateway, "classic.example");
    assert_eq!(problem.header("content-type"), Some("application/problem+json"));
    assert_eq!(problem.reason(), "rate_limit_exceeded");
    let openai = refused(&gateway, "x.example");
    assert_eq!(
        (openai.status, openai.header("content-type")),
        (429, Some("application/json"))
    );
    assert_eq!(openai.json()["error"]["type"], "rate_limit_error");
    assert_eq!(openai.json()["error"]["code"], "rate_limit_exceeded");
    assert!(openai.header("retry-after").is_some());
}
