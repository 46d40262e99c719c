//! State at rest: what is sealed opens with the right key and name only, no changed byte passes, and no crash while a key is
//! rotated or a folder is taken up loses a file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

use std::fs;
use std::path::Path;
use std::sync::Arc;

use portcullis_bundles::digest::Digest;
use portcullis_bundles::seal::{KEYRING, SealError, StateKey, StateKeys, Vault, VaultError, rotate_offline};
use portcullis_bundles::store::{Store, StoreError};
use portcullis_bundles::version::Floor;

const BUNDLE: &[u8] = b"the bytes of a bundle";

fn keys(secrets: &[&str]) -> StateKeys {
    let mut keys: Vec<StateKey> = secrets.iter().map(|secret| StateKey::of(secret.as_bytes())).collect();
    StateKeys {
        key: keys.remove(0),
        previous: keys,
    }
}

fn open(directory: &Path, secrets: &[&str]) -> Result<Vault, VaultError> {
    Vault::open(directory, Some(&keys(secrets)), |_| Ok(()))
}

fn open_clear(directory: &Path) -> Result<Vault, VaultError> {
    Vault::open(directory, None, |_| Ok(()))
}

fn why(error: VaultError) -> SealError {
    match error {
        VaultError::Seal { why, .. } => why,
        other => panic!("{other}"),
    }
}

/// A folder with a bundle of version 7, and a batch of events.
fn fill(directory: &Path, vault: Vault) {
    let vault = Arc::new(vault);
    let store = Store::open(directory).unwrap().with_vault(Arc::clone(&vault));
    let digest = Digest::of(BUNDLE);
    store.commit(Floor { version: 7, digest }, BUNDLE).unwrap();
    let batch = "events/0123/000-1-0-1.batch";
    fs::create_dir_all(directory.join("events/0123")).unwrap();
    fs::write(directory.join(batch), vault.seal(batch, b"key\n{}".to_vec()).unwrap()).unwrap();
}

fn version(directory: &Path, vault: Vault) -> Result<u64, StoreError> {
    let store = Store::open(directory).unwrap().with_vault(Arc::new(vault));
    Ok(store.load()?.last_good.unwrap().floor.version)
}

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = ["last-good", "floor", KEYRING].map(|name| directory.join(name)).into();
    files.push(directory.join("events/0123/000-1-0-1.batch"));
    files
}

fn shows(directory: &Path, text: &[u8]) -> bool {
    files(directory).iter().any(|file| {
        let bytes = fs::read(file).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text)
    })
}

#[test]
fn what_is_sealed_opens_with_its_key_and_name_only() {
    let folder = tempfile::tempdir().unwrap();
    let vault = open(folder.path(), &["one"]).unwrap();
    let sealed = vault.seal("floor", b"text".to_vec()).unwrap();
    assert_ne!(
        sealed,
        vault.seal("floor", b"text".to_vec()).unwrap(),
        "never the same twice"
    );
    assert_eq!(vault.unseal("floor", sealed.clone()).unwrap(), b"text");
    assert!(matches!(
        vault.unseal("counters", sealed.clone()),
        Err(SealError::Damaged)
    ));
    assert!(matches!(
        Vault::clear().unseal("floor", sealed.clone()),
        Err(SealError::NoKey)
    ));
    assert!(matches!(
        vault.unseal("floor", b"in the clear".to_vec()),
        Err(SealError::Clear)
    ));
    let other = tempfile::tempdir().unwrap();
    let other = open(other.path(), &["one"]).unwrap();
    assert!(matches!(other.unseal("floor", sealed), Err(SealError::UnknownKey(_))));
}

#[test]
fn no_changed_byte_passes() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    fill(directory, open(directory, &["one"]).unwrap());
    assert_eq!(version(directory, open(directory, &["one"]).unwrap()).unwrap(), 7);
    for file in files(directory) {
        let whole = fs::read(&file).unwrap();
        let name = file.strip_prefix(directory).unwrap().to_str().unwrap();
        for at in 0..whole.len() {
            for bit in [1, 0x20, 0x80] {
                let mut bytes = whole.clone();
                bytes[at] ^= bit;
                let noticed = if name == KEYRING {
                    fs::write(&file, &bytes).unwrap();
                    open(directory, &["one"]).is_err()
                } else {
                    open(directory, &["one"]).unwrap().unseal(name, bytes).is_err()
                };
                assert!(noticed, "byte {at} of {name}");
            }
        }
        fs::write(&file, whole).unwrap();
    }
    // Through the store: the start is refused, and it says which file.
    let path = directory.join("last-good");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = version(directory, open(directory, &["one"]).unwrap()).unwrap_err();
    assert!(
        error.code() == "state-corrupt" && error.to_string().contains("last-good"),
        "{error}"
    );
}

#[test]
fn files_cannot_be_swapped() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    fill(directory, open(directory, &["one"]).unwrap());
    fs::copy(directory.join("last-good"), directory.join("floor")).unwrap();
    assert!(version(directory, open(directory, &["one"]).unwrap()).is_err());
    // Nor by one that is in the clear, which anybody can write.
    let clear = tempfile::tempdir().unwrap();
    fill(clear.path(), Vault::clear());
    for name in ["floor", "last-good"] {
        fs::copy(clear.path().join(name), directory.join(name)).unwrap();
    }
    let error = version(directory, open(directory, &["one"]).unwrap()).unwrap_err();
    assert!(error.to_string().contains("in the clear"), "{error}");
}

