//! `portcullis bundle build`: from an author's file to the JSON that is signed, for those who sign with a tool of their own.

use std::path::PathBuf;

use anyhow::ensure;
use portcullis_bundles::author::{self, Format};
use portcullis_bundles::digest::Digest;
use portcullis_bundles::strict::Version;

use super::judge::Acceptable;
use super::{Judged, sign};
use crate::cli::format::tell_line;

pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis bundle build policy.yaml --out policy.json
  portcullis bundle build policy.yaml --bundle-version 42 > policy.json

What a gateway would refuse is not built. The same file gives the same bytes. `portcullis bundle
sign` builds by itself.

Exit codes: 0 = built, 1 = the bundle is not right, 2 = the command could not be carried out.";

/// Arguments of `bundle build`.
#[derive(Debug, clap::Args)]
pub(crate) struct Build {
    /// The author's file: YAML (.yaml, .yml) or JSON.
    file: PathBuf,
    /// The bundle's version, in place of the file's.
    #[arg(long, value_name = "NUMBER")]
    bundle_version: Option<u64>,
    /// Where it is written, whole or not at all. Default: standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Build {
    pub(crate) fn run(self) -> anyhow::Result<Judged> {
        let Some(Acceptable { authored, .. }) = Acceptable::read(&self.file, "build")? else {
            return Ok(Judged::Bad);
        };
        let mut bundle = authored.bundle.clone();
        if let Some(version) = self.bundle_version {
            bundle.bundle_version =
                Version::new(version).ok_or_else(|| anyhow::anyhow!("--bundle-version: from 1 to 2^53"))?;
        }
        let json = author::canonical_json(&bundle)?;
        // What goes out is what is signed: it is read once more.
        let read_again = author::read("built", std::str::from_utf8(&json)?, Format::Json);
        ensure!(read_again.is_ok(), "what was built cannot be read again");
        let out = sign::write(self.out.as_deref(), &json)?;
        tell_line(format_args!(
            "{out}: version {}, not signed, sha256 {}",
            bundle.bundle_version.get(),
            Digest::of(&json)
        ));
        Ok(Judged::Good)
    }
}
