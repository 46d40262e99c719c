//! What becomes of keys and of remembered tokens as time goes by, and what a refusal says.
// A test may fail.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::needless_pass_by_value
)]

mod jose;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jose::{ALL, NOW, Signer, at, claims, issuer, trusted};
use portcullis_filters::client::Now;
use portcullis_filters::jwt::cache::{Rules, TokenCache};
use portcullis_filters::jwt::keys::{KeySet, KeySource};
use portcullis_filters::jwt::refusal::Refusal;
use portcullis_filters::jwt::verify::{Failure, verify};
use portcullis_filters::tenant::{Scope, TenantId};
use serde_json::{Value, json};

#[test]
fn keys_age_by_the_clock_that_is_never_set() {
    let set = KeySet::new(KeySource::of("main", &issuer(&ALL)));
    let minute = |n: u64, unix_ms: u64| Now {
        monotonic_ns: n * 60_000_000_000,
        unix_ms,
    };
    let stale_for = Duration::from_secs(600);
    assert!(set.current(minute(0, 0), stale_for).is_none(), "never loaded");
    assert!(!set.confirm(minute(0, 0)));
    let document = json!({ "keys": [Signer::ed25519(1).jwk("a", json!({}))] }).to_string();
    assert_eq!(set.publish(document.as_bytes(), minute(5, 1_000)), Ok(1));
    let before = set.current(minute(5, 0), stale_for).unwrap();
    assert!(
        set.current(minute(15, u64::MAX), stale_for).is_some(),
        "the wall clock may jump"
    );
    assert!(
        set.current(minute(4, 0), stale_for).is_some(),
        "a request from just before"
    );
    assert!(set.current(minute(16, 1_000), stale_for).is_none(), "too old");
    assert!(set.publish(b"<html>", minute(15, 0)).is_err());
    set.mark_failed("connect: refused");
    let status = set.status();
    assert_eq!(
        (status.failures, status.last_error.as_deref()),
        (2, Some("connect: refused"))
    );
    assert!(set.current(minute(15, 0), stale_for).is_some() && set.current(minute(16, 0), stale_for).is_none());
    assert!(set.confirm(minute(16, 0)));
    assert_eq!(set.publish(document.as_bytes(), minute(17, 0)), Ok(1));
    assert!(
        Arc::ptr_eq(&before, &set.current(minute(27, 0), stale_for).unwrap()),
        "the same keys are the same object"
    );
    assert_eq!(set.status().failures, 0);
}

#[test]
fn whoever_refreshes_is_asked() {
    let set = KeySet::new(KeySource::of("main", &issuer(&ALL)));
    assert!(set.refresh().is_none());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    set.set_refresher(Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }));
    assert!(set.refresh().is_some() && set.refresh().is_some());
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[test]
fn a_token_is_remembered_for_the_tenant_that_showed_it() {
    let signer = Signer::ed25519(1);
    let issuers = [trusted("main", &issuer(&ALL), &[signer.jwk("a", json!({}))])];
    let (cache, rules) = (TokenCache::new(1000, 1 << 20), Rules::of(&issuers));
    let token = signer.token(&json!({ "alg": "EdDSA", "kid": "a" }), &claims(json!({})));
    let verified = verify(token.as_bytes(), &issuers, at(NOW)).unwrap();
    let scopes = ["a", "b", "c"].map(|name| Scope::of(&TenantId::new(name).unwrap()));
    let [a, b, c] = scopes.map(|scope| rules.key(&scope, token.as_bytes()));
    let nobody = rules.key(&Scope::gateway(), token.as_bytes());
    cache.insert(&a, &verified, at(NOW));
    cache.insert(&b, &verified, at(NOW));
    for (key, known) in [(a, true), (b, true), (c, false), (nobody, false)] {
        assert_eq!(cache.get(&key, &issuers, at(NOW)).is_some(), known, "{key:?}");
    }
    assert_eq!(cache.len(), 2);
}

