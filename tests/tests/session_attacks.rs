//! Logins that are not what they seem: answers of a provider that belong to another browser, another login, another provider,
//! another client; places to return to that lead away; logout tokens that are none (FL-04, RFC 9700, RFC 9207).

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use portcullis_e2e::browser::Browser;
use portcullis_e2e::gateway::{Builder, Gateway, wait};
use portcullis_e2e::h1::{self, Answer};
use portcullis_e2e::idp::{Key, now};
use portcullis_e2e::op::Provider;
use portcullis_e2e::origin::Origin;
use serde_json::json;

const KEYS: &str = "redirect_url: \"https://app.example/-/session/callback\", key: \"file:{dir}/key\"";

fn gateway(provider: &Provider, origin: &Origin, more: &str) -> Gateway {
    let yaml = format!(
        "{}upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], filters: [{{ session: {{ issuer: op, client_id: app, {KEYS}, {more} }} }}], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n",
        provider.identity(),
        origin.address,
    );
    let builder = Builder::new(&yaml).file("key", "a key of tests that is long enough for HMAC");
    builder.start()
}

/// A browser on its way back from the provider: the browser, and the path it was sent to.
fn way_back(gateway: &Gateway, provider: &Provider) -> (Browser, String) {
    let mut browser = Browser::new(gateway.public);
    let answer = browser.page("/page");
    let url = answer.header("location").expect("the provider").to_owned();
    let back = browser.ask_provider(provider, &url);
    (browser, back)
}

fn told(answer: &Answer) -> (u16, String) {
    (answer.status, answer.reason())
}

#[test]
fn answers_of_a_provider_that_belong_elsewhere() {
    let (provider, origin) = (Provider::start(), Origin::start("ok"));
    let gateway = gateway(&provider, &origin, "");
    let refused = |answer: &Answer| told(answer) == (401, "login_state_mismatch".into());

    // Another browser's answer (login CSRF), and one without a login.
    let (mut one, back_of_one) = way_back(&gateway, &provider);
    let (mut two, back_of_two) = way_back(&gateway, &provider);
    assert!(refused(&two.page(&back_of_one)));
    assert!(refused(&Browser::new(gateway.public).page(&back_of_one)));
    // Its state with the other's cookie by another name.
    let (name, value) = two
        .jar
        .iter()
        .next()
        .map(|(n, v)| (n.clone(), v.clone()))
        .expect("a cookie");
    let own_name = one.jar.keys().next().expect("a cookie").clone();
    let mut mixed = Browser::new(gateway.public);
    mixed.jar.insert(own_name, value.clone());
    assert!(refused(&mixed.page(&back_of_one)));
    // A cookie that was changed.
    for place in [0, value.len() / 2, value.len() - 1] {
        let mut changed = value.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        let mut browser = Browser::new(gateway.public);
        browser
            .jar
            .insert(name.clone(), String::from_utf8(changed).expect("ASCII"));
        assert!(refused(&browser.page(&back_of_two)), "{place}");
    }
    for path in [
        "/-/session/callback",
        "/-/session/callback?code=a",
        "/-/session/callback?state=a&code=b",
    ] {
        assert!(refused(&two.page(path)), "{path}");
    }
    let twice = format!("{back_of_two}&code=other");
    assert_eq!(told(&two.page(&twice)), (400, "callback_malformed".into()));
    let twice = format!("{back_of_two}&state=other");
    assert_eq!(told(&two.page(&twice)), (400, "callback_malformed".into()));

    // Another provider's answer (mix-up): RFC 9207.
    let (mut browser, back) = way_back(&gateway, &provider);
    let (before, _) = back.split_once("&iss=").expect("the provider's name");
    for wrong in [
        before.to_owned(),
        format!("{before}&iss=https%3A%2F%2Fevil.example"),
        format!("{back}%2F"),
    ] {
        assert_eq!(
            told(&browser.page(&wrong)),
            (401, "login_issuer_mismatch".into()),
            "{wrong}"
        );
    }
    // A code is good once, and for its own login.
    let answer = browser.page(&back);
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert!(refused(&browser.page(&back)), "its login is over");
    let code = |path: &str| {
        path.split_once("code=")
            .and_then(|(_, rest)| rest.split('&').next())
            .expect("a code")
            .to_owned()
    };
    let injected = back_of_two.replace(&code(&back_of_two), &code(&back_of_one));
    assert_eq!(
        told(&two.page(&injected)),
        (401, "login_refused".into()),
        "the verifier is of another login"
    );
    assert_eq!(one.page(&back_of_one).status, 401, "the provider has seen it");
    // The provider says no.
    let (mut browser, back) = way_back(&gateway, &provider);
    let no = back.replace("code=", "error=access_denied&no=");
    assert_eq!(told(&browser.page(&no)), (401, "login_refused".into()));
    assert!(browser.jar.is_empty());
    assert!(origin.seen().is_empty(), "nobody got through");
}

