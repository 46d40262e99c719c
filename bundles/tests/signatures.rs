//! Who is believed: vectors made with OpenSSL, every byte of a signed bundle flipped, and the ways in which an envelope can lie.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_bundles::envelope::{MAX_SIGNATURES, PAYLOAD_TYPE, open, sign_dsse, sign_line};
use portcullis_bundles::loader::RefusedReason;
use portcullis_bundles::signing::{SigningError, SigningKey, derive, generate};
use portcullis_bundles::trust::{KeyAlgorithm, Trust, TrustError};
use portcullis_config::secret::Secret;
use serde_json::{Value, json};

use support::{NOW, loader, release, shared, trust, unsigned_loader};

const PAYLOAD: &[u8] = include_bytes!("vectors/payload.json");

fn vectors_trust() -> Trust {
    let mut trust = Trust::default();
    trust
        .add_hmac("shared", &Secret::new(include_bytes!("vectors/hmac.key").to_vec()))
        .unwrap();
    trust
}

#[test]
fn openssl_signatures_verify() {
    let mut ed25519 = Trust::default();
    ed25519
        .add_ed25519("release", include_str!("vectors/ed25519.pub"))
        .unwrap();
    let mut p256 = Trust::default();
    p256.add_ecdsa_p256("release", include_str!("vectors/p256.pub"))
        .unwrap();
    for (bytes, trust, id) in [
        (&include_bytes!("vectors/line.bundle")[..], &vectors_trust(), "shared"),
        (include_bytes!("vectors/hmac.dsse.json"), &vectors_trust(), "shared"),
        (include_bytes!("vectors/ed25519.dsse.json"), &ed25519, "release"),
        (include_bytes!("vectors/p256.dsse.json"), &p256, "release"),
    ] {
        let verified = open(bytes, trust, false).unwrap();
        assert_eq!(verified.payload(), PAYLOAD);
        assert_eq!(
            verified.signed_by().iter().map(AsRef::as_ref).collect::<Vec<&str>>(),
            [id]
        );
    }
}

#[test]
fn our_signatures_are_openssls() {
    let hmac = Secret::new(include_bytes!("vectors/hmac.key").to_vec());
    let key = SigningKey::read("shared", Some(KeyAlgorithm::HmacSha256), &hmac).unwrap();
    assert_eq!(
        sign_line(PAYLOAD, &key).unwrap().unwrap(),
        include_bytes!("vectors/line.bundle")
    );
    assert_eq!(
        sign_dsse(PAYLOAD, &[key]).unwrap(),
        include_bytes!("vectors/hmac.dsse.json")
    );
    // Ed25519 is deterministic; OpenSSL's PEM has no public key in it.
    let pem = Secret::new(include_bytes!("vectors/ed25519.pem").to_vec());
    let key = SigningKey::read("release", None, &pem).unwrap();
    assert_eq!(key.public_key().unwrap(), include_str!("vectors/ed25519.pub"));
    assert_eq!(
        sign_dsse(PAYLOAD, &[key]).unwrap(),
        include_bytes!("vectors/ed25519.dsse.json")
    );
    let pem = Secret::new(include_bytes!("vectors/p256.pem").to_vec());
    let key = SigningKey::read("release", None, &pem).unwrap();
    assert_eq!(key.algorithm(), KeyAlgorithm::EcdsaP256);
    assert_eq!(key.public_key().unwrap(), include_str!("vectors/p256.pub"));
}

#[test]
fn a_flipped_byte_anywhere_is_refused() {
    let loader = loader();
    let text = br#"{"bundle_version": 7, "policies": []}"#;
    for signed in [
        sign_line(text, &shared()).unwrap().unwrap(),
        sign_dsse(text, &[release()]).unwrap(),
    ] {
        assert!(loader.accept(&signed, NOW, None).is_ok());
        for place in 0..signed.len() {
            for flip in 1..=255 {
                let mut flipped = signed.clone();
                flipped[place] ^= flip;
                assert!(loader.accept(&flipped, NOW, None).is_err(), "byte {place} ^ {flip:#x}");
            }
        }
        for length in 0..signed.len() {
            assert!(loader.accept(&signed[..length], NOW, None).is_err(), "cut to {length}");
        }
        for more in [&b" "[..], b"\0", b"x", b"\n\n", b"{}"] {
            assert!(
                loader.accept(&[&signed[..], more].concat(), NOW, None).is_err(),
                "then {more:?}"
            );
        }
        for before in [&b" "[..], b"\xEF\xBB\xBF", b"\n", b"{}"] {
            assert!(
                loader.accept(&[before, &signed[..]].concat(), NOW, None).is_err(),
                "after {before:?}"
            );
        }
    }
}

