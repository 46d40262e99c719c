//! What must hold for every input: the index finds what a plain search finds, signatures cover everything, the fast reader
//! and the thorough one agree, and nothing panics.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

mod support;

use portcullis_bundles::author::{self, Format};
use portcullis_bundles::compile::compile;
use portcullis_bundles::digest::Digest;
use portcullis_bundles::envelope::{open, sign_dsse, sign_line};
use portcullis_bundles::format::{Bundle, Selector};
use portcullis_bundles::policies::{Matches, Policies, Provenance};
use portcullis_config::matcher::HostPattern;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use support::{NOW, loader, release, shared, trust, unsigned_loader};

fn path() -> impl Strategy<Value = String> {
    let segments = prop::collection::vec(select(vec!["a", "b", "ab"]), 0..4);
    (segments, any::<bool>()).prop_map(|(segments, slash)| {
        let slash = if slash || segments.is_empty() { "/" } else { "" };
        format!(
            "{}{}{slash}",
            if segments.is_empty() { "" } else { "/" },
            segments.join("/")
        )
    })
}

fn host() -> impl Strategy<Value = &'static str> {
    select(vec![
        "a.test",
        "b.a.test",
        "c.b.a.test",
        "ba.test",
        "test",
        "192.0.2.1",
        "[2001:db8::1]",
    ])
}

fn pattern() -> impl Strategy<Value = &'static str> {
    prop_oneof![host(), select(vec!["*", "*.test", "*.a.test", "*.b.a.test"])]
}

fn selector() -> impl Strategy<Value = (Value, i32)> {
    let hosts = prop::option::of(prop::collection::vec(pattern(), 1..4));
    let methods = prop::option::of(prop::collection::vec(select(vec!["GET", "POST", "PURGE"]), 1..3));
    (
        prop::option::of(path()),
        prop::option::of(path()),
        hosts,
        methods,
        -1..2,
    )
        .prop_map(|(exact, prefix, hosts, methods, priority)| {
            let exact = if exact.is_none() && prefix.is_none() {
                Some("/".to_owned())
            } else {
                exact
            };
            (
                json!({ "pathExact": exact, "pathPrefix": prefix, "hosts": hosts, "methods": methods }),
                priority,
            )
        })
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|segment| !segment.is_empty()).collect()
}

/// How specific the best match of a selector is: host, then path, then whether it names methods.
fn best(selector: &Selector, host: &str, path: &str, method: &str) -> Option<(usize, usize, bool)> {
    if selector
        .methods
        .as_ref()
        .is_some_and(|methods| !methods.iter().any(|known| known == method))
    {
        return None;
    }
    let hosts = selector.hosts.clone().unwrap_or_else(|| vec!["*".into()]);
    let hosts = hosts.iter().filter_map(|pattern| {
        let pattern: HostPattern = pattern.parse().unwrap();
        pattern.matches(host).then(|| match pattern {
            HostPattern::Any => 0,
            HostPattern::Suffix(suffix) => suffix.split('.').count(),
            HostPattern::Exact(_) => usize::MAX,
        })
    });
    let exact = selector
        .path_exact
        .iter()
        .filter(|exact| *exact == path)
        .map(|_| usize::MAX);
    let prefix = selector
        .path_prefix
        .iter()
        .filter(|prefix| segments(path).starts_with(&segments(prefix)));
    let paths = exact.chain(prefix.map(|prefix| segments(prefix).len())).max()?;
    Some((hosts.max()?, paths, selector.methods.is_some()))
}

fn naive(bundle: &Bundle, host: &str, path: &str, method: &str) -> Vec<String> {
    let mut found: Vec<_> = bundle
        .policies
        .iter()
        .filter_map(|policy| {
            let specific = best(&policy.spec.selector, host, path, method)?;
            Some((std::cmp::Reverse((policy.spec.priority, specific)), policy.id.clone()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, id)| id).collect()
}

fn indexed(policies: &Policies, host: &str, path: &str, method: &str) -> Vec<String> {
    let mut matches = Matches::new();
    policies.matching(host, path, method, &mut matches);
    matches
        .iter()
        .map(|place| policies.get(*place).unwrap().id.to_string())
        .collect()
}

fn bundle(selectors: &[(Value, i32)]) -> Bundle {
    let policies: Vec<Value> = selectors
        .iter()
        .enumerate()
        .map(|(index, (selector, priority))| {
            json!({ "id": format!("p{}", (index * 7) % 10), "spec": { "selector": selector, "priority": priority, "rules": [] } })
        })
        .collect();
    let text = json!({ "bundle_version": 1, "policies": policies }).to_string();
    Bundle::parse_unverified(text.as_bytes()).unwrap()
}

/// Places in a JSON value, as many as there are values in it.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// Replaces (or, with `None`, removes) the value at a place counted in depth-first order.
fn change(value: &mut Value, place: &mut usize, new: Option<&Value>) -> bool {
    if *place == 0 {
        *value = new.cloned().unwrap_or(Value::Null);
        return true;
    }
    *place -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|item| change(item, place, new)),
        Value::Object(fields) => {
            let names: Vec<String> = fields.keys().cloned().collect();
            for name in names {
                if *place == 0 && new.is_none() {
                    fields.remove(&name);
                    return true;
                }
                if fields.get_mut(&name).is_some_and(|field| change(field, place, new)) {
                    return true;
                }
            }
            false
        }
        _ => false,
    }
}

