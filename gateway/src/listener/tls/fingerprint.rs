//! Have the files changed? Answered without reading them, and right too where they are links into a folder that is
//! swapped as a whole, as Kubernetes does with mounted secrets.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use portcullis_config::listener::ListenerTls;

/// What the files of a listener looked like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fingerprint(Vec<(PathBuf, Option<FileState>)>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct FileState {
    /// Where the path leads once every link is followed.
    resolved: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Changes that keep size and time of modification still move this one.
    changed: (i64, i64),
}

impl Fingerprint {
    /// Of the certificates and keys that `tls` names, as they are now. Blocks on the disk.
    pub fn of(tls: &ListenerTls) -> Self {
        let files = tls.certificates.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
        Self(files.map(|file| (file.clone(), state(file))).collect())
    }

    /// Of the same files, as they are now. Blocks on the disk.
    #[must_use]
    pub fn again(&self) -> Self {
        Self(self.0.iter().map(|(file, _)| (file.clone(), state(file))).collect())
    }
}

/// `None`: not there, or not to be seen.
fn state(file: &Path) -> Option<FileState> {
    let resolved = fs::canonicalize(file).ok()?;
    let metadata = fs::metadata(&resolved).ok()?;
    Some(FileState {
        resolved,
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use portcullis_config::listener::CertificateFiles;

    use super::*;

    fn tls(folder: &Path) -> ListenerTls {
        ListenerTls {
            certificates: vec![CertificateFiles {
                certificate: folder.join("tls.crt"),
                key: folder.join("tls.key"),
            }],
            min_version: portcullis_config::listener::TlsVersion::V1_2,
            alpn: Vec::new(),
        }
    }

    #[test]
    fn notices_new_content_removal_and_return() {
        let folder = tempfile::tempdir().unwrap();
        let tls = tls(folder.path());
        let none = Fingerprint::of(&tls);
        fs::write(folder.path().join("tls.crt"), "a").unwrap();
        fs::write(folder.path().join("tls.key"), "b").unwrap();
        let first = Fingerprint::of(&tls);
        assert_ne!(first, none);
        assert_eq!(first.again(), first);
        fs::write(folder.path().join("tls.key"), "bc").unwrap();
        assert_ne!(first.again(), first);
        fs::remove_file(folder.path().join("tls.key")).unwrap();
        assert_ne!(first.again(), first);
    }

    #[test]
    fn notices_a_swapped_folder_with_equal_files() {
        let folder = tempfile::tempdir().unwrap();
        for version in ["..1", "..2"] {
            fs::create_dir(folder.path().join(version)).unwrap();
            fs::write(folder.path().join(version).join("tls.crt"), "a").unwrap();
            fs::write(folder.path().join(version).join("tls.key"), "b").unwrap();
        }
        symlink("..1", folder.path().join("..data")).unwrap();
        symlink("..data/tls.crt", folder.path().join("tls.crt")).unwrap();
        symlink("..data/tls.key", folder.path().join("tls.key")).unwrap();
        let first = Fingerprint::of(&tls(folder.path()));
        symlink("..2", folder.path().join("..data_tmp")).unwrap();
        fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
        let second = first.again();
        assert_ne!(first, second);
        assert_eq!(second.again(), second);
    }
}
