//! What is measured is what is promised: the bundles that the benches decide by are enforced, rule by rule.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking, as tests do

use portcullis_e2e::bundle::Signer;
use portcullis_e2e::gateway::{Builder, Gateway};
use portcullis_e2e::h1::{self, Answer};
use portcullis_e2e::idp::{Idp, Key};

const PLENTY: &str = "{ tokens_per_second: 100000000, burst: 100000000 }";

fn bundle(name: &str) -> String {
    let path = format!("{}/../benches/bundles/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A gateway that decides as the one that is measured does.
fn start(bundle: &str, filters: &str, idp: &Idp) -> Gateway {
    let signer = Signer::new("k1");
    let yaml = format!(
        "listeners: [{{ name: authz, address: \"{{public}}\", mode: decision }}]\ntrusted_proxies: [127.0.0.1]\n{}{}\
         sites: [{{ hosts: [\"*\"], routes: [{{ filters: [{filters}] }}] }}]\n",
        idp.identity(""),
        signer.policy()
    );
    Builder::new(&yaml).file("policy.bundle", signer.sign(bundle)).start()
}

fn ask(gateway: &Gateway, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let fields = [
        ("X-Original-Method", "GET"),
        ("X-Original-URI", "/v1/things/42?page=2"),
        ("X-Original-Host", "api.example.com"),
        ("X-Plan", "gold"),
        ("Authorization", bearer.as_str()),
    ];
    h1::request(gateway.public, "POST", "authz", "/v1/decision", &fields, b"")
}

/// The bundle with so few tokens in the rule that stands there.
fn with_few(bundle: &str, place: usize) -> String {
    let parts: Vec<&str> = bundle.split(PLENTY).collect();
    let few = |at: usize| {
        if at == place {
            "{ tokens_per_second: 0.001, burst: 1 }"
        } else {
            PLENTY
        }
    };
    let text = parts[1..]
        .iter()
        .enumerate()
        .map(|(at, part)| few(at).to_owned() + part);
    parts[0].to_owned() + &text.collect::<String>()
}

#[test]
fn w_34_every_rule_of_what_is_measured_decides() {
    let key = Key::ed25519("k1");
    let idp = Idp::start(&[&key]);
    let token = key.token(&Idp::claims("alice"));
    for (name, filters, rules) in [
        ("one-rule", "{ policy: {} }", &["address"][..]),
        (
            "five-rules",
            "{ jwt: { issuer: main } }, { policy: {} }",
            &["subject", "issuer", "plan", "address", "everyone"],
        ),
    ] {
        let text = bundle(name);
        assert_eq!(text.matches(PLENTY).count(), rules.len());
        for (place, rule) in rules.iter().enumerate() {
            let gateway = start(&with_few(&text, place), filters, &idp);
            assert_eq!(ask(&gateway, &token).status, 200, "{name}: {rule}");
            let refused = ask(&gateway, &token);
            assert_eq!(
                (refused.status, refused.reason()),
                (429, "token_bucket_exceeded".into()),
                "{name}: {rule}"
            );
            let lines = gateway.access_log(2);
            let decisions = lines.iter().filter_map(|line| line["decisions"].as_array()).flatten();
            let denials: Vec<_> = decisions.filter(|decision| decision["action"] == "deny").collect();
            assert_eq!(denials.len(), 1, "{lines:?}");
            assert_eq!(
                (&denials[0]["policy"], &denials[0]["rule"]),
                (&"api".into(), &(*rule).into())
            );
        }
    }
}

#[test]
fn w_34_the_loops_of_what_is_measured_are_found() {
    let key = Key::ed25519("k1");
    let idp = Idp::start(&[&key]);
    let token = key.token(&Idp::claims("alice"));
    let text = bundle("five-rules");
    let few = text.replace(
        "window_seconds: 1, threshold_identical_requests: 1000000000",
        "window_seconds: 600, threshold_identical_requests: 3",
    );
    assert_ne!(text, few);
    let gateway = start(&few, "{ jwt: { issuer: main } }, { policy: {} }", &idp);
    let answers = [(); 3].map(|()| ask(&gateway, &token));
    assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 200, 429]);
    assert_eq!(answers[2].reason(), "loop_detected");
}
