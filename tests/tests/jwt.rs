//! Tokens and the keys behind them: what is let through, what is refused and how that is said, and what becomes of
//! requests while the identity provider is absent, slow, flooded or turns its keys over.

#![allow(clippy::expect_used)] // helpers of tests fail by panicking, as tests do

use std::time::{Duration, Instant};

use portcullis_e2e::gateway::{Builder, Gateway, wait};
use portcullis_e2e::h1::{self, Answer, Connection};
use portcullis_e2e::idp::{Idp, Key, decode, encode, hmac_token, now, unsigned};
use portcullis_e2e::load::Load;
use portcullis_e2e::origin::Origin;
use ring::hmac::{HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use serde_json::{Value, json};

/// `/secure` needs a token, `/maybe` takes one, `/open` does not look.
fn sites(origin: &Origin) -> String {
    format!(
        "upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites:\n- hosts: [\"*\"]\n  routes:\n  - match: {{ path_prefix: /secure }}\n    filters: [{{ jwt: {{ issuer: main, claims_to_headers: {{ x-user: sub }} }} }}]\n    proxy: {{ upstream: app }}\n  - match: {{ path_prefix: /maybe }}\n    filters: [{{ jwt: {{ issuer: main, optional: true, claims_to_headers: {{ x-user: sub }} }} }}]\n    proxy: {{ upstream: app }}\n  - match: {{ path_prefix: /open }}\n    proxy: {{ upstream: app }}\n",
        origin.address
    )
}

struct Setup {
    gateway: Gateway,
    idp: Idp,
    origin: Origin,
}

/// A gateway whose issuer has these keys, loaded. `more` is added to the issuer.
fn setup(keys: &[&Key], more: &str) -> Setup {
    let (idp, origin) = (Idp::start(keys), Origin::start("origin"));
    let gateway = Gateway::start(&format!("{}{}", idp.identity(more), sites(&origin)));
    let setup = Setup { gateway, idp, origin };
    setup.wait_for_fetches("ok", 1);
    setup
}

impl Setup {
    fn ask(&self, token: &str) -> Answer {
        ask(&self.gateway, token)
    }

    /// Waits until so many fetches have ended in this way.
    fn wait_for_fetches(&self, result: &str, count: u32) {
        wait_for_fetches(&self.gateway, result, count);
    }
}

fn ask(gateway: &Gateway, token: &str) -> Answer {
    let value = format!("Bearer {token}");
    h1::get(gateway.public, "a", "/secure", &[("Authorization", &value)])
}

fn fetches(gateway: &Gateway, result: &str) -> f64 {
    gateway.metric(&format!(
        "portcullis_jwks_fetches_total{{issuer=\"main\",result=\"{result}\"}}"
    ))
}

fn wait_for_fetches(gateway: &Gateway, result: &str, count: u32) {
    wait(&format!("{count} fetches that end in {result}"), || {
        fetches(gateway, result) >= f64::from(count)
    });
}

/// A refusal of a token that was there (RFC 6750, 3.1), for this reason.
#[track_caller]
fn refused(answer: &Answer, reason: &str, what: &str) {
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (401, reason),
        "{what}: {}",
        answer.text()
    );
    assert!(
        challenge.starts_with("Bearer realm=\"portcullis\", error=\"invalid_token\", error_description=\""),
        "{what}: {challenge}"
    );
}

/// Claims with changes; `null` takes one away.
fn claims_with(changes: &Value) -> Value {
    let mut claims = Idp::claims("alice");
    for (name, value) in changes.as_object().expect("an object") {
        let all = claims.as_object_mut().expect("an object");
        match value {
            Value::Null => all.remove(name),
            value => all.insert(name.clone(), value.clone()),
        };
    }
    claims
}

