//! What a route wants beyond a good token: conditions, age, and how the user has authenticated.

use serde_json::{Value, json};

use super::{bearer, bench, token};
use crate::testing::{Answered, Bench, START, after};

#[allow(clippy::needless_pass_by_value)] // claims are written where they are used
fn send(bench: &Bench, claims: Value) -> Answered {
    bench.send(&bearer(&token("k1", 1, claims)))
}

fn outcome(answered: &Answered) -> (u16, &'static str) {
    (answered.status.as_u16(), answered.reason.map_or("", |reason| reason.0))
}

#[test]
fn a_condition_lets_in_only_when_it_holds() {
    let bench =
        bench(", when: 'jwt.claims.level >= 2 && (request.method == \"GET\" || \"staff\" in jwt.claims.roles)'");
    for (claims, expected) in [
        (json!({ "level": 2 }), (200, "")),
        (json!({ "level": 1 }), (403, "condition_not_met")),
        (json!({ "level": "2" }), (403, "condition_not_met")),
        (json!({}), (403, "condition_not_met")),
    ] {
        assert_eq!(outcome(&send(&bench, claims.clone())), expected, "{claims}");
    }
}

#[test]
fn a_condition_sees_the_request_and_what_is_not_there() {
    let by_header = bench(", when: 'request.headers[\"x-plan\"] == jwt.claims.plan'");
    let with = |plan: &str| {
        let request = bearer(&token("k1", 1, json!({ "plan": "gold" }))).header("x-plan", plan);
        outcome(&by_header.send(&request)).0
    };
    assert_eq!((with("gold"), with("free")), (200, 403));
    let no_text_message = bench(", when: '!has(jwt.claims.amr) || !(\"sms\" in jwt.claims.amr)'");
    assert_eq!(
        outcome(&send(&no_text_message, json!({ "amr": ["pwd", "sms"] }))).0,
        403
    );
    assert_eq!(
        outcome(&send(&no_text_message, json!({ "amr": ["pwd", "otp"] }))).0,
        200
    );
    assert_eq!(outcome(&send(&no_text_message, json!({}))).0, 200);
}

#[test]
fn a_token_may_be_too_old_before_it_expires() {
    let bench = bench(", max_token_age: 5m");
    let issued = |ago: i64| json!({ "iat": START.unix() - ago });
    assert_eq!(outcome(&send(&bench, issued(300))), (200, ""));
    assert_eq!(outcome(&send(&bench, issued(330))), (200, ""), "30 s of leeway");
    assert_eq!(outcome(&send(&bench, issued(331))), (401, "token_too_old"));
    assert_eq!(outcome(&send(&bench, json!({}))), (401, "claims_invalid"));
    // The one that was remembered is judged anew.
    let request = bearer(&token("k1", 1, issued(300)));
    assert_eq!(
        outcome(&bench.send(&request.clone().at(after(START, 30_000)))),
        (200, "")
    );
    assert_eq!(
        outcome(&bench.send(&request.at(after(START, 31_000)))),
        (401, "token_too_old")
    );
}

#[test]
fn a_stronger_authentication_is_asked_for_as_rfc_9470_says() {
    let bench = bench(", step_up: { acr_values: [gold, silver], amr: [mfa], max_age: 5m }, scopes: [a]");
    let now = START.unix();
    let good = json!({ "acr": "silver", "amr": ["pwd", "mfa"], "auth_time": now - 300, "scope": "a" });
    assert_eq!(outcome(&send(&bench, good.clone())), (200, ""));
    for (name, value) in [
        ("acr", json!("bronze")),
        ("acr", json!(["silver"])),
        ("acr", Value::Null),
        ("amr", json!(["pwd"])),
        ("amr", json!("mfa")),
        ("amr", Value::Null),
        ("auth_time", json!(now - 331)),
        ("auth_time", json!(now.to_string())),
        ("auth_time", Value::Null),
    ] {
        let mut claims = good.clone();
        claims[name] = value.clone();
        let answered = send(&bench, claims);
        let challenge = answered.headers["www-authenticate"].to_str().unwrap();
        assert_eq!(
            outcome(&answered),
            (401, "insufficient_user_authentication"),
            "{name}: {value}"
        );
        assert!(
            challenge.contains("error=\"insufficient_user_authentication\""),
            "{challenge}"
        );
        assert!(
            challenge.ends_with(", acr_values=\"gold silver\", max_age=\"300\""),
            "{challenge}"
        );
    }
    let mut lacking = good;
    lacking["scope"] = "b".into();
    assert_eq!(
        outcome(&send(&bench, lacking)),
        (403, "insufficient_scope"),
        "no step up would help"
    );
}