fn replacement() -> impl Strategy<Value = Option<Value>> {
    let rich = select(vec![
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(""),
        json!("x"),
        json!("/"),
        json!("shadow"),
        json!("jwt:sub"),
        json!("2026-01-01T00:00:00Z"),
        json!([]),
        json!({}),
        json!(["GET"]),
        json!([null]),
        json!({ "x": 1 }),
        json!("cost_based"),
        json!("*.example.com"),
        json!(9_007_199_254_740_993u64),
    ]);
    prop_oneof![4 => rich.prop_map(Some), 1 => Just(None)]
}

fn example() -> Value {
    let text = include_str!("../examples/tenants.yaml");
    let authored = author::read("tenants.yaml", text, Format::Yaml).unwrap();
    let mut value: Value = serde_json::from_slice(&authored.canonical_json().unwrap()).unwrap();
    value["tests"].as_array_mut().unwrap().truncate(1);
    value["require"] = json!([{ "hosts": ["a.test"], "path_prefix": "/a", "filters": ["jwt"] }]);
    value["kill_switches"] =
        json!([{ "scope_key": "ip:address", "scope_value": "192.0.2.1", "route": "/a", "reason": "r" }]);
    value["global_shadow"] = json!({ "enabled": false, "reason": "r", "expires_at": "2027-01-01T00:00:00Z" });
    value
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_a_search_finds(
        selectors in prop::collection::vec(selector(), 0..10),
        requests in prop::collection::vec((host(), path(), select(vec!["GET", "POST", "PUT"])), 1..20),
    ) {
        let bundle = bundle(&selectors);
        let origin = Provenance { version: 1, digest: Digest::of(b""), signed_by: Box::default() };
        let policies = compile(&bundle, origin).unwrap().policies;
        for (host, path, method) in requests {
            prop_assert_eq!(indexed(&policies, host, &path, method), naive(&bundle, host, &path, method), "{} {}", host, path);
        }
    }

    #[test]
    fn what_is_signed_verifies_and_nothing_else(
        payload in prop::collection::vec(any::<u8>(), 1..200), place in any::<prop::sample::Index>(), flip in 1u8..=255,
    ) {
        for signed in [
            sign_line(&payload, &shared()).unwrap().unwrap(),
            sign_dsse(&payload, &[release()]).unwrap(),
            sign_dsse(&payload, &[shared()]).unwrap(),
        ] {
            let verified = open(&signed, &trust(), false).unwrap();
            prop_assert_eq!(verified.payload(), &payload[..]);
            let mut flipped = signed.clone();
            let place = place.index(flipped.len());
            flipped[place] ^= flip;
            prop_assert!(open(&flipped, &trust(), false).is_err());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = loader().accept(&bytes, NOW, None);
        let _ = unsigned_loader().accept(&bytes, NOW, None);
        let _ = loader().accept(&sign_dsse(&bytes, &[release()]).unwrap(), NOW, None);
        let text = String::from_utf8_lossy(&bytes);
        let _ = author::read("x", &text, Format::Json);
        let _ = author::read("x", &text, Format::Yaml);
    }

    #[test]
    fn no_envelope_makes_it_panic(text in r#"[\{\}\[\]",: ]{0,20}("(payload|payloadType|signatures|keyid|sig)"[:,\{\[\]\}" ]{0,4}){0,6}"#) {
        prop_assert!(loader().accept(text.as_bytes(), NOW, None).is_err());
        let begun = String::from("{\"payload\":") + &text;
        prop_assert!(loader().accept(begun.as_bytes(), NOW, None).is_err());
    }

    #[test]
    fn the_fast_reader_and_the_thorough_one_agree(
        changes in prop::collection::vec((any::<prop::sample::Index>(), replacement()), 1..3),
    ) {
        let mut value = example();
        for (place, new) in changes {
            let mut place = place.index(count(&value));
            change(&mut value, &mut place, new.as_ref());
        }
        let text = value.to_string();
        let thorough = author::read("x", &text, Format::Json).map(|authored| authored.bundle);
        let origin = Provenance { version: 1, digest: Digest::of(b""), signed_by: Box::default() };
        let fast = Bundle::parse_unverified(text.as_bytes());
        let fast = fast.ok().filter(|bundle| compile(bundle, origin).is_ok());
        prop_assert_eq!(fast, thorough.ok(), "{}", text);
    }
}