#[test]
fn remembered_tokens_end_with_their_time_and_their_keys() {
    let (a, b) = (Signer::ed25519(1), Signer::ed25519(2));
    let issuers = [trusted("main", &issuer(&ALL), &[a.jwk("a", json!({}))])];
    let (cache, rules) = (TokenCache::new(1000, 1 << 20), Rules::of(&issuers));
    let token = a.token(
        &json!({ "alg": "EdDSA", "kid": "a" }),
        &claims(json!({ "exp": NOW + 60, "nbf": NOW })),
    );
    let key = rules.key(&Scope::gateway(), token.as_bytes());
    assert!(cache.get(&key, &issuers, at(NOW)).is_none());
    let verified = verify(token.as_bytes(), &issuers, at(NOW)).unwrap();
    cache.insert(&key, &verified, at(NOW));
    let hit = |seconds: i64| cache.get(&key, &issuers, at(seconds)).is_some();
    assert!(Arc::ptr_eq(
        &cache.get(&key, &issuers, at(NOW)).unwrap(),
        &verified.claims
    ));
    // 30 seconds of leeway, as in `verify`.
    for (seconds, expected) in [
        (NOW - 31, false),
        (NOW - 30, true),
        (NOW + 89, true),
        (NOW + 90, false),
        (NOW, true),
    ] {
        assert_eq!(hit(seconds), expected, "{}", seconds - NOW);
        assert_eq!(verify(token.as_bytes(), &issuers, at(seconds)).is_ok(), expected);
    }
    // Another letter, another token.
    assert!(
        cache
            .get(&rules.key(&Scope::gateway(), &token.as_bytes()[1..]), &issuers, at(NOW))
            .is_none()
    );
    // A new key beside the old one: verified anew. The old key gone: refused, whatever was remembered.
    let publish = |keys: &[Value]| {
        issuers[0]
            .keys
            .publish(json!({ "keys": keys }).to_string().as_bytes(), at(NOW))
            .unwrap()
    };
    publish(&[a.jwk("a", json!({})), b.jwk("b", json!({}))]);
    assert!(!hit(NOW) && verify(token.as_bytes(), &issuers, at(NOW)).is_ok());
    publish(&[b.jwk("b", json!({}))]);
    assert!(!hit(NOW));
    assert_eq!(
        verify(token.as_bytes(), &issuers, at(NOW)).err(),
        Some(Failure::UnknownKey(0))
    );
    // Keys too old to be believed are too old for the memory as well.
    publish(&[a.jwk("a", json!({}))]);
    assert!(hit(NOW));
    let late = Now {
        monotonic_ns: at(NOW).monotonic_ns + 86_401_000_000_000,
        ..at(NOW)
    };
    assert!(cache.get(&key, &issuers, late).is_none());
    assert_eq!(verify(token.as_bytes(), &issuers, late).err(), Some(Failure::NoKeys(0)));
    assert_eq!(cache.lookups(), (5, 7));
}

#[test]
fn other_rules_remember_other_tokens() {
    let a = Signer::ed25519(1);
    let keys = [a.jwk("a", json!({}))];
    let base = issuer(&ALL);
    let mut variants = vec![base.clone(); 7];
    variants[1].audiences.push("api-3".into());
    variants[2].algorithms.pop();
    variants[3].types = Some(vec!["JWT".into()]);
    variants[4].leeway = portcullis_config::units::Duration::from_secs(0);
    variants[5].jwks_url = Some("https://id.example.com/other.json".into());
    variants[6].ca = Some("/etc/ca.pem".into());
    let mut seen = Vec::new();
    for written in &variants {
        seen.push(Rules::of(&[trusted("main", written, &keys)]).key(&Scope::gateway(), b"token"));
    }
    seen.push(Rules::of(&[trusted("second", &base, &keys)]).key(&Scope::gateway(), b"token"));
    seen.push(
        Rules::of(&[trusted("main", &base, &keys), trusted("second", &base, &keys)]).key(&Scope::gateway(), b"token"),
    );
    let count = seen.len();
    let distinct: std::collections::HashSet<_> = seen.into_iter().collect();
    assert_eq!(distinct.len(), count);
    assert_eq!(
        Rules::of(&[trusted("main", &base, &keys)]).key(&Scope::gateway(), b"t"),
        Rules::of(&[trusted("main", &base, &[])]).key(&Scope::gateway(), b"t")
    );
}

