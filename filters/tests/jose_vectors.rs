//! Published test vectors: every case of Wycheproof's JWS and JWK files, RFC 7515, RFC 7520 and RFC 8037. What a strict
//! gateway refuses although the vectors call it valid is listed by name.
// A test may fail.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::needless_pass_by_value
)]

mod jose;

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jose::data;
use portcullis_config::secret::Secret;
use portcullis_filters::jwt::algorithm;
use portcullis_filters::jwt::jwk::Keys;
use portcullis_filters::jwt::jws::Compact;
use serde_json::{Value, json};

/// Valid to Wycheproof, refused here: a PS384 signature under a key that says PS256, `ES521` (no such algorithm), and
/// `?` inside base64url.
const STRICTER: [u64; 6] = [346, 350, 347, 351, 372, 373];
/// Invalid to Wycheproof, and to the letter the token of tc357, which is valid.
const MISLABELLED: [u64; 2] = [367, 370];

/// Whether a token verifies with a key set, by the same steps as in the filter.
fn verifies(token: &str, jwks: &Value) -> bool {
    Keys::parse(jwks.to_string().as_bytes()).is_ok_and(|keys| verifies_with(token, &keys))
}

fn verifies_with(token: &str, keys: &Keys) -> bool {
    let Ok(compact) = Compact::parse(token.as_bytes()) else {
        return false;
    };
    let Some(algorithm) = algorithm::by_name(&compact.header.algorithm) else {
        return false;
    };
    let Ok(key) = keys.select(compact.header.kid.as_deref(), algorithm) else {
        return false;
    };
    key.verifies(algorithm, compact.signed, &compact.signature)
}

/// The secrets of symmetric JWKs as an operator declares them: each under its `kid`, for the algorithm that the key names
/// alone, which in a configuration is the issuer's `algorithms`.
fn declared(jwks: &Value, token: &str) -> Option<Keys> {
    let compact = Compact::parse(token.as_bytes()).ok()?;
    let secret = |key: &Value| {
        let fits = key["kty"] == "oct" && key["alg"] == *compact.header.algorithm;
        let for_signatures = key.get("use").is_none_or(|purpose| purpose == "sig");
        let secret = URL_SAFE_NO_PAD.decode(key["k"].as_str()?).ok()?;
        (fits && for_signatures).then(|| (key["kid"].as_str().map(Into::into), Secret::new(secret)))
    };
    let all = jwks["keys"].as_array()?;
    // What a configuration is refused for: an issuer with both secrets and a key set, and one `kid` for two secrets.
    let mixed = all.iter().any(|key| key["kty"] != "oct");
    let kids: BTreeSet<_> = all.iter().map(|key| key["kid"].as_str()).collect();
    (!mixed && kids.len() == all.len()).then(|| Keys::shared(all.iter().filter_map(secret)))
}

fn wycheproof(file: &str, valid_but_refused: &[u64]) -> usize {
    let document: Value = serde_json::from_slice(&data(&format!("wycheproof/{file}"))).unwrap();
    let (mut refused, mut same_as) = (Vec::new(), None);
    let mut count = 0;
    for group in document["testGroups"].as_array().unwrap() {
        let key = group.get("public").unwrap_or(&group["private"]);
        let jwks = if key.get("keys").is_some() {
            key.clone()
        } else {
            json!({ "keys": [key] })
        };
        for case in group["tests"].as_array().unwrap() {
            let (id, name) = (case["tcId"].as_u64().unwrap(), case["comment"].as_str().unwrap());
            let token = match &case["jws"] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let by_secret = declared(&jwks, &token).is_some_and(|keys| verifies_with(&token, &keys));
            let (accepted, valid) = (verifies(&token, &jwks) || by_secret, case["result"] == "valid");
            if MISLABELLED.contains(&id) && file.contains("signature") {
                assert_eq!(Some(&token), same_as.as_ref(), "tc{id} is the token of tc357");
            } else {
                assert!(valid || !accepted, "{file} tc{id} {name}: accepted and must not be");
            }
            if id == 357 {
                same_as = Some(token.clone());
            }
            if valid && !accepted {
                refused.push(id);
            }
            count += 1;
        }
    }
    let mut expected = valid_but_refused.to_vec();
    expected.sort_unstable();
    refused.sort_unstable();
    assert_eq!(refused, expected, "{file}: valid cases that are refused");
    assert_eq!(count, document["numberOfTests"].as_u64().unwrap() as usize);
    count
}

