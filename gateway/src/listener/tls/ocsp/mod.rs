//! OCSP stapling (RFC 6066, section 8): an answer about a certificate goes with it, so that clients need not ask. It comes
//! from a file or is fetched in the background; a handshake takes what is there and waits for nothing.

mod answer;
mod der;
mod fetch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use portcullis_config::listener::Ocsp;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

use super::certificate::{self, CertificateInfo};
use super::error::TlsError;
use crate::http_client::Url;
use answer::{Subject, Window};

pub use fetch::tend;

/// 1.3.6.1.5.5.7.48.1, the access method of responders.
const ACCESS_OCSP: &str = "1.3.6.1.5.5.7.48.1";
/// 1.3.6.1.5.5.7.1.24, TLS features (RFC 7633): clients insist on an answer.
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";

/// A certificate that is served with an answer while there is a good one.
#[derive(Debug)]
pub struct Staple {
    info: CertificateInfo,
    written: Ocsp,
    subject: Subject,
    plain: Arc<CertifiedKey>,
    /// Where answers are fetched; `None`: they come from a file.
    responder: Option<Url>,
    held: ArcSwapOption<Held>,
    pub(super) fetched: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// A certificate with its answer.
#[derive(Debug)]
struct Held {
    key: Arc<CertifiedKey>,
    window: Window,
}

impl Staple {
    /// Sets up what `written` asks for, and reads the answer where it is a file. Blocks on the disk. `before`: what is
    /// served now, whose answer stays good.
    pub(super) fn open(
        written: &Ocsp,
        plain: &Arc<CertifiedKey>,
        info: &CertificateInfo,
        provider: &Arc<CryptoProvider>,
        before: &[Arc<Self>],
    ) -> Result<Arc<Self>, TlsError> {
        let same = |known: &&Arc<Self>| known.written == *written && known.plain.cert == plain.cert;
        if written.file.is_none()
            && let Some(known) = before.iter().find(same)
        {
            return Ok(Arc::clone(known));
        }
        let fault = |reason: &str| TlsError::Ocsp {
            file: info.file.clone(),
            reason: reason.to_owned(),
        };
        let [leaf, issuer, ..] = plain.cert.as_slice() else {
            return Err(fault(
                "its file holds no certificate of the issuer: write the issuer's behind it",
            ));
        };
        let subject = Subject::new(leaf, issuer, provider)
            .ok_or_else(|| fault("the second certificate in its file is not its issuer's: write the chain in order"))?;
        let responder = match (&written.file, &written.responder) {
            (Some(_), _) => None,
            (None, Some(url)) => Some(url.clone()),
            (None, None) => {
                let named = responder_of(leaf);
                Some(named.ok_or_else(|| fault("it names no OCSP responder: write `responder`, or remove `ocsp`"))?)
            }
        };
        let responder = responder.map(|url| Url::parse_any(&url).map_err(|error| fault(&error.to_string())));
        let staple = Self {
            info: info.clone(),
            written: written.clone(),
            subject,
            plain: Arc::clone(plain),
            responder: responder.transpose()?,
            held: ArcSwapOption::empty(),
            fetched: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        };
        if let Some(file) = &written.file {
            let answer = certificate::read(file)?;
            staple.offer(&answer).map_err(|unfit| TlsError::Ocsp {
                file: file.clone(),
                reason: unfit.to_string(),
            })?;
        }
        Ok(Arc::new(staple))
    }

    /// The certificate, with an answer while there is a good one.
    pub(super) fn key(&self) -> Arc<CertifiedKey> {
        match &*self.held.load() {
            Some(held) if unix_now() < held.window.until => Arc::clone(&held.key),
            _ => Arc::clone(&self.plain),
        }
    }

    /// Takes an answer if it is good.
    fn offer(&self, answer: &[u8]) -> Result<Window, answer::Unfit> {
        let window = self.subject.judge(answer, unix_now())?;
        let mut key = CertifiedKey::clone(&self.plain);
        key.ocsp = Some(answer.to_vec());
        self.held.store(Some(Arc::new(Held {
            key: Arc::new(key),
            window,
        })));
        Ok(window)
    }

    /// Forgets the answer: the certificate is revoked, and saying that it is good would be a lie.
    fn forget(&self) {
        self.held.store(None);
    }

    /// The certificate.
    pub fn certificate(&self) -> &CertificateInfo {
        &self.info
    }

    /// Until when the answer is good, in seconds since 1970; `None` while there is none.
    pub fn until(&self) -> Option<i64> {
        let until = self.held.load().as_ref().map(|held| held.window.until);
        until.filter(|until| unix_now() < *until)
    }

    /// Answers that were fetched and good, and fetches that brought none.
    pub fn counts(&self) -> (u64, u64) {
        (self.fetched.load(Relaxed), self.failed.load(Relaxed))
    }
}

/// Whether clients insist on an answer (RFC 7633).
pub(super) fn must_staple(leaf: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else {
        return false;
    };
    certificate
        .extensions()
        .iter()
        .any(|extension| extension.oid.to_id_string() == TLS_FEATURE)
}

/// The first responder over HTTP that the certificate names (RFC 5280, section 4.2.2.1).
fn responder_of(leaf: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let access = certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityInfoAccess(access) => Some(access),
            _ => None,
        })?;
    let responders = access
        .accessdescs
        .iter()
        .filter(|access| access.access_method.to_id_string() == ACCESS_OCSP);
    let mut urls = responders.filter_map(|access| match access.access_location {
        GeneralName::URI(url) if url.starts_with("http://") || url.starts_with("https://") => Some(url.to_owned()),
        _ => None,
    });
    urls.next()
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