#[test]
fn good_tokens_of_each_algorithm_pass() {
    let keys = [Key::rs256("r"), Key::es256("e"), Key::ed25519("d")];
    let setup = setup(&keys.each_ref(), "");
    for key in &keys {
        for _ in 0..2 {
            let answer = setup.ask(&key.token(&Idp::claims(&key.id)));
            assert_eq!((answer.status, answer.text().as_str()), (200, "origin"), "{}", key.id);
        }
    }
    let users = setup.origin.seen();
    let users: Vec<_> = users.iter().map(|seen| seen.all("x-user")).collect();
    assert_eq!(users, [["r"], ["r"], ["e"], ["e"], ["d"], ["d"]]);
    // The scheme's name is compared without regard to case (RFC 9110, 11.1).
    let value = format!("bEARER {}", keys[2].token(&Idp::claims("alice")));
    let answer = h1::get(setup.gateway.public, "a", "/secure", &[("Authorization", &value)]);
    assert_eq!(answer.status, 200);
}

#[test]
fn alg_none_never_passes_however_it_is_spelt() {
    let key = Key::ed25519("k");
    let setup = setup(&[&key], "");
    let good = key.token(&Idp::claims("alice"));
    let signature = good.rsplit('.').next().expect("a signature");
    // 16 ways to spell four letters.
    let spellings = (0..16).map(|mask| {
        let letter = |(at, letter): (usize, char)| {
            if mask >> at & 1 == 1 {
                letter.to_ascii_uppercase()
            } else {
                letter
            }
        };
        json!("none".chars().enumerate().map(letter).collect::<String>())
    });
    let odd = [
        json!("none "),
        json!(" none"),
        json!("none\u{0}"),
        json!("n\u{f6}ne"),
        json!(""),
        json!(null),
        json!(false),
        json!(0),
        json!(["none"]),
        json!({}),
        json!("NULL"),
    ];
    for alg in spellings.chain(odd) {
        for with_kid in [true, false] {
            let mut header = json!({ "alg": alg, "typ": "JWT" });
            if with_kid {
                header["kid"] = json!("k");
            }
            let text = unsigned(&header, &Idp::claims("alice"));
            for end in ["", ".", ".AA", &format!(".{signature}")] {
                let answer = setup.ask(&format!("{text}{end}"));
                let reason = answer.reason();
                let known = ["alg_not_allowed", "token_malformed"].contains(&reason.as_str());
                assert!(known, "{alg} {end:?}: {reason}");
                refused(&answer, &reason, &alg.to_string());
            }
        }
    }
    let text = unsigned(&json!({ "typ": "JWT", "kid": "k" }), &Idp::claims("alice"));
    assert_eq!(setup.ask(&format!("{text}.{signature}")).status, 401, "no alg at all");
    assert!(setup.origin.seen().is_empty());
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let key = Key::rs256("r");
    let setup = setup(&[&key], "");
    let claims = Idp::claims("mallory");
    let forms = key.public_forms();
    assert!(forms.len() > 5);
    for (form, secret) in &forms {
        for (name, algorithm) in [("HS256", HMAC_SHA256), ("HS384", HMAC_SHA384), ("HS512", HMAC_SHA512)] {
            for header in [
                json!({ "alg": name, "kid": "r", "typ": "JWT" }),
                json!({ "alg": name, "typ": "JWT" }),
            ] {
                let answer = setup.ask(&hmac_token(algorithm, secret, &header, &claims));
                refused(&answer, "alg_not_allowed", &format!("{name} with the {form}"));
            }
        }
        // The same signature under the key's own algorithm, and under one that the set has no key for.
        for alg in ["RS256", "ES256", "EdDSA"] {
            let header = json!({ "alg": alg, "kid": "r", "typ": "JWT" });
            let answer = setup.ask(&hmac_token(HMAC_SHA256, secret, &header, &claims));
            assert_eq!(answer.status, 401, "{alg} over an HMAC with the {form}");
        }
    }
    assert!(setup.origin.seen().is_empty());
    assert_eq!(setup.ask(&key.token(&claims)).status, 200);
}

