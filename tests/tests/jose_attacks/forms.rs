//! The form of a token: parts, base64url, size, what is no JWS in compact form.

use portcullis_e2e::idp::{Idp, encode};
use serde_json::json;

use super::{Case, World, case};

#[test]
fn forms() {
    let world = World::new();
    let good = world.header(&json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let (head, payload, signature) = (parts[0], parts[1], parts[2]);
    let bare = format!("{head}.{payload}");
    let flat = json!({ "protected": head, "payload": payload, "signature": signature }).to_string();
    let general = json!({ "payload": payload, "signatures": [{ "protected": head, "signature": signature }] });
    let deep = world.payload(&format!("{{\"a\":{}1{}}}", "[".repeat(3000), "]".repeat(3000)));
    let malformed = |name: &str, token: String| case(name, token, "token_malformed");
    let mut cases: Vec<Case> = vec![
        malformed("a dot", ".".into()),
        malformed("two dots", "..".into()),
        malformed("a word", "x".into()),
        malformed("no signature part", bare.clone()),
        case("an empty signature", format!("{bare}."), "signature_invalid"),
        malformed("an empty payload", format!("{head}..{signature}")),
        malformed("an empty header", format!(".{payload}.{signature}")),
        malformed("a dot at the end", format!("{good}.")),
        malformed("a dot in front", format!(".{good}")),
        malformed("three dots", format!("{good}.x")),
        malformed(
            "a JWE: five parts",
            format!("{head}.{payload}.{payload}.{payload}.{signature}"),
        ),
        malformed("two tokens", format!("{good},{good}")),
        malformed("two tokens with schemes", format!("{good}, Bearer {good}")),
        malformed("flattened JSON", flat),
        malformed("general JSON", general.to_string()),
        malformed("in quotes", format!("\"{good}\"")),
        malformed("padding", format!("{good}==")),
        malformed("padding in the payload", format!("{head}.{payload}=.{signature}")),
        malformed("a space", format!("{head}.{payload}. {signature}")),
        malformed("a question mark", format!("{head}?.{payload}.{signature}")),
        malformed("a percent escape", good.replace('.', "%2E")),
        malformed("not ASCII", format!("{good}\u{e9}")),
        malformed(
            "plain base64",
            format!("{head}.{payload}.+/{}", signature.get(2..).expect("a signature")),
        ),
        malformed("letters too many", format!("{good}AAA")),
        malformed("a token in a token", world.payload(&good)),
        malformed("deep", deep),
        case("a byte too long", "a".repeat((16 << 10) + 1), "token_too_long"),
        case(
            "claims too long",
            world.claims(&json!({ "x": "y".repeat(20_000) })),
            "token_too_long",
        ),
        malformed("as long as may be", "a".repeat(16 << 10)),
        case("80 KiB", "a".repeat(80 << 10), "header_too_large"),
        case(
            "another payload",
            format!(
                "{head}.{}.{signature}",
                encode(Idp::claims("root").to_string().as_bytes())
            ),
            "signature_invalid",
        ),
        case(
            "another header",
            format!("{}.{payload}.{signature}", encode(br#"{"alg":"EdDSA","kid":"ed"}"#)),
            "signature_invalid",
        ),
    ];
    // The last letter of a signature of 64 bytes has bits that say nothing.
    let last = signature.chars().next_back().expect("a letter");
    let stray = "BCDEFGHIJKLMNOPQRSTUVWXYZ"
        .chars()
        .find(|letter| *letter != last && !"AQgw".contains(*letter));
    let stem = good.get(..good.len() - 1).expect("ASCII");
    cases.push(malformed("stray bits", format!("{stem}{}", stray.expect("a letter"))));
    assert_eq!(world.refuses(&cases), 33);
}
