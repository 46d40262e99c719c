//! Signatures of each scheme, what is wrong with others, replays, what goes on signed, and what of a configuration is refused.

use http::{HeaderMap, StatusCode};
use proptest::prelude::*;
use ring::hmac;

use super::config::Known;
use super::scheme::Scheme;
use crate::testing::{Bench, ENTROPY, RequestBuilder, START, Upstream, after, try_bench};
use crate::zones::Zones;

fn bench(config: &str) -> Bench {
    Bench::new(&format!("filters: [{{ signature: {config} }}]"))
}

/// The secret that a bench reads under a name.
fn key(name: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, format!("{name:-<64}").as_bytes())
}

fn hex(name: &str, text: &str) -> String {
    let tag = hmac::sign(&key(name), text.as_bytes());
    tag.as_ref()
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn judged(bench: &Bench, request: &RequestBuilder) -> &'static str {
    bench.send(request).reason.map_or("passed", |reason| reason.0)
}

fn post(body: &str) -> RequestBuilder {
    RequestBuilder::new("POST", "/").body(body.to_owned())
}

const T: u64 = START.unix_ms / 1000;

fn fanfare(at: u64, body: &str) -> RequestBuilder {
    let signature = format!("sha256={}", hex("env:HOOK", &format!("{at}.{body}")));
    post(body)
        .header("x-fanfare-signature", &signature)
        .header("x-fanfare-timestamp", &at.to_string())
}

fn verify(scheme: &str) -> Bench {
    bench(&format!(
        "{{ verify: {{ scheme: {scheme}, secrets: [\"env:HOOK\"] }} }}"
    ))
}

#[test]
fn each_scheme_by_its_name() {
    let body = r#"{"id":1}"#;
    let sign = |text: String| hex("env:HOOK", &text);
    let github = post(body).header("x-hub-signature-256", &format!("sha256={}", sign(body.into())));
    let slack = post(body)
        .header("x-slack-signature", &format!("v0={}", sign(format!("v0:{T}:{body}"))))
        .header("x-slack-request-timestamp", &T.to_string());
    let stripe = format!("t={T},v1={},v0=ignored", sign(format!("{T}.{body}")));
    let stripe = post(body).header("stripe-signature", &stripe);
    for (scheme, request) in [
        ("fanfare", fanfare(T, body)),
        ("github", github),
        ("slack", slack),
        ("stripe", stripe),
    ] {
        assert_eq!(judged(&verify(scheme), &request), "passed", "{scheme}");
        let changed = request.clone().body(r#"{"id":2}"#);
        assert_eq!(judged(&verify(scheme), &changed), "signature_invalid", "{scheme}");
        let other = bench(&format!(
            "{{ verify: {{ scheme: {scheme}, secrets: [\"env:OTHER\"] }} }}"
        ));
        assert_eq!(judged(&other, &request), "signature_invalid", "{scheme}");
        assert_eq!(judged(&verify(scheme), &post(body)), "signature_missing", "{scheme}");
    }
}

/// The example that GitHub's documentation gives.
#[test]
fn a_signature_that_somebody_else_made() {
    let scheme = Scheme::known(Known::Github).unwrap();
    let mut headers = HeaderMap::new();
    let value = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    headers.insert("x-hub-signature-256", value.parse().unwrap());
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"It's a Secret to Everybody");
    let claimed = scheme.read(&headers).unwrap();
    let verified = |body: &[u8]| claimed.verified([&key].into_iter(), &scheme.text(&headers, "", body).unwrap());
    assert!(verified(b"Hello, World!").is_some() && verified(b"Hello, World?").is_none());
}

