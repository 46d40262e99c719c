//! The state directory: what was promised survives, what is damaged stops the start, and a disk that breaks at any step
//! leaves the old state or the new one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use portcullis_bundles::attributes::Attributes;
use portcullis_bundles::digest::Digest;
use portcullis_bundles::format::KillSwitch;
use portcullis_bundles::runtime::{RuntimeError, RuntimeSwitch, RuntimeSwitches};
use portcullis_bundles::store::{Disk, LastGood, RealDisk, Rollout, Store, StoreError};
use portcullis_bundles::switches::{Origin, Phase};
use portcullis_bundles::timestamp::Timestamp;
use portcullis_bundles::version::Floor;
use portcullis_config::key::Key;

fn floor(version: u64) -> Floor {
    Floor {
        version,
        digest: Digest::of(&version.to_be_bytes()),
    }
}

fn bundle(version: u64) -> Vec<u8> {
    format!("the bytes of version {version}\nas received").into_bytes()
}

fn switch(id: &str, value: &str) -> RuntimeSwitch {
    RuntimeSwitch {
        id: id.into(),
        switch: KillSwitch {
            scope_key: "header:x-tenant".into(),
            scope_value: value.into(),
            route: None,
            reason: Some("drill".into()),
            expires_at: Some(Timestamp::from_unix(1000)),
        },
        set_at: Timestamp::from_unix(10),
        set_by: None,
    }
}

fn filled(directory: &Path) -> Store {
    let store = Store::open(directory).unwrap();
    store.commit(floor(7), &bundle(7)).unwrap();
    let mut switches = RuntimeSwitches::default();
    switches.set(switch("one", "t1")).unwrap();
    store.save_switches(&switches).unwrap();
    store.save_rollout(&tried(8)).unwrap();
    store
}

/// A bundle on trial, and the one before rolled back.
fn tried(version: u64) -> Rollout {
    Rollout {
        tried: Some(LastGood {
            floor: floor(version),
            bytes: bundle(version),
        }),
        rolled_back: Some(floor(version - 1)),
    }
}

#[test]
fn the_first_start_finds_nothing_and_the_next_everything() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("a/state");
    let state = Store::open(&directory).unwrap().load().unwrap();
    assert!(state.last_good.is_none() && state.switches.is_empty());
    filled(&directory);
    let store = Store::open(&directory).unwrap();
    let state = store.load().unwrap();
    assert_eq!(
        state.last_good,
        Some(LastGood {
            floor: floor(7),
            bytes: bundle(7)
        })
    );
    assert_eq!(state.switches.get("one"), Some(&switch("one", "t1")));
    assert_eq!(state.rollout, tried(8));
    store.commit(floor(8), &bundle(8)).unwrap();
    assert_eq!(store.load().unwrap().last_good.unwrap().floor, floor(8));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(
        names,
        ["floor", "kill-switches", "last-good", "rollout"],
        "nothing is left over"
    );
}

#[test]
fn a_damaged_file_stops_the_start_whatever_the_damage() {
    for name in ["last-good", "floor", "kill-switches", "rollout"] {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path());
        let path = folder.path().join(name);
        let whole = fs::read(&path).unwrap();
        let mut damaged: Vec<Vec<u8>> = (0..whole.len()).map(|length| whole[..length].to_vec()).collect();
        for place in 0..whole.len() {
            for flip in [0x01, 0x20, 0x80] {
                let mut flipped = whole.clone();
                flipped[place] ^= flip;
                damaged.push(flipped);
            }
        }
        damaged.push([&whole[..], b"\n"].concat());
        damaged.push(vec![0; whole.len()]);
        for bytes in damaged {
            fs::write(&path, &bytes).unwrap();
            let error = store.load().expect_err(name);
            assert_eq!(error.code(), "state-corrupt", "{name}: {error}");
        }
        fs::write(&path, &whole).unwrap();
        assert!(store.load().is_ok());
    }
}

#[test]
fn the_text_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path());
    fs::write(folder.path().join("last-good"), "").unwrap();
    let text = store.load().unwrap_err().to_string();
    for words in [
        "it is empty",
        "Restore the state directory",
        "portcullis bundle inspect",
    ] {
        assert!(text.contains(words), "{text}");
    }
    fs::write(folder.path().join("last-good"), "portcullis-state 2 last-good 0 0\n").unwrap();
    let text = store.load().unwrap_err().to_string();
    assert!(text.contains("format 2, which this version does not know"), "{text}");
}

#[test]
fn files_cannot_stand_in_for_each_other_and_one_that_is_missing_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path());
    let path = |name: &str| folder.path().join(name);
    fs::copy(path("floor"), path("last-good")).unwrap();
    assert_eq!(store.load().unwrap_err().code(), "state-corrupt");
    fs::remove_file(path("last-good")).unwrap();
    let error = store.load().unwrap_err();
    assert!(
        error.to_string().contains("missing, although version 7 was accepted"),
        "{error}"
    );
    // An older bundle, put back from somewhere.
    let elsewhere = tempfile::tempdir().unwrap();
    Store::open(elsewhere.path())
        .unwrap()
        .commit(floor(6), &bundle(6))
        .unwrap();
    fs::copy(elsewhere.path().join("last-good"), path("last-good")).unwrap();
    let error = store.load().unwrap_err();
    assert!(
        error.to_string().contains("holds version 6, although version 7"),
        "{error}"
    );
    // Without the floor the bundle's own floor counts.
    fs::remove_file(path("floor")).unwrap();
    assert_eq!(store.load().unwrap().last_good.unwrap().floor, floor(6));
}