#[test]
fn id_tokens_that_are_none() {
    let (provider, origin) = (Provider::start(), Origin::start("ok"));
    let gateway = gateway(&provider, &origin, "required_claims: { amr: [mfa, hwk] }");
    let good = json!({ "amr": ["pwd", "mfa"] });
    for (name, more, expected) in [
        ("good", json!({}), ""),
        ("another nonce", json!({ "nonce": "other" }), "nonce_mismatch"),
        ("no nonce", json!({ "nonce": null }), "nonce_mismatch"),
        ("another client", json!({ "aud": "other" }), "audience_mismatch"),
        ("several clients", json!({ "aud": ["app", "other"] }), "azp_mismatch"),
        (
            "several clients and us",
            json!({ "aud": ["app", "other"], "azp": "app" }),
            "",
        ),
        ("for another party", json!({ "azp": "other" }), "azp_mismatch"),
        (
            "another issuer",
            json!({ "iss": "https://evil.example" }),
            "issuer_unknown",
        ),
        ("over", json!({ "exp": now() - 600 }), "token_expired"),
        ("endless", json!({ "exp": null }), "claims_invalid"),
        ("nobody", json!({ "sub": null }), "claims_invalid"),
        ("a list", json!({ "sub": ["alice"] }), "claims_invalid"),
        ("FL-05: one factor", json!({ "amr": ["pwd"] }), "claim_not_allowed"),
        ("FL-05: no word of factors", json!({ "amr": null }), "claim_not_allowed"),
    ] {
        let mut claims = good.as_object().cloned().expect("an object");
        claims.extend(more.as_object().cloned().expect("an object"));
        provider.state().claims = claims;
        let (mut browser, back) = way_back(&gateway, &provider);
        let answer = browser.page(&back);
        if expected.is_empty() {
            assert_eq!(answer.status, 303, "{name}: {}", answer.text());
        } else {
            assert_eq!(told(&answer), (401, "login_refused".into()), "{name}");
            assert!(answer.text().contains(expected), "{name}: {}", answer.text());
            assert!(!browser.jar.contains_key("__Host-session"), "{name}");
        }
    }
    let foreign = Key::es256("op");
    let answer = |id_token: Option<String>| {
        let body = json!({ "access_token": "a", "token_type": "Bearer", "id_token": id_token });
        Some((200, body.to_string()))
    };
    let forged = foreign
        .token(&json!({ "iss": provider.issuer(), "aud": "app", "sub": "root", "iat": now(), "exp": now() + 60 }));
    for (name, token_answer, status, expected) in [
        ("forged", answer(Some(forged)), 401, "signature_invalid"),
        ("none", answer(None), 401, "id_token_missing"),
        ("no JSON", Some((200, "<html>".into())), 503, "provider_unavailable"),
        (
            "an error",
            Some((401, "{\"error\":\"invalid_client\"}".into())),
            503,
            "provider_unavailable",
        ),
        (
            "another type",
            Some((200, "{\"access_token\":\"a\",\"token_type\":\"MAC\"}".into())),
            503,
            "provider_unavailable",
        ),
        (
            "huge",
            Some((200, format!("{{\"a\":\"{}\"}}", "x".repeat(200_000)))),
            503,
            "provider_unavailable",
        ),
    ] {
        provider.state().token_answer = token_answer;
        let (mut browser, back) = way_back(&gateway, &provider);
        let answer = browser.page(&back);
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert!(answer.text().contains(expected), "{name}: {}", answer.text());
    }
    assert!(origin.seen().is_empty(), "nobody got through");
}

