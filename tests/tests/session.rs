//! Users log in at a provider, and their browser holds nothing but a session id (VX-16, FL-04, FF-12, FF-14).

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::process::Command;
use std::time::Duration;

use portcullis_e2e::browser::{Browser, PAGE};
use portcullis_e2e::gateway::{Builder, Gateway, binary, wait};
use portcullis_e2e::h1;
use portcullis_e2e::op::{Provider, parse};
use portcullis_e2e::origin::Origin;
use serde_json::{Value, json};

const SESSION: &str = "__Host-session";
const KEYS: &str = "redirect_url: \"https://app.example/-/session/callback\", key: \"file:{dir}/key\"";

/// A gateway whose only site has the filter, with these keys beside what it needs.
fn builder(provider: &Provider, origin: &Origin, more: &str) -> Builder {
    let yaml = format!(
        "{}upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], filters: [{{ session: {{ issuer: op, client_id: app, {KEYS}, {more} }} }}], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n",
        provider.identity(),
        origin.address,
    );
    Builder::new(&yaml)
        .file("key", "a key of tests that is long enough for HMAC")
        .file("secret", "our secret at the provider")
}

fn gateway(provider: &Provider, origin: &Origin, more: &str) -> Gateway {
    builder(provider, origin, more).start()
}

const ALL: &str =
    "client_secret: \"file:{dir}/secret\", access_token_header: authorization, claims_to_headers: { x-user: sub }";

#[test]
fn vx_16_a_browser_logs_in_and_gets_no_token() {
    let (provider, origin) = (Provider::start(), Origin::start("hello"));
    let gateway = gateway(&provider, &origin, ALL);
    let mut browser = Browser::new(gateway.public);
    // A script could do nothing with a redirect.
    let answer = browser.fetch("GET", "/data");
    assert_eq!((answer.status, answer.reason().as_str()), (401, "session_required"));
    let answer = browser.send("POST", "/data", &[PAGE], b"x");
    assert_eq!((answer.status, answer.reason().as_str()), (401, "session_required"));
    assert!(origin.seen().is_empty());

    let answer = browser.page("/report?month=5");
    let url = answer.header("location").expect("the provider").to_owned();
    assert_eq!((answer.status, answer.header("cache-control")), (302, Some("no-store")));
    let asked = parse(url.split_once('?').expect("a query").1);
    assert_eq!(
        (asked["client_id"].as_str(), asked["scope"].as_str()),
        ("app", "openid")
    );
    assert_eq!(asked["redirect_uri"], "https://app.example/-/session/callback");
    let back = browser.ask_provider(&provider, &url);
    let answer = browser.page(&back);
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/report?month=5"))
    );
    let cookies = answer.all("set-cookie");
    let terms = "; Path=/; Secure; SameSite=Lax; HttpOnly";
    assert!(
        cookies
            .iter()
            .any(|cookie| cookie.starts_with(SESSION) && cookie.ends_with(terms)),
        "{cookies:?}"
    );
    assert_eq!(
        browser.jar.keys().collect::<Vec<_>>(),
        [SESSION],
        "the login's own cookie is gone"
    );
    assert!(
        provider.state().shown.starts_with("Basic "),
        "{}",
        provider.state().shown
    );

    // What the client says of itself does not count, and the session is not for the upstream.
    let spoofed = [
        ("X-User", "root"),
        ("X_User", "root"),
        ("Authorization", "Bearer own"),
        ("Cookie", "theme=dark"),
    ];
    let answer = browser.send("GET", "/report", &spoofed, b"");
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    let seen = origin.seen().pop().expect("the request");
    let access = provider.state().given.last().cloned().expect("a token");
    assert_eq!(seen.all("x-user"), ["alice"]);
    assert_eq!(seen.all("authorization"), [format!("Bearer {access}")]);
    assert_eq!((seen.all("x_user").len(), seen.all("cookie")), (0, vec!["theme=dark"]));

    let answer = browser.fetch("GET", "/-/session");
    assert_eq!(answer.json()["subject"], "alice");
    assert!(answer.json()["expires_at"].as_u64() > answer.json()["idle_expires_at"].as_u64());
    let state = provider.state();
    for secret in state.given.iter().chain(&state.refresh_tokens) {
        let (log, access_log) = (
            gateway.log(),
            std::fs::read_to_string(gateway.path("access.log")).unwrap_or_default(),
        );
        assert!(!browser.got.contains(secret) && !log.contains(secret) && !access_log.contains(secret));
    }
    // No ID token either: none begins otherwise.
    assert!(!browser.got.contains("eyJ"));
}