#[test]
fn claims_that_do_not_fit_are_refused() {
    let key = Key::es256("k");
    let setup = setup(&[&key], ", leeway: 5s");
    let soon = now() + 3600;
    for (changes, reason) in [
        (json!({ "iss": "https://evil.example.com/" }), "issuer_unknown"),
        (json!({ "iss": "https://id.example.com" }), "issuer_unknown"),
        (json!({ "iss": [Idp::ISSUER] }), "issuer_unknown"),
        (json!({ "iss": null }), "issuer_unknown"),
        (json!({ "aud": "other" }), "audience_mismatch"),
        (json!({ "aud": ["other", "API"] }), "audience_mismatch"),
        (json!({ "aud": [] }), "audience_mismatch"),
        (json!({ "aud": null }), "audience_mismatch"),
        (json!({ "exp": now() - 60 }), "token_expired"),
        (json!({ "exp": null }), "claims_invalid"),
        (json!({ "exp": soon.to_string() }), "claims_invalid"),
        (json!({ "exp": 1e300 }), "token_malformed"),
        (json!({ "exp": 999_999_999_999_u64 }), "claims_invalid"),
        (json!({ "exp": -1 }), "claims_invalid"),
        (json!({ "nbf": now() + 600 }), "token_not_yet_valid"),
        (json!({ "iat": now() + 600 }), "token_not_yet_valid"),
        (json!({ "sub": ["alice"] }), "claims_invalid"),
    ] {
        refused(
            &setup.ask(&key.token(&claims_with(&changes))),
            reason,
            &changes.to_string(),
        );
    }
    assert!(setup.origin.seen().is_empty());
    for changes in [
        json!({ "aud": ["other", "api"] }),
        json!({ "exp": now() - 1 }),
        json!({ "nbf": now() + 2 }),
    ] {
        let answer = setup.ask(&key.token(&claims_with(&changes)));
        assert_eq!(answer.status, 200, "{changes}: {}", answer.text());
    }
}

#[test]
fn tampered_and_broken_tokens_are_refused() {
    let (key, other) = (Key::ed25519("k"), Key::ed25519("k"));
    let setup = setup(&[&key], "");
    let good = key.token(&Idp::claims("alice"));
    assert_eq!(setup.ask(&good).status, 200);
    let parts: Vec<&str> = good.split('.').collect();
    let (header, claims, signature) = (parts[0], parts[1], parts[2]);
    let mallory = encode(Idp::claims("mallory").to_string().as_bytes());
    for (what, token, reason) in [
        (
            "another payload",
            format!("{header}.{mallory}.{signature}"),
            "signature_invalid",
        ),
        (
            "another's signature",
            other.token(&Idp::claims("alice")),
            "signature_invalid",
        ),
        ("no signature", format!("{header}.{claims}."), "signature_invalid"),
        ("two parts", format!("{header}.{claims}"), "token_malformed"),
        ("four parts", format!("{good}.x"), "token_malformed"),
        ("padding", format!("{good}="), "token_malformed"),
        ("a letter that is none", good.replacen("ey", "e*", 1), "token_malformed"),
        ("rubbish", "x.y.z".into(), "token_malformed"),
    ] {
        refused(&setup.ask(&token), reason, what);
    }
    // Every bit of the signature counts.
    let bytes = decode(signature);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let answer = setup.ask(&format!("{header}.{claims}.{}", encode(&flipped)));
        refused(&answer, "signature_invalid", &format!("bit {bit}"));
    }
    // What a header says of keys is not listened to.
    for (name, value) in [
        ("jwk", other.jwk()),
        ("jku", json!(format!("http://{}/jwks.json", setup.origin.address))),
        ("x5u", json!(format!("http://{}/x", setup.origin.address))),
    ] {
        let mut header = json!({ "alg": "EdDSA", "kid": "k", "typ": "JWT" });
        header[name] = value;
        let answer = setup.ask(&other.token_with(&header, &Idp::claims("mallory")));
        refused(&answer, "signature_invalid", name);
    }
    let answer = setup.ask(&key.token_with(
        &json!({ "alg": "EdDSA", "kid": "k", "crit": ["x"], "x": 1 }),
        &Idp::claims("a"),
    ));
    refused(&answer, "header_not_supported", "crit");
    assert_eq!(setup.origin.seen().len(), 1, "only the good one");
}

