//! `signature` in front of an origin: which webhooks arrive there, once; how secrets rotate; and what goes up is signed. What
//! of each scheme is taken and refused is shown in the filter's folder.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::fmt::Write as _;

use portcullis_e2e::gateway::{Builder, Gateway, wait};
use portcullis_e2e::h1::{self, Answer};
use portcullis_e2e::idp::now;
use portcullis_e2e::origin::Origin;
use ring::hmac;

const OLD: &str = "whsec_the-old-secret-of-tests";
const NEW: &str = "whsec_the-new-secret-of-tests";
const BODY: &str = "{\"id\":\"evt_1\",  \"type\":\"order.created\"}";

fn tag(secret: &str, text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, text.as_bytes());
    tag.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn gateway(origin: &Origin, filter: &str) -> Gateway {
    let yaml = format!(
        "upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], filters: [{{ signature: {{ {filter} }} }}], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n",
        origin.address
    );
    Builder::new(&yaml).file("old", OLD).file("new", NEW).start()
}

/// A webhook as Fanfare sends it.
fn deliver(gateway: &Gateway, secret: &str, at: u64, body: &str) -> Answer {
    let signature = format!("sha256={}", tag(secret, &format!("{at}.{body}")));
    let at = at.to_string();
    let headers = [
        ("X-Fanfare-Signature", signature.as_str()),
        ("X-Fanfare-Timestamp", &at),
    ];
    h1::request(
        gateway.public,
        "POST",
        "hooks.example",
        "/hooks",
        &headers,
        body.as_bytes(),
    )
}

fn told(answer: &Answer) -> (u16, String) {
    let reason = if answer.status == 200 {
        String::new()
    } else {
        answer.reason()
    };
    (answer.status, reason)
}

#[test]
fn ff_35_signed_webhooks_arrive_once_and_whole() {
    let origin = Origin::start("ok");
    let gateway = gateway(&origin, "verify: { scheme: fanfare, secrets: [\"file:{dir}/old\"] }");
    let at = now();
    assert_eq!(told(&deliver(&gateway, OLD, at, BODY)), (200, String::new()));
    assert_eq!(origin.seen().len(), 1);
    assert_eq!(origin.seen()[0].body, BODY.as_bytes(), "byte for byte");
    for (answer, expected) in [
        (deliver(&gateway, OLD, at, BODY), (409, "signature_replayed")),
        (deliver(&gateway, NEW, at, BODY), (403, "signature_invalid")),
        (deliver(&gateway, OLD, at - 4000, BODY), (403, "signature_expired")),
        (deliver(&gateway, OLD, at + 4000, BODY), (403, "signature_expired")),
        (
            h1::request(gateway.public, "POST", "hooks.example", "/hooks", &[], BODY.as_bytes()),
            (403, "signature_missing"),
        ),
    ] {
        assert_eq!(told(&answer), (expected.0, expected.1.to_owned()));
    }
    assert_eq!(origin.seen().len(), 1, "nothing else arrived");
    assert_eq!(told(&deliver(&gateway, OLD, at, "another")), (200, String::new()));
    assert!(!gateway.log().contains(OLD));
}

#[test]
fn ff_45_secrets_rotate_by_a_reload() {
    let origin = Origin::start("ok");
    let one = |name: &str| format!("verify: {{ scheme: fanfare, secrets: [{name}] }}");
    let (old, new) = ("\"file:{dir}/old\"", "\"file:{dir}/new\"");
    let gateway = gateway(&origin, &one(old));
    let both = |at: u64| [OLD, NEW].map(|secret| deliver(&gateway, secret, at, BODY).status);
    let at = now();
    assert_eq!(both(at), [200, 403]);
    let site = |filter: &str| {
        format!(
            "upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], filters: [{{ signature: {{ {filter} }} }}], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n",
            origin.address
        )
    };
    for (secrets, back, expected) in [
        (format!("{old}, {new}"), 1, [200, 200]),
        (new.to_owned(), 2, [403, 200]),
    ] {
        gateway.write_config(&site(&one(&secrets)));
        wait("the reload", || gateway.reload().0 == 200);
        assert_eq!(both(at - back), expected, "{secrets}");
    }
}

#[test]
fn what_goes_to_the_origin_is_signed() {
    let origin = Origin::start("ok");
    let gateway = gateway(&origin, "sign: { scheme: stripe, secret: \"file:{dir}/new\" }");
    let headers = [("Stripe-Signature", "t=1,v1=spoofed"), ("Stripe_Signature", "spoofed")];
    let answer = h1::request(gateway.public, "POST", "a.example", "/", &headers, BODY.as_bytes());
    assert_eq!(answer.status, 200);
    let seen = origin.seen();
    assert!(seen[0].all("stripe_signature").is_empty());
    let values = seen[0].all("stripe-signature");
    let [value] = values[..] else { panic!("{values:?}") };
    let (time, signature) = value.split_once(",v1=").expect("both");
    let at = time.strip_prefix("t=").expect("a time");
    assert_eq!(signature, tag(NEW, &format!("{at}.{BODY}")));
    assert!(now().abs_diff(at.parse().expect("seconds")) < 60);
}
