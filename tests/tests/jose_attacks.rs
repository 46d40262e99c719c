//! Attacks on tokens, each over a real socket: every one is refused with its own reason, nothing of it reaches the upstream,
//! and a good token passes right after it.

#![allow(clippy::expect_used, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

#[path = "jose_attacks/claims.rs"]
mod claims;
#[path = "jose_attacks/forms.rs"]
mod forms;
#[path = "jose_attacks/headers.rs"]
mod headers;
#[path = "jose_attacks/keys.rs"]
mod keys;
#[path = "jose_attacks/signatures.rs"]
mod signatures;

use portcullis_e2e::gateway::{Builder, Gateway, wait};
use portcullis_e2e::h1::{Answer, Connection};
use portcullis_e2e::idp::{Idp, Key, now};
use portcullis_e2e::origin::Origin;
use serde_json::{Value, json};

/// Another issuer that the route trusts, with a key of its own.
const OTHER: &str = "https://other.example.com/";
/// An issuer that shares a secret.
const PARTNER: &str = "https://partner.example.com/";
/// Its secret.
const SECRET: &str = "a secret that the partner and the gateway share";

/// What is attacked: a route that trusts three issuers, and whoever knows their public keys.
struct World {
    gateway: Gateway,
    origin: Origin,
    rsa: Key,
    ec: Key,
    ed: Key,
    other: Key,
    /// Keys of the issuer's set that are not fit to be used.
    unfit: keys::Unfit,
    _idps: [Idp; 2],
}

/// An attack: its name, the token, and the reason of the refusal.
type Case = (String, String, &'static str);

impl World {
    fn new() -> Self {
        let (rsa, ec, ed, other) = (
            Key::rs256("rsa"),
            Key::es256("ec"),
            Key::ed25519("ed"),
            Key::ed25519("ed"),
        );
        let unfit = keys::Unfit::new();
        let idps = [Idp::start(&[]), Idp::start(&[&other])];
        idps[0].serve_jwks(&[&[rsa.jwk(), ec.jwk(), ed.jwk()], &*unfit.jwks()].concat());
        let origin = Origin::start("ok");
        let issuer = |iss: &str, idp: &Idp| {
            format!(
                "issuer: \"{iss}\", jwks_url: \"http://{}/\", algorithms: [RS256, ES256, EdDSA], audiences: [api], refresh: {{ interval: 1h, cooldown: 1h }}",
                idp.address
            )
        };
        let yaml = format!(
            "identity:\n  issuers:\n    main: {{ {} }}\n    other: {{ {} }}\n    partner: {{ issuer: \"{PARTNER}\", hmac: [{{ secret: \"env:PARTNER\" }}], algorithms: [HS256], audiences: [api] }}\nupstreams: {{ app: {{ servers: [\"{}\"] }} }}\nlimits: {{ request_header_bytes: 64KiB }}\nsites: [{{ hosts: [\"*\"], filters: [{{ jwt: {{ issuers: [main, other, partner] }} }}], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n",
            issuer(Idp::ISSUER, &idps[0]),
            issuer(OTHER, &idps[1]),
            origin.address
        );
        let gateway = Builder::new(&yaml).environment("PARTNER", SECRET).start();
        for name in ["main", "other"] {
            let series = format!("portcullis_jwks_fetches_total{{issuer=\"{name}\",result=\"ok\"}}");
            wait("the keys", || gateway.metric(&series) >= 1.0);
        }
        Self {
            gateway,
            origin,
            rsa,
            ec,
            ed,
            other,
            unfit,
            _idps: idps,
        }
    }

    /// Sends each token, and a good one after it.
    fn refuses(&self, cases: &[Case]) -> usize {
        let good = self.ed.token(&Idp::claims("good"));
        for (name, token, reason) in cases {
            let mut connection = Connection::open(self.gateway.public);
            let answer = ask(&mut connection, token).expect(name);
            let got = (answer.status, answer.reason());
            let expected = if *reason == "header_too_large" { 431 } else { 401 };
            assert_eq!(got, (expected, (*reason).to_owned()), "{name}: {}", answer.text());
            let challenge = answer.header("www-authenticate").unwrap_or_default();
            assert_eq!(
                challenge.contains("error=\"invalid_token\""),
                expected == 401,
                "{name}: {challenge}"
            );
            let mut connection = Connection::open(self.gateway.public);
            let answer = ask(&mut connection, &good).expect("an answer");
            assert_eq!(answer.status, 200, "a good token after: {name}");
        }
        let passed = self.origin.seen().len();
        assert_eq!(passed, cases.len(), "only the good ones came through");
        cases.len()
    }

    /// A token of the Ed25519 key whose header has these changes.
    fn header(&self, changes: &Value) -> String {
        let mut header = json!({ "alg": "EdDSA", "kid": "ed", "typ": "JWT" });
        change(&mut header, changes);
        self.ed.token_with(&header, &Idp::claims("mallory"))
    }

    /// A token of the Ed25519 key whose claims have these changes.
    fn claims(&self, changes: &Value) -> String {
        let mut claims = Idp::claims("mallory");
        change(&mut claims, changes);
        self.ed.token(&claims)
    }

    /// A token of the Ed25519 key over this payload.
    fn payload(&self, payload: &str) -> String {
        self.ed.token_of(r#"{"alg":"EdDSA","kid":"ed"}"#, payload)
    }
}

fn ask(connection: &mut Connection, token: &str) -> Option<Answer> {
    // As bytes: some tokens are no text.
    connection.ask(format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    ))
}

/// Sets members; `null` takes one away.
fn change(object: &mut Value, changes: &Value) {
    let all = object.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => all.remove(name),
            value => all.insert(name.clone(), value.clone()),
        };
    }
}

fn case(name: impl Into<String>, token: String, reason: &'static str) -> Case {
    (name.into(), token, reason)
}

#[test]
fn what_is_meant_to_pass_passes() {
    let world = World::new();
    let claims = Idp::claims("alice");
    let mut of_other = claims.clone();
    change(&mut of_other, &json!({ "iss": OTHER }));
    let mut of_partner = claims.clone();
    change(&mut of_partner, &json!({ "iss": PARTNER }));
    let shared = portcullis_e2e::idp::hmac_token(
        ring::hmac::HMAC_SHA256,
        SECRET.as_bytes(),
        &json!({ "alg": "HS256" }),
        &of_partner,
    );
    for (name, token) in [
        ("RS256", world.rsa.token(&claims)),
        ("ES256", world.ec.token(&claims)),
        ("EdDSA", world.ed.token(&claims)),
        ("HS256 of the partner", shared),
        ("another issuer", world.other.token(&of_other)),
        (
            "no kid where one key fits",
            world.rsa.token_with(&json!({ "alg": "RS256" }), &claims),
        ),
        ("an access token", world.header(&json!({ "typ": "at+jwt" }))),
        ("no typ", world.header(&json!({ "typ": null }))),
        ("an unknown parameter", world.header(&json!({ "x": [1] }))),
        ("several audiences", world.claims(&json!({ "aud": ["else", "api"] }))),
        ("a float", world.claims(&json!({ "exp": 4_000_000_000.5 }))),
        ("a second ago", world.claims(&json!({ "exp": now() - 1 }))),
    ] {
        let mut connection = Connection::open(world.gateway.public);
        let answer = ask(&mut connection, &token).expect(name);
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    }
}