#[test]
fn a_missing_token_is_asked_for_without_an_error() {
    let key = Key::ed25519("k");
    let setup = setup(&[&key], "");
    let token = key.token(&Idp::claims("alice"));
    let public = setup.gateway.public;
    for headers in [
        vec![],
        vec![("Authorization", "Basic dXNlcjpwYXNz".to_owned())],
        vec![("X-Authorization", format!("Bearer {token}"))],
        vec![("Cookie", format!("access_token={token}"))],
        vec![("Proxy-Authorization", format!("Bearer {token}"))],
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = h1::get(public, "a", &format!("/secure?access_token={token}"), &headers);
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (401, "token_missing"),
            "{headers:?}"
        );
        assert_eq!(
            answer.all("www-authenticate"),
            ["Bearer realm=\"portcullis\""],
            "{headers:?}"
        );
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    let value = format!("Bearer {token}");
    let twice = [("Authorization", value.as_str()), ("Authorization", value.as_str())];
    let answer = h1::get(public, "a", "/secure", &twice);
    assert_eq!((answer.status, answer.reason().as_str()), (400, "token_repeated"));
    assert!(setup.origin.seen().is_empty());
    assert_eq!(h1::get(public, "a", "/maybe", &[]).status, 200);
    let answer = h1::get(public, "a", "/maybe", &[("Authorization", "Bearer x.y.z")]);
    refused(&answer, "token_malformed", "a bad token where none is needed");
}

