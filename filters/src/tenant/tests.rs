//! Who is taken for whose, what disagrees, what the upstream hears, and what of a configuration is refused.

use proptest::prelude::*;

use super::{REASONS, TenantStats};
use crate::client::{ClientCertificate, San, SanKind};
use crate::testing::{Bench, ENTROPY, RequestBuilder, Upstream, try_bench};
use crate::zones::Zones;

fn bench(config: &str) -> Bench {
    Bench::new(&format!("filters: [{{ tenant: {config} }}]"))
}

/// `passed` with the tenant, or the reason.
fn judged(bench: &Bench, request: &RequestBuilder) -> String {
    let answered = bench.send(request);
    match answered.reason {
        Some(reason) => reason.0.to_owned(),
        None => format!("passed {}", answered.facts.tenant.expect("a tenant")),
    }
}

fn certificate(names: &[(SanKind, &str)]) -> ClientCertificate {
    let san = |(kind, text): &(SanKind, &str)| San {
        kind: *kind,
        text: (*text).into(),
    };
    ClientCertificate {
        sans: names.iter().map(san).collect(),
        subject: "CN=x".into(),
        serial: "1".into(),
        fingerprint: "f".into(),
        issuer: "CN=ca".into(),
        der: Box::default(),
    }
}

#[test]
fn claims() {
    let bench = bench("{ from: { claim: org } }");
    let get = RequestBuilder::get("/");
    let of = |claims: serde_json::Value| judged(&bench, &get.clone().claims(claims));
    for (claims, expected) in [
        (serde_json::json!({ "org": "acme" }), "passed acme"),
        (serde_json::json!({ "org": 42 }), "passed 42"),
        (serde_json::json!({ "org": "" }), "tenant_missing"),
        (serde_json::json!({ "org": null }), "tenant_missing"),
        (serde_json::json!({}), "tenant_missing"),
        (serde_json::json!({ "org": ["acme"] }), "tenant_invalid"),
        (serde_json::json!({ "org": { "id": "acme" } }), "tenant_invalid"),
        (serde_json::json!({ "org": "a/b" }), "tenant_invalid"),
        (serde_json::json!({ "org": ".." }), "tenant_invalid"),
        (serde_json::json!({ "org": "a\r\nx: y" }), "tenant_invalid"),
    ] {
        assert_eq!(of(claims.clone()), expected, "{claims}");
    }
    assert_eq!(judged(&bench, &get), "tenant_missing", "no token");
}

#[test]
fn certificates_and_proxies_and_hosts() {
    let uri = bench("{ from: { certificate: { uri: \"spiffe://a/t/{tenant}/*\" } } }");
    let get = RequestBuilder::get("/");
    let with = |names: &[(SanKind, &str)]| judged(&uri, &get.clone().certificate(certificate(names)));
    assert_eq!(with(&[(SanKind::Uri, "spiffe://a/t/acme/api")]), "passed acme");
    assert_eq!(with(&[(SanKind::Uri, "spiffe://b/t/acme/api")]), "tenant_missing");
    assert_eq!(with(&[(SanKind::Dns, "spiffe://a/t/acme/api")]), "tenant_missing");
    let two = [
        (SanKind::Uri, "spiffe://a/t/acme/api"),
        (SanKind::Uri, "spiffe://a/t/other/api"),
    ];
    assert_eq!(with(&two), "tenant_mismatch");
    assert_eq!(judged(&uri, &get), "tenant_missing");

    let dns = bench("{ from: { certificate: { dns: \"{tenant}.c.example\" } } }");
    let named = get
        .clone()
        .certificate(certificate(&[(SanKind::Dns, "acme.c.example")]));
    assert_eq!(judged(&dns, &named), "passed acme");

    let header = bench("{ from: { header: x-org } }");
    let sent = get.clone().header("x-org", "acme");
    assert_eq!(judged(&header, &sent), "tenant_missing", "anybody could say so");
    assert_eq!(judged(&header, &sent.clone().via("10.0.0.1")), "passed acme");
    let twice = sent.header("x-org", "other").via("10.0.0.1");
    assert_eq!(judged(&header, &twice), "tenant_mismatch");
    let list = get.clone().header("x-org", "acme, other").via("10.0.0.1");
    assert_eq!(judged(&header, &list), "tenant_invalid");

    let host = bench("{ from: { host: \"{tenant}.example.com\" } }");
    for (name, expected) in [
        ("acme.example.com", "passed acme"),
        ("example.com", "tenant_missing"),
        ("a.b.example.com", "tenant_invalid"),
        (".example.com", "tenant_invalid"),
        ("acme.example.com.evil", "tenant_missing"),
    ] {
        assert_eq!(judged(&host, &get.clone().host(name)), expected, "{name}");
    }
}