/// An envelope around `payload` with the given signatures.
fn envelope(payload: &[u8], signatures: &Value) -> Vec<u8> {
    let envelope =
        json!({ "payload": STANDARD.encode(payload), "payloadType": PAYLOAD_TYPE, "signatures": signatures });
    envelope.to_string().into_bytes()
}

/// The signatures of an envelope that `keys` have signed.
fn signatures(payload: &[u8], keys: &[SigningKey]) -> Vec<Value> {
    let envelope: Value = serde_json::from_slice(&sign_dsse(payload, keys).unwrap()).unwrap();
    envelope["signatures"].as_array().unwrap().clone()
}

fn reason(bytes: &[u8]) -> RefusedReason {
    loader().accept(bytes, NOW, None).expect_err("accepted").reason
}

#[test]
fn one_trusted_signature_suffices_and_a_false_one_never_does() {
    let stranger = SigningKey::read("stranger", None, &generate(KeyAlgorithm::Ed25519).unwrap().private).unwrap();
    let own = signatures(PAYLOAD, &[release()]);
    let foreign = signatures(PAYLOAD, &[stranger]);
    let accepted = loader()
        .accept(&envelope(PAYLOAD, &json!([foreign[0], own[0]])), NOW, None)
        .unwrap();
    assert_eq!(
        accepted
            .policies
            .provenance()
            .signed_by
            .iter()
            .map(AsRef::as_ref)
            .collect::<Vec<&str>>(),
        ["release"]
    );
    assert_eq!(reason(&envelope(PAYLOAD, &json!(foreign))), RefusedReason::UnknownKey);
    // A good signature beside a false one under a trusted id: somebody tampered.
    let hmac = signatures(PAYLOAD, &[shared()]);
    let forged = json!({ "keyid": "release", "sig": hmac[0]["sig"] });
    assert_eq!(
        reason(&envelope(PAYLOAD, &json!([hmac[0], forged]))),
        RefusedReason::InvalidSignature
    );
    // The id of another key chooses another algorithm: this signature is not valid under it.
    let confused = json!({ "keyid": "shared", "sig": own[0]["sig"] });
    assert_eq!(
        reason(&envelope(PAYLOAD, &json!([confused]))),
        RefusedReason::InvalidSignature
    );
}

#[test]
fn lists_of_signatures_that_lie() {
    let own = signatures(PAYLOAD, &[release()]).remove(0);
    let format = RefusedReason::SignedBundleFormatError;
    assert_eq!(reason(&envelope(PAYLOAD, &json!([]))), format);
    assert_eq!(reason(&envelope(PAYLOAD, &json!([own, own]))), format);
    assert_eq!(
        reason(&envelope(PAYLOAD, &json!([{ "keyid": "release", "sig": "" }]))),
        format
    );
    assert_eq!(
        reason(&envelope(PAYLOAD, &json!([{ "keyid": "", "sig": own["sig"] }]))),
        format
    );
    assert_eq!(reason(&envelope(PAYLOAD, &json!([{ "sig": own["sig"] }]))), format);
    assert_eq!(reason(&envelope(PAYLOAD, &json!([{ "keyid": "release" }]))), format);
    assert_eq!(
        reason(&envelope(
            PAYLOAD,
            &json!([{ "keyid": "release", "sig": own["sig"], "alg": "none" }])
        )),
        format
    );
    assert_eq!(reason(&envelope(PAYLOAD, &json!({ "0": own }))), format);
    assert_eq!(reason(&envelope(PAYLOAD, &Value::Null)), format);
    let others = (0..MAX_SIGNATURES).map(|n| json!({ "keyid": format!("k{n}"), "sig": own["sig"] }));
    let many: Vec<Value> = others.chain([own.clone()]).collect();
    assert_eq!(reason(&envelope(PAYLOAD, &json!(many))), format);
    assert!(
        loader()
            .accept(&envelope(PAYLOAD, &json!(many[1..])), NOW, None)
            .is_ok()
    );
}