#[test]
fn ids_change_at_a_login_and_the_session_before_ends() {
    let (provider, origin) = (Provider::start(), Origin::start("ok"));
    let gateway = gateway(&provider, &origin, "");
    let mut browser = Browser::new(gateway.public);
    // An id that somebody else chose is none.
    browser.jar.insert(SESSION.into(), "chosen-by-somebody".into());
    browser.log_in(&provider, "/");
    let first = browser.jar[SESSION].clone();
    assert_ne!(first, "chosen-by-somebody");
    let answer = browser.page("/-/session/login?return_to=/again");
    let back = browser.ask_provider(&provider, answer.header("location").expect("the provider"));
    assert_eq!(browser.page(&back).header("location"), Some("/again"));
    let second = browser.jar[SESSION].clone();
    assert_ne!(first, second);
    assert_eq!(browser.fetch("GET", "/").status, 200);
    browser.jar.insert(SESSION.into(), first);
    let answer = browser.fetch("GET", "/");
    assert_eq!((answer.status, answer.reason().as_str()), (401, "session_invalid"));
    assert!(!browser.jar.contains_key(SESSION), "the browser lets it go");
}

#[test]
fn limits_of_time() {
    let (provider, origin) = (Provider::start(), Origin::start("ok"));
    let short = gateway(&provider, &origin, "idle: 1s, absolute: 1h");
    let mut browser = Browser::new(short.public);
    wait("a request within the second after its login", || {
        browser = Browser::new(short.public);
        browser.log_in(&provider, "/");
        browser.fetch("GET", "/").status == 200
    });
    // The time is what is tested: it must pass without a request.
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(browser.fetch("GET", "/").reason(), "session_expired");

    let whole = gateway(&provider, &origin, "idle: 2s, absolute: 2s");
    let mut browser = Browser::new(whole.public);
    browser.log_in(&provider, "/");
    wait("the end of a session that is used all the time", || {
        let answer = browser.fetch("GET", "/");
        answer.status == 401 && answer.reason() == "session_expired"
    });
    assert!(whole.metric("portcullis_session_ends_total{realm=\"main\",why=\"expired\"}") >= 1.0);
}

#[test]
fn ff_14_an_old_id_ends_the_session() {
    let (provider, origin) = (Provider::start(), Origin::start("ok"));
    let gateway = gateway(&provider, &origin, "rotate: 1s, grace: 0s");
    let mut browser = Browser::new(gateway.public);
    browser.log_in(&provider, "/");
    let first = browser.jar[SESSION].clone();
    wait("the next id", || {
        assert_eq!(browser.fetch("GET", "/").status, 200);
        browser.jar[SESSION] != first
    });
    let mut thief = Browser::new(gateway.public);
    thief.jar.insert(SESSION.into(), first);
    std::thread::sleep(Duration::from_millis(5));
    let answer = thief.fetch("GET", "/");
    assert_eq!((answer.status, answer.reason().as_str()), (401, "session_reused"));
    assert_eq!(
        browser.fetch("GET", "/").reason(),
        "session_invalid",
        "the family is gone"
    );
    assert!(gateway.metric("portcullis_session_ends_total{realm=\"main\",why=\"reused\"}") >= 1.0);
}