#[test]
fn the_memory_is_bounded() {
    let a = Signer::ed25519(1);
    let issuers = [trusted("main", &issuer(&ALL), &[a.jwk("a", json!({}))])];
    let rules = Rules::of(&issuers);
    let token = a.token(&json!({ "alg": "EdDSA", "kid": "a" }), &claims(json!({})));
    let verified = verify(token.as_bytes(), &issuers, at(NOW)).unwrap();
    let fill = |cache: &TokenCache, count: u32| {
        for n in 0..count {
            cache.insert(&rules.key(&Scope::gateway(), &n.to_be_bytes()), &verified, at(NOW));
        }
    };
    let by_count = TokenCache::new(640, 64 << 20);
    fill(&by_count, 20_000);
    assert_eq!(by_count.len(), 640);
    let by_bytes = TokenCache::new(65_536, 64 * 64 * 1024);
    fill(&by_bytes, 20_000);
    assert!(
        by_bytes.len() < 64 * 64 * 1024 / verified.weight && by_bytes.len() > 1000,
        "{}",
        by_bytes.len()
    );
    // What is in use stays longer than what is not.
    let cache = TokenCache::new(640, 64 << 20);
    let hot: Vec<_> = (0..64_u32)
        .map(|n| rules.key(&Scope::gateway(), &(n + 1_000_000).to_be_bytes()))
        .collect();
    for key in &hot {
        cache.insert(key, &verified, at(NOW));
    }
    for n in 0..2_000_u32 {
        cache.insert(&rules.key(&Scope::gateway(), &n.to_be_bytes()), &verified, at(NOW));
        for key in &hot {
            cache.get(key, &issuers, at(NOW));
        }
    }
    let kept = hot
        .iter()
        .filter(|key| cache.get(key, &issuers, at(NOW)).is_some())
        .count();
    assert!(kept > 48, "{kept}");
    // A giant does not push out the others.
    let before = cache.len();
    let giant = portcullis_filters::jwt::verify::Verified {
        weight: 1 << 20,
        ..verified
    };
    cache.insert(&rules.key(&Scope::gateway(), b"giant"), &giant, at(NOW));
    assert_eq!(cache.len(), before);
    assert!(
        cache
            .get(&rules.key(&Scope::gateway(), b"giant"), &issuers, at(NOW))
            .is_none()
    );
}

#[test]
fn refusals_say_what_rfc_6750_wants() {
    use portcullis_filters::jwt::refusal::Challenges;
    let challenges = Challenges::new("edge", &["read".into(), "write".into()], None).unwrap();
    let mut codes = std::collections::HashSet::new();
    for refusal in Refusal::ALL {
        let denial = challenges.denial(refusal);
        let challenge = denial.headers[0].1.to_str().unwrap();
        assert!(challenge.starts_with("Bearer realm=\"edge\""), "{challenge}");
        assert_eq!(challenge.contains("error="), refusal != Refusal::Missing, "{challenge}");
        assert_eq!(
            challenge.contains("scope=\"read write\""),
            refusal == Refusal::Scope,
            "{challenge}"
        );
        assert!(codes.insert(refusal.reason()));
        let expected = match denial.status.as_u16() {
            400 => "invalid_request",
            403 => "insufficient_scope",
            _ if refusal == Refusal::Authentication => "insufficient_user_authentication",
            _ => "invalid_token",
        };
        assert!(
            refusal == Refusal::Missing || challenge.contains(&format!("error=\"{expected}\"")),
            "{challenge}"
        );
    }
    assert!(Challenges::new("a\"b", &[], None).is_none() && Challenges::new("a\r\nb", &[], None).is_none());
}
