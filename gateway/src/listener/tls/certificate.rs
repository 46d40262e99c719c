//! One certificate with its key, read from PEM files and checked before it is served.
//!
//! Checked is what would fail every handshake: that the pair belongs together and is valid now. Whether clients trust
//! the issuer is theirs to say.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis_config::listener::CertificateFiles;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::error::TlsError;

/// The largest PEM file that is read.
const MAX_FILE: u64 = 1 << 20;

/// A certificate that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The file it was read from.
    pub file: PathBuf,
    /// The names it is for: the DNS names of its subject alternative name, in lower case.
    pub names: Vec<Box<str>>,
    /// When it expires.
    pub not_after: SystemTime,
}

/// Reads and checks one pair.
pub(super) fn load(
    files: &CertificateFiles,
    provider: &CryptoProvider,
    now: SystemTime,
) -> Result<(Arc<CertifiedKey>, CertificateInfo), TlsError> {
    let chain = chain(&files.certificate)?;
    let leaf = chain.first().ok_or_else(|| TlsError::NoCertificate {
        file: files.certificate.clone(),
    })?;
    let info = inspect(&files.certificate, leaf, now)?;
    let key = private_key(&files.key)?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| TlsError::UnusableKey {
            file: files.key.clone(),
            reason: error.to_string(),
        })?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok((Arc::new(pair), info)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
        }),
        Err(error) => Err(TlsError::BadCertificate {
            file: files.certificate.clone(),
            reason: error.to_string(),
        }),
    }
}

pub(super) fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(file)?;
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| broken(file, &error))
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = zeroize::Zeroizing::new(read(file)?);
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        PemError::NoItemsFound if contains(&pem, b"BEGIN ENCRYPTED PRIVATE KEY") => {
            TlsError::EncryptedKey { file: file.to_owned() }
        }
        PemError::NoItemsFound => TlsError::NoKey { file: file.to_owned() },
        error => broken(file, &error),
    })
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|open| open.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|source| TlsError::Read {
            file: file.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(TlsError::TooLarge {
            file: file.to_owned(),
            limit: MAX_FILE,
        });
    }
    Ok(bytes)
}

/// The parser's texts quote the line they stumble over, which may be part of a key.
pub(super) fn broken(file: &Path, error: &PemError) -> TlsError {
    let reason = match error {
        PemError::MissingSectionEnd { .. } => "a section has no END line",
        PemError::IllegalSectionStart { .. } => "a BEGIN line is malformed",
        PemError::Base64Decode(_) => "it is not base64",
        PemError::SectionTooLarge => "a section is too large",
        _ => "it is not PEM",
    };
    TlsError::Pem {
        file: file.to_owned(),
        reason: reason.to_owned(),
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn inspect(file: &Path, leaf: &CertificateDer<'_>, now: SystemTime) -> Result<CertificateInfo, TlsError> {
    let bad = |reason: String| TlsError::BadCertificate {
        file: file.to_owned(),
        reason,
    };
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|error| bad(error.to_string()))?;
    let (from, until) = (
        certificate.validity().not_before.timestamp(),
        certificate.validity().not_after.timestamp(),
    );
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    if seconds > until {
        return Err(TlsError::Expired {
            file: file.to_owned(),
            at: rfc3339(until),
        });
    }
    if seconds < from {
        return Err(TlsError::NotYetValid {
            file: file.to_owned(),
            at: rfc3339(from),
        });
    }
    let alternative = certificate
        .subject_alternative_name()
        .map_err(|error| bad(error.to_string()))?;
    let names = alternative
        .map(|extension| dns_names(&extension.value.general_names))
        .unwrap_or_default();
    let not_after = UNIX_EPOCH + Duration::from_secs(u64::try_from(until).unwrap_or_default());
    Ok(CertificateInfo {
        file: file.to_owned(),
        names,
        not_after,
    })
}

fn dns_names(names: &[GeneralName<'_>]) -> Vec<Box<str>> {
    names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into_boxed_str()),
            _ => None,
        })
        .collect()
}

fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s after 1970"), |time| time.to_string())
}
