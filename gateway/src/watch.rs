//! Has a file changed? Asked by polling what the file system says of it, which is right for everything that a GitOps
//! tree stands on: files written in place, files renamed over others, a ConfigMap's symlink swap, network mounts.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What the file system says of some files and folders.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fingerprint(BTreeMap<PathBuf, Seen>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Missing,
    There {
        resolved: PathBuf,
        device: u64,
        inode: u64,
        size: u64,
        modified: (i64, i64),
        changed: (i64, i64),
    },
}

impl Fingerprint {
    /// Looks at these paths, through every symbolic link.
    pub fn of<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        Self(
            paths
                .into_iter()
                .map(|path| (path.to_path_buf(), Seen::at(path)))
                .collect(),
        )
    }
}

impl Seen {
    fn at(path: &Path) -> Self {
        let (Ok(resolved), Ok(metadata)) = (path.canonicalize(), path.metadata()) else {
            return Self::Missing;
        };
        Self::There {
            resolved,
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_config_map_swap_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        for (version, text) in [("..v1", "a"), ("..v2", "b")] {
            fs::create_dir(dir.path().join(version)).unwrap();
            fs::write(dir.path().join(version).join("portcullis.yaml"), text).unwrap();
        }
        std::os::unix::fs::symlink("..v1", dir.path().join("..data")).unwrap();
        let file = dir.path().join("portcullis.yaml");
        std::os::unix::fs::symlink("..data/portcullis.yaml", &file).unwrap();
        let before = Fingerprint::of([file.as_path()]);
        assert_eq!(before, Fingerprint::of([file.as_path()]));
        std::os::unix::fs::symlink("..v2", dir.path().join("..data_tmp")).unwrap();
        fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
        assert_ne!(before, Fingerprint::of([file.as_path()]));
    }

    #[test]
    fn written_renamed_over_and_removed_are_changes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        let missing = Fingerprint::of([file.as_path()]);
        fs::write(&file, "1").unwrap();
        let first = Fingerprint::of([file.as_path()]);
        assert_ne!(missing, first);
        fs::write(dir.path().join("y"), "1").unwrap();
        fs::rename(dir.path().join("y"), &file).unwrap();
        let second = Fingerprint::of([file.as_path()]);
        assert_ne!(first, second);
        fs::remove_file(&file).unwrap();
        assert_ne!(second, Fingerprint::of([file.as_path()]));
    }
}