#[test]
fn secrets_rotate() {
    let both = bench("{ verify: { scheme: fanfare, secrets: [\"env:NEW\", \"env:HOOK\"] } }");
    assert_eq!(judged(&both, &fanfare(T, "x")), "passed");
    let new = bench("{ verify: { scheme: fanfare, secrets: [\"env:NEW\"] } }");
    assert_eq!(judged(&new, &fanfare(T, "x")), "signature_invalid");
    // A sender that rotates signs with both.
    let stripe = bench("{ verify: { scheme: stripe, secrets: [\"env:NEW\"] } }");
    let text = format!("{T}.x");
    let two = format!("t={T},v1={},v1={}", hex("env:HOOK", &text), hex("env:NEW", &text));
    assert_eq!(judged(&stripe, &post("x").header("stripe-signature", &two)), "passed");
}

#[test]
fn times() {
    for (at, expected) in [
        (T, "passed"),
        (T - 300, "passed"),
        (T - 301, "signature_expired"),
        (T + 300, "passed"),
        (T + 301, "signature_expired"),
        (0, "signature_expired"),
        (999_999_999_999, "signature_expired"),
        (9_999_999_999_999, "signature_malformed"),
    ] {
        assert_eq!(judged(&verify("fanfare"), &fanfare(at, "x")), expected, "{at}");
    }
    let short = bench("{ verify: { scheme: fanfare, secrets: [\"env:HOOK\"], tolerance: 10s } }");
    assert_eq!(judged(&short, &fanfare(T - 11, "x")), "signature_expired");
    // A time that was not signed is another text.
    let signed = fanfare(T - 1000, "x");
    let moved = post("x").header("x-fanfare-timestamp", &T.to_string());
    let signature = signed.with_head(|head| head.headers["x-fanfare-signature"].to_str().unwrap().to_owned());
    assert_eq!(
        judged(&verify("fanfare"), &moved.header("x-fanfare-signature", &signature)),
        "signature_invalid"
    );
}

#[test]
fn forms() {
    let text = format!("{T}.x");
    let tag = hex("env:HOOK", &text);
    let good = format!("sha256={tag}");
    for (signature, expected) in [
        (good.clone(), "passed"),
        (good.to_uppercase().replace("SHA", "sha"), "passed"),
        (tag.clone(), "signature_malformed"),
        (format!("sha1={tag}"), "signature_malformed"),
        (format!("sha256={}", tag.get(..62).unwrap()), "signature_malformed"),
        (format!("sha256={tag}00"), "signature_malformed"),
        (format!("sha256={}g", tag.get(..63).unwrap()), "signature_malformed"),
        ("sha256=".to_owned(), "signature_malformed"),
        (format!("{good}, {good}"), "signature_malformed"),
    ] {
        let request = post("x").header("x-fanfare-timestamp", &T.to_string());
        let request = request.header("x-fanfare-signature", &signature);
        assert_eq!(judged(&verify("fanfare"), &request), expected, "{signature}");
    }
    for (name, value) in [
        ("x-fanfare-signature", good.as_str()),
        ("x_fanfare_signature", &good),
        ("x-fanfare-timestamp", "1"),
        ("x_fanfare_timestamp", "1"),
    ] {
        let request = fanfare(T, "x").header(name, value);
        assert_eq!(
            judged(&verify("fanfare"), &request),
            "signature_malformed",
            "{name} twice"
        );
    }
    for at in ["", "+1", "-1", "1.5", " ", "1e3", "abc"] {
        let request = post("x")
            .header("x-fanfare-signature", &good)
            .header("x-fanfare-timestamp", at);
        assert_eq!(judged(&verify("fanfare"), &request), "signature_malformed", "{at:?}");
    }
    let many = format!("t={T}{}", format!(",v1={tag}").repeat(16));
    assert_eq!(
        judged(&verify("stripe"), &post("x").header("stripe-signature", &many)),
        "signature_malformed"
    );
    let twice = format!("t={T},t={T},v1={tag}");
    assert_eq!(
        judged(&verify("stripe"), &post("x").header("stripe-signature", &twice)),
        "signature_malformed"
    );
}

