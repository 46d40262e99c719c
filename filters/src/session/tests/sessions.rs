//! Ids, families, limits and the table, against a keeper that writes down what it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use ring::hmac;
use serde_json::{Map, json};

use crate::session::id::{Family, Id, Key, Standing};
use crate::session::keeper::{Job, Keeper, Keeping};
use crate::session::record::{Ended, Limits, Record, Renewal, Tokens};
use crate::session::table::{Found, Full, SessionTable, Shown, Which};
use crate::testing::ENTROPY;
use crate::verdict::Waiting;
use crate::zones::{OneShape, ZoneState as _};

const START: u64 = 1_767_225_600_000;
const LIMITS: Limits = Limits {
    idle_ms: 60_000,
    absolute_ms: 600_000,
    rotate_ms: 10_000,
    grace_ms: 1_000,
    ahead_ms: 5_000,
};

/// A store that only remembers the order.
#[derive(Default)]
struct Notes {
    rows: Mutex<BTreeMap<Key, Vec<u8>>>,
    written: Mutex<Vec<(Key, bool)>>,
}

impl Keeper for Notes {
    fn random(&self) -> Option<[u8; 32]> {
        Some([1; 32])
    }

    fn remembers(&self) -> bool {
        true
    }

    fn keep(&self, key: &Key, record: Option<Vec<u8>>) -> Keeping {
        self.written.lock().unwrap().push((*key, record.is_some()));
        match record {
            Some(bytes) => self.rows.lock().unwrap().insert(*key, bytes),
            None => self.rows.lock().unwrap().remove(key),
        };
        Box::pin(std::future::ready(Ok(())))
    }

    fn begin(&self, _: Job) -> Waiting {
        Box::pin(std::future::ready(()))
    }
}

fn key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, b"a key")
}

fn table() -> (SessionTable, Arc<Notes>) {
    let (table, notes) = (SessionTable::open(&OneShape, &ENTROPY), Arc::new(Notes::default()));
    table.set_keeper(Arc::clone(&notes) as Arc<dyn Keeper>);
    (table, notes)
}

fn record(subject: &str) -> Record {
    Record {
        version: 0,
        salt: [9; 32],
        family: Family {
            number: 0,
            since_ms: START,
        },
        created_ms: START,
        seen_ms: START,
        idle_ms: LIMITS.idle_ms,
        absolute_ms: LIMITS.absolute_ms,
        issuer: "id".into(),
        subject: subject.into(),
        sid: Some(format!("sid of {subject}")),
        tenant: Some("acme".into()),
        device: None,
        claims: Map::from_iter([("sub".to_owned(), json!(subject))]),
        tokens: Tokens {
            access: "access".into(),
            expires_ms: Some(START + 3_600_000),
            refresh: Some("refresh".into()),
        },
    }
}

/// A session of a user, and its first id.
fn begin(table: &SessionTable, handle: u8, subject: &str) -> Id {
    table.insert(Id::key_of(&[handle; 32]), record(subject), 100).unwrap();
    Id::new(&key(), [handle; 32], &[9; 32], 0)
}

fn present(table: &SessionTable, id: &Id, now_ms: u64) -> Found {
    let (key, limits) = (key(), LIMITS);
    table.present(&Shown {
        id,
        key: &key,
        device: None,
        limits: &limits,
        now_ms,
    })
}

fn is_here(found: &Found) -> bool {
    matches!(found, Found::Here(_))
}