#[test]
fn envelopes_that_lie() {
    let good = String::from_utf8(sign_dsse(PAYLOAD, &[release()]).unwrap()).unwrap();
    assert!(loader().accept(good.as_bytes(), NOW, None).is_ok());
    let payload = STANDARD.encode(PAYLOAD);
    for (from, to) in [
        (PAYLOAD_TYPE, "application/vnd.in-toto+json"),
        (PAYLOAD_TYPE, "application/vnd.portcullis.bundle+JSON"),
        (PAYLOAD_TYPE, ""),
        ("\"payloadType\"", "\"PayloadType\""),
        ("{\"payload\"", "{\"payload\":\"e30=\",\"payload\""),
        ("{\"payload\"", "{\"extra\":1,\"payload\""),
        ("\"keyid\":\"release\"", "\"keyid\":\"release\",\"keyid\":\"release\""),
        ("\"keyid\":\"release\"", "\"keyid\":\"\\u0072elease\""),
        ("\"signatures\":[", "\"signatures\":[],\"signatures\":["),
        ("}]}", "},]}"),
        ("}]}", "}]"),
        ("}]}", "}]}}"),
        (&payload, "e30="),
        (&payload, payload.trim_end_matches('=')),
        (&payload, ""),
        (&payload, &payload.replacen('6', "6\n", 1)),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        assert!(loader().accept(bad.as_bytes(), NOW, None).is_err(), "{bad}");
    }
    // White space and order are the signer's business.
    let spaced = good.replace(':', " :\n\t").replace(',', " , ") + "\n";
    assert!(loader().accept(spaced.as_bytes(), NOW, None).is_ok());
}

#[test]
fn a_signature_over_something_else_is_not_over_this() {
    // Over the text alone, as the line form does.
    let bare = STANDARD.encode(release().sign(PAYLOAD).unwrap());
    let lie = envelope(PAYLOAD, &json!([{ "keyid": "release", "sig": bare }]));
    assert_eq!(reason(&lie), RefusedReason::InvalidSignature);
    // And a DSSE signature on the line.
    let own = signatures(PAYLOAD, &[shared()]).remove(0);
    let line = [own["sig"].as_str().unwrap().as_bytes(), b"\n", PAYLOAD].concat();
    assert_eq!(reason(&line), RefusedReason::InvalidSignature);
}

#[test]
fn the_line_form_is_strict() {
    let good = sign_line(PAYLOAD, &shared()).unwrap().unwrap();
    let (signature, text) = good.split_at(44);
    let text = &text[1..];
    let format = RefusedReason::SignedBundleFormatError;
    assert_eq!(reason(&[signature, b"\r\n", text].concat()), format);
    assert_eq!(reason(&[signature, b"\n"].concat()), format);
    assert_eq!(reason(&[b"\n", text].concat()), format);
    assert_eq!(reason(&[&signature[..43], b"\n", text].concat()), format);
    assert_eq!(reason(&[signature, text].concat()), format);
    assert_eq!(reason(b""), format);
    assert_eq!(reason(text), format);
    // SHA-1, as other implementations have in fact used.
    assert_eq!(
        reason(&[b"qUqP5cyxm6YcTAhz05Hph5gvu9M=", &b"\n"[..], text].concat()),
        format
    );
    assert_eq!(
        reason(&[signature, b"\n", text, b"\n"].concat()),
        RefusedReason::InvalidSignature
    );
    let mut public_only = Trust::default();
    public_only
        .add_ed25519("release", &release().public_key().unwrap())
        .unwrap();
    let error = open(&good, &public_only, false).unwrap_err().to_string();
    assert!(error.contains("no HMAC key is trusted"), "{error}");
    assert!(sign_line(PAYLOAD, &release()).unwrap().is_none());
}

#[test]
fn unsigned_text_needs_to_be_allowed_and_a_signature_must_be_right_even_then() {
    let accepted = unsigned_loader().accept(PAYLOAD, NOW, None).unwrap();
    assert!(accepted.policies.provenance().signed_by.is_empty());
    let refused = loader().accept(PAYLOAD, NOW, None).unwrap_err();
    assert!(refused.to_string().contains("not signed"), "{refused}");
    let signed = sign_dsse(PAYLOAD, &[release()]).unwrap();
    assert_eq!(
        unsigned_loader().accept(&signed, NOW, None).unwrap_err().reason,
        RefusedReason::UnknownKey
    );
}