#[test]
fn no_place_to_return_to_leads_away() {
    let (provider, origin) = (Provider::start(), Origin::start("ok"));
    let gateway = gateway(&provider, &origin, "");
    for (asked, expected) in [
        ("/page?a=b", "/page?a=b"),
        ("https%3A%2F%2Fevil.example%2F", "/"),
        ("%2F%2Fevil.example", "/"),
        ("%2F%5Cevil.example", "/"),
        ("%5C%5Cevil.example", "/"),
        ("%2F%09%2Fevil.example", "/"),
        ("%2F%0A%2Fevil.example", "/"),
        ("%2Fa%0D%0ASet-Cookie:%20x=y", "/"),
        ("javascript%3Aalert(1)", "/"),
        ("evil.example", "/"),
        ("", "/"),
        ("%20%2F%2Fevil.example", "/"),
        ("%2Fa%23b", "/"),
    ] {
        let mut browser = Browser::new(gateway.public);
        let answer = browser.page(&format!("/-/session/login?return_to={asked}"));
        assert_eq!(answer.status, 302, "{asked}: {}", answer.text());
        let back = browser.ask_provider(&provider, answer.header("location").expect("the provider"));
        let answer = browser.page(&back);
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, Some(expected)),
            "{asked}"
        );
    }
    // Paths that are asked for are in their one form, and begin with one slash.
    let mut browser = Browser::new(gateway.public);
    let answer = browser.page("//evil.example/%2e%2e//x");
    let back = browser.ask_provider(&provider, answer.header("location").expect("the provider"));
    let to = browser.page(&back).header("location").expect("a place").to_owned();
    assert!(to.starts_with('/') && !to.starts_with("//"), "{to}");
}

#[test]
fn ids_that_are_none() {
    let (provider, origin) = (Provider::start(), Origin::start("ok"));
    let gateway = gateway(&provider, &origin, "");
    let mut browser = Browser::new(gateway.public);
    browser.log_in(&provider, "/");
    let id = browser.jar["__Host-session"].clone();
    for place in 0..id.len() {
        let mut changed = id.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        let mut thief = Browser::new(gateway.public);
        thief
            .jar
            .insert("__Host-session".into(), String::from_utf8(changed).expect("ASCII"));
        assert_eq!(
            told(&thief.fetch("GET", "/")),
            (401, "session_invalid".into()),
            "{place}"
        );
    }
    for wrong in ["", "a", &"A".repeat(91), &"A".repeat(4000), &format!("{id}=")] {
        let mut thief = Browser::new(gateway.public);
        thief.jar.insert("__Host-session".into(), wrong.into());
        assert_eq!(
            told(&thief.fetch("GET", "/")),
            (401, "session_invalid".into()),
            "{wrong}"
        );
    }
    // Two ids: who set which cannot be known.
    let two = format!("__Host-session=other; __Host-session={id}");
    let answer = h1::get(gateway.public, "app.example", "/", &[("Cookie", &two)]);
    assert_eq!(told(&answer), (401, "session_invalid".into()));
    assert!(origin.seen().is_empty());
    assert_eq!(
        browser.fetch("GET", "/").status,
        200,
        "none of it has ended the session"
    );
}

fn back_channel(gateway: &Gateway, token: &str) -> Answer {
    let form = format!("logout_token={token}");
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let path = "/-/session/backchannel-logout";
    h1::request(gateway.public, "POST", "app.example", path, &headers, form.as_bytes())
}