#[test]
fn ff_14_requests_side_by_side_get_one_next_id() {
    let (provider, origin) = (Provider::start(), Origin::start("ok"));
    let gateway = gateway(&provider, &origin, "");
    let mut browser = Browser::new(gateway.public);
    browser.log_in(&provider, "/");
    let first = browser.jar[SESSION].clone();
    let many: Vec<_> = (0..24)
        .map(|_| {
            let mut tab = browser.clone();
            std::thread::spawn(move || {
                let answer = tab.fetch("POST", "/-/session/refresh");
                assert_eq!(answer.status, 200, "{}", answer.text());
                tab.jar[SESSION].clone()
            })
        })
        .collect();
    let ids: Vec<String> = many.into_iter().map(|tab| tab.join().expect("a tab")).collect();
    assert!(ids.iter().all(|id| *id == ids[0] && *id != first), "{ids:?}");
    // The id before is good for a while, and gets the same successor.
    assert_eq!(browser.fetch("GET", "/").status, 200);
    assert_eq!(browser.jar[SESSION], ids[0]);
    let foreign = [("Sec-Fetch-Site", "cross-site")];
    let answer = browser.send("POST", "/-/session/refresh", &foreign, b"");
    assert_eq!((answer.status, answer.reason().as_str()), (403, "csrf_cross_site"));
}

#[test]
fn tokens_are_renewed_once_for_all_and_ahead_of_their_end() {
    let (provider, origin) = (Provider::start(), Origin::start("ok"));
    let gateway = gateway(&provider, &origin, "access_token_header: x-token, refresh_ahead: 1m");
    let mut browser = Browser::new(gateway.public);
    // The first token is over at once: nothing goes on with it.
    provider.state().lifetime = 0;
    browser.log_in(&provider, "/");
    provider.state().lifetime = 30;
    let asked = || provider.state().asked["/token"];
    let many: Vec<_> = (0..16)
        .map(|_| {
            let mut tab = browser.clone();
            std::thread::spawn(move || assert_eq!(tab.fetch("GET", "/").status, 200))
        })
        .collect();
    for tab in many {
        tab.join().expect("a tab");
    }
    let first = provider.state().given[0].clone();
    assert!(origin.seen().iter().all(|seen| seen.all("x-token").concat() != first));
    // The second token ends within a minute, so that it is renewed beside the requests.
    wait("a third token", || {
        assert_eq!(browser.fetch("GET", "/").status, 200);
        provider.state().given.len() >= 3
    });
    provider.state().lifetime = 3600;
    wait("a token that lasts", || {
        assert_eq!(browser.fetch("GET", "/").status, 200);
        let before = asked();
        assert_eq!(browser.fetch("GET", "/").status, 200);
        std::thread::sleep(Duration::from_millis(50));
        asked() == before
    });
    assert!(gateway.metric("portcullis_session_renewals_total{realm=\"main\",result=\"ok\"}") >= 2.0);
}

#[test]
fn renewals_side_by_side_are_one() {
    let (provider, origin) = (Provider::start(), Origin::start("ok"));
    let gateway = gateway(&provider, &origin, "access_token_header: x-token");
    let mut browser = Browser::new(gateway.public);
    provider.state().lifetime = 0;
    browser.log_in(&provider, "/");
    provider.state().lifetime = 3600;
    let many: Vec<_> = (0..24)
        .map(|_| {
            let mut tab = browser.clone();
            std::thread::spawn(move || assert_eq!(tab.fetch("GET", "/").status, 200))
        })
        .collect();
    for tab in many {
        tab.join().expect("a tab");
    }
    assert_eq!(
        provider.state().asked["/token"],
        2,
        "one for the code, one for all that waited"
    );
}

#[test]
fn ff_14_an_old_refresh_token_ends_the_session() {
    let (provider, origin) = (Provider::start(), Origin::start("ok"));
    let gateway = gateway(&provider, &origin, "access_token_header: x-token");
    let mut browser = Browser::new(gateway.public);
    browser.log_in(&provider, "/");
    assert_eq!(browser.fetch("POST", "/-/session/refresh").status, 200);
    // Somebody has a copy of the first refresh token, and uses it.
    let stolen = provider.state().refresh_tokens[0].clone();
    let form = format!("grant_type=refresh_token&refresh_token={stolen}");
    let address = provider.address.to_string();
    let answer = h1::request(provider.address, "POST", &address, "/token", &[], form.as_bytes());
    assert_eq!(answer.status, 400, "{}", answer.text());
    let answer = browser.fetch("POST", "/-/session/refresh");
    assert_eq!((answer.status, answer.reason().as_str()), (401, "session_invalid"));
    assert_eq!(browser.fetch("GET", "/").status, 401);
}

