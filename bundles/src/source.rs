//! Where bundles come from. Files are read here; for URLs only what is asked and what is remembered is decided here,
//! and whoever has a network does the asking.

mod file;
mod poll;

use std::path::PathBuf;
use std::time::Duration;

use portcullis_config::policy::BundleSource;

pub use file::{FileError, FileSource, Fingerprint};
pub use poll::{Conditions, Schedule};

/// Time between two polls of a URL when the configuration says nothing.
pub const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(30);

/// A source of bundles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file that is watched.
    File(FileSource),
    /// A URL that is polled.
    Url {
        /// The URL.
        url: Box<str>,
        /// Time between two polls.
        interval: Duration,
        /// CA certificates to trust instead of the public ones (PEM).
        ca: Option<PathBuf>,
    },
    /// The control plane, which says when there is another.
    ControlPlane,
}

/// Not exactly one of `file`, `url` and `control_plane`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("policy.bundle needs exactly one of `file`, `url` and `control_plane`")]
pub struct NotOneSource;

impl TryFrom<&BundleSource> for Source {
    type Error = NotOneSource;

    fn try_from(written: &BundleSource) -> Result<Self, NotOneSource> {
        match (&written.file, &written.url, written.control_plane) {
            (Some(path), None, false) => Ok(Self::File(FileSource::new(path.clone()))),
            (None, None, true) => Ok(Self::ControlPlane),
            (None, Some(url), false) => Ok(Self::Url {
                url: url.as_str().into(),
                interval: written
                    .poll_interval
                    .map_or(DEFAULT_POLL_INTERVAL, portcullis_config::units::Duration::get),
                ca: written.ca.clone(),
            }),
            _ => Err(NotOneSource),
        }
    }
}
