//! Keys of `session` that say who asks whom, and what of it a browser sees. What the filter decides is shown in `session.rs`.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use portcullis_e2e::browser::Browser;
use portcullis_e2e::gateway::Builder;
use portcullis_e2e::op::{Provider, parse};
use portcullis_e2e::origin::Origin;

#[test]
fn keys_of_the_client_and_the_cookie() {
    let (provider, origin) = (Provider::start(), Origin::start("ok"));
    let routes = |more: &str| {
        let link = |name: &str, keys: &str| {
            let needed = "issuer: op, client_id: app, key: \"file:{dir}/key\"";
            format!(
                "{{ match: {{ path_prefix: /{name} }}, filters: [{{ session: {{ {needed}, {keys} }} }}], proxy: {{ upstream: app }} }}"
            )
        };
        let back = |name: &str| {
            format!(
                "redirect_url: \"https://app.example/{name}/back\", path: /{name}/-, cookie: __Host-{name}, realm: {name}"
            )
        };
        let post = format!(
            "{}, client_secret: \"file:{{dir}}/secret\", client_auth: post, scopes: [profile, mail], parameters: {{ prompt: login }}, max_sessions: 1",
            back("post")
        );
        let public = format!(
            "{}, optional: true, claims_to_headers: {{ x-user: sub }}{more}",
            back("public")
        );
        [link("post", &post), link("public", &public)].join(", ")
    };
    let yaml = |more: &str| {
        format!(
            "{}upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], routes: [{}] }}]\n",
            provider.identity(),
            origin.address,
            routes(more)
        )
    };
    let builder = Builder::new(&yaml(""));
    let gateway = builder
        .file("key", "a key of tests that is long enough for HMAC")
        .file("secret", "s3cret&")
        .start();
    let mut browser = Browser::new(gateway.public);
    let answer = browser.page("/post/page");
    let asked = parse(
        answer
            .header("location")
            .expect("the provider")
            .split_once('?')
            .expect("a query")
            .1,
    );
    assert_eq!(
        (asked["scope"].as_str(), asked["prompt"].as_str()),
        ("openid profile mail", "login")
    );
    assert_eq!(asked["redirect_uri"], "https://app.example/post/back");
    assert_eq!(
        browser.log_in(&provider, "/post/page").header("location"),
        Some("/post/page")
    );
    assert_eq!(provider.state().shown, "|app|s3cret&");
    assert_eq!(browser.fetch("GET", "/post/-").json()["subject"], "alice");
    assert!(browser.jar.contains_key("__Host-post"));
    // There is room for one session, and it is taken.
    let mut other = Browser::new(gateway.public);
    let answer = other.log_in(&provider, "/post/page");
    assert_eq!((answer.status, answer.reason().as_str()), (503, "sessions_full"));

    // Whoever has no session passes, and is nobody; a session of another realm is none.
    assert_eq!(
        browser.send("GET", "/public/page", &[("X-User", "root")], b"").status,
        200
    );
    assert_eq!(origin.seen().pop().expect("the request").all("x-user").len(), 0);
    let answer = browser.page("/public/-/login?return_to=/public/page");
    let back = browser.ask_provider(&provider, answer.header("location").expect("the provider"));
    assert_eq!(browser.page(&back).status, 303);
    assert_eq!(provider.state().shown, "|app|", "a public client");
    assert_eq!(browser.fetch("GET", "/public/page").status, 200);
    assert_eq!(origin.seen().pop().expect("the request").all("x-user"), ["alice"]);
    assert!(gateway.metric("portcullis_sessions{realm=\"public\"}") >= 1.0);

    // A reload keeps sessions; with another key nobody knows them.
    assert_eq!(gateway.reload().0, 200);
    assert_eq!(browser.fetch("GET", "/post/page").status, 200);
    std::fs::write(gateway.path("key"), "another key of tests, long enough for HMAC").expect("the key");
    assert_eq!(gateway.reload().0, 200);
    assert_eq!(browser.fetch("GET", "/post/page").reason(), "session_invalid");
}