#[test]
fn what_is_tried_is_kept_until_it_is_accepted_or_rolled_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path());
    // The process ended between the two writes of a bundle that has proven itself.
    store.commit(floor(8), &bundle(8)).unwrap();
    let rollout = store.load().unwrap().rollout;
    assert_eq!((rollout.tried, rollout.rolled_back), (None, Some(floor(7))));
    let over = Rollout {
        tried: None,
        rolled_back: Some(floor(9)),
    };
    store.save_rollout(&over).unwrap();
    assert_eq!(store.load().unwrap().rollout, over);
}

#[test]
fn another_process_may_have_gone_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let old = filled(folder.path());
    let new = Store::open(folder.path()).unwrap();
    new.commit(floor(9), &bundle(9)).unwrap();
    let error = old.commit(floor(8), &bundle(8)).unwrap_err();
    assert!(matches!(error, StoreError::Behind { wanted: 8, found: 9 }));
    assert!(
        old.commit(Floor { version: 9, ..floor(1) }, &bundle(9)).is_err(),
        "other content"
    );
    old.commit(floor(9), &bundle(9)).unwrap();
    assert_eq!(new.load().unwrap().last_good.unwrap().floor, floor(9));
}

/// A disk that breaks at one step, for a moment or for good.
struct Breaking {
    step: Arc<AtomicUsize>,
    breaks_at: usize,
    for_good: bool,
    error: io::ErrorKind,
    log: Arc<Mutex<Vec<String>>>,
}

impl Breaking {
    fn step(&self, action: &str, path: &Path) -> io::Result<()> {
        let name = path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .replace(&std::process::id().to_string(), "PID");
        self.log.lock().unwrap().push(format!("{action} {name}"));
        let step = self.step.fetch_add(1, Ordering::SeqCst);
        if step == self.breaks_at || (self.for_good && step > self.breaks_at) {
            return Err(self.error.into());
        }
        Ok(())
    }
}

impl Disk for Breaking {
    fn make_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.make_directory(path)
    }

    fn read(&self, path: &Path, max: usize) -> io::Result<Vec<u8>> {
        RealDisk.read(path, max)
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.step("write", path) {
            // Half of it got there.
            RealDisk.write_new(path, &bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        RealDisk.write_new(path, bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename to", to)?;
        RealDisk.rename(from, to)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.step("sync", Path::new("directory"))
            .and_then(|()| RealDisk.sync_directory(path))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step("remove", path)?;
        RealDisk.remove(path)
    }

    fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        RealDisk.names(path)
    }

    fn is_running(&self, process: u32) -> bool {
        RealDisk.is_running(process)
    }
}

#[test]
fn left_overs_of_killed_processes_are_removed_and_those_of_living_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let kept = [
        ".floor.1".to_owned(),
        ".other.4194305".into(),
        "note".into(),
        ".floor.x".into(),
    ];
    for name in kept
        .iter()
        .map(String::as_str)
        .chain([".last-good.4194305", ".kill-switches.4194305"])
    {
        fs::write(path(name), "half").unwrap();
    }
    Store::open(folder.path()).unwrap();
    assert!(kept.iter().all(|name| path(name).exists()));
    assert!(!path(".last-good.4194305").exists() && !path(".kill-switches.4194305").exists());
}

fn breaking(
    directory: &Path,
    breaks_at: usize,
    for_good: bool,
    error: io::ErrorKind,
) -> (Store, Arc<Mutex<Vec<String>>>) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let disk = Breaking {
        step: Arc::default(),
        breaks_at,
        for_good,
        error,
        log: Arc::clone(&log),
    };
    (Store::open_on(directory, Box::new(disk)).unwrap(), log)
}

#[test]
fn a_promise_is_made_in_the_right_order() {
    let folder = tempfile::tempdir().unwrap();
    let (store, log) = breaking(folder.path(), usize::MAX, false, io::ErrorKind::Other);
    store.commit(floor(1), &bundle(1)).unwrap();
    let expected = [
        "write .last-good.PID",
        "rename to last-good",
        "sync directory",
        "write .floor.PID",
        "rename to floor",
        "sync directory",
    ];
    assert_eq!(*log.lock().unwrap(), expected);
}

