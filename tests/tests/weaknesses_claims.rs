//! Weaknesses in what becomes of claims, each shown not to be there.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use portcullis_e2e::bundle::Signer;
use portcullis_e2e::edge::Edge;
use portcullis_e2e::gateway::{Builder, wait};
use portcullis_e2e::h1;
use portcullis_e2e::idp::{self, Idp, Key};
use portcullis_e2e::policies::{bucket, bundle, policy};
use serde_json::{Value, json};

/// Claims are scalars with one text each; what is none is an error, and no request passes for it.
#[test]
fn w_10_claims_are_scalars_and_keep_every_digit() {
    let key = Key::ed25519("k");
    let (idp, signer) = (Idp::start(&[&key]), Signer::new("k1"));
    let sites = "sites: [{ hosts: [\"*\"], filters: [{ jwt: { issuer: main } }, { policy: {} }], routes: [{ respond: { status: 200, body: here } }] }]\n";
    let rules = [bucket("r", "\"jwt:tenant\"", 1, "")];
    let gateway = Builder::new(&(idp.identity("") + &signer.policy() + sites))
        .file("policy.bundle", signer.sign(&bundle(&[policy("p", "", &rules)])))
        .start();
    let fetched = "portcullis_jwks_fetches_total{issuer=\"main\",result=\"ok\"}";
    wait("the keys", || gateway.metric(fetched) >= 1.0);
    let with = |claims: &Value| {
        let token = format!("Bearer {}", key.token(claims));
        let answer = h1::get(gateway.public, "a.example", "/", &[("Authorization", &token)]);
        (
            answer.status,
            if answer.status == 200 {
                String::new()
            } else {
                answer.reason()
            },
        )
    };
    let send = |tenant: Value| {
        let mut claims = Idp::claims("alice");
        claims["tenant"] = tenant;
        with(&claims)
    };
    for none in [json!(["a"]), json!({ "id": "a" }), json!([]), json!({})] {
        for _ in 0..3 {
            assert_eq!(send(none.clone()), (500, "rule_error".into()), "{none}");
        }
    }
    let (pass, refused) = ((200, String::new()), (429, "token_bucket_exceeded".to_owned()));
    // What is null is not there: it counts with those that have none.
    assert_eq!([send(json!(null)), send(json!(null))], [pass.clone(), refused.clone()]);
    assert_eq!(with(&Idp::claims("bob")), refused);
    for (one, other) in [
        (json!(12_345_678_901_234_501_u64), json!(12_345_678_901_234_599_u64)),
        (
            json!(18_446_744_073_709_551_615_u64),
            json!(18_446_744_073_709_551_614_u64),
        ),
        (json!(true), json!(false)),
        (json!("a|b"), json!("a")),
    ] {
        let all = [&one, &other, &one, &other].map(|tenant| send(tenant.clone()));
        assert_eq!(
            all,
            [pass.clone(), pass.clone(), refused.clone(), refused.clone()],
            "{one} {other}"
        );
    }
    assert_eq!(
        [send(json!(77)), send(json!("77"))],
        [pass, refused],
        "one text, one bucket"
    );
    for payload in [json!(5), json!(true), json!(null), json!("sub"), json!([])] {
        let (status, _) = with(&payload);
        assert_eq!(status, 401, "{payload}");
    }
}

/// Where nobody verifies, what is no object has no claims, and what is no scalar lets nobody pass.
#[test]
fn w_10_claims_that_nobody_verified_are_no_way_out() {
    let rule = r#"{ "name": "r", "limit_keys": ["jwt:sub"], "on_missing": "anonymous", "algorithm": "token_bucket", "algorithm_config": { "tokens_per_second": 0.001, "burst": 1 } }"#;
    let edge = Edge::start(
        &format!(
            r#"{{ "bundle_version": 1, "policies": [{{ "id": "p", "spec": {{ "selector": {{ "pathPrefix": "/" }}, "rules": [{rule}] }} }}] }}"#
        ),
        &[],
    );
    let send = |payload: &str| {
        let token = format!("Bearer x.{}.y", idp::encode(payload.as_bytes()));
        edge.decide("/", &[("Authorization", &token)]).status
    };
    assert_eq!(send("5"), 200, "it counts with those that have none");
    for payload in [
        "5",
        "true",
        "null",
        "\"sub\"",
        "[]",
        "{}",
        r#"{ "sub": null }"#,
        "no JSON",
    ] {
        assert_eq!(send(payload), 429, "{payload}");
    }
    for payload in [r#"{ "sub": ["a"] }"#, r#"{ "sub": { "a": 1 } }"#] {
        assert!(
            [send(payload), send(payload)].iter().all(|status| *status >= 400),
            "{payload}"
        );
    }
    assert_eq!([send(r#"{ "sub": "a" }"#), send(r#"{ "sub": "a" }"#)], [200, 429]);
}