proptest! {
    #[test]
    fn an_id_is_of_its_key_and_its_salt(handle: [u8; 32], salt: [u8; 32], other: [u8; 32], number: u32, at: prop::sample::Index) {
        let id = Id::new(&key(), handle, &salt, number);
        let text = id.text();
        prop_assert!(Id::parse(text.as_bytes()) == Some(id.clone()));
        prop_assert!(id.is_genuine(&key(), &salt));
        prop_assert_eq!(id.is_genuine(&key(), &other), salt == other);
        prop_assert!(!id.is_genuine(&hmac::Key::new(hmac::HMAC_SHA256, b"other"), &salt));
        let mut bytes = text.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        prop_assert!(Id::parse(&bytes).is_none_or(|changed| !changed.is_genuine(&key(), &salt)));
        prop_assert!(Id::parse(&text.as_bytes()[..at]).is_none());
    }

    #[test]
    fn nothing_that_is_sent_makes_it_panic(text: Vec<u8>) {
        prop_assert!(Id::parse(&text).is_none());
    }

    /// Whatever happens: the newest id is good, the one before within the grace, no other; and using one ends the family.
    #[test]
    fn a_family_knows_its_own(advances in prop::collection::vec(0_u64..5_000, 0..20), shown in 0_u32..25, later in 0_u64..3_000) {
        let mut family = Family { number: 0, since_ms: START };
        let mut now = START;
        for wait in &advances {
            now += wait;
            family.advance(now);
        }
        let current = u32::try_from(advances.len()).unwrap();
        let standing = family.standing(shown, now + later, 1_000);
        let expected = if shown == current {
            Standing::Current
        } else if shown == current + 1 {
            Standing::Ahead
        } else if shown > current {
            Standing::Unknown
        } else if shown + 1 == current && later <= 1_000 {
            Standing::Before
        } else {
            Standing::Reused
        };
        prop_assert_eq!(standing, expected);
    }

    #[test]
    fn limits_are_the_stricter_ones(idle: u32, absolute: u32, own_idle: u32, own_absolute: u32, age: u32, unused: u32) {
        let own = Record { idle_ms: own_idle.into(), absolute_ms: own_absolute.into(), ..record("alice") };
        let limits = Limits { idle_ms: idle.into(), absolute_ms: absolute.into(), ..LIMITS };
        let now = START + u64::from(age);
        let ended = own.ended(now - u64::from(unused.min(age)), &limits, now);
        let expected = if age >= absolute.min(own_absolute) {
            Some(Ended::Absolute)
        } else if unused.min(age) >= idle.min(own_idle) {
            Some(Ended::Idle)
        } else {
            None
        };
        prop_assert_eq!(ended, expected);
        // A clock that is set back ends nothing and gives nobody time.
        prop_assert!(absolute == 0 || own_absolute == 0 || idle == 0 || own_idle == 0 || own.ended(START, &limits, START - 1).is_none());
    }

    /// A user with the newest id is never shut out, a thief with an old one never let in, whatever the times are.
    #[test]
    fn rotation_under_a_user_and_a_thief(waits in prop::collection::vec((0_u64..30_000, any::<bool>()), 1..40)) {
        let (table, _) = table();
        let first = begin(&table, 1, "alice");
        let (mut newest, mut before, mut now, mut gone) = (first, None::<(Id, u64)>, START, false);
        for (wait, thief) in waits {
            now += wait;
            if now - START >= LIMITS.absolute_ms {
                break;
            }
            if thief && let Some((old, since)) = &before {
                let found = present(&table, old, now);
                let late = now - since > LIMITS.grace_ms;
                prop_assert_eq!(matches!(found, Found::Reused), late && !gone);
                gone |= late;
                prop_assert_eq!(is_here(&found), !gone);
            }
            match present(&table, &newest, now) {
                Found::Here(view) => {
                    prop_assert!(!gone);
                    if let Some(next) = view.next {
                        before = Some((std::mem::replace(&mut newest, next), now));
                    }
                }
                found => prop_assert!(gone, "{:?}", found),
            }
        }
    }
}

#[test]
fn an_access_token_is_renewed_in_time() {
    let of = |expires: Option<u64>, refresh: Option<&str>| {
        let tokens = Tokens {
            access: "a".into(),
            expires_ms: expires,
            refresh: refresh.map(str::to_owned),
        };
        Record {
            tokens,
            ..record("alice")
        }
        .renewal(&LIMITS, START)
    };
    assert_eq!(of(None, None), Renewal::Fresh);
    assert_eq!(of(Some(START + 5_001), Some("r")), Renewal::Fresh);
    assert_eq!(of(Some(START + 5_000), Some("r")), Renewal::Soon);
    assert_eq!(of(Some(START + 5_000), None), Renewal::Fresh);
    assert_eq!(of(Some(START), Some("r")), Renewal::Over);
    assert_eq!(of(Some(START), None), Renewal::Lost);
}

