//! OCSP (RFC 6960): the request for one certificate, and what must hold of an answer before it is stapled. It is ours, it
//! says good, it is of now, and the issuer signed it or named who may.

use std::sync::Arc;
use std::time::Duration;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::der::{
    BIT_STRING, CONTEXT, Der, ENUMERATED, GENERALIZED_TIME, INTEGER, OCTET_STRING, OID, SEQUENCE, element,
};

/// 1.3.14.3.2.26, which names hashes here and secures nothing (RFC 5019, section 2.1.1).
const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
/// 1.3.6.1.5.5.7.48.1.1
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
const NULL: &[u8] = &[5, 0];
/// The choices of `CertStatus`.
const GOOD: u8 = 0x80;
const REVOKED: u8 = 0xa1;
/// How far the responder's clock may be ahead.
const SKEW: i64 = 300;
/// How long an answer is good that does not say so.
const UNTOLD: Duration = Duration::from_secs(24 * 3600);
/// Most certificates of responders that are looked at.
const MOST_SIGNERS: usize = 4;

/// Why an answer is not stapled. The names are labels of metrics and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::listener::tls) enum Unfit {
    /// No OCSP answer.
    #[error("the answer is malformed")]
    Malformed,
    /// It says that it has none.
    #[error("the responder has no answer (status {0}, RFC 6960 section 4.2.1)")]
    Refused(u8),
    /// It is about others.
    #[error("the answer is about another certificate")]
    Other,
    /// The certificate is revoked.
    #[error("the certificate is REVOKED: have it issued anew")]
    Revoked,
    /// The responder does not know it.
    #[error("the responder does not know the certificate")]
    Unknown,
    /// Too old, or of the future.
    #[error("the answer is not of this time")]
    Stale,
    /// Signed by somebody else.
    #[error("the answer is not signed by the issuer or by whom it names")]
    Signature,
}

impl Unfit {
    /// A stable name.
    pub(in crate::listener::tls) const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Refused(_) => "refused",
            Self::Other => "other_certificate",
            Self::Revoked => "revoked",
            Self::Unknown => "unknown",
            Self::Stale => "stale",
            Self::Signature => "signature",
        }
    }
}

/// When an answer is good, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::listener::tls) struct Window {
    pub(in crate::listener::tls) from: i64,
    pub(in crate::listener::tls) until: i64,
}

/// A certificate and its issuer, as OCSP names them.
#[derive(Debug)]
pub(in crate::listener::tls) struct Subject {
    issuer: CertificateDer<'static>,
    name_hash: [u8; 20],
    key_hash: [u8; 20],
    serial: Vec<u8>,
    provider: Arc<CryptoProvider>,
}

impl Subject {
    /// `None`: one of the two is broken, or they do not belong together.
    pub(in crate::listener::tls) fn new(
        leaf: &CertificateDer<'_>,
        issuer: &CertificateDer<'_>,
        provider: &Arc<CryptoProvider>,
    ) -> Option<Self> {
        let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
        let (_, parent) = X509Certificate::from_der(issuer).ok()?;
        if leaf.issuer().as_raw() != parent.subject().as_raw() {
            return None;
        }
        Some(Self {
            name_hash: sha1(parent.subject().as_raw())?,
            key_hash: sha1(&parent.public_key().subject_public_key.data)?,
            serial: leaf.raw_serial().to_vec(),
            issuer: issuer.clone().into_owned(),
            provider: Arc::clone(provider),
        })
    }

    /// The request.
    pub(in crate::listener::tls) fn request(&self) -> Vec<u8> {
        let algorithm = element(SEQUENCE, &[&element(OID, &[SHA1]), NULL]);
        let id = element(
            SEQUENCE,
            &[
                &algorithm,
                &element(OCTET_STRING, &[&self.name_hash]),
                &element(OCTET_STRING, &[&self.key_hash]),
                &element(INTEGER, &[&self.serial]),
            ],
        );
        // CertID in Request in requestList in TBSRequest in OCSPRequest.
        (0..4).fold(id, |inner, _| element(SEQUENCE, &[&inner]))
    }

    /// Judges an answer at this time.
    pub(in crate::listener::tls) fn judge(&self, answer: &[u8], now: i64) -> Result<Window, Unfit> {
        let basic = basic(answer)?;
        let parts = Signed::read(basic).ok_or(Unfit::Malformed)?;
        let window = self.single(&parts, now)?;
        if self.is_signed(&parts, now) {
            Ok(window)
        } else {
            Err(Unfit::Signature)
        }
    }

    /// The word about our certificate.
    fn single(&self, parts: &Signed<'_>, now: i64) -> Result<Window, Unfit> {
        let mut responses = responses(parts.body).ok_or(Unfit::Malformed)?;
        while !responses.is_empty() {
            let mut single = responses.enter(SEQUENCE).ok_or(Unfit::Malformed)?;
            let id = single.enter(SEQUENCE).ok_or(Unfit::Malformed)?;
            if !self.is_meant(id) {
                continue;
            }
            match single.next().ok_or(Unfit::Malformed)?.tag {
                GOOD => {}
                REVOKED => return Err(Unfit::Revoked),
                _ => return Err(Unfit::Unknown),
            }
            let from = single
                .expect(GENERALIZED_TIME)
                .and_then(|it| time(it.body))
                .ok_or(Unfit::Malformed)?;
            let until = match single.optional(CONTEXT[0]) {
                Some(told) => {
                    let told = Der(told.body).expect(GENERALIZED_TIME);
                    told.and_then(|it| time(it.body)).ok_or(Unfit::Malformed)?
                }
                None => from.saturating_add(UNTOLD.as_secs().cast_signed()),
            };
            let is_now = from <= now.saturating_add(SKEW) && now < until;
            return if is_now {
                Ok(Window { from, until })
            } else {
                Err(Unfit::Stale)
            };
        }
        Err(Unfit::Other)
    }

