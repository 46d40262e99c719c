//! The keys of `jwt` that say where a token is and what it must say, and shared secrets of issuers: each by two routes that
//! differ in it.

#![allow(clippy::expect_used, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use portcullis_e2e::gateway::{Builder, Gateway, wait};
use portcullis_e2e::h1::{self, Answer};
use portcullis_e2e::idp::{Idp, Key, hmac_token, now};
use portcullis_e2e::origin::Origin;
use ring::hmac::{HMAC_SHA256, HMAC_SHA512};
use serde_json::{Value, json};

/// A gateway with a route for each of these: its name, and what is added to `jwt` there.
struct Setup {
    gateway: Gateway,
    origin: Origin,
    key: Key,
    _idp: Idp,
}

fn setup(routes: &[(&str, &str)]) -> Setup {
    let key = Key::ed25519("k1");
    let (idp, origin) = (Idp::start(&[&key]), Origin::start("ok"));
    let route = |(name, keys): &(&str, &str)| {
        format!(
            "{{ match: {{ path: /{name} }}, filters: [{{ jwt: {{ issuer: main{keys} }} }}], proxy: {{ upstream: app }} }}"
        )
    };
    let routes: Vec<String> = routes.iter().map(route).collect();
    let gateway = Gateway::start(&format!(
        "{}upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], routes: [{}] }}]\n",
        idp.identity(""),
        origin.address,
        routes.join(", ")
    ));
    wait("the keys", || {
        gateway.metric("portcullis_jwks_fetches_total{issuer=\"main\",result=\"ok\"}") >= 1.0
    });
    Setup {
        gateway,
        origin,
        key,
        _idp: idp,
    }
}

impl Setup {
    fn token(&self, changes: &Value) -> String {
        let mut claims = Idp::claims("alice");
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        self.key.token(&claims)
    }

    fn get(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        h1::get(self.gateway.public, "a", target, fields)
    }

    /// With these claims on top of good ones.
    fn with(&self, target: &str, changes: &Value) -> Answer {
        let value = format!("Bearer {}", self.token(changes));
        self.get(target, &[("Authorization", &value)])
    }
}

fn told(answer: &Answer) -> (u16, String) {
    (
        answer.status,
        if answer.status == 200 {
            String::new()
        } else {
            answer.reason()
        },
    )
}

#[test]
fn header_cookie_and_query() {
    let setup = setup(&[
        ("header", ""),
        ("cookie", ", cookie: t"),
        ("query", ", query: t"),
        ("stripped", ", cookie: t, forward: strip"),
    ]);
    let token = setup.token(&json!({}));
    let (bearer, cookie) = (format!("Bearer {token}"), format!("a=1; t={token}"));
    for (place, found) in [
        ("header", [true, false, false]),
        ("cookie", [false, true, false]),
        ("query", [false, false, true]),
    ] {
        let path = format!("/{place}");
        let answers = [
            setup.get(&path, &[("Authorization", &bearer)]),
            setup.get(&path, &[("Cookie", &cookie)]),
            setup.get(&format!("{path}?a=1&t={token}"), &[]),
        ];
        for (answer, found) in answers.iter().zip(found) {
            let expected = if found {
                (200, String::new())
            } else {
                (401, "token_missing".to_owned())
            };
            assert_eq!(told(answer), expected, "{place}");
        }
    }
    assert_eq!(told(&setup.get("/stripped", &[("Cookie", &cookie)])).0, 200);
    let seen = setup.origin.seen();
    assert_eq!(seen[1].all("cookie"), [cookie.as_str()]);
    assert_eq!(seen[2].target(), "/query?a=1");
    assert_eq!(seen[3].all("cookie"), ["a=1"]);
}

/// Not where it passes, and not where it is refused, or no JWT at all.
#[test]
fn a_token_in_the_query_goes_nowhere() {
    let setup = setup(&[
        ("query", ", query: ticket"),
        ("shadow", ", query: ticket, mode: shadow"),
    ]);
    let token = setup.token(&json!({}));
    let answer = setup.get(&format!("/query?ticket={token}&a=1"), &[]);
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("private")));
    assert_eq!(setup.get("/query?ticket=opaque-secret", &[]).status, 401);
    assert_eq!(
        setup
            .get("/query?a=2&%74icket=opaque-secret&ticket=opaque-secret", &[])
            .status,
        400
    );
    assert_eq!(setup.get("/shadow?ticket=opaque-secret&a=3", &[]).status, 200);
    let lines = setup.gateway.access_log(4);
    let mut queries: Vec<&str> = lines
        .iter()
        .map(|line| line["query"].as_str().unwrap_or_default())
        .collect();
    queries.sort_unstable();
    assert_eq!(queries, ["", "a=1", "a=2", "a=3"]);
    let seen = setup.origin.seen();
    let targets: Vec<&str> = seen.iter().map(portcullis_e2e::origin::Seen::target).collect();
    assert_eq!(
        targets,
        ["/query?a=1", "/shadow?ticket=opaque-secret&a=3"],
        "a shadow changes nothing"
    );
    let log = setup.gateway.log();
    assert!(!log.contains("opaque-secret") && !log.contains(&token), "{log}");
}

#[test]
fn when() {
    let setup = setup(&[("staff", ", when: '\"staff\" in jwt.claims.roles'"), ("all", "")]);
    let claims = json!({ "roles": ["dev"] });
    assert_eq!(
        told(&setup.with("/staff", &claims)),
        (403, "condition_not_met".to_owned())
    );
    assert_eq!(told(&setup.with("/all", &claims)).0, 200);
    assert_eq!(
        told(&setup.with("/staff", &json!({ "roles": ["dev", "staff"] }))).0,
        200
    );
}

