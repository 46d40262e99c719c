//! What goes wrong in other decision services, and must not here: one test a weakness, named after it.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::net::SocketAddr;

use portcullis_e2e::bundle::Signer;
use portcullis_e2e::gateway::{Builder, Gateway};
use portcullis_e2e::h1::{self, Answer};

const SITE: &str = "sites: [{ hosts: [\"*\"], filters: [{ policy: {} }], routes: [{}] }]\n";

fn start(policies: &str) -> Gateway {
    let signer = Signer::new("k1");
    let yaml = format!(
        "listeners: [{{ name: authz, address: \"{{public}}\", mode: decision }}]\ntrusted_proxies: [127.0.0.1]\n{}{SITE}",
        signer.policy()
    );
    let bundle = format!("bundle_version: 1\npolicies:\n{policies}");
    Builder::new(&yaml).file("policy.bundle", signer.sign(&bundle)).start()
}

fn ask(address: SocketAddr, method: &str, uri: &str, path: &str, more: &[(&str, &str)]) -> Answer {
    let mut fields = vec![
        ("X-Original-Method", method),
        ("X-Original-URI", uri),
        ("X-Original-Host", "api.example"),
    ];
    fields.extend_from_slice(more);
    h1::request(address, "POST", "authz", path, &fields, b"")
}

/// A path whose bucket is empty stays limited however it is written, and what cannot be read is refused.
#[test]
fn w_04_no_spelling_of_the_target_escapes_its_policy() {
    let gateway = start(
        r"
- id: chat
  spec:
    selector: { pathExact: /v1/chat, methods: [GET] }
    rules: [{ name: all, limit_keys: [], algorithm: token_bucket, algorithm_config: { tokens_per_second: 0.001, burst: 1 } }]
",
    );
    let decide = |method: &str, uri: &str| ask(gateway.public, method, uri, "/v1/decision", &[]);
    assert_eq!(decide("GET", "/v1/chat").status, 200);
    for uri in [
        "/v1/chat",
        "/v1/chat?",
        "/v1/chat?a=1&b",
        "//v1/chat",
        "/v1//chat",
        "/v1/%63hat",
        "/v1/%63%68at",
        "/v1/./chat",
        "/v1/x/../chat",
        "/../v1/chat",
        "http://api.example/v1/chat",
        "https://API.example/v1/chat?x",
    ] {
        let answer = decide("GET", uri);
        assert_eq!(
            (answer.status, answer.reason()),
            (429, "token_bucket_exceeded".into()),
            "{uri}"
        );
    }
    for (method, uri, reason) in [
        ("get", "/v1/chat", "description_malformed"),
        ("Get", "/v1/chat", "description_malformed"),
        ("GET", "/v1/chat#", "path_forbidden_character"),
        ("GET", "/v1%2fchat", "path_encoded_slash"),
        ("GET", "/v1/chat%00", "path_encoded_nul"),
        ("GET", "v1/chat", "target_form"),
        ("GET", "http://other.example/v1/chat", "host_mismatch"),
        ("GET", "", "description_missing"),
        ("", "/v1/chat", "description_missing"),
    ] {
        let answer = decide(method, uri);
        assert_eq!((answer.status, answer.reason()), (400, reason.into()), "{method} {uri}");
    }
    let repeated = [
        ("X-Original-URI", "/elsewhere"),
        ("X-Original-Method", "GET"),
        ("X-Original-Host", "other.example"),
    ];
    for field in repeated {
        let answer = ask(gateway.public, "GET", "/v1/chat", "/v1/decision", &[field]);
        assert_eq!(
            (answer.status, answer.reason()),
            (400, "description_repeated".into()),
            "{field:?}"
        );
    }
    let whole = [
        ("X-Original-Method", "GET"),
        ("X-Original-URI", "/v1/chat"),
        ("X-Original-Host", "api.example"),
    ];
    for missing in 0..whole.len() {
        let mut fields = whole.to_vec();
        fields.remove(missing);
        let answer = h1::request(gateway.public, "POST", "authz", "/v1/decision", &fields, b"");
        assert_eq!((answer.status, answer.reason()), (400, "description_missing".into()));
    }
}