#[test]
fn a_wrong_key_no_key_and_no_key_ring_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    fill(directory, open(directory, &["one"]).unwrap());
    assert!(!shows(directory, BUNDLE));
    let error = why(open(directory, &["two"]).unwrap_err());
    let ids = [
        StateKey::of(b"one").id().to_string(),
        StateKey::of(b"two").id().to_string(),
    ];
    assert!(matches!(error, SealError::OtherKey { .. }));
    assert!(ids.iter().all(|id| error.to_string().contains(id)), "{error}");
    assert!(matches!(why(open_clear(directory).unwrap_err()), SealError::NoKey));
    fs::remove_file(directory.join(KEYRING)).unwrap();
    assert!(matches!(why(open(directory, &["one"]).unwrap_err()), SealError::NoRing));
    assert!(matches!(why(open_clear(directory).unwrap_err()), SealError::NoRing));
}

#[test]
fn what_is_in_the_clear_is_taken_up_also_after_a_crash_in_between() {
    let clear = tempfile::tempdir().unwrap();
    fill(clear.path(), open_clear(clear.path()).unwrap());
    assert!(shows(clear.path(), BUNDLE));
    // `also` fails where a crash would be: some files are sealed, and the ring says that it is not done.
    let crash = Vault::open(clear.path(), Some(&keys(&["one"])), |_| {
        Err(VaultError::NothingSealed(clear.path().into()))
    });
    assert!(crash.is_err());
    let good = fs::read(clear.path().join("floor")).unwrap();
    let again = tempfile::tempdir().unwrap();
    fill(again.path(), Vault::clear());
    fs::copy(again.path().join("last-good"), clear.path().join("last-good")).unwrap();
    let vault = open(clear.path(), &["one"]).unwrap();
    assert!(!shows(clear.path(), BUNDLE) && fs::read(clear.path().join("floor")).unwrap() == good);
    assert_eq!(version(clear.path(), vault).unwrap(), 7);
    let foreign = clear.path().join("notes.txt");
    fs::write(&foreign, "the operator's own").unwrap();
    open(clear.path(), &["one"]).unwrap();
    assert_eq!(fs::read(foreign).unwrap(), b"the operator's own");
}

#[test]
fn looking_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), Vault::clear());
    let vault = Vault::look(folder.path(), Some(&keys(&["one"]))).unwrap();
    assert_eq!(version(folder.path(), vault).unwrap(), 7);
    assert!(!folder.path().join(KEYRING).exists() && shows(folder.path(), BUNDLE));
}

#[test]
fn a_rotated_key_opens_nothing_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    fill(directory, open(directory, &["one"]).unwrap());
    // The running gateway: what was written before stays readable, what is written now has another data key.
    let running = open(directory, &["one"]).unwrap();
    let before = running.seal("floor", b"text".to_vec()).unwrap();
    assert!(running.rotate(directory, &keys(&["two"])).unwrap());
    let after = running.seal("floor", b"text".to_vec()).unwrap();
    assert_ne!(before[..40], after[..40], "another data key");
    assert_eq!(running.unseal("floor", before).unwrap(), b"text");
    assert!(matches!(
        why(open(directory, &["one"]).unwrap_err()),
        SealError::OtherKey { .. }
    ));
    assert_eq!(version(directory, open(directory, &["two"]).unwrap()).unwrap(), 7);
    // With none running: everything is sealed anew, and data keys of before are gone.
    let old: Vec<_> = files(directory).iter().map(|file| fs::read(file).unwrap()).collect();
    rotate_offline::<VaultError>(directory, &keys(&["three", "two"]), |_| Ok(())).unwrap();
    for (file, old) in files(directory).iter().zip(&old) {
        assert_ne!(fs::read(file).unwrap()[..40], old[..40], "{}", file.display());
    }
    let vault = open(directory, &["three"]).unwrap();
    assert!(matches!(
        vault.unseal("last-good", old[0].clone()),
        Err(SealError::UnknownKey(_))
    ));
    assert_eq!(version(directory, vault).unwrap(), 7);
}

#[test]
fn a_crash_while_everything_is_sealed_anew_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    fill(directory, open(directory, &["one"]).unwrap());
    let crashed = rotate_offline(directory, &keys(&["two", "one"]), |_| {
        Err(VaultError::NothingSealed(directory.into()))
    });
    assert!(crashed.is_err());
    // One file of before, as if it had not been reached.
    assert_eq!(version(directory, open(directory, &["two"]).unwrap()).unwrap(), 7);
    rotate_offline::<VaultError>(directory, &keys(&["two"]), |_| Ok(())).unwrap();
    assert_eq!(version(directory, open(directory, &["two"]).unwrap()).unwrap(), 7);
}

#[test]
fn nothing_to_rotate_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let rotated = rotate_offline::<VaultError>(folder.path(), &keys(&["one"]), |_| Ok(()));
    assert!(matches!(rotated, Err(VaultError::NothingSealed(_))));
    assert!(!Vault::clear().rotate(folder.path(), &keys(&["one"])).unwrap());
}