/// `portcullis session ...` against a gateway.
fn command(gateway: &Gateway, arguments: &[&str]) -> String {
    let admin = gateway.admin.to_string();
    let output = Command::new(binary())
        .arg("session")
        .args(arguments)
        .args(["--admin", &admin])
        .output();
    let output = output.expect("the command");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn ff_12_a_session_that_was_revoked_is_refused_at_once() {
    let (provider, origin) = (Provider::start(), Origin::start("ok"));
    let gateway = gateway(&provider, &origin, "tenant_claim: org");
    let log_in = |user: &str, tenant: &str| {
        {
            let mut state = provider.state();
            state.user = user.into();
            state.claims.insert("org".into(), json!(tenant));
        }
        let mut browser = Browser::new(gateway.public);
        browser.log_in(&provider, "/");
        assert_eq!(browser.fetch("GET", "/").status, 200);
        browser
    };
    let (mut one, mut two) = (log_in("alice", "a"), log_in("alice", "b"));
    let (mut bob, mut carol) = (log_in("bob", "b"), log_in("carol", "c"));
    let text = command(&gateway, &["list"]);
    assert_eq!(text.lines().count(), 4, "{text}");
    let line = text
        .lines()
        .find(|line| line.contains("carol"))
        .expect("carol's session");
    assert!(line.contains("carol of op  tenant: c  since: "), "{line}");
    let id = line.split(' ').next().expect("an id").to_owned();
    let list: Value = serde_json::from_str(&command(&gateway, &["list", "--format", "json"])).expect("JSON");
    assert_eq!(
        (list["total"].as_u64(), list["sessions"].as_array().map(Vec::len)),
        (Some(4), Some(4))
    );

    assert_eq!(command(&gateway, &["revoke", "--id", &id]), "revoked: 1\n");
    assert_eq!(carol.fetch("GET", "/").reason(), "session_invalid");
    assert_eq!(command(&gateway, &["revoke", "--tenant", "b"]), "revoked: 2\n");
    assert_eq!((two.fetch("GET", "/").status, bob.fetch("GET", "/").status), (401, 401));
    assert_eq!(one.fetch("GET", "/").status, 200);
    assert_eq!(command(&gateway, &["revoke", "--user", "alice"]), "revoked: 1\n");
    assert_eq!(one.fetch("GET", "/").status, 401);
    assert_eq!(command(&gateway, &["revoke", "--user", "alice"]), "revoked: 0\n");
    let (status, body) = gateway.admin("POST", "/-/sessions/revoke", "{}");
    assert!(
        status == 422 && body.contains("session_choice_invalid"),
        "{status} {body}"
    );
    assert!(command(&gateway, &["list"]).contains("there is no session"));
}

#[test]
fn logout() {
    let (provider, origin) = (Provider::start(), Origin::start("ok"));
    let gateway = gateway(&provider, &origin, "post_logout_url: \"https://app.example/bye\"");
    let mut browser = Browser::new(gateway.public);
    browser.log_in(&provider, "/");
    let id = browser.jar[SESSION].clone();
    let foreign = [("Sec-Fetch-Site", "cross-site"), PAGE];
    assert_eq!(browser.send("POST", "/-/session/logout", &foreign, b"").status, 403);
    assert_eq!(browser.fetch("GET", "/").status, 200);
    let own = [("Sec-Fetch-Site", "same-origin"), PAGE];
    let answer = browser.send("POST", "/-/session/logout", &own, b"");
    let to = format!(
        "{}/logout?client_id=app&post_logout_redirect_uri=https%3A%2F%2Fapp.example%2Fbye",
        provider.issuer()
    );
    assert_eq!((answer.status, answer.header("location")), (303, Some(to.as_str())));
    assert!(browser.jar.is_empty());
    browser.jar.insert(SESSION.into(), id);
    assert_eq!(browser.fetch("GET", "/").reason(), "session_invalid");
    let last = provider.state().refresh_tokens.last().cloned();
    wait("the provider to be told", || {
        provider.state().forgotten.last() == last.as_ref()
    });
    let answer = browser.fetch("POST", "/-/session/logout");
    assert_eq!((answer.status, &answer.json()["location"]), (200, &json!(to)));
}

#[test]
fn fl_23_another_tenant_is_another_session() {
    let (provider, origin) = (Provider::start(), Origin::start("ok"));
    let tenants = "tenant_claim: org, tenant_parameter: organization, claims_to_headers: { x-org: org }";
    let gateway = gateway(&provider, &origin, tenants);
    let mut browser = Browser::new(gateway.public);
    browser.log_in(&provider, "/");
    let (first, refresh) = (browser.jar[SESSION].clone(), provider.state().refresh_tokens[0].clone());
    let answer = browser.fetch("POST", "/-/session/switch?tenant=acme");
    let url = answer.json()["location"].as_str().expect("the provider").to_owned();
    assert_eq!(parse(url.split_once('?').expect("a query").1)["organization"], "acme");
    let back = browser.ask_provider(&provider, &url);
    assert_eq!(browser.page(&back).status, 303);
    assert_ne!(browser.jar[SESSION], first);
    assert_eq!(browser.fetch("GET", "/").status, 200);
    assert_eq!(origin.seen().pop().expect("the request").all("x-org"), ["acme"]);
    assert_eq!(browser.fetch("GET", "/-/session").json()["tenant"], "acme");
    wait("the provider to be told", || {
        provider.state().forgotten.contains(&refresh)
    });
    let mut old = Browser::new(gateway.public);
    old.jar.insert(SESSION.into(), first);
    assert_eq!(old.fetch("GET", "/").reason(), "session_invalid");
    // A provider that answers for another tenant than it was asked for is not believed.
    provider.state().claims.insert("org".into(), json!("other"));
    let answer = browser.fetch("POST", "/-/session/switch?tenant=acme");
    let back = browser.ask_provider(&provider, answer.json()["location"].as_str().expect("the provider"));
    let answer = browser.page(&back);
    assert_eq!((answer.status, answer.reason().as_str()), (401, "login_refused"));
    assert_eq!(browser.fetch("POST", "/-/session/switch").reason(), "tenant_required");
}

#[test]
fn ff_13_a_session_is_bound_to_its_device() {
    let (provider, origin) = (Provider::start(), Origin::start("ok"));
    let gateway = gateway(&provider, &origin, "device_headers: [user-agent, x-fingerprint]");
    let mut browser = Browser::new(gateway.public);
    browser.always = vec![
        ("User-Agent".into(), "one".into()),
        ("X-Fingerprint".into(), "f".into()),
    ];
    browser.log_in(&provider, "/");
    assert_eq!(browser.fetch("GET", "/").status, 200);
    for always in [
        vec![("User-Agent", "two"), ("X-Fingerprint", "f")],
        vec![("User-Agent", "one"), ("X-Fingerprint", "g")],
        vec![("User-Agent", "one")],
        vec![("User-Agent", "onef")],
        vec![],
    ] {
        let mut thief = Browser::new(gateway.public);
        thief.jar.clone_from(&browser.jar);
        thief.always = always
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let answer = thief.fetch("GET", "/");
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (401, "session_fingerprint_mismatch")
        );
        assert_eq!(answer.header("x-fingerprint-error"), Some("true"));
        assert_eq!(thief.page("/").status, 401, "no new login either");
    }
    assert_eq!(browser.fetch("GET", "/").status, 200, "its owner keeps it");
    assert!(gateway.metric("portcullis_session_other_device_total{realm=\"main\"}") >= 10.0);
}
