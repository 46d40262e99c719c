//! Keys: their text, what a record may be, and the table.

use std::collections::HashSet;

use proptest::prelude::*;

use super::KeyTable;
use super::record::{Class, Environment, Record, Version};
use super::table::Hasher;
use super::text::{ENTROPY, is_meant, mint, parse};
use crate::testing::{Bench, RequestBuilder};
use crate::zones::{Entropy, OneShape, ZoneState as _};

const KEY: &str = "sk_live_92dwRwre9d5PBRQnYZr7WobasxGv2J8DFUswXFX6lE0Soi9V1";

fn table() -> KeyTable {
    let (hash_key, jitter_salt) = ([0; 16], [0; 16]);
    KeyTable::open(&OneShape, &Entropy { hash_key, jitter_salt })
}

fn record(id: &str, texts: &[&str]) -> Record {
    let hasher = Hasher::new(b"secret");
    let versions = texts.iter().map(|text| Version {
        hash: hasher.hex(text.as_bytes()),
        created_at: 1,
        expires_at: None,
    });
    Record {
        id: id.to_owned(),
        name: String::new(),
        organisation: "acme".to_owned(),
        class: Class::Restricted,
        environment: Environment::Live,
        scopes: vec!["a".to_owned()],
        origins: Vec::new(),
        networks: Vec::new(),
        created_at: 1,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
        versions: versions.collect(),
    }
}

#[test]
fn fa_14_a_key_has_its_class_its_environment_and_a_checksum() {
    assert_eq!(mint(Class::Secret, Environment::Live, &[1; ENTROPY]), KEY);
    let said = parse(KEY.as_bytes()).unwrap();
    assert_eq!((said.class, said.environment), (Class::Secret, Environment::Live));
    for at in 0..KEY.len() {
        let mut other = KEY.as_bytes().to_vec();
        other[at] = if other[at] == b'x' { b'y' } else { b'x' };
        assert_eq!(parse(&other), None, "byte {at}");
        assert_eq!(parse(&KEY.as_bytes()[..at]), None, "cut at {at}");
    }
    for text in [
        "",
        "_",
        "sk_live_",
        "sk_prod_x",
        "xk_live_x",
        "sk_live",
        "eyJhbGciOiJFUzI1NiJ9.e30.x",
    ] {
        assert_eq!(parse(text.as_bytes()), None);
    }
    assert!(is_meant(b"sk_live_cut") && !is_meant(b"eyJhbGciOiJFUzI1NiJ9.e30.x"));
}

proptest! {
    #[test]
    fn every_key_is_read_back_and_no_two_are_the_same(one in any::<[u8; 32]>(), other in any::<[u8; 32]>()) {
        for class in Class::ALL {
            for environment in Environment::ALL {
                let text = mint(class, environment, &one);
                prop_assert_eq!(parse(text.as_bytes()).map(|said| (said.class, said.environment)), Some((class, environment)));
                prop_assert_eq!(one == other, text == mint(class, environment, &other));
            }
        }
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        prop_assert!(parse(&bytes).is_none());
    }
}

#[test]
fn texts_come_and_go_with_their_record() {
    let (table, hasher) = (table(), Hasher::new(b"secret"));
    let is_known = |text: &str| table.find(&hasher.hash(text.as_bytes())).is_some();
    table.put(record("key_1", &["one"])).unwrap();
    table.put(record("key_1", &["one", "two"])).unwrap();
    assert!(is_known("one") && is_known("two") && !is_known("three"));
    assert!(
        table.find(&Hasher::new(b"other").hash(b"one")).is_none(),
        "another secret"
    );
    table.put(record("key_1", &["two"])).unwrap();
    assert!(!is_known("one") && is_known("two"));
    table.get("key_1").unwrap().used(7_000);
    table.put(record("key_1", &["two", "three"])).unwrap();
    assert_eq!(table.get("key_1").unwrap().used_ms(), 7_000);
    table.remove("key_1");
    assert!(!is_known("two") && table.all().is_empty());
    assert!(!format!("{:?}", Hasher::new(b"secret")).contains("secret"));
}

#[test]
fn records_are_checked() {
    let wrong: [fn(&mut Record); 7] = [
        |record| record.id = "a b".to_owned(),
        |record| record.organisation = "a/b".to_owned(),
        |record| record.scopes = vec!["a b".to_owned()],
        |record| record.origins = vec!["shop".to_owned()],
        |record| record.scopes = vec!["a".to_owned(); 65],
        |record| record.versions[0].hash = "0".repeat(63),
        |record| record.versions = vec![record.versions[0].clone(); 3],
    ];
    for (number, spoil) in wrong.iter().enumerate() {
        let mut record = record("key_1", &["one"]);
        spoil(&mut record);
        assert!(table().put(record).is_err(), "{number}");
    }
}

#[test]
fn scopes_of_classes() {
    let wanted: [Box<str>; 1] = ["b".into()];
    let mut record = record("key_1", &["one"]);
    assert!(!record.has_scopes(&wanted) && record.has_scopes(&["a".into()]));
    record.scopes.clear();
    assert!(!record.has_scopes(&wanted), "a restricted key without scopes has none");
    record.class = Class::Secret;
    assert!(record.has_scopes(&wanted));
}

#[test]
fn ff_09_a_key_does_not_make_a_request_anothers_and_claims_of_a_token_stay() {
    let bench = Bench::new("identity: { api_keys: { hash_key: \"env:K\" } }\nfilters: [{ api_key: {} }]\n");
    let (_, slot) = bench.zones.each::<crate::secrets::SecretSlot>().next().unwrap();
    let hasher = Hasher::new(slot.get().unwrap().expose());
    let (_, table) = bench.zones.each::<KeyTable>().next().unwrap();
    let mut known = record("key_1", &["one"]);
    known.versions[0].hash = hasher.hex(KEY.as_bytes());
    table.put(known).unwrap();
    let request = || RequestBuilder::get("/").header("x-api-key", KEY);
    let answered = bench.send(&request());
    assert_eq!(
        answered.facts.tenant.as_ref().map(crate::tenant::TenantId::as_str),
        Some("acme")
    );
    let claims = answered.facts.claims.clone().unwrap();
    assert_eq!(
        (claims.text("org").unwrap().unwrap(), &*claims.issuer),
        ("acme".into(), "api_key")
    );
    let names: HashSet<&str> = ["sub", "class", "environment", "scope"].into();
    assert!(names.iter().all(|name| claims.get(name).is_some()));
    let of_token = bench.send(&request().claims(serde_json::json!({ "org": "other" })));
    let claims = of_token.facts.claims.clone().unwrap();
    assert_eq!(claims.text("org").unwrap().unwrap(), "other");
    let of_another = bench.send(&request().tenant("other"));
    assert_eq!(of_another.reason.map(|reason| reason.0), Some("api_key_tenant"));
}
