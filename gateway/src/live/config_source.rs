//! Where the configuration of a running gateway is written: in files, or in a text that was made from something else.

use std::path::{Path, PathBuf};

use portcullis_config::load::{Failed, Loaded, load, load_str};

/// Where the configuration is written.
#[derive(Debug, Clone)]
pub enum ConfigSource {
    /// In a file, and those that it includes.
    File(PathBuf),
    /// In this text, which was made from something else.
    Text(String),
}

impl ConfigSource {
    pub(super) fn load(&self) -> Result<Loaded, Failed> {
        match self {
            Self::File(path) => load(path),
            Self::Text(text) => load_str("environment", text),
        }
    }

    /// The file.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Text(_) => None,
        }
    }
}