#[test]
fn max_token_age() {
    let setup = setup(&[("short", ", max_token_age: 1m"), ("long", ", max_token_age: 1h")]);
    let claims = json!({ "iat": now() - 600 });
    assert_eq!(told(&setup.with("/short", &claims)), (401, "token_too_old".to_owned()));
    assert_eq!(told(&setup.with("/long", &claims)).0, 200);
}

#[test]
fn step_up() {
    let setup = setup(&[
        ("acr", ", step_up: { acr_values: [gold] }"),
        ("amr", ", step_up: { amr: [mfa] }"),
        ("age", ", step_up: { max_age: 1m }"),
        ("none", ""),
    ]);
    let claims = json!({ "acr": "silver", "amr": ["pwd"], "auth_time": now() - 600 });
    for (path, challenge) in [
        ("/acr", ", acr_values=\"gold\""),
        ("/amr", ""),
        ("/age", ", max_age=\"60\""),
    ] {
        let answer = setup.with(path, &claims);
        assert_eq!(
            told(&answer),
            (401, "insufficient_user_authentication".to_owned()),
            "{path}"
        );
        let told = answer.header("www-authenticate").expect("a challenge");
        assert!(
            told.contains("error=\"insufficient_user_authentication\"") && told.ends_with(challenge)
                || challenge.is_empty(),
            "{told}"
        );
    }
    assert_eq!(told(&setup.with("/none", &claims)).0, 200);
    let strong = json!({ "acr": "gold", "amr": ["mfa", "pwd"], "auth_time": now() });
    for path in ["/acr", "/amr", "/age"] {
        assert_eq!(told(&setup.with(path, &strong)).0, 200, "{path}");
    }
}

const SECRET: &str = "a secret of the partner, which is longer than the hash of HS512 is";

fn partner(algorithms: &str, secrets: &str) -> String {
    format!(
        "identity: {{ issuers: {{ partner: {{ issuer: partner, algorithms: [{algorithms}], audiences: [api], hmac: [{secrets}] }} }} }}\nsites: [{{ hosts: [\"*\"], filters: [{{ jwt: {{ issuer: partner }} }}], routes: [{{ respond: {{ status: 200 }} }}] }}]\n"
    )
}

fn shared(secret: &str, algorithm: &str, kid: &str) -> String {
    let claims = json!({ "iss": "partner", "aud": "api", "exp": now() + 60 });
    let hash = if algorithm == "HS512" { HMAC_SHA512 } else { HMAC_SHA256 };
    hmac_token(
        hash,
        secret.as_bytes(),
        &json!({ "alg": algorithm, "kid": kid }),
        &claims,
    )
}

fn ask(gateway: &Gateway, token: &str) -> (u16, String) {
    let value = format!("Bearer {token}");
    told(&h1::get(gateway.public, "a", "/", &[("Authorization", &value)]))
}

#[test]
fn shared_secrets_and_their_names() {
    let yaml = partner(
        "HS256",
        "{ kid: new, secret: \"env:PARTNER\" }, { kid: old, secret: \"file:{dir}/old\" }",
    );
    let old = "the secret of before, at least 32 bytes";
    let gateway = Builder::new(&yaml)
        .environment("PARTNER", SECRET)
        .file("old", format!("{old}\n"))
        .start();
    assert_eq!(ask(&gateway, &shared(SECRET, "HS256", "new")).0, 200);
    assert_eq!(ask(&gateway, &shared(old, "HS256", "old")).0, 200);
    assert_eq!(
        ask(&gateway, &shared(old, "HS256", "new")),
        (401, "signature_invalid".to_owned())
    );
    assert_eq!(
        ask(&gateway, &shared(SECRET, "HS256", "other")),
        (401, "unknown_key".to_owned())
    );
    assert_eq!(
        ask(&gateway, &shared(SECRET, "HS512", "new")),
        (401, "alg_not_allowed".to_owned())
    );
    // A new secret is in force with the next configuration, and what was remembered under the old one is not.
    std::fs::write(gateway.path("old"), "another secret, at least 32 bytes, of the partner").expect("the file");
    assert_eq!(gateway.reload().0, 200);
    assert_eq!(
        ask(&gateway, &shared(old, "HS256", "old")),
        (401, "signature_invalid".to_owned())
    );
    assert_eq!(ask(&gateway, &shared(SECRET, "HS256", "new")).0, 200);
    let (_, dump) = gateway.admin("GET", "/-/config", "");
    assert!(!dump.contains(SECRET) && !gateway.log().contains(SECRET));
}

#[test]
fn a_secret_that_is_short_or_not_there_stops_the_start() {
    let short = Builder::new(&partner("HS256, HS512", "{ secret: \"env:PARTNER\" }"));
    let said = short
        .environment("PARTNER", "0123456789abcdef0123456789abcdef")
        .start_expecting_refusal();
    assert!(
        said.contains("env:PARTNER is shorter than the 64 bytes that it must have"),
        "{said}"
    );
    assert!(!said.contains("0123456789abcdef"), "{said}");
    let missing = Builder::new(&partner("HS256", "{ secret: \"file:{dir}/none\" }"));
    let said = missing.start_expecting_refusal();
    assert!(said.contains("/none"), "{said}");
}
