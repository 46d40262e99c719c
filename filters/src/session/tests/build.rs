//! What of a configuration is refused.

use crate::testing::{ENTROPY, try_bench};
use crate::zones::Zones;

const IDENTITY: &str = "identity: { issuers: { id: { issuer: \"https://id.example/\", jwks_url: \"https://id.example/jwks\", algorithms: [RS256], audiences: [api] } } }";
const GOOD: [(&str, &str); 4] = [
    ("issuer", "id"),
    ("client_id", "app"),
    ("redirect_url", "\"https://a.example/-/session/callback\""),
    ("key", "\"env:KEY\""),
];

/// The configuration with these keys in place of, or beside, good ones.
fn error(keys: &[(&str, &str)]) -> Option<String> {
    let good = GOOD
        .iter()
        .filter(|(name, _)| !keys.iter().any(|(other, _)| other == name));
    let all: Vec<String> = good
        .chain(keys)
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    let yaml = format!("{IDENTITY}\nfilters: [{{ session: {{ {} }} }}]", all.join(", "));
    try_bench(&Zones::new(ENTROPY), &yaml).err()
}

#[test]
fn what_is_no_configuration() {
    assert_eq!(error(&[]), None);
    assert_eq!(error(&[("redirect_url", "\"http://localhost:8080/back\"")]), None);
    for (key, value, expected) in [
        ("issuer", "other", "no issuer is named `other`"),
        ("client_id", "\"a b\"", "without spaces"),
        ("realm", "\"\"", "without spaces"),
        ("client_auth", "post", "nothing to show"),
        ("client_auth", "jwt", "basic"),
        ("redirect_url", "/callback", "a URL with https"),
        ("redirect_url", "\"http://a.example/back\"", "a URL with https"),
        ("redirect_url", "\"https://a.example\"", "a URL with https"),
        ("redirect_url", "\"https://a.example/\"", "a URL with https"),
        ("redirect_url", "\"https://a.example/b?c\"", "a URL with https"),
        ("redirect_url", "\"https://a.example/a/../b\"", "a URL with https"),
        (
            "redirect_url",
            "\"https://a.example/-/session/login\"",
            "a path of its own",
        ),
        ("redirect_url", "\"https://a.example/-/session\"", "a path of its own"),
        ("post_logout_url", "bye", "a URL with https"),
        ("key", "hunter2", "must not be written into the configuration"),
        ("client_secret", "hunter2", "must not be written into the configuration"),
        ("scopes", "[\"a b\"]", "is not one scope"),
        ("parameters", "{ state: x }", "it is ours"),
        ("required_claims", "{ amr: [] }", "nobody could log in"),
        ("tenant_parameter", "org", "`tenant_claim`"),
        ("cookie", "session", "must begin with `__Host-`"),
        ("path", "session", "a path in its normal form"),
        ("path", "/", "a path in its normal form"),
        ("path", "/a/", "a path in its normal form"),
        ("idle", "0s", "from 1s to 365d"),
        ("idle", "13h", "cannot be idle for longer"),
        ("absolute", "1000d", "from 1s to 365d"),
        ("rotate", "0s", "from 1s to 365d"),
        ("grace", "15m", "shorter than `rotate`"),
        ("access_token_header", "cookie", "and not the access token"),
        ("access_token_header", "connection", "cannot be used here"),
        (
            "claims_to_headers",
            "{ authorization: sub }",
            "take `authorization` for another",
        ),
        ("claims_to_headers", "{ x-a: sub, x_a: sub }", "for another"),
        ("claims_to_headers", "{ x-a: \"\" }", "the name of a claim"),
        ("device_headers", "[cookie]", "changes with the session"),
        ("max_sessions", "0", "at least one"),
        ("unknown", "1", "unknown key"),
    ] {
        let error = error(&[(key, value)]).unwrap_or_else(|| panic!("{key}: {value} was accepted"));
        assert!(error.contains(expected), "{key}: {value}: {error}");
        assert!(!error.contains("hunter2"), "{key}: a secret was told");
    }
}

#[test]
fn links_of_a_realm_agree() {
    let link = |name: &str, client: &str, more: &str| {
        let keys = "issuer: id, redirect_url: \"https://a.example/back\", key: \"env:KEY\"";
        format!("{{ session: {{ {keys}, client_id: {client}{more}, name: {name} }} }}")
    };
    let built =
        |one: &str, two: &str| try_bench(&Zones::new(ENTROPY), &format!("{IDENTITY}\nfilters: [{one}, {two}]")).err();
    assert_eq!(
        built(&link("a", "app", ""), &link("b", "app", ", optional: true")),
        None
    );
    let error = built(&link("a", "app", ""), &link("b", "other", "")).expect("two clients");
    assert!(error.contains("do not agree"), "{error}");
    assert_eq!(
        built(&link("a", "app", ""), &link("b", "other", ", realm: second")),
        None
    );
}
