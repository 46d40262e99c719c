//! Where lines end up: standard output, standard error or a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::PathBuf;

/// Where lines are to end up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file that is appended to. It is made when it is not there, readable by owner and group.
    File(PathBuf),
}

/// Something open to write lines to. Unbuffered.
#[derive(Debug)]
pub struct Output(File);

impl Output {
    /// Opens a target.
    pub fn open(target: &Target) -> io::Result<Self> {
        let file = match target {
            Target::Stdout => File::from(io::stdout().as_fd().try_clone_to_owned()?),
            Target::Stderr => File::from(io::stderr().as_fd().try_clone_to_owned()?),
            Target::File(path) => {
                // Opening a pipe only for writing waits for a reader; opening it both ways does not.
                let is_pipe = std::fs::metadata(path).is_ok_and(|known| known.file_type().is_fifo());
                OpenOptions::new()
                    .append(true)
                    .create(true)
                    .read(is_pipe)
                    .mode(0o640)
                    .open(path)?
            }
        };
        Ok(Self(file))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
}
