//! Bundles in files: replaced, rewritten, swapped behind links as Kubernetes does, too large, not there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

use std::fs;
use std::os::unix::fs::symlink;

use portcullis_bundles::source::{DEFAULT_POLL_INTERVAL, FileError, FileSource, Source};
use portcullis_config::policy::BundleSource;

#[test]
fn a_config_map_swap_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (version, text) in [("..2026_01", "one"), ("..2026_02", "two")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("policy.bundle"), text).unwrap();
    }
    symlink("..2026_01", at("..data")).unwrap();
    symlink("..data/policy.bundle", at("policy.bundle")).unwrap();
    let source = FileSource::new(at("policy.bundle"));
    let (bytes, before) = source.read(100).unwrap();
    assert_eq!(
        (bytes.as_slice(), source.fingerprint().unwrap()),
        (&b"one"[..], before.clone())
    );
    symlink("..2026_02", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    assert_ne!(source.fingerprint().unwrap(), before);
    assert_eq!(source.read(100).unwrap().0, b"two");
}

#[test]
fn a_replaced_and_a_rewritten_file_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.bundle");
    fs::write(&path, "aaa").unwrap();
    let source = FileSource::new(&path);
    let first = source.fingerprint().unwrap();
    fs::write(folder.path().join("new"), "bbb").unwrap();
    fs::rename(folder.path().join("new"), &path).unwrap();
    let second = source.fingerprint().unwrap();
    assert_ne!(first, second);
    fs::write(&path, "cccc").unwrap();
    assert_ne!(source.fingerprint().unwrap(), second);
}

#[test]
fn what_cannot_be_read_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.bundle");
    let source = FileSource::new(&path);
    assert!(matches!(source.read(10), Err(FileError::Io { .. })));
    assert!(matches!(source.fingerprint(), Err(FileError::Io { .. })));
    fs::write(&path, "0123456789").unwrap();
    assert_eq!(source.read(10).unwrap().0.len(), 10);
    assert!(matches!(source.read(9), Err(FileError::TooLarge { max: 9, .. })));
    assert!(matches!(
        FileSource::new(folder.path()).read(10),
        Err(FileError::NotAFile { .. })
    ));
}

#[test]
fn a_source_is_a_file_or_a_url_or_the_control_plane() {
    let written = |file: Option<&str>, url: Option<&str>| BundleSource {
        file: file.map(Into::into),
        url: url.map(Into::into),
        poll_interval: None,
        ca: None,
        control_plane: false,
    };
    let pulled = |file| BundleSource {
        control_plane: true,
        ..written(file, None)
    };
    assert_eq!(Source::try_from(&pulled(None)), Ok(Source::ControlPlane));
    assert!(Source::try_from(&pulled(Some("/p"))).is_err());
    assert_eq!(
        Source::try_from(&written(Some("/p"), None)),
        Ok(Source::File(FileSource::new("/p")))
    );
    let Ok(Source::Url { interval, .. }) = Source::try_from(&written(None, Some("https://p/"))) else {
        panic!()
    };
    assert_eq!(interval, DEFAULT_POLL_INTERVAL);
    assert!(Source::try_from(&written(None, None)).is_err());
    assert!(Source::try_from(&written(Some("/p"), Some("https://p/"))).is_err());
}
