//! Tokens and key sets: nothing that was not signed is ever accepted, what is accepted says what a plain reader reads, and
//! no key set makes anything panic.
//!
//! The first byte of an input says what the rest is: `t` a token, `p` its three parts before encoding (one a line), `s`
//! header and payload that are then signed by a trusted key, `k` a key set.

mod world;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use portcullis_filters::jwt::jwk::Keys;
use portcullis_filters::jwt::verify::{Failure, verify};
use portcullis_filters::jwt::{JwksError, json, source};
use serde_json::{Map, Value};

use crate::seeds::{Seed, files};
use world::{AUDIENCE, ISSUER, NOW, at, world};

/// What must hold for an input.
///
/// # Panics
///
/// When it does not.
pub fn check(data: &[u8]) {
    match data.split_first() {
        Some((b't', token)) => never_signed(token),
        Some((b'p', parts)) => {
            let mut parts = parts.splitn(3, |byte| *byte == b'\n');
            let mut part = || URL_SAFE_NO_PAD.encode(parts.next().unwrap_or_default());
            never_signed(format!("{}.{}.{}", part(), part(), part()).as_bytes());
        }
        Some((b's', text)) => {
            let mut parts = text.splitn(2, |byte| *byte == b'\n');
            let (header, payload) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            signed(header, payload);
        }
        Some((b'k', document)) => key_set(document),
        _ => never_signed(data),
    }
}

/// Whoever fuzzes has no key. Only what a seed's signer has signed may pass, whatever its signature looks like now: an
/// ECDSA signature has two spellings.
fn never_signed(token: &[u8]) {
    let world = world();
    let outcome = verify(token, &world.issuers, at(NOW));
    if outcome.is_ok() {
        let dot = token
            .iter()
            .rposition(|byte| *byte == b'.')
            .expect("an accepted token has dots");
        assert!(
            world.signed.iter().any(|signed| signed.as_bytes() == &token[..dot]),
            "accepted, and never signed"
        );
        assert!(
            verify(&token[..=dot], &world.issuers, at(NOW)).is_err(),
            "accepted without a signature"
        );
    }
    let credentials = [b"Bearer ", token].concat();
    if let Ok(value) = HeaderValue::from_bytes(&credentials) {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, value.clone());
        if let Ok(Some(found)) = source::token(&headers, &AUTHORIZATION) {
            assert!(credentials.ends_with(found) && !found.is_empty());
            assert!(outcome.is_ok() <= verify(found, &world.issuers, at(NOW)).is_ok());
        } else {
            assert!(outcome.is_err(), "a good token that is not found");
        }
        headers.append(AUTHORIZATION, value);
        assert!(
            source::token(&headers, &AUTHORIZATION).is_err(),
            "one of two tokens was chosen"
        );
    }
}

/// A trusted key signs whatever it is given. What is accepted then must be right in the eyes of a plain reader, too.
fn signed(header: &[u8], payload: &[u8]) {
    let world = world();
    let token = sign(header, payload);
    let outcome = verify(token.as_bytes(), &world.issuers, at(NOW));
    if let Ok(verified) = &outcome {
        let header = plain(header);
        let payload = plain(payload);
        assert_eq!(header["alg"], "EdDSA");
        assert!(header.get("kid").is_none_or(|kid| kid == "ed25519"));
        assert!(
            ["crit", "b64", "zip", "enc"]
                .iter()
                .all(|name| !header.contains_key(*name))
        );
        assert_eq!(payload["iss"], ISSUER);
        let audience = &payload["aud"];
        assert!(
            audience == AUDIENCE
                || audience
                    .as_array()
                    .is_some_and(|list| list.iter().any(|one| one == AUDIENCE))
        );
        let second = |name: &str| payload.get(name).map(|value| value.as_f64().expect("a number"));
        #[allow(clippy::cast_precision_loss)] // a second of this century
        let now = NOW as f64;
        assert!(second("exp").expect("an end") > now - 31.0);
        assert!(second("nbf").is_none_or(|begin| begin < now + 31.0));
        assert!(verified.validity.from <= NOW && NOW < verified.validity.until);
        assert_eq!(verified.issuer, 0);
        for (name, value) in &payload {
            assert_eq!(verified.claims.get(name), Some(value), "{name}");
        }
        // As anybody else would sign it.
        let (text, signature) = token.rsplit_once('.').expect("a token has dots");
        let mut signature = URL_SAFE_NO_PAD.decode(signature).expect("it was encoded here");
        let bit = payload.len() + header.len();
        signature[bit % 64] ^= 1 << (bit % 8);
        let changed = format!("{text}.{}", URL_SAFE_NO_PAD.encode(&signature));
        assert!(verify(changed.as_bytes(), &world.issuers, at(NOW)).is_err());
    }
    // The other issuer has a key of the same name, and it is not this one.
    assert!(verify(token.as_bytes(), &world.issuers[1..], at(NOW)).is_err());
}