#[test]
fn sources_agree_and_so_do_two_links() {
    let both = bench("{ from: { claim: org, host: \"{tenant}.example.com\" } }");
    let acme = RequestBuilder::get("/").claims(serde_json::json!({ "org": "acme" }));
    assert_eq!(judged(&both, &acme.clone().host("acme.example.com")), "passed acme");
    assert_eq!(judged(&both, &acme.clone().host("www.example.net")), "passed acme");
    assert_eq!(
        judged(&both, &acme.clone().host("other.example.com")),
        "tenant_mismatch"
    );
    let two = Bench::new(
        "filters: [{ tenant: { name: a, from: { claim: org } } }, { tenant: { name: b, from: { host: \"{tenant}.example.com\" } } }]",
    );
    assert_eq!(judged(&two, &acme.clone().host("acme.example.com")), "passed acme");
    assert_eq!(judged(&two, &acme.host("other.example.com")), "tenant_mismatch");
}

const PLACES: &str = "{ from: { claim: org }, same_in: { path: [\"/o/{tenant}\", \"/v1/*/o/{tenant}\"], query: [org, tenant_id], header: [x-org], host: \"{tenant}.example.com\" } }";

#[test]
fn fl_02_nothing_names_another_tenant() {
    let bench = bench(PLACES);
    let acme = |target: &str| {
        let request = RequestBuilder::get(target).host("api.example.net");
        request.claims(serde_json::json!({ "org": "acme" }))
    };
    for (target, passes) in [
        ("/o/acme", true),
        ("/o/acme/x", true),
        ("/o/%61cme", true),
        ("/o", true),
        ("/x/other", true),
        ("/o/other", false),
        ("/O/other", false),
        ("/o;v=1/other", false),
        ("/o/acme;x", false),
        ("/o/ACME", false),
        ("/o/acme%20", false),
        ("/o/acme%5C..%5Cother", false),
        ("/v1/2024/o/other", false),
        ("/v1/2024/o/acme", true),
        ("/?org=acme", true),
        ("/?org=acme&org=acme", true),
        ("/?other=x", true),
        ("/?org=other", false),
        ("/?org=acme&org=other", false),
        ("/?org=other&org=acme", false),
        ("/?ORG=other", false),
        ("/?%6frg=other", false),
        ("/?org%5b%5d=other", false),
        ("/?org[0]=other", false),
        ("/?a=b;org=other", false),
        ("/?org=", false),
        ("/?org", false),
        ("/?+org=other", false),
        ("/?org=%2561cme", false),
        ("/?tenant_id=other", false),
        ("/?x=1&tenant_id=acme", true),
    ] {
        let expected = if passes { "passed acme" } else { "tenant_mismatch" };
        assert_eq!(judged(&bench, &acme(target)), expected, "{target}");
    }
    for (name, value, passes) in [
        ("x-org", "acme", true),
        ("x-org", "other", false),
        ("x_org", "other", false),
        ("x-org", "acme, other", false),
        ("x-org", "", false),
        ("x-other", "other", true),
    ] {
        let request = acme("/").header("x-org", "acme").header(name, value);
        assert_eq!(judged(&bench, &request) == "passed acme", passes, "{name}: {value}");
    }
    for (host, passes) in [
        ("acme.example.com", true),
        ("other.example.com", false),
        ("x.acme.example.com", false),
    ] {
        assert_eq!(judged(&bench, &acme("/").host(host)) == "passed acme", passes, "{host}");
    }
    let long = crate::testing::filler(2000) + "org=other";
    assert_eq!(
        judged(&bench, &acme(&format!("/?{long}"))),
        "tenant_mismatch",
        "wherever it stands"
    );
}