#[test]
fn wycheproof_signatures_and_keys() {
    let signatures = wycheproof("json_web_signature_test.json", &STRICTER);
    let keys = wycheproof("json_web_key_test.json", &[]);
    assert_eq!(signatures + keys, 427);
}

/// The cases on base64url and on form are under a symmetric key. Their form is judged all the same.
#[test]
fn wycheproof_forms_under_symmetric_keys() {
    let document: Value = serde_json::from_slice(&data("wycheproof/json_web_signature_test.json")).unwrap();
    let groups = document["testGroups"].as_array().unwrap();
    let group = groups.iter().find(|group| group["comment"] == "base64").unwrap();
    for case in group["tests"].as_array().unwrap() {
        let id = case["tcId"].as_u64().unwrap();
        // tc367 and tc370, "invalid", are to the letter the token of tc357, "valid".
        let well_formed = matches!(id, 357 | 358 | 359 | 367 | 370 | 376 | 377);
        assert_eq!(
            Compact::parse(case["jws"].as_str().unwrap().as_bytes()).is_ok(),
            well_formed,
            "tc{id} {case}"
        );
    }
}

/// A JWK as an identity provider publishes it: without the private members.
fn published(key: &Value) -> Value {
    let members = key.as_object().unwrap().iter();
    let public = members.filter(|(name, _)| !["d", "p", "q", "dp", "dq", "qi"].contains(&name.as_str()));
    Value::Object(public.map(|(name, value)| (name.clone(), value.clone())).collect())
}

#[test]
fn cookbook() {
    for (file, expected) in [
        ("4_1.rsa_v15_signature.json", true),
        ("4_2.rsa-pss_signature.json", true),
        ("rfc8037_ed25519.json", true),
        ("4_3.ecdsa_signature.json", false),                // P-521
        ("4_4.hmac-sha2_integrity_protection.json", false), // a key set brings no secret; declared, below
    ] {
        let example: Value = serde_json::from_slice(&data(&format!("jose-cookbook/{file}"))).unwrap();
        let (key, output) = (&example["input"]["key"], &example["output"]);
        let compact = output["compact"].as_str().unwrap();
        let jwks = json!({ "keys": [published(key)] });
        assert_eq!(verifies(compact, &jwks), expected, "{file}");
        assert!(
            !verifies(compact, &json!({ "keys": [key] })),
            "{file}: with its private key in the set"
        );
        for form in ["json", "json_flat"] {
            assert!(
                !verifies(&output[form].to_string(), &jwks),
                "{file}: JSON serialisation"
            );
        }
    }
    let example: Value =
        serde_json::from_slice(&data("jose-cookbook/4_4.hmac-sha2_integrity_protection.json")).unwrap();
    let compact = example["output"]["compact"].as_str().unwrap();
    let keys = declared(&json!({ "keys": [example["input"]["key"]] }), compact).unwrap();
    assert!(verifies_with(compact, &keys), "4.4 with a declared secret");
    let example: Value = serde_json::from_slice(&data("jose-cookbook/4_8.multiple_signatures.json")).unwrap();
    let keys: Vec<Value> = example["input"]["key"]
        .as_array()
        .unwrap()
        .iter()
        .map(published)
        .collect();
    assert!(!verifies(
        &example["output"]["json"].to_string(),
        &json!({ "keys": keys })
    ));
}

#[test]
fn rfc7515() {
    let payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let rsa = json!({ "keys": [{ "kty": "RSA", "e": "AQAB", "n": concat!(
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-",
        "pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2Cap",
        "Hg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h",
        "4FRWyuXpoQ") }] });
    let a2 = concat!(
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7",
        "t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi1",
        "2jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGl",
        "UPQGe77Rw"
    );
    let ec = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }] });
    let a3 = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert!(verifies(&format!("eyJhbGciOiJSUzI1NiJ9.{payload}.{a2}"), &rsa), "A.2");
    assert!(verifies(&format!("eyJhbGciOiJFUzI1NiJ9.{payload}.{a3}"), &ec), "A.3");
    for jwks in [&rsa, &ec] {
        assert!(!verifies(&format!("eyJhbGciOiJub25lIn0.{payload}."), jwks), "A.5");
        assert!(!verifies(&format!("eyJhbGciOiJub25lIn0.{payload}"), jwks), "A.5");
    }
}