/// A token of the first issuer.
fn sign(header: &[u8], payload: &[u8]) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = world().ed25519.sign(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

/// As any other program would read it.
fn plain(text: &[u8]) -> Map<String, Value> {
    match serde_json::from_slice(text) {
        Ok(Value::Object(members)) => members,
        other => panic!("accepted, and not an object: {other:?}"),
    }
}

fn key_set(document: &[u8]) {
    if let Ok(members) = json::object(document, 8) {
        assert_eq!(members, plain(document));
    }
    let parsed = Keys::parse(document);
    let again = Keys::parse(document);
    match (&parsed, &again) {
        (Ok(keys), Ok(again)) => {
            assert!(!keys.is_empty() && keys.len() <= 64);
            assert_eq!(keys.generation(), again.generation());
            assert_eq!(keys.kids().count(), keys.len());
        }
        (Err(error), Err(_)) => assert!(!error.to_string().is_empty()),
        _ => panic!("not the same twice"),
    }
    judges_with(document, &parsed);
}

/// Keys from anywhere: the tokens of the seeds may pass only if a key of theirs is in the set.
fn judges_with(document: &[u8], parsed: &Result<Keys, JwksError>) {
    if parsed.is_err() {
        return;
    }
    let values = strings(&Value::Object(plain(document)));
    for (token, key) in &world().tokens {
        let known = values.iter().any(|value| value.ends_with(key));
        match verify(token.as_bytes(), &world::issuers_with(document), at(NOW)) {
            Ok(_) => assert!(known, "accepted by a key that has not signed it"),
            Err(Failure::NoKeys(_)) => panic!("the set was good a moment ago"),
            Err(_) => {}
        }
    }
}

/// Every text in a document that is base64url, decoded.
fn strings(value: &Value) -> Vec<Vec<u8>> {
    match value {
        Value::String(text) => URL_SAFE_NO_PAD.decode(text).into_iter().collect(),
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(members) => members.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

/// Tokens and key sets to begin with.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = world::seeds();
    // Key sets that others publish: each `jwk`, `key` and `public` of the vectors, as a set of one.
    for file in files(&["filters/tests/data/jose-cookbook"], &[".json"]) {
        let document: Value = serde_json::from_slice(&file.bytes).expect("a vector is JSON");
        let members = document.pointer("/input/key").or_else(|| document.pointer("/jwk"));
        if let Some(key) = members.filter(|key| key.is_object()) {
            let mut key = key.clone();
            seeds.push(Seed::new(
                format!("{} private", file.name),
                format!("k{}", serde_json::json!({ "keys": [key] })),
            ));
            for name in ["d", "p", "q", "dp", "dq", "qi"] {
                key.as_object_mut().expect("an object").remove(name);
            }
            seeds.push(Seed::new(
                format!("{} public", file.name),
                format!("k{}", serde_json::json!({ "keys": [key] })),
            ));
        }
        if let Some(Value::String(token)) = document.pointer("/output/compact") {
            seeds.push(Seed::new(format!("{} token", file.name), format!("t{token}")));
        }
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A check that nothing ever passes would hold for every verifier.
    #[test]
    fn good_tokens_and_key_sets_pass() {
        let world = world();
        for (token, _) in &world.tokens {
            assert!(verify(token.as_bytes(), &world.issuers, at(NOW)).is_ok(), "{token}");
        }
        let seeds = seeds();
        let passes = |seed: &&Seed| match seed.bytes.split_first() {
            Some((b'k', document)) => Keys::parse(document).is_ok(),
            Some((b's', text)) => {
                let text = String::from_utf8_lossy(text);
                let (header, payload) = text.split_once('\n').expect("two lines");
                verify(
                    sign(header.as_bytes(), payload.as_bytes()).as_bytes(),
                    &world.issuers,
                    at(NOW),
                )
                .is_ok()
            }
            _ => false,
        };
        let count = |kind| {
            seeds
                .iter()
                .filter(|seed| seed.bytes.first() == Some(&kind))
                .filter(passes)
                .count()
        };
        assert!(count(b's') >= 4 && count(b'k') >= 4, "{} {}", count(b's'), count(b'k'));
    }
}
