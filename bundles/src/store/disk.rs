//! The few things a store asks of a disk, so that tests can put one in that breaks.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// A disk.
pub trait Disk: Send + Sync {
    /// Makes a directory and its parents, mode 0700, unless it is there.
    fn make_directory(&self, path: &Path) -> io::Result<()>;
    /// Reads a file of at most `max` bytes.
    fn read(&self, path: &Path, max: usize) -> io::Result<Vec<u8>>;
    /// Writes a file, mode 0600, in place of one of that name, and returns once it is on the disk.
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Renames a file, replacing another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Returns once the directory's entries are on the disk.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory.
    fn names(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Whether a process runs. When that cannot be known, it does.
    fn is_running(&self, process: u32) -> bool;

    /// Replaces a file whole: nobody ever sees a part of it, and when this returns it survives a loss of power.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // The process id keeps two processes (a hand-over to a new binary) from writing to one file.
        let temporary = directory.join(format!(".{name}.{}", std::process::id()));
        let renamed = self
            .write_new(&temporary, bytes)
            .and_then(|()| self.rename(&temporary, path));
        if renamed.is_err() {
            // Best effort: the next write takes the same name.
            let _ = self.remove(&temporary);
        }
        renamed.and_then(|()| self.sync_directory(directory))
    }
}

/// The operating system's.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn make_directory(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn read(&self, path: &Path, max: usize) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let limit = u64::try_from(max).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() > max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("more than {max} bytes"),
            ));
        }
        Ok(bytes)
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        // Never through something that is already there: a left-over, or a link that somebody has put.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn is_running(&self, process: u32) -> bool {
        !Path::new("/proc/self").exists() || Path::new("/proc").join(process.to_string()).exists()
    }
}
