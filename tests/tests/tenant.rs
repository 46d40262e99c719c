//! `tenant` in front of an origin: whose a request is, what of another tenant it may name (nothing), and that two tenants
//! under load never meet: not in an answer, not in a counter, not in a remembered token.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_e2e::bundle::Signer;
use portcullis_e2e::gateway::{Builder, Gateway, wait};
use portcullis_e2e::h1::{self, Answer, Connection};
use portcullis_e2e::idp::{Idp, Key};
use portcullis_e2e::origin::{Origin, Seen};
use serde_json::json;

const TENANT: &str = "tenant: { from: { claim: org }, same_in: { path: [\"/orgs/{tenant}\"], query: [org], header: [x-org], body: [org, data.org] } }";

/// A token of `alice` in this organisation: the subject is the same in all of them.
fn token(key: &Key, tenant: &str) -> String {
    let mut claims = Idp::claims("alice");
    claims["org"] = json!(tenant);
    format!("Bearer {}", key.token(&claims))
}

fn start(idp: &Idp, builder: Builder, first: &str) -> Gateway {
    let gateway = builder.start();
    wait("the keys", || {
        idp.fetches() > 0 && {
            let answer = h1::get(gateway.public, "a.example", "/", &[("Authorization", first)]);
            answer.status != 503
        }
    });
    gateway
}

fn site(origin: &Origin, filters: &str) -> String {
    format!(
        "upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], filters: [{filters}], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n",
        origin.address
    )
}