    fn is_meant(&self, mut id: Der<'_>) -> bool {
        let mut read = || {
            let algorithm = id.enter(SEQUENCE)?.expect(OID)?.body;
            let name = id.expect(OCTET_STRING)?.body;
            let key = id.expect(OCTET_STRING)?.body;
            Some((algorithm, name, key, id.expect(INTEGER)?.body))
        };
        read() == Some((SHA1, &self.name_hash, &self.key_hash, &self.serial))
    }

    /// By the issuer, or by one that the issuer made a responder (RFC 6960, section 4.2.2.2).
    fn is_signed(&self, parts: &Signed<'_>, now: i64) -> bool {
        let Ok((_, issuer)) = X509Certificate::from_der(&self.issuer) else {
            return false;
        };
        if self.verifies(&issuer, parts) {
            return true;
        }
        let mut signers = parts.certificates;
        for _ in 0..MOST_SIGNERS {
            let Some(der) = signers.expect(SEQUENCE) else { break };
            let Ok((_, signer)) = X509Certificate::from_der(der.whole) else {
                break;
            };
            let Some(certificate) = Signed::read(der.whole) else {
                break;
            };
            let validity = signer.validity();
            let of_now = validity.not_before.timestamp() <= now && now <= validity.not_after.timestamp();
            let usage = signer.extended_key_usage().ok().flatten();
            let may_sign = usage.is_some_and(|usage| usage.value.ocsp_signing);
            if of_now && may_sign && self.verifies(&issuer, &certificate) && self.verifies(&signer, parts) {
                return true;
            }
        }
        false
    }

    /// Whether the key of `signer` made the signature.
    fn verifies(&self, signer: &X509Certificate<'_>, parts: &Signed<'_>) -> bool {
        let key = signer.public_key();
        let Some(key_algorithm) = Der(key.raw).enter(SEQUENCE).and_then(|mut key| key.expect(SEQUENCE)) else {
            return false;
        };
        let algorithms = self.provider.signature_verification_algorithms.all.iter();
        let mut fitting = algorithms.filter(|algorithm| {
            *algorithm.signature_alg_id() == *parts.algorithm && *algorithm.public_key_alg_id() == *key_algorithm.body
        });
        fitting.any(|algorithm| {
            let key = &key.subject_public_key.data;
            algorithm.verify_signature(key, parts.bytes, parts.signature).is_ok()
        })
    }
}

/// What a signature is about: an answer or a certificate.
struct Signed<'a> {
    bytes: &'a [u8],
    /// What is in `bytes`.
    body: Der<'a>,
    algorithm: &'a [u8],
    signature: &'a [u8],
    /// Behind the signature of an answer.
    certificates: Der<'a>,
}

impl<'a> Signed<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let mut parts = Der(der).enter(SEQUENCE)?;
        let signed = parts.expect(SEQUENCE)?;
        let algorithm = parts.expect(SEQUENCE)?.body;
        // The first byte counts the bits that are unused: a signature has none.
        let signature = parts.expect(BIT_STRING)?.body.strip_prefix(&[0])?;
        let certificates = match parts.optional(CONTEXT[0]) {
            Some(list) => Der(list.body).enter(SEQUENCE)?,
            None => Der(&[]),
        };
        Some(Self {
            bytes: signed.whole,
            body: Der(signed.body),
            algorithm,
            signature,
            certificates,
        })
    }
}

/// The BasicOCSPResponse in an answer.
fn basic(answer: &[u8]) -> Result<&[u8], Unfit> {
    let mut outer = Der(answer);
    let mut response = outer.enter(SEQUENCE).ok_or(Unfit::Malformed)?;
    match response.expect(ENUMERATED).map(|status| status.body) {
        Some([0]) => {}
        Some([status]) => return Err(Unfit::Refused(*status)),
        _ => return Err(Unfit::Malformed),
    }
    let mut read = || {
        let mut bytes = response.enter(CONTEXT[0])?.enter(SEQUENCE)?;
        let kind = bytes.expect(OID)?.body;
        let basic = bytes.expect(OCTET_STRING)?.body;
        (kind == BASIC).then_some(basic)
    };
    let basic = read().ok_or(Unfit::Malformed)?;
    if outer.is_empty() {
        Ok(basic)
    } else {
        Err(Unfit::Malformed)
    }
}

/// The list of single responses in ResponseData.
fn responses(mut data: Der<'_>) -> Option<Der<'_>> {
    data.optional(CONTEXT[0]);
    let responder = data.next()?;
    if !CONTEXT.contains(&responder.tag) {
        return None;
    }
    data.expect(GENERALIZED_TIME)?;
    data.enter(SEQUENCE)
}

/// GeneralizedTime as DER has it: `YYYYMMDDHHMMSSZ`.
fn time(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() == 15)?;
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text.strip_suffix('Z')?).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

fn sha1(bytes: &[u8]) -> Option<[u8; 20]> {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().try_into().ok()
}