#[test]
fn an_id_that_a_crash_made_the_family_forget_is_the_current_one() {
    let (table, _) = table();
    let first = begin(&table, 1, "alice");
    let second = first.with_number(&key(), &[9; 32], 1);
    let third = first.with_number(&key(), &[9; 32], 2);
    assert!(
        matches!(present(&table, &third, START), Found::Absent),
        "never given out"
    );
    assert!(is_here(&present(&table, &second, START)));
    assert!(is_here(&present(&table, &second, START + 5_000)));
    assert!(matches!(present(&table, &first, START + 5_000), Found::Reused));
}

#[test]
fn what_ended_never_comes_back_from_the_store() {
    let (table, notes) = table();
    let id = begin(&table, 1, "alice");
    let other = begin(&table, 2, "bob");
    let row = notes.rows.lock().unwrap()[&id.key()].clone();
    assert_eq!(table.revoke(&Which::User("alice".into())).records.len(), 1);
    assert!(matches!(present(&table, &id, START), Found::Absent));
    assert_eq!(notes.written.lock().unwrap().last(), Some(&(id.key(), false)));
    // The store tells of a change from before, and only then of the end.
    table.apply(&id.key(), Some(&row)).unwrap();
    assert!(matches!(present(&table, &id, START), Found::Absent));
    table.apply(&id.key(), None).unwrap();
    assert!(is_here(&present(&table, &other, START)) && table.len() == 1);
    assert!(notes.rows.lock().unwrap().contains_key(&other.key()));
    // No change of a session that has ended is written.
    assert_eq!(table.advance(&id.key(), 0, START), None);
    assert!(!table.renewed(&id.key(), Tokens::default()));
    assert!(!notes.rows.lock().unwrap().contains_key(&id.key()));
}

#[test]
fn a_restart_finds_the_sessions_and_the_later_of_two_rows_counts() {
    let (before, notes) = table();
    let id = begin(&before, 1, "alice");
    let old = notes.rows.lock().unwrap()[&id.key()].clone();
    let (number, salt) = before.advance(&id.key(), 0, START + 5).unwrap();
    let next = id.with_number(&key(), &salt, number);
    let (table, _) = table();
    for row in [&notes.rows.lock().unwrap()[&id.key()], &old] {
        table.apply(&id.key(), Some(row)).unwrap();
    }
    assert!(is_here(&present(&table, &next, START + 10)));
    assert!(matches!(present(&table, &id, START + 5_000), Found::Reused));
    assert!(table.apply(&id.key(), Some(b"{}")).is_err());
}

#[test]
fn who_is_meant() {
    let (table, _) = table();
    for (handle, user) in [(1, "alice"), (2, "alice"), (3, "bob")] {
        begin(&table, handle, user);
    }
    let ended = |which: Which| table.revoke(&which).records.len();
    assert_eq!(ended(Which::Key([0; 32])), 0);
    assert_eq!(ended(Which::Subject("other".into(), "alice".into())), 0);
    assert_eq!(ended(Which::Sid("id".into(), "sid of bob".into())), 1);
    assert_eq!(ended(Which::Tenant("other".into())), 0);
    assert_eq!(ended(Which::Subject("id".into(), "alice".into())), 2);
    assert!(table.is_empty());
}

#[test]
fn there_is_an_end_to_room() {
    let (table, _) = table();
    for handle in 0..3 {
        table.insert([handle; 32], record("alice"), 3).unwrap();
    }
    assert_eq!(table.insert([3; 32], record("alice"), 3), Err(Full));
    table.sweep(START + 59_999);
    assert_eq!(table.len(), 3);
    table.sweep(START + 60_000);
    assert_eq!(table.insert([3; 32], record("alice"), 3), Ok(()));
}

#[test]
fn a_logout_token_is_good_once() {
    let (table, _) = table();
    assert!(table.is_new_logout("a", START) && table.is_new_logout("b", START));
    assert!(!table.is_new_logout("a", START + 3_599_999));
    assert!(table.is_new_logout("a", START + 3_600_000));
}

#[test]
fn nothing_secret_is_shown() {
    let (table, _) = table();
    let id = begin(&table, 1, "alice");
    let shown = format!("{:?} {:?} {:?} {:?}", table, id, record("alice"), table.list());
    assert!(!shown.contains("refresh") && !shown.contains("access") && !shown.contains(&id.text()));
}