#[test]
fn fl_02_nothing_of_another_tenant_is_reached() {
    let (key, origin) = (Key::ed25519("k"), Origin::start("ok"));
    let idp = Idp::start(&[&key]);
    let yaml = idp.identity("") + &site(&origin, &format!("{{ jwt: {{ issuer: main }} }}, {{ {TENANT} }}"));
    let acme = token(&key, "acme");
    let gateway = start(&idp, Builder::new(&yaml), &acme);
    let send = |method: &str, path: &str, more: &[(&str, &str)], body: &str| {
        let mut headers = vec![("Authorization", acme.as_str())];
        headers.extend_from_slice(more);
        let before = origin.seen().len();
        let answer = h1::request(gateway.public, method, "a.example", path, &headers, body.as_bytes());
        (answer, origin.seen().get(before).cloned())
    };
    let json = [("Content-Type", "application/json")];
    for (method, path, headers, body) in [
        ("GET", "/orgs/acme/x", &[][..], ""),
        ("GET", "/orgs/%61cme/x?org=acme", &[("X-Org", "acme")], ""),
        ("GET", "/x", &[("X-Tenant-Id", "globex"), ("X_Tenant_Id", "globex")], ""),
        ("POST", "/x", &json, r#"{"org":"acme","data":{"org":"acme"}}"#),
    ] {
        let (answer, seen) = send(method, path, headers, body);
        let seen = seen.unwrap_or_else(|| panic!("{path}: {} {}", answer.status, answer.text()));
        assert_eq!(seen.all("x-tenant-id"), ["acme"], "{path}");
        assert_eq!(seen.all("x_tenant_id"), [""; 0], "{path}");
        assert_eq!(seen.body, body.as_bytes(), "{path}");
    }
    for (method, path, headers, body) in [
        ("GET", "/orgs/globex/x", &[][..], ""),
        ("GET", "/orgs/./globex/x", &[], ""),
        ("GET", "/x/../orgs//globex", &[], ""),
        ("GET", "/orgs/acme/x?org=globex", &[], ""),
        ("GET", "/x?org=acme&org=globex", &[], ""),
        ("GET", "/x", &[("X-Org", "globex")], ""),
        ("GET", "/x", &[("X-Org", "acme"), ("X-Org", "globex")], ""),
        ("POST", "/x", &json, r#"{"org":"globex"}"#),
        ("POST", "/x", &json, r#"{"org":"acme","org":"globex"}"#),
        ("POST", "/x", &json, r#"{"data":[{"\u006frg":"globex"}]}"#),
    ] {
        let (answer, seen) = send(method, path, headers, body);
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (403, "tenant_mismatch"),
            "{path}"
        );
        let said = answer.text();
        assert!(
            seen.is_none() && !said.contains("globex") && !said.contains("acme"),
            "{path}: {said}"
        );
    }
    let (answer, _) = send("POST", "/x", &[("Content-Type", "text/plain")], "org=globex");
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (415, "tenant_body_unreadable")
    );
    // FL-03, FF-25: nobody's request is refused, counted and told.
    let nobody = format!("Bearer {}", key.token(&Idp::claims("alice")));
    let answer = h1::get(gateway.public, "a.example", "/x", &[("Authorization", &nobody)]);
    assert_eq!((answer.status, answer.reason().as_str()), (400, "tenant_missing"));
    let all = gateway.admin("GET", "/metrics", "").1;
    let line = all
        .lines()
        .find(|line| line.contains("tenant_refusals") && line.contains("tenant_missing"));
    assert!(line.is_some_and(|line| line.ends_with(" 1")), "{line:?}");
    wait("the line of a request that passed", || {
        let log = gateway.access_log(1);
        log.iter().any(|line| line["tenant"] == "acme" && line["status"] == 200)
    });
}

#[test]
fn a_proxy_tells_the_tenant_if_it_is_trusted() {
    let origin = Origin::start("ok");
    let filters = "{ tenant: { from: { header: x-org }, upstream_header: x-customer } }";
    for (trusted, expected) in [("[127.0.0.0/8]", 200), ("[192.0.2.0/24]", 400)] {
        let gateway = Gateway::start(&format!("trusted_proxies: {trusted}\n{}", site(&origin, filters)));
        let answer = h1::get(
            gateway.public,
            "a.example",
            "/",
            &[("X-Org", "acme"), ("X-Customer", "globex")],
        );
        assert_eq!(answer.status, expected, "{trusted}: {}", answer.text());
    }
    let seen = origin.seen();
    assert_eq!((seen.len(), seen[0].all("x-customer")), (1, vec!["acme"]));
}

#[test]
fn fl_25_another_tenants_answer_is_not_passed_on() {
    let origin = Origin::with(|seen| {
        let owner = seen.target().trim_start_matches('/');
        format!("HTTP/1.1 200 OK\r\nX-Owner: {owner}\r\nContent-Length: 6\r\n\r\nsecret").into_bytes()
    });
    let filters = "{ tenant: { from: { host: \"{tenant}.example\" }, response_header: x-owner } }";
    let gateway = Gateway::start(&site(&origin, filters));
    let ask = |path: &str| h1::get(gateway.public, "acme.example", path, &[]);
    assert_eq!((ask("/acme").status, ask("/acme").text().as_str()), (200, "secret"));
    let answer = ask("/globex");
    assert_eq!((answer.status, answer.reason().as_str()), (502, "tenant_leak_blocked"));
    assert!(!answer.text().contains("secret") && !answer.text().contains("globex"));
    assert!(answer.header("x-owner").is_none(), "the name is not told either");
}

/// The tenants of the test below, each with as many clients.
const TENANTS: [&str; 2] = ["acme", "globex"];
const CLIENTS: u64 = 2;
/// One request in so many names the other tenant.
const FOREIGN: u64 = 16;

/// Answers with what it saw of the caller, and counts what should never arrive.
fn mirror(crossed: &Arc<AtomicU64>) -> Origin {
    let crossed = Arc::clone(crossed);
    Origin::forgetful(move |seen: &Seen| {
        let tenant = seen.all("x-tenant-id").join(",");
        let own = format!("/orgs/{tenant}/");
        let mine = seen.target().starts_with(&own) && seen.all("cookie").iter().all(|cookie| cookie.contains(&tenant));
        if !mine {
            crossed.fetch_add(1, Ordering::SeqCst);
        }
        let body = format!("{tenant} {}", seen.all("cookie").join(","));
        format!(
            "HTTP/1.1 200 OK\r\nX-Owner: {tenant}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    })
}

/// What is wrong with an answer.
fn judge(answer: &Answer, tenant: &str, other: &str, session: &str, foreign: bool) -> Result<(), String> {
    let (status, body) = (answer.status, answer.text());
    let right = if foreign {
        status == 403 && answer.reason() == "tenant_mismatch" && !body.contains(other)
    } else {
        status == 200 && body == format!("{tenant} sid={session}")
    };
    right
        .then_some(())
        .ok_or(format!("{tenant}, {session}: {status} {body}"))
}

/// Asks over a connection that is kept for as long as the gateway keeps it.
fn ask(gateway: &Gateway, connection: &mut Connection, request: &str) -> Result<Answer, String> {
    let answer = connection.ask(request).ok_or("no answer")?;
    let last = answer.header("connection");
    if last.is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        *connection = Connection::open(gateway.public);
    }
    Ok(answer)
}

/// One client: `count` requests that pass, and those of them in between that name the other tenant.
fn client(gateway: &Gateway, tenants: (&str, &str), bearer: &str, client: u64, count: u64) -> Result<(), String> {
    let (tenant, other) = tenants;
    let mut connection = Connection::open(gateway.public);
    for number in 0..count {
        let session = format!("{tenant}-{client}-{number}");
        let fields = format!("Host: a.example\r\nAuthorization: {bearer}\r\nCookie: sid={session}\r\n");
        let own = format!("GET /orgs/{tenant}/x?org={tenant} HTTP/1.1\r\n{fields}X-Org: {tenant}\r\n\r\n");
        let answer = ask(gateway, &mut connection, &own)?;
        judge(&answer, tenant, other, &session, false)?;
        if number % FOREIGN == 0 {
            let path = [
                format!("/orgs/{other}/x"),
                format!("/orgs/{tenant}/x?org={other}"),
                format!("/orgs/{tenant}/x?org={tenant}&org={other}"),
            ];
            let path = &path[usize::try_from(number / FOREIGN % 3).expect("small")];
            let request = format!("GET {path} HTTP/1.1\r\n{fields}\r\n");
            let answer = ask(gateway, &mut connection, &request)?;
            judge(&answer, tenant, other, &session, true)?;
        }
    }
    Ok(())
}

/// FL-01: the same subject, paths, addresses and limits in both tenants; every limit holds exactly what one tenant asks for.
/// `PORTCULLIS_ISOLATION_REQUESTS=1000000` is the full form.
#[test]
fn fl_01_two_tenants_under_load_never_meet() {
    let wanted = std::env::var("PORTCULLIS_ISOLATION_REQUESTS").ok();
    let requests: u64 = wanted.map_or(10_000, |text| text.parse().expect("a number"));
    let tenants = TENANTS.len() as u64;
    let each = requests / (tenants * CLIENTS);
    let burst = each * CLIENTS;
    let (key, crossed) = (Key::ed25519("k"), Arc::new(AtomicU64::new(0)));
    let (idp, origin, signer) = (Idp::start(&[&key]), mirror(&crossed), Signer::new("b"));
    let rule = |name: &str, keys: &str| {
        format!(
            "{{ name: {name}, limit_keys: [{keys}], algorithm: token_bucket, algorithm_config: {{ tokens_per_second: 0.00001, burst: {burst} }} }}"
        )
    };
    let rules = [
        rule("user", "\"jwt:sub\""),
        rule("tenant", "\"tenant:id\""),
        rule("address", "\"ip:address\""),
    ];
    let bundle = format!(
        "bundle_version: 1\npolicies:\n- {{ id: p, spec: {{ selector: {{ pathPrefix: /orgs }}, rules: [{}] }} }}\n",
        rules.join(", ")
    );
    let filters = format!(
        "{{ jwt: {{ issuer: main }} }}, {{ {} }}, {{ rate_limit: {{ key: \"jwt:sub\", rate: 1/d, burst: {} }} }}, {{ policy: {{}} }}",
        TENANT.replace("tenant: {", "tenant: { response_header: x-owner,"),
        burst + 1,
    );
    let yaml = idp.identity("") + &signer.policy() + &site(&origin, &filters);
    let nobody = format!("Bearer {}", key.token(&Idp::claims("alice")));
    let gateway = start(
        &idp,
        Builder::new(&yaml).file("policy.bundle", signer.sign(&bundle)),
        &nobody,
    );
    let tokens = TENANTS.map(|tenant| token(&key, tenant));
    std::thread::scope(|scope| {
        for (place, bearer) in tokens.iter().enumerate() {
            let names = (TENANTS[place], TENANTS[1 - place]);
            for number in 0..CLIENTS {
                let gateway = &gateway;
                scope.spawn(move || {
                    client(gateway, names, bearer, number, each).unwrap_or_else(|wrong| panic!("{wrong}"));
                });
            }
        }
    });
    assert_eq!(
        crossed.load(Ordering::SeqCst),
        0,
        "requests that arrived as somebody else's"
    );
    // Each counter has taken exactly what its own tenant asked for: one more is one too many, for both.
    for (tenant, bearer) in TENANTS.iter().zip(&tokens) {
        let path = format!("/orgs/{tenant}/x");
        let answer = h1::get(gateway.public, "a.example", &path, &[("Authorization", bearer)]);
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (429, "token_bucket_exceeded"),
            "{tenant}"
        );
        let answer = h1::get(gateway.public, "a.example", &path, &[("Authorization", bearer)]);
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (429, "rate_limit_exceeded"),
            "{tenant}"
        );
    }
}
