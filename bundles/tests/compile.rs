//! From text to compiled policies: what applies to which request, in which order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

use portcullis_bundles::attributes::Attributes;
use portcullis_bundles::compile::{Compiled, compile};
use portcullis_bundles::digest::Digest;
use portcullis_bundles::format::Bundle;
use portcullis_bundles::policies::{Matches, Policies, Provenance};
use portcullis_bundles::switches::{AllSwitches, Phase};
use serde_json::{Value, json};

fn build(bundle: &Value) -> Compiled {
    let text = bundle.to_string();
    let bundle = Bundle::parse_unverified(text.as_bytes()).unwrap();
    let origin = Provenance {
        version: 1,
        digest: Digest::of(text.as_bytes()),
        signed_by: Box::default(),
    };
    compile(&bundle, origin).unwrap_or_else(|problems| panic!("{:#?}", problems.as_slice()))
}

fn policy(id: &str, selector: &Value) -> Value {
    json!({ "id": id, "spec": { "selector": selector, "rules": [] } })
}

fn ids(policies: &Policies, host: &str, path: &str, method: &str) -> Vec<String> {
    let mut matches = Matches::new();
    policies.matching(host, path, method, &mut matches);
    matches
        .iter()
        .map(|place| policies.get(*place).unwrap().id.to_string())
        .collect()
}

#[test]
fn prefixes_cover_whole_segments_with_and_without_a_slash() {
    for prefix in ["/v1", "/v1/"] {
        let compiled =
            build(&json!({ "bundle_version": 1, "policies": [policy("p", &json!({ "pathPrefix": prefix }))] }));
        for (path, covered) in [
            ("/v1", true),
            ("/v1/", true),
            ("/v1/x", true),
            ("/v10", false),
            ("/", false),
        ] {
            assert_eq!(
                !ids(&compiled.policies, "h", path, "GET").is_empty(),
                covered,
                "{prefix} {path}"
            );
        }
    }
}

#[test]
fn priority_then_the_more_specific_then_the_id() {
    let mut urgent = policy("z-urgent", &json!({ "pathPrefix": "/" }));
    urgent["spec"]["priority"] = json!(10);
    let compiled = build(&json!({ "bundle_version": 1, "policies": [
        policy("b", &json!({ "pathPrefix": "/a" })),
        policy("a", &json!({ "pathPrefix": "/a" })),
        policy("c", &json!({ "pathPrefix": "/a/b" })),
        policy("d", &json!({ "pathExact": "/a/b" })),
        policy("e", &json!({ "pathPrefix": "/", "hosts": ["*.example.com"] })),
        policy("f", &json!({ "pathPrefix": "/", "hosts": ["api.example.com", "*"] })),
        policy("g", &json!({ "pathPrefix": "/a/b", "methods": ["POST"] })),
        urgent,
    ] }));
    let order = ids(&compiled.policies, "api.example.com", "/a/b", "POST");
    assert_eq!(order, ["z-urgent", "f", "e", "d", "g", "c", "a", "b"]);
    assert_eq!(
        ids(&compiled.policies, "other.test", "/a/b", "GET"),
        ["z-urgent", "d", "c", "a", "b", "f"]
    );
}

struct Request(&'static [(&'static str, &'static str)], &'static str, bool);

impl Attributes for Request {
    fn get(&self, key: &portcullis_config::key::Key) -> Option<std::borrow::Cow<'_, str>> {
        let name = key.to_string();
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).into())
    }

    fn path(&self) -> &str {
        self.1
    }

    fn claims_known(&self) -> bool {
        self.2
    }
}

#[test]
fn kill_switches_match_by_key_value_route_and_time() {
    let compiled = build(&json!({ "bundle_version": 1, "policies": [], "kill_switches": [
        { "scope_key": "header:X_Tenant", "scope_value": "t1", "expires_at": "1970-01-01T00:00:10Z", "reason": "old" },
        { "scope_key": "ip:address", "scope_value": "2001:DB8:0::1", "route": "/pay", "reason": "ip" },
        { "scope_key": "header:x-tenant", "scope_value": "t1", "reason": "tenant" },
        { "scope_key": "jwt:sub", "scope_value": "mallory", "reason": "sub" },
    ] }));
    let find = |request: &Request, phase, now| {
        compiled
            .policies
            .switches()
            .find(request, phase, now)
            .and_then(|switch| switch.reason.as_deref().map(str::to_owned))
    };
    let tenant = Request(
        &[
            ("header:x-tenant", "t1"),
            ("ip:address", "2001:db8::1"),
            ("jwt:sub", "mallory"),
        ],
        "/pay",
        true,
    );
    assert_eq!(find(&tenant, Phase::BeforeIdentity, 10).as_deref(), Some("old"));
    assert_eq!(find(&tenant, Phase::BeforeIdentity, 11).as_deref(), Some("ip"));
    assert_eq!(find(&tenant, Phase::AfterIdentity, 11).as_deref(), Some("sub"));
    let elsewhere = Request(tenant.0, "/", false);
    assert_eq!(find(&elsewhere, Phase::BeforeIdentity, 11).as_deref(), Some("tenant"));
    assert_eq!(find(&elsewhere, Phase::AfterIdentity, 11), None);
}

#[test]
fn an_override_suspends_the_bundles_switches_until_its_end() {
    let compiled = build(&json!({ "bundle_version": 1, "policies": [],
        "kill_switch_override": { "enabled": true, "reason": "drill", "expires_at": "1970-01-01T00:01:00Z" },
        "kill_switches": [{ "scope_key": "header:a", "scope_value": "b" }] }));
    let request = Request(&[("header:a", "b")], "/", false);
    let switches = AllSwitches::new([std::sync::Arc::clone(compiled.policies.switches())]);
    assert!(switches.find(&request, Phase::BeforeIdentity, 59).is_none());
    assert!(compiled.policies.kill_switch_override(59).is_some());
    assert!(switches.find(&request, Phase::BeforeIdentity, 60).is_some());
    assert!(compiled.policies.kill_switch_override(60).is_none());
}

#[test]
fn conditions_are_kept_once_and_there_are_not_too_many() {
    let bundle = |different: usize| {
        let policies: Vec<Value> = (0..1_100)
            .map(|number| {
                let when = format!("request.path.matches('^/v{}/')", number % different);
                let spec = json!({ "selector": { "pathPrefix": "/" }, "when": when, "rules": [] });
                json!({ "id": format!("p{number}"), "spec": spec })
            })
            .collect();
        json!({ "bundle_version": 1, "policies": policies })
    };
    let compiled = build(&bundle(1_000)).policies;
    let texts: Vec<_> = compiled
        .all()
        .iter()
        .filter_map(|policy| policy.when.as_ref())
        .collect();
    assert_eq!(texts.len(), 1_100);
    let mut places: Vec<_> = texts.iter().map(|when| when.text().as_ptr()).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), 1_000);
    let parsed = Bundle::parse_unverified(bundle(1_001).to_string().as_bytes()).expect("a bundle");
    let origin = Provenance {
        version: 1,
        digest: Digest::of(b""),
        signed_by: Box::default(),
    };
    let problems = compile(&parsed, origin).expect_err("one condition too many");
    assert_eq!(problems.as_slice().len(), 1, "{:?}", problems.as_slice());
    let told = problems.as_slice()[0].to_string();
    assert!(told.contains("more than 1000 different conditions"), "{told}");
}
