//! The store against its promises: nothing acknowledged is lost, whatever is cut, full or changed, and what is changed is
//! noticed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_bundles::seal::{StateKey, StateKeys, Vault, VaultError};
use proptest::prelude::*;

use super::log::{Log, Medium};
use super::{Change, FILE, Rows, Store, StoreError, Table, seal_anew};

#[derive(Default)]
struct Map(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

impl Map {
    fn get(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Rows for Map {
    fn apply(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        if value == Some(b"nonsense") {
            return Err("nonsense".to_owned());
        }
        let mut map = self.0.lock().unwrap();
        match value {
            Some(value) => drop(map.insert(key.to_vec(), value.to_vec())),
            None => drop(map.remove(key)),
        }
        Ok(())
    }
}

fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<Change> {
    vec![Change {
        table: Table::ApiKeys,
        key: key.as_ref().into(),
        value: Some(value.as_ref().into()),
    }]
}

fn remove(key: &str) -> Change {
    Change {
        table: Table::ApiKeys,
        key: key.as_bytes().into(),
        value: None,
    }
}

fn keys(secret: &[u8]) -> StateKeys {
    StateKeys {
        key: StateKey::of(secret),
        previous: Vec::new(),
    }
}

/// One folder in the clear and one that is sealed.
fn folders() -> [(tempfile::TempDir, Arc<Vault>); 2] {
    let (clear, sealed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let vault = Vault::open::<VaultError>(sealed.path(), Some(&keys(b"a state key")), |_| Ok(())).unwrap();
    [(clear, Arc::new(Vault::clear())), (sealed, Arc::new(vault))]
}

fn rows_of(directory: &Path, vault: &Arc<Vault>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StoreError> {
    let rows = Arc::new(Map::default());
    let store = Store::open(directory, Arc::clone(vault))?;
    store.attach(Table::ApiKeys, Arc::clone(&rows) as _)?;
    store.release();
    Ok(rows.get())
}

#[test]
fn what_was_acknowledged_is_there_again_and_rows_follow_writes() {
    for (folder, vault) in folders() {
        let rows = Arc::new(Map::default());
        let store = Store::open(folder.path(), Arc::clone(&vault)).unwrap();
        store.attach(Table::ApiKeys, Arc::clone(&rows) as _).unwrap();
        store.write_blocking(put("a", "1")).unwrap();
        assert_eq!(rows.get().len(), 1, "told before it is acknowledged");
        let both = [put("b", "2"), vec![remove("a")]].concat();
        store.write_blocking(both).unwrap();
        store.write_blocking(put("c", "")).unwrap();
        let expected = BTreeMap::from([(b"b".to_vec(), b"2".to_vec()), (b"c".to_vec(), Vec::new())]);
        assert_eq!(rows.get(), expected);
        store.release();
        assert!(matches!(store.write_blocking(put("d", "")), Err(StoreError::Elsewhere)));
        assert_eq!(rows_of(folder.path(), &vault).unwrap(), expected);
        let large = put("e", vec![0; super::MAX_VALUE + 1]);
        assert!(matches!(store.write_blocking(large), Err(StoreError::TooLarge(_))));
    }
}

#[test]
fn a_file_that_ends_anywhere_has_all_writes_before_and_none_in_part() {
    for (folder, vault) in folders() {
        let path = folder.path().join(FILE);
        let mut log = Log::open(folder.path(), &vault, true).unwrap();
        let mut ends = vec![fs::metadata(&path).unwrap().len()];
        for n in 0..4 {
            let write = [put(format!("k{n}"), "v"), put(format!("l{n}"), "v")].concat();
            log.append(&vault, &[&write]).unwrap();
            ends.push(fs::metadata(&path).unwrap().len());
        }
        drop(log);
        let whole = fs::read(&path).unwrap();
        for length in ends[0]..=*ends.last().unwrap() {
            fs::write(&path, &whole[..usize::try_from(length).unwrap()]).unwrap();
            let writes = ends.iter().skip(1).filter(|end| **end <= length).count();
            assert_eq!(
                rows_of(folder.path(), &vault).unwrap().len(),
                writes * 2,
                "{length} bytes"
            );
            let cut = fs::metadata(&path).unwrap().len();
            assert!(ends.contains(&cut), "what was torn is cut off: {cut}");
        }
        // The file had grown, and nothing was written there yet.
        fs::write(&path, [&whole[..], &[0; 100]].concat()).unwrap();
        assert_eq!(rows_of(folder.path(), &vault).unwrap().len(), 8);
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    for (folder, vault) in folders() {
        let path = folder.path().join(FILE);
        let mut log = Log::open(folder.path(), &vault, true).unwrap();
        log.append(&vault, &[&put("a", "1"), &put("b", "2")]).unwrap();
        log.append(&vault, &[&[remove("a")]]).unwrap();
        drop(log);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            for bit in [1, 0x20, 0x80] {
                let mut bytes = whole.clone();
                bytes[at] ^= bit;
                fs::write(&path, &bytes).unwrap();
                let error = Log::open(folder.path(), &vault, true).map(drop).unwrap_err();
                assert!(matches!(error, StoreError::Damaged { .. }), "byte {at}: {error}");
                assert!(error.to_string().contains("damaged at byte"), "{error}");
            }
        }
    }
}

/// A disk with room for so many bytes, and one that fails when it should be certain.
struct Failing {
    file: fs::File,
    room: usize,
    syncs: bool,
}

impl Medium for Failing {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fits = bytes.len().min(self.room);
        self.file.append(&bytes[..fits])?;
        self.room -= fits;
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.syncs {
            self.file.sync()
        } else {
            Err(io::Error::other("the disk is gone"))
        }
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let cut = self.file.metadata()?.len().saturating_sub(length);
        self.room += usize::try_from(cut).unwrap();
        self.file.truncate(length)
    }
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    for (folder, vault) in folders() {
        for room in (0..700).step_by(7) {
            let path = folder.path().join(FILE);
            let _ = fs::remove_file(&path);
            let mut log = Log::open(folder.path(), &vault, true).unwrap();
            let file = fs::OpenOptions::new().append(true).open(&path).unwrap();
            let syncs = true;
            log.put_medium(Box::new(Failing { file, room, syncs }));
            let mut acknowledged = 0;
            for n in 0..6 {
                match log.append(&vault, &[&put(format!("key-{n}"), "value")]) {
                    Ok(()) => acknowledged += 1,
                    Err(error) => assert!(matches!(error, StoreError::DiskFull { .. }), "{error}"),
                }
            }
            drop(log);
            assert_eq!(rows_of(folder.path(), &vault).unwrap().len(), acknowledged, "{room}");
        }
    }
}

#[test]
fn nothing_is_promised_after_the_disk_has_failed() {
    let [(folder, vault), _] = folders();
    let mut log = Log::open(folder.path(), &vault, true).unwrap();
    let file = fs::OpenOptions::new()
        .append(true)
        .open(folder.path().join(FILE))
        .unwrap();
    let (room, syncs) = (usize::MAX / 2, false);
    log.put_medium(Box::new(Failing { file, room, syncs }));
    assert!(matches!(
        log.append(&vault, &[&put("a", "1")]),
        Err(StoreError::Io { .. })
    ));
    assert!(matches!(log.append(&vault, &[&put("b", "2")]), Err(StoreError::Broken)));
}

#[test]
fn a_process_that_takes_over_has_what_the_other_wrote_until_then() {
    for (folder, vault) in folders() {
        let (old_rows, new_rows) = (Arc::new(Map::default()), Arc::new(Map::default()));
        let old = Store::open(folder.path(), Arc::clone(&vault)).unwrap();
        old.attach(Table::ApiKeys, Arc::clone(&old_rows) as _).unwrap();
        old.write_blocking([put("gone", "1"), put("stays", "1")].concat())
            .unwrap();
        let new = Store::open(folder.path(), Arc::clone(&vault)).unwrap();
        new.attach(Table::ApiKeys, Arc::clone(&new_rows) as _).unwrap();
        assert_eq!(new_rows.get(), old_rows.get());
        old.write_blocking([vec![remove("gone")], put("late", "1")].concat())
            .unwrap();
        old.release();
        // Waits until it is its turn.
        new.write_blocking(put("own", "1")).unwrap();
        let names: Vec<_> = new_rows
            .get()
            .into_keys()
            .map(|key| String::from_utf8(key).unwrap())
            .collect();
        assert_eq!(names, ["late", "own", "stays"]);
        new.release();
        assert_eq!(rows_of(folder.path(), &vault).unwrap(), new_rows.get());
    }
}

#[test]
fn a_store_that_is_written_anew_holds_what_is_there_and_is_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let clear = Arc::new(Vault::clear());
    let store = Store::open(folder.path(), Arc::clone(&clear)).unwrap();
    for n in 0..50 {
        store
            .write_blocking(put(format!("key-{}", n % 5), format!("plain-{n}")))
            .unwrap();
    }
    store.release();
    let before = fs::read(folder.path().join(FILE)).unwrap();
    assert!(String::from_utf8_lossy(&before).contains("plain-49"));
    // A key is configured: what is there is taken up.
    let vault = Vault::open::<StoreErrorOf>(folder.path(), Some(&keys(b"new")), |vault| {
        Ok(seal_anew(folder.path(), vault)?)
    });
    let vault = Arc::new(vault.unwrap());
    let after = fs::read(folder.path().join(FILE)).unwrap();
    assert!(!String::from_utf8_lossy(&after).contains("plain") && after.len() < before.len());
    let rows = rows_of(folder.path(), &vault).unwrap();
    assert_eq!((rows.len(), &rows[&b"key-4"[..]][..]), (5, &b"plain-49"[..]));
    assert!(matches!(
        Store::open(folder.path(), clear).map(drop),
        Err(StoreError::Damaged { .. })
    ));
}

#[derive(Debug, thiserror::Error)]
enum StoreErrorOf {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[test]
fn a_row_that_its_owner_does_not_know_refuses_the_start() {
    let [(folder, vault), _] = folders();
    let mut log = Log::open(folder.path(), &vault, true).unwrap();
    log.append(&vault, &[&put("a", "nonsense")]).unwrap();
    drop(log);
    assert!(matches!(rows_of(folder.path(), &vault), Err(StoreError::Row(_))));
}

#[test]
fn outdated_frames_do_not_pile_up() {
    let [(folder, vault), _] = folders();
    let store = Store::open(folder.path(), Arc::clone(&vault)).unwrap();
    for n in 0..200_u32 {
        store
            .write_blocking(put("one", vec![u8::try_from(n % 251).unwrap(); 60_000]))
            .unwrap();
    }
    store.release();
    assert!(fs::metadata(folder.path().join(FILE)).unwrap().len() < 9 << 20);
    assert_eq!(rows_of(folder.path(), &vault).unwrap()[&b"one"[..]], vec![199; 60_000]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_is_the_map_that_was_written(writes in proptest::collection::vec((0..6_u8, proptest::option::of(0..200_u8), any::<bool>()), 1..40)) {
        let [_, (folder, vault)] = folders();
        let mut model = BTreeMap::new();
        let mut log = Log::open(folder.path(), &vault, true).unwrap();
        for (key, value, again) in writes {
            let change = Change { table: Table::ApiKeys, key: [key].into(), value: value.map(|value| [value].into()) };
            log.append(&vault, &[&[change]]).unwrap();
            match value {
                Some(value) => drop(model.insert(vec![key], vec![value])),
                None => drop(model.remove(&vec![key])),
            }
            if again {
                log.compact(&vault).unwrap();
            }
        }
        drop(log);
        prop_assert_eq!(rows_of(folder.path(), &vault).unwrap(), model);
    }
}