#[test]
fn what_came_before() {
    let config = |more: &str| format!("{{ verify: {{ scheme: fanfare, secrets: [\"env:HOOK\"]{more} }} }}");
    let deny = bench(&config(""));
    let first = fanfare(T, "x");
    assert_eq!(judged(&deny, &first), "passed");
    assert_eq!(judged(&deny, &first), "signature_replayed");
    assert_eq!(judged(&deny, &fanfare(T, "y")), "passed");
    assert_eq!(
        judged(&deny, &first.clone().tenant("acme")),
        "passed",
        "another's memory"
    );
    assert_eq!(
        judged(&deny, &first.clone().at(after(START, 300_000))),
        "signature_replayed"
    );
    // What did not get through may come again.
    let failed = Upstream {
        status: StatusCode::BAD_GATEWAY,
        ..Upstream::default()
    };
    let again = fanfare(T, "z");
    assert_eq!(deny.send_to(&again, &failed).status.as_u16(), 502);
    assert_eq!(judged(&deny, &again), "passed");
    let ignore = bench(&config(", on_replay: ignore"));
    assert!(ignore.send(&first).upstream.is_some());
    let answered = ignore.send(&first);
    assert_eq!((answered.status.as_u16(), answered.upstream.is_none()), (200, true));
    let allow = bench(&config(", on_replay: allow"));
    assert!((0..3).all(|_| judged(&allow, &first) == "passed"));
    let narrow = bench(&config(", max_seen: 1"));
    assert_eq!(judged(&narrow, &first), "passed");
    assert_eq!(judged(&narrow, &fanfare(T, "y")), "signature_replay_full");
}

#[test]
fn bodies_are_bounded() {
    let config = "{ verify: { scheme: fanfare, secrets: [\"env:HOOK\"] }, max_body: 8B }";
    assert_eq!(judged(&bench(config), &fanfare(T, "12345678")), "passed");
    assert_eq!(
        judged(&bench(config), &fanfare(T, "123456789")),
        "signature_body_too_large"
    );
}

#[test]
fn what_goes_on_is_signed() {
    let place = "{ header: x-sig, separator: \";\", prefix: \"s=\" }";
    let time = "{ header: x-sig, separator: \";\", prefix: \"t=\" }";
    let custom = format!(
        "custom: {{ signature: {place}, timestamp: {time}, encoding: base64, signed: \"v1:{{header:x-id}}:{{timestamp}}:{{body}}\" }}"
    );
    let sign = bench(&format!("{{ sign: {{ {custom}, secret: \"env:HOOK\" }} }}"));
    let request = post("x")
        .header("x-id", "7")
        .header("x-sig", "spoofed")
        .header("x_sig", "spoofed");
    let seen = sign.send(&request).upstream.unwrap();
    assert!(!seen.contains_key("x_sig"));
    let values: Vec<_> = seen
        .get_all("x-sig")
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    assert!(
        values.len() == 1 && values[0].starts_with(&format!("t={T};s=")),
        "{values:?}"
    );
    // Whoever has the secret takes it, and only as it is.
    let verify = bench(&format!(
        "{{ verify: {{ {custom}, secrets: [\"env:HOOK\"], on_replay: allow }} }}"
    ));
    let signed = |body: &str, id: &str| post(body).header("x-id", id).header("x-sig", values[0]);
    assert_eq!(judged(&verify, &signed("x", "7")), "passed");
    assert_eq!(judged(&verify, &signed("x", "8")), "signature_invalid");
    assert_eq!(judged(&verify, &signed("y", "7")), "signature_invalid");
    assert_eq!(
        judged(&verify, &signed("x", "7:1")),
        "signature_malformed",
        "not to be told from what follows"
    );
    assert_eq!(
        judged(&sign, &post("x")),
        "signature_malformed",
        "a field that is signed is needed"
    );
    for name in ["fanfare", "github", "slack", "stripe"] {
        let sign = bench(&format!("{{ sign: {{ scheme: {name}, secret: \"env:HOOK\" }} }}"));
        let seen = sign.send(&post("x")).upstream.unwrap();
        let signed = seen.iter().fold(post("x"), |request, (name, value)| {
            request.header(name.as_str(), value.to_str().unwrap())
        });
        assert_eq!(judged(&self::verify(name), &signed), "passed", "{name}");
    }
}

