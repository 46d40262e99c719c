//! The kill-switch document: a small signed list of kill switches with keys and a version counter of its own, for those who
//! must stop somebody at once and may not publish policies. Reading, judging and compiling it; where it comes from and when
//! it is looked at is the gateway's.

use std::sync::Arc;

use portcullis_config::decode::decode;
use portcullis_config::diagnostic::{Diagnostic, Diagnostics};
use portcullis_config::document::{Document, Format};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::author;
use crate::compile::document_switches;
use crate::envelope::{self, Verified};
use crate::explain::{self, Explanation};
use crate::format::{KillSwitch, Override};
use crate::loader::{CLOCK_LEEWAY_S, RefusedReason};
use crate::problem::Problem;
use crate::strict::{Version, or_default};
use crate::switches::Switches;
use crate::timestamp::Timestamp;
use crate::trust::Trust;
use crate::version::{self, Floor, Standing, VersionError};

/// A kill-switch document as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KillDocument {
    /// Counts up with every document that is published. A gateway never goes back.
    pub version: Version,
    /// When it was made. A document from the future is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<Timestamp>,
    /// Refused from this moment on by gateways that do not have it yet. Where it is in force it stays so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Requests that are refused. The whole list: what is not in it any more has ended.
    #[serde(default, deserialize_with = "or_default")]
    pub kill_switches: Vec<KillSwitch>,
    /// The document's switches are suspended for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kill_switch_override: Option<Override>,
}

impl KillDocument {
    /// Reads an author's text, YAML or JSON, with every error told. `name` is for messages.
    pub fn read(name: &str, text: &str, format: Format) -> Result<Self, Explanation> {
        let read = |document: &Document, out: &mut Diagnostics| {
            let written = decode::<Self>(document, document.root(), &[], out)?;
            if let Err(problems) = document_switches(&written) {
                out.extend(problems.as_slice().iter().map(|problem| place(document, problem)));
            }
            Some(written)
        };
        author::read_as(name, text, format, read).map(|(written, ..)| written)
    }

    /// The JSON that is signed.
    pub fn canonical_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }
}

fn place(document: &Document, problem: &Problem) -> Diagnostic {
    explain::place_whole(document, problem)
}

/// A document that may be put in force, once its floor and its bytes are on the disk.
#[derive(Debug)]
pub struct KillList {
    /// Its version and digest.
    pub floor: Floor,
    /// Ids of the keys that vouch for it.
    pub signed_by: Box<[Arc<str>]>,
    /// Its switches.
    pub switches: Arc<Switches>,
    /// Whether it is new or the one accepted last.
    pub standing: Standing,
}

/// A document that was refused. Nothing of it is in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct KillRefused {
    /// The code: one of a bundle's.
    pub reason: RefusedReason,
    /// A sentence for logs and status pages.
    pub detail: String,
}

impl KillRefused {
    fn new(reason: RefusedReason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }
}

/// Accepts or refuses documents.
#[derive(Debug)]
pub struct KillLoader {
    max_bytes: u64,
    trust: Trust,
}

impl KillLoader {
    /// A loader for documents of at most `max_bytes`, signed by one of these keys.
    pub fn new(max_bytes: u64, trust: Trust) -> Self {
        Self { max_bytes, trust }
    }

    /// Largest document in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Judges a document that came from its source, at the moment `now` (seconds since 1970).
    pub fn accept(&self, bytes: &[u8], now: i64, floor: Option<Floor>) -> Result<KillList, KillRefused> {
        let (verified, written) = self.verify(bytes)?;
        let own = own_floor(&verified, &written);
        let standing = version::check(own, floor, None).map_err(|error| refused_version(&error))?;
        if standing == Standing::New {
            in_time(&written, now)?;
        }
        compile(&written, &verified, standing)
    }

    /// Judges the document that was accepted last, as found on the disk after a restart.
    pub fn restore(&self, bytes: &[u8], floor: Floor) -> Result<KillList, KillRefused> {
        let (verified, written) = self.verify(bytes)?;
        if own_floor(&verified, &written) != floor {
            let detail = format!(
                "the state directory keeps another document than version {}",
                floor.version
            );
            return Err(KillRefused::new(RefusedReason::VersionNotMonotonic, detail));
        }
        compile(&written, &verified, Standing::Same)
    }

    fn verify<'a>(&self, bytes: &'a [u8]) -> Result<(Verified<'a>, KillDocument), KillRefused> {
        if bytes.len() as u64 > self.max_bytes {
            let detail = format!(
                "the document has {} bytes; at most {} are accepted",
                bytes.len(),
                self.max_bytes
            );
            return Err(KillRefused::new(RefusedReason::TooLarge, detail));
        }
        let verified = envelope::open_kill_document(bytes, &self.trust)
            .map_err(|error| KillRefused::new(RefusedReason::of_envelope(&error), error.to_string()))?;
        let written = crate::json::from_slice(verified.payload())
            .map_err(|error| KillRefused::new(RefusedReason::Invalid, error.to_string()))?;
        Ok((verified, written))
    }
}

fn own_floor(verified: &Verified<'_>, written: &KillDocument) -> Floor {
    Floor {
        version: written.version.get(),
        digest: verified.digest(),
    }
}

fn refused_version(error: &VersionError) -> KillRefused {
    KillRefused::new(RefusedReason::VersionNotMonotonic, error.to_string())
}

fn in_time(written: &KillDocument, now: i64) -> Result<(), KillRefused> {
    let clock = Timestamp::from_unix(now);
    if let Some(at) = written
        .issued_at
        .filter(|at| at.unix() > now.saturating_add(CLOCK_LEEWAY_S))
    {
        let detail = format!("issued_at is {at}, and it is {clock} here");
        return Err(KillRefused::new(RefusedReason::IssuedInFuture, detail));
    }
    if let Some(at) = written.expires_at.filter(|at| at.unix() <= now) {
        let detail = format!("expires_at is {at}, and it is {clock} here");
        return Err(KillRefused::new(RefusedReason::BundleExpired, detail));
    }
    Ok(())
}

fn compile(written: &KillDocument, verified: &Verified<'_>, standing: Standing) -> Result<KillList, KillRefused> {
    let switches = document_switches(written).map_err(|problems| {
        let first = problems.as_slice().first().map(ToString::to_string).unwrap_or_default();
        KillRefused::new(RefusedReason::Invalid, first)
    })?;
    Ok(KillList {
        floor: own_floor(verified, written),
        signed_by: verified.signed_by().into(),
        switches: Arc::new(Switches::new(switches)),
        standing,
    })
}