#[test]
fn a_disk_that_breaks_leaves_the_old_or_the_new_state() {
    for for_good in [false, true] {
        for breaks_at in 0..6 {
            let folder = tempfile::tempdir().unwrap();
            filled(folder.path());
            let (store, log) = breaking(folder.path(), breaks_at, for_good, io::ErrorKind::StorageFull);
            let error = store.commit(floor(8), &bundle(8)).unwrap_err();
            assert_eq!(error.code(), "state-disk-full", "{error}");
            let state = Store::open(folder.path()).unwrap().load().unwrap();
            let found = state.last_good.unwrap();
            let expected = if breaks_at < 2 { 7 } else { 8 };
            assert_eq!(
                found,
                LastGood {
                    floor: floor(expected),
                    bytes: bundle(expected)
                },
                "{:?}",
                log.lock().unwrap()
            );
            // And the next attempt, with a disk that works, goes through over whatever was left behind.
            let store = Store::open(folder.path()).unwrap();
            store.commit(floor(8), &bundle(8)).unwrap();
            assert_eq!(store.load().unwrap().last_good.unwrap().floor, floor(8));
        }
    }
}

#[test]
fn errors_of_the_disk_have_codes() {
    for (kind, code) in [
        (io::ErrorKind::StorageFull, "state-disk-full"),
        (io::ErrorKind::QuotaExceeded, "state-disk-full"),
        (io::ErrorKind::ReadOnlyFilesystem, "state-read-only"),
        (io::ErrorKind::PermissionDenied, "state-read-only"),
        (io::ErrorKind::Other, "state-io"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = breaking(folder.path(), 0, false, kind);
        assert_eq!(store.commit(floor(1), &bundle(1)).unwrap_err().code(), code);
        assert_eq!(
            store
                .save_switches(&RuntimeSwitches::default())
                .err()
                .map(|error| error.code()),
            None
        );
    }
    // What cannot be read is not "not there".
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path());
    fs::remove_file(folder.path().join("floor")).unwrap();
    fs::create_dir(folder.path().join("floor")).unwrap();
    assert_eq!(store.load().unwrap_err().code(), "state-io");
    let file = folder.path().join("last-good");
    assert!(Store::open(&file).is_err(), "a file is no directory");
    assert!(Store::open("/proc/portcullis").is_err());
}

struct Tenant(&'static str);

impl Attributes for Tenant {
    fn get(&self, key: &Key) -> Option<std::borrow::Cow<'_, str>> {
        (key.to_string() == "header:x-tenant").then_some(self.0.into())
    }

    fn path(&self) -> &'static str {
        "/"
    }

    fn claims_known(&self) -> bool {
        false
    }
}

#[test]
fn kill_switches_of_run_time_are_set_replaced_cleared_and_expire() {
    let mut switches = RuntimeSwitches::default();
    switches.set(switch("one", "t1")).unwrap();
    switches.set(switch("two", "t2")).unwrap();
    switches.set(switch("one", "t3")).unwrap();
    let compiled = switches.compile();
    assert!(compiled.find(&Tenant("t1"), Phase::BeforeIdentity, 20).is_none());
    let found = compiled.find(&Tenant("t3"), Phase::BeforeIdentity, 20).unwrap();
    assert_eq!(found.origin, Origin::Runtime("one".into()));
    assert!(compiled.find(&Tenant("t3"), Phase::BeforeIdentity, 1001).is_none());
    assert_eq!(switches.clear("one").unwrap().switch.scope_value, "t3");
    assert!(switches.clear("one").is_none());
    assert!(!switches.drop_expired(1000));
    assert!(switches.drop_expired(1001) && switches.is_empty());
}

#[test]
fn kill_switches_of_run_time_are_checked_and_bounded() {
    let mut switches = RuntimeSwitches::default();
    for id in ["", "a b", "ü", &"x".repeat(129)] {
        assert_eq!(switches.set(switch(id, "t")), Err(RuntimeError::Id), "{id}");
    }
    let mut late = switch("late", "t");
    late.set_at = Timestamp::from_unix(1001);
    assert!(matches!(switches.set(late), Err(RuntimeError::Expired(_))));
    assert!(matches!(
        switches.set(switch("secret", "sk_live_4eC39HqLyjWDarjt")),
        Err(RuntimeError::Invalid(_))
    ));
    let mut other = switch("key", "t");
    other.switch.scope_key = "session:a".into();
    let error = switches.set(other).unwrap_err().to_string();
    assert!(
        error.contains("/scope_key: scope_key: `session:a`: unknown source"),
        "{error}"
    );
    for number in 0..RuntimeSwitches::MAX {
        switches.set(switch(&format!("s{number}"), "t")).unwrap();
    }
    assert_eq!(switches.set(switch("more", "t")), Err(RuntimeError::TooMany));
    let twice = vec![switch("a", "t"), switch("a", "t")];
    assert_eq!(
        RuntimeSwitches::from_list(twice),
        Err(RuntimeError::Duplicate("a".into()))
    );
    let mut keys = RuntimeSwitches::default();
    let set = |keys: &mut RuntimeSwitches, number: usize| {
        let mut one = switch(&format!("k{number}"), "t");
        one.switch.scope_key = format!("header:h{number}");
        keys.set(one)
    };
    assert!((0..64).all(|number| set(&mut keys, number).is_ok()));
    assert_eq!(set(&mut keys, 64), Err(RuntimeError::TooManyKeys));
    assert!(set(&mut keys, 63).is_ok());
}
