//! A private folder that is gone when the demo is.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

/// The folder. Dropped: removed.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes one that only this user can look into.
    pub(super) fn new() -> anyhow::Result<Self> {
        let base = std::env::temp_dir();
        let path = base.join(format!(
            "portcullis-demo-{}-{:08x}",
            std::process::id(),
            fastrand::u32(..)
        ));
        // Fails when it is there already, whoever put it there.
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self(path))
    }

    /// The path of a file in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a new file, readable by this user alone.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let path = self.path(name);
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let written = opened.and_then(|mut file| file.write_all(content));
        written.with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes it with everything in it. Somebody may be writing to it still, so that a file can come in between.
    pub(super) fn remove(&self) {
        const ATTEMPTS: usize = 10;
        for _ in 0..ATTEMPTS {
            match fs::remove_dir_all(&self.0) {
                Ok(()) => return,
                Err(error) if error.kind() == ErrorKind::NotFound => return,
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;

    #[test]
    fn it_is_private_and_gone_afterwards() {
        let folder = Folder::new().unwrap();
        folder.write("key", b"secret").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.0), mode(&folder.path("key"))), (0o700, 0o600));
        assert!(folder.write("key", b"again").is_err());
        let path = folder.0.clone();
        drop(folder);
        assert!(!path.exists());
    }
}