#[test]
fn the_provider_logs_somebody_out() {
    let (provider, origin) = (Provider::start(), Origin::start("ok"));
    let gateway = gateway(&provider, &origin, "");
    let log_in = |user: &str, sid: &str| {
        {
            let mut state = provider.state();
            (state.user, state.sid) = (user.into(), sid.into());
        }
        let mut browser = Browser::new(gateway.public);
        browser.log_in(&provider, "/");
        browser
    };
    let (mut one, mut two, mut bob) = (log_in("alice", "s1"), log_in("alice", "s2"), log_in("bob", "s3"));
    for (name, more, expected) in [
        ("no event", json!({ "sid": "s1", "events": null }), "no_logout_event"),
        (
            "another event",
            json!({ "sid": "s1", "events": { "a": {} } }),
            "no_logout_event",
        ),
        (
            "an event that is none",
            json!({ "sid": "s1", "events": { "http://schemas.openid.net/event/backchannel-logout": 1 } }),
            "no_logout_event",
        ),
        ("an ID token", json!({ "sid": "s1", "nonce": "n" }), "no_logout_event"),
        ("nobody", json!({}), "claims_invalid"),
        (
            "no name of its own",
            json!({ "sid": "s1", "jti": null }),
            "claims_invalid",
        ),
        (
            "another client",
            json!({ "sid": "s1", "aud": "other" }),
            "audience_mismatch",
        ),
        (
            "another issuer",
            json!({ "sid": "s1", "iss": "https://evil.example" }),
            "issuer_unknown",
        ),
        ("over", json!({ "sid": "s1", "exp": now() - 600 }), "token_expired"),
        ("endless", json!({ "sid": "s1", "exp": null }), "claims_invalid"),
        (
            "good for a day",
            json!({ "sid": "s1", "exp": now() + 86_400 }),
            "claims_invalid",
        ),
        (
            "of tomorrow",
            json!({ "sid": "s1", "iat": now() + 3_000 }),
            "token_not_yet_valid",
        ),
    ] {
        let answer = back_channel(&gateway, &provider.logout_token("app", &more));
        assert_eq!(told(&answer), (400, "logout_token_refused".into()), "{name}");
        assert!(answer.text().contains(expected), "{name}: {}", answer.text());
    }
    let claims = json!({ "iss": provider.issuer(), "aud": "app", "sid": "s1", "iat": now(), "exp": now() + 60, "jti": "x",
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} } });
    let forged = Key::es256("op").token_with(&json!({ "alg": "ES256", "kid": "op", "typ": "logout+jwt" }), &claims);
    let access = provider
        .key
        .token_with(&json!({ "alg": "ES256", "kid": "op", "typ": "at+jwt" }), &claims);
    for (token, expected) in [
        (forged.as_str(), "signature_invalid"),
        (&access, "type_not_allowed"),
        ("a.b.c", "token_malformed"),
        ("", "there is none"),
    ] {
        let answer = back_channel(&gateway, token);
        assert_eq!(told(&answer), (400, "logout_token_refused".into()), "{expected}");
        assert!(answer.text().contains(expected), "{}", answer.text());
    }
    let large = back_channel(&gateway, &"a".repeat(40_000));
    assert_eq!(large.status, 400);
    for browser in [&mut one, &mut two, &mut bob] {
        assert_eq!(browser.fetch("GET", "/").status, 200, "none of it has ended a session");
    }
    let token = provider.logout_token("app", &json!({ "sid": "s1" }));
    let answer = back_channel(&gateway, &token);
    assert_eq!(
        (answer.status, answer.header("cache-control")),
        (200, Some("no-store")),
        "{}",
        answer.text()
    );
    assert_eq!((one.fetch("GET", "/").status, two.fetch("GET", "/").status), (401, 200));
    assert!(back_channel(&gateway, &token).text().contains("it came before"));
    let token = provider.logout_token("app", &json!({ "sub": "alice" }));
    assert_eq!(back_channel(&gateway, &token).status, 200);
    assert_eq!((two.fetch("GET", "/").status, bob.fetch("GET", "/").status), (401, 200));
}

#[test]
fn a_provider_that_is_not_there_or_says_nonsense() {
    let (provider, origin) = (Provider::start(), Origin::start("ok"));
    for (name, more) in [
        ("another issuer", json!({ "issuer": "https://evil.example" })),
        ("plaintext", json!({ "token_endpoint": "http://id.example/token" })),
        (
            "a loopback that is none",
            json!({ "token_endpoint": "http://127.0.0.1.evil.example/" }),
        ),
        ("a script", json!({ "authorization_endpoint": "javascript:alert(1)" })),
        ("nothing", json!({ "authorization_endpoint": null })),
        ("no S256", json!({ "code_challenge_methods_supported": ["plain"] })),
    ] {
        provider.state().metadata = more.as_object().cloned().expect("an object");
        let gateway = gateway(&provider, &origin, "");
        let answer = Browser::new(gateway.public).page("/");
        assert_eq!(told(&answer), (503, "provider_unavailable".into()), "{name}");
    }
    provider.state().metadata = serde_json::Map::new();
    let gateway = gateway(&provider, &origin, "access_token_header: x-token, refresh_ahead: 1m");
    let mut browser = Browser::new(gateway.public);
    browser.log_in(&provider, "/");
    // Who is logged in goes on while the provider is away, as long as the token lasts.
    let (mut other, back) = way_back(&gateway, &provider);
    provider.stop();
    assert_eq!(browser.fetch("GET", "/").status, 200);
    assert_eq!(told(&other.page(&back)), (503, "provider_unavailable".into()));
    assert_eq!(browser.fetch("POST", "/-/session/refresh").status, 200);
    wait("the failure to be counted", || {
        gateway.metric("portcullis_session_renewals_total{realm=\"main\",result=\"failed\"}") >= 1.0
    });
}