#[test]
fn what_is_refused_when_it_is_loaded() {
    let custom = |more: &str| {
        format!("{{ verify: {{ custom: {{ signature: {{ header: x-s }}, {more} }}, secrets: [\"env:A\"] }} }}")
    };
    for (config, expected) in [
        ("{}".to_owned(), "neither `verify` nor `sign`"),
        (
            "{ verify: { secrets: [\"env:A\"] } }".to_owned(),
            "one of `scheme` and `custom`",
        ),
        ("{ verify: { scheme: github, secrets: [] } }".to_owned(), "1 to 8 items"),
        ("{ verify: { scheme: github, secrets: [plain] } }".to_owned(), "secrets"),
        (
            "{ verify: { scheme: other, secrets: [\"env:A\"] } }".to_owned(),
            "other",
        ),
        (
            "{ verify: { scheme: github, secrets: [\"env:A\"], tolerance: 2h } }".to_owned(),
            "from 1s to 1h",
        ),
        (
            "{ verify: { scheme: github, secrets: [\"env:A\"], max_seen: 0 } }".to_owned(),
            "max_seen",
        ),
        (
            "{ sign: { scheme: github, secret: \"env:A\" }, max_body: 0B }".to_owned(),
            "between 1 byte and 64MiB",
        ),
        (custom("signed: x"), "ends with `{body}`"),
        (custom("signed: \"{timestamp}.{body}\""), "both or neither"),
        (
            custom("timestamp: { header: x-t }, signed: \"{body}\""),
            "both or neither",
        ),
        (custom("signed: \"{x}.{body}\""), "not `{x}`"),
        (custom("signed: \"{header:x-a}{body}\""), "a text stands between"),
        (
            custom("signed: \"{header:x-a}{header:x-b}.{body}\""),
            "a text stands between",
        ),
        (custom("signed: \"{header:x a}.{body}\""), "is no header field"),
        (custom("signed: \"{.{body}\""), "without `}`"),
        (
            "{ sign: { custom: { signature: { header: host }, signed: \"{body}\" }, secret: \"env:A\" } }".to_owned(),
            "cannot carry a signature",
        ),
    ] {
        let built = try_bench(&Zones::new(ENTROPY), &format!("filters: [{{ signature: {config} }}]"));
        let said = built.err().expect(&config);
        assert!(said.contains(expected), "{config}: {said}");
    }
}

proptest! {
    /// No change of a signed request passes, and nothing panics.
    #[test]
    fn no_change_passes(body in "[ -~]{0,40}", at in 0_u64..400, place in 0_usize..64, value in "[ -~]{0,90}") {
        let verify = verify("fanfare");
        let signed = fanfare(T - at.min(300), &body);
        let other = format!("{body}x");
        prop_assert_eq!(judged(&verify, &signed.clone().body(other)), "signature_invalid");
        let text = format!("{}.{body}", T - at.min(300));
        let mut tag = hex("env:HOOK", &text).into_bytes();
        tag[place] = if tag[place] == b'0' { b'1' } else { b'0' };
        let bent = format!("sha256={}", String::from_utf8(tag).unwrap());
        let at = (T - at.min(300)).to_string();
        let request = |signature: &str| post(&body).header("x-fanfare-timestamp", &at).header("x-fanfare-signature", signature);
        prop_assert_eq!(judged(&verify, &request(&bent)), "signature_invalid");
        prop_assert!(judged(&verify, &request(&value)) != "passed");
        prop_assert_eq!(judged(&verify, &signed), "passed");
    }
}