#[test]
fn keys_are_checked_when_they_are_trusted() {
    let mut trust = trust();
    let short = trust.add_hmac("short", &Secret::new(vec![b'x'; 31])).unwrap_err();
    assert!(matches!(short, TrustError::ShortHmac { bytes: 31, .. }));
    assert!(matches!(
        trust.add_hmac("shared", &Secret::new(vec![b'x'; 32])),
        Err(TrustError::Duplicate { .. })
    ));
    for id in ["", "a\nb", "a\"b", &"k".repeat(129)] {
        assert!(
            matches!(
                trust.add_hmac(id, &Secret::new(vec![b'x'; 32])),
                Err(TrustError::Id { .. })
            ),
            "{id:?}"
        );
    }
    let mut small = [[0u8; 32], [0xff; 32]];
    small[1][0] = 0xec;
    for key in small
        .iter()
        .map(|key| STANDARD.encode(key))
        .chain([String::new(), "AAAA".into(), "?".into()])
    {
        assert!(
            matches!(trust.add_ed25519("e", &key), Err(TrustError::PublicKey { .. })),
            "{key}"
        );
    }
    for key in [
        vec![4u8; 65],
        vec![0; 65],
        include_str!("vectors/p256.pub").bytes().take(64).collect(),
    ] {
        assert!(trust.add_ecdsa_p256("p", &STANDARD.encode(key)).is_err());
    }
    let debug = format!(
        "{trust:?} {:?} {:?}",
        shared(),
        generate(KeyAlgorithm::HmacSha256).unwrap()
    );
    assert!(debug.contains("hmac-sha256") && !debug.contains("thirty"), "{debug}");
}

#[test]
fn new_keys_sign_what_their_public_halves_verify() {
    for algorithm in KeyAlgorithm::ALL {
        let new = generate(algorithm).unwrap();
        let key = SigningKey::read("new", Some(algorithm), &new.private).unwrap();
        assert_eq!(key.public_key(), new.public_key);
        let mut trust = Trust::default();
        match (algorithm, &new.public_key) {
            (KeyAlgorithm::Ed25519, Some(public)) => trust.add_ed25519("new", public).unwrap(),
            (KeyAlgorithm::EcdsaP256, Some(public)) => trust.add_ecdsa_p256("new", public).unwrap(),
            _ => trust.add_hmac("new", &new.private).unwrap(),
        }
        let signed = sign_dsse(PAYLOAD, &[key]).unwrap();
        assert_eq!(open(&signed, &trust, false).unwrap().payload(), PAYLOAD);
        assert_eq!(KeyAlgorithm::named(algorithm.as_str()), Some(algorithm));
    }
}

#[test]
fn what_is_no_private_key_is_said_to_be_none() {
    let read = |algorithm, text: &str| SigningKey::read("k", algorithm, &Secret::new(text.into())).unwrap_err();
    assert_eq!(read(None, "hello"), SigningError::Ambiguous);
    assert_eq!(
        read(Some(KeyAlgorithm::HmacSha256), "short"),
        SigningError::ShortHmac(5)
    );
    assert_eq!(
        read(Some(KeyAlgorithm::Ed25519), "AAAA"),
        SigningError::NotAKey(KeyAlgorithm::Ed25519)
    );
    assert_eq!(read(None, "-----BEGIN EC PRIVATE KEY-----\n"), SigningError::Sec1);
    assert_eq!(
        read(None, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
        SigningError::NoAlgorithm
    );
    let ed25519 = include_str!("vectors/ed25519.pem");
    assert_eq!(
        read(Some(KeyAlgorithm::EcdsaP256), ed25519),
        SigningError::NotAKey(KeyAlgorithm::EcdsaP256)
    );
}

#[test]
fn a_gateways_key_is_derived_from_the_publishers() {
    let derived = |publisher: &[u8], edge: &str| derive(&Secret::new(publisher.into()), edge);
    let publisher = b"0123456789abcdef0123456789abcdef";
    // Computed with Python's hmac: extract with the salt, expand with the name and the byte 1 (RFC 5869, section 2).
    let expected = b"KDPGvXRqRpS5ayPQSRzMilTW1vaYVuuL8zdPTHzeF0M=";
    assert_eq!(derived(publisher, "edge-1").unwrap().private.expose(), expected);
    assert_ne!(derived(publisher, "edge-2").unwrap().private.expose(), expected);
    assert_eq!(derived(b"short", "edge-1").unwrap_err(), SigningError::ShortHmac(5));
}