/// The query that counts is the one of the request that is asked about.
#[test]
fn w_24_query_keys_are_those_of_the_original_request() {
    let gateway = start(
        r#"
- id: by-user
  spec:
    selector: { pathPrefix: / }
    rules: [{ name: user, limit_keys: ["query:user"], algorithm: token_bucket, algorithm_config: { tokens_per_second: 0.001, burst: 10, cost_source: "query:cost" } }]
"#,
    );
    let decide = |uri: &str| ask(gateway.public, "GET", uri, "/v1/decision", &[]).status;
    assert_eq!(decide("/?user=a&cost=10"), 200);
    assert_eq!(decide("/?user=a&cost=1"), 429);
    assert_eq!(decide("/?user=b&cost=9"), 200);
    assert_eq!(decide("/other?cost=1&user=b"), 200);
    assert_eq!(decide("/?user=b&cost=1"), 429);
    // A query of the question itself is no question that is answered.
    assert_eq!(ask(gateway.public, "GET", "/", "/v1/decision?user=a", &[]).status, 404);
}

/// What is known of an address comes from whom the configuration trusts, and from files; not from the client.
#[test]
fn w_16_only_a_trusted_peer_says_where_a_client_is() {
    let rules = |id: &str| {
        format!(
            "- id: {id}\n  spec:\n    selector: {{ pathPrefix: /{id} }}\n    rules: [{{ name: r, limit_keys: [\"ip:{id}\"], algorithm: token_bucket, algorithm_config: {{ tokens_per_second: 0.001, burst: 1 }} }}]\n"
        )
    };
    let policies = ["address", "country", "asn", "type", "tor"].map(rules).concat();
    let signer = Signer::new("k1");
    let bundle = format!("bundle_version: 1\npolicies:\n{policies}");
    let start = |geoip: &str| {
        let yaml = format!(
            "listeners: [{{ name: authz, address: \"{{public}}\", mode: decision }}]\ntrusted_proxies: [127.0.0.1]\n{geoip}{}{SITE}",
            signer.policy()
        );
        Builder::new(&yaml)
            .file("types", "72 business\n62 hosting\n")
            .file("exits", "192.0.2.66\n")
            .file("policy.bundle", signer.sign(&bundle))
    };
    let gateway =
        start("geoip: { asn_types: \"{dir}/types\", tor_exits: \"{dir}/exits\", trusted_headers: true }\n").start();
    let decide = |path: &str, fields: &[(&str, &str)]| ask(gateway.public, "GET", path, "/v1/decision", fields).status;
    for (path, one, other) in [
        ("/country", ("X-Country-Code", "DE"), ("X-Country-Code", "FR")),
        ("/asn", ("X-ASN", "72"), ("X-ASN", "62")),
        ("/type", ("X-ASN", "72"), ("X-ASN", "62")),
        ("/tor", ("X-Tor-Exit", "1"), ("X-Tor-Exit", "0")),
        (
            "/address",
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Forwarded-For", "192.0.2.2"),
        ),
    ] {
        let all = [one, other, one, other].map(|field| decide(path, &[field]));
        assert_eq!(all, [200, 200, 429, 429], "{path}");
    }
    // An exit of the list is one, whatever a field says that the peer has passed on.
    let exit = [("X-Forwarded-For", "192.0.2.66"), ("X-Tor-Exit", "0")];
    assert_eq!(decide("/tor", &exit), 429);
    // Said twice, it may be the client's: nobody knows, and those share a bucket.
    let twice = [("X-ASN", "99"), ("X-ASN", "72")];
    assert_eq!([decide("/asn", &twice), decide("/asn", &twice)], [200, 429]);
    // Without leave the fields are nothing, and a bundle that needs them is not accepted.
    let refusing = start("geoip: { tor_exits: \"{dir}/exits\" }\n").start_without_waiting();
    refusing.wait_for("/readyz", |status, body| {
        status == 503 && body.contains("unsupported") && body.contains("ip:country")
    });
}