#[test]
fn bodies() {
    let bench = bench("{ from: { claim: org }, same_in: { body: [org], max_body: 64B } }");
    let post = |kind: &str, body: &str| {
        let request = RequestBuilder::new("POST", "/").claims(serde_json::json!({ "org": "acme" }));
        let request = if kind.is_empty() {
            request
        } else {
            request.header("content-type", kind)
        };
        request.body(body.to_owned())
    };
    let json = "application/json";
    for (kind, body, expected) in [
        ("", "", "passed acme"),
        (json, r#"{"org":"acme"}"#, "passed acme"),
        ("application/json; charset=utf-8", r#"{"org":"acme"}"#, "passed acme"),
        ("application/vnd.api+json", r#"{"org":"acme"}"#, "passed acme"),
        (json, r#"{"org":"other"}"#, "tenant_mismatch"),
        (json, r#"{"org":"acme","org":"other"}"#, "tenant_mismatch"),
        (json, r#"{"org":"#, "tenant_body_unreadable"),
        ("", r#"{"org":"acme"}"#, "tenant_body_unreadable"),
        ("text/plain", r#"{"org":"acme"}"#, "tenant_body_unreadable"),
        (
            "application/x-www-form-urlencoded",
            "org=other",
            "tenant_body_unreadable",
        ),
    ] {
        assert_eq!(judged(&bench, &post(kind, body)), expected, "{kind} {body}");
    }
    let packed = post(json, r#"{"org":"acme"}"#).header("content-encoding", "gzip");
    assert_eq!(judged(&bench, &packed), "tenant_body_unreadable");
    let twice = post(json, r#"{"org":"acme"}"#).header("content-type", "text/plain");
    assert_eq!(judged(&bench, &twice), "tenant_body_unreadable");
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(64));
    assert_eq!(judged(&bench, &post(json, &large)), "tenant_body_too_large");
}

#[test]
fn answers_of_others_are_not_passed_on_and_no_name_is_told() {
    let bench = bench("{ from: { claim: org }, same_in: { query: [org] }, response_header: x-owner }");
    let acme = RequestBuilder::get("/").claims(serde_json::json!({ "org": "acme" }));
    let answer = |owners: &[&'static str]| {
        let mut upstream = Upstream::default();
        for owner in owners {
            upstream
                .headers
                .append("x-owner", http::HeaderValue::from_static(owner));
        }
        bench.send_to(&acme, &upstream).reason.map(|reason| reason.0)
    };
    assert_eq!(answer(&[]), None);
    assert_eq!(answer(&["acme"]), None);
    assert_eq!(answer(&["other"]), Some("tenant_leak_blocked"));
    assert_eq!(answer(&["acme", "other"]), Some("tenant_leak_blocked"));
    let refused = bench.send(&RequestBuilder::get("/?org=other").claims(serde_json::json!({ "org": "acme" })));
    let decision = &refused.facts.decisions[0];
    assert_eq!(decision.detail.as_deref(), Some("the query"));
    assert!(refused.facts.tenant.is_none() && !format!("{:?}", refused.headers).contains("acme"));
    let stats = bench.zones.get::<TenantStats>("test tenant").unwrap();
    let counts: Vec<u64> = stats.counts().map(|(_, count)| count).collect();
    assert_eq!(counts, [0, 0, 1, 0, 0, 2]);
    assert!(stats.counts().zip(REASONS).all(|((name, _), reason)| name == reason.0));
}

#[test]
fn switches_of_a_tenant_refuse_it_behind_the_filter() {
    let policies = Bench::policies(
        "bundle_version: 1\npolicies: []\nkill_switches: [{ scope_key: \"tenant:id\", scope_value: acme }]\n",
    );
    let bench = bench("{ from: { host: \"{tenant}.example.com\" } }");
    let of = |host: &str| judged(&bench, &RequestBuilder::get("/").host(host).policies(policies.clone()));
    assert_eq!(of("acme.example.com"), "kill_switch");
    assert_eq!(of("other.example.com"), "passed other");
}

#[test]
fn what_is_refused_when_it_is_loaded() {
    for (config, expected) in [
        ("{}", "from"),
        ("{ from: {} }", "names nothing that a tenant could be known from"),
        (
            "{ from: { claim: \"\" } }",
            "names nothing that a tenant could be known from",
        ),
        ("{ from: { host: example.com } }", "it has no `{tenant}`"),
        (
            "{ from: { host: \"{tenant}.Example.com\" } }",
            "a host is written in lower case",
        ),
        (
            "{ from: { host: \"{tenant}.example.*\" } }",
            "a host is written in lower case",
        ),
        ("{ from: { certificate: {} } }", "needs one of `uri` and `dns`"),
        (
            "{ from: { certificate: { uri: \"a{tenant}\", dns: \"{tenant}.b\" } } }",
            "needs one of `uri` and `dns`",
        ),
        ("{ from: { header: connection } }", "cannot carry a tenant"),
        (
            "{ from: { claim: org }, upstream_header: host }",
            "cannot carry a tenant",
        ),
        (
            "{ from: { claim: org }, same_in: { path: [orgs] } }",
            "it does not begin with `/`",
        ),
        (
            "{ from: { claim: org }, same_in: { path: [/orgs] } }",
            "it needs one `{tenant}`",
        ),
        (
            "{ from: { claim: org }, same_in: { body: [a..b] } }",
            "it has an empty name",
        ),
        (
            "{ from: { claim: org }, same_in: { query: [\"a=b\"] } }",
            "it is no name of a parameter",
        ),
        (
            "{ from: { claim: org }, same_in: { max_body: 65MiB } }",
            "between 1 byte and 64MiB",
        ),
        ("{ from: { claim: org }, same_as: {} }", "same_in"),
    ] {
        let built = try_bench(&Zones::new(ENTROPY), &format!("filters: [{{ tenant: {config} }}]"));
        let said = built.err().expect(config);
        assert!(said.contains(expected), "{config}: {said}");
    }
}

proptest! {
    /// Whatever a request says, it passes as its caller's, and all that it says is the caller's.
    #[test]
    fn whoever_passes_named_nobody_else(
        path in "(/o)?/[ab%;.]{0,4}(/[ab])?", value in "[ab%6;&=1]{0,6}", name in "(org|ORG|o%72g|org%5B%5D|x)",
    ) {
        let normal = portcullis_config::path::normalize(&path).map(std::borrow::Cow::into_owned);
        prop_assume!(normal.is_ok());
        let request = RequestBuilder::get(&format!("{}?{name}={value}", normal.unwrap()));
        let request = request.claims(serde_json::json!({ "org": "a" })).host("api.example.net");
        let answered = bench(PLACES).send(&request);
        if answered.reason.is_none() {
            let seen = answered.upstream.unwrap_or_default();
            prop_assert_eq!(seen.get("x-tenant-id").map(http::HeaderValue::as_bytes), Some(&b"a"[..]));
            let first = value.split(['&', ';']).next().unwrap_or_default();
            prop_assert!(name == "x" || crate::request::decoded(first) == "a");
            prop_assert!(!path.starts_with("/o/b"));
        }
    }
}