/// Ten thousand tokens that each name another key: the provider is asked once a cooldown, whoever else asks is answered.
#[test]
fn a_flood_of_unknown_keys_is_one_fetch_a_cooldown() {
    const FLOOD: usize = 10_000;
    const CLIENTS: usize = 4;
    const COOLDOWN_MS: u128 = 400;
    let key = Key::ed25519("k");
    let begin = Instant::now();
    let setup = setup(
        &[&key],
        &format!(", refresh: {{ interval: 1h, cooldown: {COOLDOWN_MS}ms }}"),
    );
    let good = |subject: &str| {
        format!(
            "GET /secure HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n",
            key.token(&Idp::claims(subject))
        )
    };
    let load = Load::start(setup.gateway.public, 1, &good("alice"), |answer| {
        (answer.status != 200).then(|| format!("{}: {}", answer.status, answer.text()))
    });
    let public = setup.gateway.public;
    let clients = (0..CLIENTS).map(|client| {
        let template = key.token(&Idp::claims("mallory"));
        std::thread::spawn(move || {
            let rest = template.split_once('.').expect("a header").1.to_owned();
            let mut connection = Connection::open(public);
            for index in 0..FLOOD / CLIENTS {
                let header = json!({ "alg": "EdDSA", "kid": format!("{client}-{index}"), "typ": "JWT" });
                let token = format!("{}.{rest}", encode(header.to_string().as_bytes()));
                let request = format!("GET /secure HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
                let answer = connection.ask(request).expect("an answer");
                assert_eq!((answer.status, answer.reason().as_str()), (401, "unknown_key"));
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.join().expect("all refused");
    }
    // Tokens that nobody has seen before are good all the same.
    for subject in ["bob", "carol", "dave"] {
        assert_eq!(setup.ask(&key.token(&Idp::claims(subject))).status, 200);
    }
    assert!(load.finish() > 10, "good tokens passed meanwhile");
    let fetched = u128::from(setup.idp.fetches());
    let most = begin.elapsed().as_millis() / COOLDOWN_MS + 1;
    assert!(
        (2..=most).contains(&fetched),
        "{fetched} fetches; at most {most} may be"
    );
    let users = setup.origin.seen();
    assert!(users.iter().all(|seen| seen.all("x-user") != ["mallory"]));
}

#[test]
fn a_provider_that_is_down_at_the_start_is_no_refusal() {
    let key = Key::ed25519("k");
    let (address, origin) = (portcullis_e2e::ports::free(), Origin::start("origin"));
    let identity = Idp::identity_at(address, ", refresh: { interval: 1s, cooldown: 200ms }");
    let gateway = Gateway::start(&format!("{identity}{}", sites(&origin)));
    wait_for_fetches(&gateway, "connect", 1);
    let token = key.token(&Idp::claims("alice"));
    let stranger = Key::ed25519("stranger").token(&Idp::claims("alice"));
    for _ in 0..3 {
        for token in [&token, &stranger] {
            let answer = ask(&gateway, token);
            assert_eq!((answer.status, answer.reason().as_str()), (503, "jwks_unavailable"));
            assert_eq!(
                answer.header("www-authenticate"),
                None,
                "nobody is told that the token is bad"
            );
        }
        assert_eq!(h1::get(gateway.public, "a", "/open", &[]).status, 200);
        assert_eq!(h1::get(gateway.public, "a", "/maybe", &[]).status, 200);
    }
    let (_, status) = gateway.admin("GET", "/-/status", "");
    assert!(
        status.contains("\"keys\":0") && status.contains("\"reason\":\"connect\""),
        "{status}"
    );
    let _idp = Idp::start_at(address, &[&key]);
    wait("the keys", || ask(&gateway, &token).status == 200);
    refused(&ask(&gateway, &stranger), "unknown_key", "now it is known to be bad");
}

#[test]
fn keys_are_turned_over_without_a_failed_request() {
    let (old, new) = (Key::es256("old"), Key::es256("new"));
    let setup = setup(&[&old], ", refresh: { interval: 1h, cooldown: 100ms }");
    let old_token = old.token(&Idp::claims("old"));
    let request = format!("GET /secure HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {old_token}\r\n\r\n");
    let load = Load::start(setup.gateway.public, 2, &request, |answer| {
        (answer.status != 200).then(|| format!("{}: {}", answer.status, answer.text()))
    });
    setup.idp.serve(&[&old, &new]);
    std::thread::sleep(Duration::from_millis(200));
    // Several at once: whoever comes first asks, all wait for the one answer.
    let tokens: Vec<_> = (0..8)
        .map(|user| new.token(&Idp::claims(&format!("new {user}"))))
        .collect();
    std::thread::scope(|scope| {
        let answers: Vec<_> = tokens
            .iter()
            .map(|token| scope.spawn(|| setup.ask(token).status))
            .collect();
        for answer in answers {
            assert_eq!(answer.join().expect("an answer"), 200);
        }
    });
    assert_eq!(setup.idp.fetches(), 2, "at the start, and for the new key");
    assert!(load.finish() > 0);

    // Once the set is another, the old key's tokens are refused, also those that were verified before.
    setup.idp.serve(&[&new]);
    std::thread::sleep(Duration::from_millis(200));
    refused(
        &setup.ask(&Key::es256("third").token(&Idp::claims("x"))),
        "unknown_key",
        "it makes a fetch",
    );
    assert_eq!(setup.idp.fetches(), 3);
    refused(&setup.ask(&old_token), "unknown_key", "seen before");
    refused(&setup.ask(&old.token(&Idp::claims("y"))), "unknown_key", "never seen");
    assert_eq!(setup.ask(&tokens[0]).status, 200);
}

#[test]
fn a_provider_that_goes_down_later_changes_nothing_for_as_long_as_its_keys_may_be_used() {
    let key = Key::ed25519("k");
    let refresh = |stale| format!(", refresh: {{ interval: 200ms, cooldown: 100ms, stale_for: {stale} }}");
    let patient = setup(&[&key], &refresh("1h"));
    patient.idp.stop();
    patient.wait_for_fetches("connect", 3);
    for user in ["alice", "bob"] {
        assert_eq!(patient.ask(&key.token(&Idp::claims(user))).status, 200);
    }
    let stranger = Key::ed25519("stranger").token(&Idp::claims("alice"));
    refused(
        &patient.ask(&stranger),
        "unknown_key",
        "known keys are enough to refuse others",
    );

    let strict = setup(&[&key], &refresh("2s"));
    let seen_before = key.token(&Idp::claims("carol"));
    assert_eq!(strict.ask(&seen_before).status, 200);
    strict.idp.stop();
    wait("keys too old to be used", || strict.ask(&seen_before).status != 200);
    for token in [&seen_before, &key.token(&Idp::claims("dave")), &stranger] {
        let answer = strict.ask(token);
        assert_eq!((answer.status, answer.reason().as_str()), (503, "jwks_unavailable"));
    }
    assert_eq!(h1::get(strict.gateway.public, "a", "/open", &[]).status, 200);
}

/// A key set as an answer of its own making.
fn answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n{body}").into_bytes()
}

#[test]
fn a_provider_that_answers_rubbish_changes_nothing() {
    let (key, evil) = (Key::ed25519("k"), Key::ed25519("evil"));
    let setup = setup(
        &[&key],
        ", refresh: { interval: 200ms, cooldown: 100ms, timeout: 500ms, max_bytes: 64KiB }",
    );
    let thief = Idp::start(&[&key, &evil]);
    let set = json!({ "keys": [evil.jwk()] }).to_string();
    let of_type = |kind: &str| format!("200 OK\r\nContent-Type: {kind}");
    let redirect = |status| format!("{status} Moved\r\nLocation: http://{}/jwks.json", thief.address);
    let huge = format!("{}{set}", " ".repeat(1 << 20));
    let mut with_private = evil.jwk();
    with_private["d"] = json!("AAAA");
    let kinds: Vec<(&str, &str, Vec<u8>)> = vec![
        ("nothing", "protocol", Vec::new()),
        (
            "HTML",
            "content_type",
            answer(&of_type("text/html"), "<html>login</html>"),
        ),
        ("keys as HTML", "content_type", answer(&of_type("text/html"), &set)),
        (
            "HTML as JSON",
            "invalid",
            answer(&of_type("application/json"), "<html>login</html>"),
        ),
        (
            "no keys",
            "invalid",
            answer(&of_type("application/json"), "{\"keys\":[]}"),
        ),
        (
            "only half",
            "invalid",
            answer(&of_type("application/json"), &set.replace('}', "")),
        ),
        (
            "a shared secret",
            "invalid",
            answer(
                &of_type("application/json"),
                "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"evil\",\"k\":\"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0\"}]}",
            ),
        ),
        (
            "a private key",
            "invalid",
            answer(
                &of_type("application/json"),
                &json!({ "keys": [with_private] }).to_string(),
            ),
        ),
        ("huge", "too_large", answer(&of_type("application/json"), &huge)),
        (
            "huge by its own account",
            "too_large",
            answer(
                &format!("{}\r\nContent-Length: 99999999999", of_type("application/json")),
                &set,
            ),
        ),
        ("a redirect", "redirect", answer(&redirect(302), &set)),
        ("another redirect", "redirect", answer(&redirect(307), &set)),
        ("an error with keys", "status", answer("500 Oops", &set)),
        ("not modified", "status", answer("304 Not Modified", "")),
        (
            "a body that does not end",
            "timeout",
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"keys\":[".to_vec(),
        ),
    ];
    for (what, result, bytes) in kinds {
        let before = fetches(&setup.gateway, result);
        setup.idp.answer_with(bytes);
        wait(&format!("a refused key set: {what}"), || {
            fetches(&setup.gateway, result) > before
        });
        assert_eq!(setup.ask(&key.token(&Idp::claims("alice"))).status, 200, "{what}");
        refused(&setup.ask(&evil.token(&Idp::claims("mallory"))), "unknown_key", what);
        assert_eq!(h1::get(setup.gateway.public, "a", "/open", &[]).status, 200);
    }
    assert_eq!(thief.fetches(), 0, "no redirect is followed");
    // And it goes on when the provider is itself again.
    setup.idp.serve(&[&evil]);
    wait("the new set", || {
        setup.ask(&evil.token(&Idp::claims("eve"))).status == 200
    });
}

#[test]
fn a_slow_provider_holds_up_only_those_who_need_it() {
    let key = Key::ed25519("k");
    let setup = setup(&[&key], ", refresh: { interval: 1h, cooldown: 100ms, timeout: 30s }");
    setup.idp.hold(true);
    std::thread::sleep(Duration::from_millis(100));
    let public = setup.gateway.public;
    let stranger = Key::ed25519("stranger").token(&Idp::claims("alice"));
    let asked = std::thread::spawn(move || {
        let value = format!("Bearer {stranger}");
        h1::get(public, "a", "/secure", &[("Authorization", &value)])
    });
    wait("the fetch", || setup.idp.fetches() == 2);
    for user in ["alice", "bob"] {
        assert_eq!(setup.ask(&key.token(&Idp::claims(user))).status, 200);
    }
    assert_eq!(h1::get(public, "a", "/open", &[]).status, 200);
    assert!(!asked.is_finished(), "who needs the new keys waits for them");
    setup.idp.hold(false);
    refused(
        &asked.join().expect("an answer"),
        "unknown_key",
        "once the provider has answered",
    );
}

#[test]
fn nobody_else_writes_what_claims_say() {
    let key = Key::ed25519("k");
    let setup = setup(&[&key], "");
    let token = format!("Bearer {}", key.token(&Idp::claims("alice")));
    let public = setup.gateway.public;
    let forged: [&[(&str, &str)]; 8] = [
        &[("x-user", "root")],
        &[("X-USER", "root"), ("X-User", "admin")],
        &[("x_user", "root")],
        &[("X_User", "root"), ("x-user", "root")],
        &[("Connection", "x-user"), ("x-user", "root")],
        &[("Connection", "keep-alive, X-User, x_user"), ("x_user", "root")],
        &[("Connection", "authorization"), ("x-user", "root")],
        &[("Connection", "close, x-user"), ("Connection", "x-user")],
    ];
    for headers in forged {
        let mut with_token = headers.to_vec();
        with_token.push(("Authorization", &token));
        for path in ["/secure", "/maybe"] {
            let answer = h1::get(public, "a", path, &with_token);
            assert_eq!(answer.status, 200, "{headers:?}: {}", answer.text());
            let seen = setup.origin.seen();
            let seen = seen.last().expect("a request");
            assert_eq!(seen.all("x-user"), ["alice"], "{headers:?}: {}", seen.head);
            assert_eq!(seen.all("x_user"), [""; 0], "{headers:?}: {}", seen.head);
        }
        // Without a token nobody says who it is.
        let count = setup.origin.seen().len();
        let answer = h1::get(public, "a", "/maybe", headers);
        assert_eq!(answer.status, 200, "{headers:?}");
        let seen = setup.origin.seen();
        assert_eq!(seen.len(), count + 1);
        assert!(
            !seen[count].head.to_ascii_lowercase().contains("root"),
            "{}",
            seen[count].head
        );
        assert_eq!(seen[count].all("x-user"), [""; 0]);
        let answer = h1::get(public, "a", "/secure", headers);
        assert_eq!(answer.status, 401, "{headers:?}");
    }
    // A token without the claim says nothing, and nobody else does.
    let token = format!("Bearer {}", key.token(&claims_with(&json!({ "sub": null }))));
    let answer = h1::get(public, "a", "/secure", &[("Authorization", &token), ("x-user", "root")]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = setup.origin.seen();
    assert_eq!(seen.last().expect("a request").all("x-user"), [""; 0]);
}

#[test]
fn a_reload_fetches_nothing_and_forgets_nothing() {
    let key = Key::ed25519("k");
    let (idp, origin) = (Idp::start(&[&key]), Origin::start("origin"));
    let configuration = |more: &str| format!("{}{}{more}", idp.identity(""), sites(&origin));
    let gateway = Builder::new(&configuration("")).start();
    wait_for_fetches(&gateway, "ok", 1);
    idp.stop();
    for round in 0..3 {
        gateway.write_config(&configuration(&format!("# {round}\n")));
        assert_eq!(gateway.reload().0, 200);
        let token = key.token(&Idp::claims(&format!("user {round}")));
        assert_eq!(ask(&gateway, &token).status, 200);
    }
    assert_eq!(idp.fetches(), 1);
}
