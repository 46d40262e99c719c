//! Bundles in files, in any form: an author's YAML or JSON, or signed. The text of a signed one is taken out without
//! asking who signed it: enough to look at it, never to use it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_bundles::author::{self, Authored, Format};
use portcullis_bundles::explain::Explanation;
use portcullis_config::diagnostic::{Diagnostic, Diagnostics, codes};
use serde::Deserialize;

/// Largest file that is read: what a gateway accepts unless its `policy.max_bytes` says otherwise.
pub(crate) const MAX_BYTES: u64 = 64 << 20;

/// A bundle's text.
#[derive(Debug)]
pub(crate) struct Text {
    /// The file, for messages.
    pub(crate) name: String,
    /// The text: what is signed, or is to be.
    pub(crate) bytes: Vec<u8>,
    /// What it is written in.
    pub(crate) format: Format,
    /// Whether it came with signatures. They were not checked.
    pub(crate) signed: Signed,
}

/// The form of the file that a text came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signed {
    /// An author's file.
    No,
    /// A line `BASE64(HMAC-SHA256)` before the text.
    Line,
    /// A DSSE envelope, with the ids of the keys that it names.
    Dsse(Vec<String>),
}

/// A DSSE envelope, as far as it matters to somebody who does not verify it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    keyid: String,
}

/// Reads a whole file. Pipes will do.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("{} has more than {MAX_BYTES} bytes", path.display());
    }
    Ok(bytes)
}

impl Text {
    /// The text in a file of any form.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        Self::of(&name, read(path)?).with_context(|| name)
    }

    fn of(name: &str, bytes: Vec<u8>) -> anyhow::Result<Self> {
        let name = name.to_owned();
        if let Some(envelope) = envelope(&bytes)? {
            if !portcullis_bundles::envelope::is_bundle_type(&envelope.payload_type) {
                bail!(
                    "the envelope's payloadType is `{}`, which is no bundle's",
                    envelope.payload_type
                );
            }
            let bytes = STANDARD
                .decode(&envelope.payload)
                .context("the envelope's payload is not base64")?;
            let keys = envelope
                .signatures
                .into_iter()
                .map(|signature| signature.keyid)
                .collect();
            return Ok(Self {
                name,
                bytes,
                format: Format::Json,
                signed: Signed::Dsse(keys),
            });
        }
        if let Some(text) = after_line(&bytes) {
            return Ok(Self {
                name,
                bytes: text.to_vec(),
                format: Format::Json,
                signed: Signed::Line,
            });
        }
        let format = author::format_of(&name);
        Ok(Self {
            name,
            bytes,
            format,
            signed: Signed::No,
        })
    }

    /// Reads and compiles it, or says everything that is wrong with it.
    pub(crate) fn authored(&self) -> Result<Authored, Explanation> {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => author::read(&self.name, text, self.format),
            Err(error) => {
                let message = format!("{} is not UTF-8 text (byte {})", self.name, error.valid_up_to());
                let diagnostics = Diagnostics::from(Diagnostic::new(codes::NOT_UTF8, message));
                Err(Explanation {
                    diagnostics,
                    ..Explanation::default()
                })
            }
        }
    }
}

/// The envelope, if it is one. What says that it is one and has another shape is an error.
fn envelope(bytes: &[u8]) -> anyhow::Result<Option<Envelope>> {
    if bytes.first() != Some(&b'{') {
        return Ok(None);
    }
    match serde_json::from_slice::<Envelope>(bytes) {
        Ok(envelope) => Ok(Some(envelope)),
        Err(error) => {
            let value = serde_json::from_slice::<serde_json::Value>(bytes).unwrap_or_default();
            if value.get("payloadType").is_some() {
                return Err(error).context("not a DSSE envelope");
            }
            Ok(None)
        }
    }
}

/// What follows a first line that is the base64 of 32 bytes.
fn after_line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at_checked(end)?;
    let signature = STANDARD.decode(line).ok()?;
    (signature.len() == 32).then_some(rest.strip_prefix(b"\n")?)
}

/// Writes a file whole or not at all: a gateway that watches it never sees half of it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let special = fs::metadata(path).is_ok_and(|there| !there.is_file());
    let written = if special {
        fs::write(path, bytes)
    } else {
        rename_over(path, bytes, 0o644)
    };
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// The same for what only its owner may read.
pub(crate) fn replace_secret(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    rename_over(path, bytes, 0o600).with_context(|| format!("cannot write {}", path.display()))
}

fn rename_over(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    let renamed = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_apart() {
        let json = br#"{"bundle_version": 1, "policies": []}"#;
        let payload = STANDARD.encode(json);
        let kind = "application/vnd.portcullis.bundle+json";
        let dsse = format!(
            r#"{{"payload": "{payload}", "payloadType": "{kind}", "signatures": [{{"keyid": "k1", "sig": "AA=="}}]}}"#
        );
        let text = Text::of("policy.bundle", dsse.into_bytes()).unwrap();
        assert_eq!(
            (text.bytes.as_slice(), text.signed),
            (&json[..], Signed::Dsse(vec!["k1".into()]))
        );

        let mut line = STANDARD.encode([7; 32]).into_bytes();
        line.push(b'\n');
        line.extend_from_slice(json);
        let text = Text::of("policy.bundle", line).unwrap();
        assert_eq!((text.bytes.as_slice(), text.signed), (&json[..], Signed::Line));

        let text = Text::of("policy.json", json.to_vec()).unwrap();
        assert_eq!((text.signed, text.format), (Signed::No, Format::Json));
        let text = Text::of("policy.yaml", b"bundle_version: 1\n".to_vec()).unwrap();
        assert_eq!((text.signed, text.format), (Signed::No, Format::Yaml));
    }

    #[test]
    fn what_says_that_it_is_an_envelope_must_be_one() {
        let kind = "application/vnd.portcullis.bundle+json";
        for wrong in [
            format!(r#"{{"payload": "e30=", "payloadType": "{kind}"}}"#),
            format!(r#"{{"payload": "e30=", "payloadType": "{kind}", "signatures": [], "extra": 1}}"#),
            format!(r#"{{"payload": "!", "payloadType": "{kind}", "signatures": []}}"#),
            r#"{"payload": "e30=", "payloadType": "text/plain", "signatures": []}"#.to_owned(),
        ] {
            assert!(Text::of("x", wrong.clone().into_bytes()).is_err(), "{wrong}");
        }
    }
}
