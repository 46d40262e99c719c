//! From received bytes to verified bytes. Nothing of a bundle is parsed before a trusted key has vouched for it.
//!
//! Two forms: a line `BASE64(HMAC-SHA256)` before the text, and a DSSE envelope
//! (<https://github.com/secure-systems-lab/dsse>). The form says where signatures stand; whose count and how they are
//! computed is said by [`Trust`] alone.

mod dsse;

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::digest::Digest;
use crate::signing::{SigningError, SigningKey};
use crate::trust::{Check, Trust};

/// The payload type of DSSE envelopes. Another one is refused: its text was not signed to be a bundle.
pub const PAYLOAD_TYPE: &str = "application/vnd.portcullis.bundle+json";

/// The payload type of kill-switch documents.
pub const KILL_PAYLOAD_TYPE: &str = "application/vnd.portcullis.kill-switches+json";

/// Most signatures of an envelope.
pub const MAX_SIGNATURES: usize = 16;

/// Text that a trusted key has vouched for, or that was let in unsigned because the configuration says so.
#[derive(Debug)]
pub struct Verified<'a> {
    payload: Cow<'a, [u8]>,
    signed_by: Box<[Arc<str>]>,
    digest: Digest,
    activation_override: Option<Box<str>>,
}

impl Verified<'_> {
    /// The text.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Ids of the keys that vouch for it. Empty: unsigned.
    pub fn signed_by(&self) -> &[Arc<str>] {
        &self.signed_by
    }

    /// Why whoever signed it says that it may change more than a gateway's `policy.activation` allows.
    pub fn activation_override(&self) -> Option<&str> {
        self.activation_override.as_deref()
    }

    /// SHA-256 of the text.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// Why bytes are not a bundle that somebody trusted has signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// There is no signature where one is needed.
    #[error("the bundle is not signed (sign it with `portcullis bundle sign`)")]
    Unsigned,
    /// Neither form.
    #[error("not a signed bundle: {0}")]
    Format(Cow<'static, str>),
    /// A signature by a key that is not trusted, and none by one that is.
    #[error("no signature by a trusted key: {0}")]
    UnknownKey(String),
    /// A signature under the id of a trusted key that this key did not make.
    #[error("the signature does not fit the bundle and key `{0}`")]
    InvalidSignature(String),
}

impl EnvelopeError {
    fn format(why: &'static str) -> Self {
        Self::Format(Cow::Borrowed(why))
    }
}

/// Finds the text in `bytes` and who vouches for it.
///
/// With `insecure_unsigned` a text without a signature is let in as well; one with a signature must still be right.
pub fn open<'a>(bytes: &'a [u8], trust: &Trust, insecure_unsigned: bool) -> Result<Verified<'a>, EnvelopeError> {
    match bytes.first() {
        None => Err(EnvelopeError::format("it is empty")),
        Some(b'{') if dsse::looks_like_one(bytes) => open_dsse(bytes, trust, PAYLOAD_TYPE),
        Some(b'{') if insecure_unsigned => Ok(verified(Cow::Borrowed(bytes), Box::default())),
        Some(b'{') => Err(EnvelopeError::Unsigned),
        Some(0xEF) => Err(EnvelopeError::format("it begins with a byte order mark")),
        Some(_) => open_line(bytes, trust),
    }
}

/// As [`open`], for a kill-switch document: a DSSE envelope of its own type, always signed. The line form says of no text
/// what it was signed to be, so it is none of the forms of a document.
pub fn open_kill_document<'a>(bytes: &'a [u8], trust: &Trust) -> Result<Verified<'a>, EnvelopeError> {
    if dsse::looks_like_one(bytes) {
        return open_dsse(bytes, trust, KILL_PAYLOAD_TYPE);
    }
    Err(EnvelopeError::format(
        "a kill-switch document is a DSSE envelope (`portcullis kill sign` makes one)",
    ))
}

/// The text in `bytes` and the key ids that the envelope names, without looking at any signature. For tools that show a
/// bundle; nothing may be enforced because of it.
pub fn payload_unverified(bytes: &[u8]) -> Result<(Cow<'_, [u8]>, Vec<&str>), EnvelopeError> {
    if dsse::looks_like_one(bytes) {
        let envelope = dsse::parse(bytes).map_err(|why| EnvelopeError::Format(why.to_string().into()))?;
        let payload = decode(envelope.payload, "the envelope's payload is not base64")?;
        return Ok((
            Cow::Owned(payload),
            envelope.signatures.iter().map(|one| one.key_id).collect(),
        ));
    }
    if bytes.starts_with(b"{") {
        return Ok((Cow::Borrowed(bytes), Vec::new()));
    }
    split_line(bytes).map(|(_, payload)| (Cow::Borrowed(payload), Vec::new()))
}

fn verified(payload: Cow<'_, [u8]>, signed_by: Box<[Arc<str>]>) -> Verified<'_> {
    let digest = Digest::of(&payload);
    Verified {
        payload,
        signed_by,
        digest,
        activation_override: None,
    }
}

/// The signature and the text of the line form.
fn split_line(bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), EnvelopeError> {
    const EXPECTED: &str = "expected a DSSE envelope, or BASE64(HMAC-SHA256), a line feed and the text";
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (Some(line), Some(payload)) = (parts.next(), parts.next()) else {
        return Err(EnvelopeError::format(EXPECTED));
    };
    let signature = STANDARD.decode(line).ok().filter(|signature| signature.len() == 32);
    let signature = signature.ok_or_else(|| EnvelopeError::format(EXPECTED))?;
    if payload.is_empty() {
        return Err(EnvelopeError::format("there is nothing after the signature"));
    }
    Ok((signature, payload))
}

fn open_line<'a>(bytes: &'a [u8], trust: &Trust) -> Result<Verified<'a>, EnvelopeError> {
    let (signature, payload) = split_line(bytes)?;
    match trust.check_hmac(payload, &signature) {
        Check::Valid(id) => Ok(verified(Cow::Borrowed(payload), Box::new([id]))),
        Check::Invalid => Err(EnvelopeError::InvalidSignature("any HMAC key".into())),
        Check::Unknown => Err(EnvelopeError::UnknownKey(
            "this form is signed with HMAC, and no HMAC key is trusted".into(),
        )),
    }
}

fn open_dsse<'a>(bytes: &'a [u8], trust: &Trust, payload_type: &str) -> Result<Verified<'a>, EnvelopeError> {
    let envelope = dsse::parse(bytes).map_err(|why| EnvelopeError::Format(why.to_string().into()))?;
    let Ok(activation_override) = reason_of(envelope.payload_type, payload_type) else {
        let why = format!("the envelope's payloadType is not `{payload_type}`");
        return Err(EnvelopeError::Format(why.into()));
    };
    let payload = decode(envelope.payload, "the envelope's payload is not base64")?;
    if payload.is_empty() {
        return Err(EnvelopeError::format("the envelope's payload is empty"));
    }
    let text = pre_authentication_encoding(envelope.payload_type, &payload);
    let mut signed_by: Vec<Arc<str>> = Vec::new();
    let mut unknown = Vec::new();
    for (index, signature) in envelope.signatures.iter().enumerate() {
        let mut others = envelope.signatures.iter().take(index);
        if others.any(|other| other.key_id == signature.key_id) {
            return Err(EnvelopeError::format(
                "the envelope has two signatures under one key id",
            ));
        }
        let bytes = decode(signature.signature, "a signature of the envelope is not base64")?;
        match trust.check(signature.key_id, &text, &bytes) {
            Check::Valid(id) => signed_by.push(id),
            Check::Invalid => return Err(EnvelopeError::InvalidSignature(signature.key_id.into())),
            Check::Unknown => unknown.push(signature.key_id),
        }
    }
    if signed_by.is_empty() {
        let ids: Vec<String> = unknown.iter().map(|id| format!("`{}`", id.escape_debug())).collect();
        return Err(EnvelopeError::UnknownKey(format!("signed by {}", ids.join(", "))));
    }
    Ok(Verified {
        activation_override,
        ..verified(Cow::Owned(payload), signed_by.into_boxed_slice())
    })
}

/// The parameter of a bundle's payload type that holds the reason, in base64 without padding. It is signed with the type.
const OVERRIDE: &str = ";activation-override=";

/// Longest reason.
pub const MAX_OVERRIDE: usize = 256;

/// It is another payload type than the one that is expected.
struct AnotherType;

/// The reason in a payload type of this kind, if it has one.
fn reason_of(payload_type: &str, expected: &str) -> Result<Option<Box<str>>, AnotherType> {
    let rest = payload_type.strip_prefix(expected).ok_or(AnotherType)?;
    if rest.is_empty() {
        return Ok(None);
    }
    let encoded = rest.strip_prefix(OVERRIDE).ok_or(AnotherType)?;
    let reason = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| AnotherType)?;
    let reason = String::from_utf8(reason).map_err(|_| AnotherType)?;
    let plain = !reason.trim().is_empty() && reason.len() <= MAX_OVERRIDE && !reason.chars().any(char::is_control);
    if plain && expected == PAYLOAD_TYPE {
        Ok(Some(reason.into_boxed_str()))
    } else {
        Err(AnotherType)
    }
}

/// Whether a payload type is a bundle's.
pub fn is_bundle_type(payload_type: &str) -> bool {
    reason_of(payload_type, PAYLOAD_TYPE).is_ok()
}

fn decode(text: &str, why: &'static str) -> Result<Vec<u8>, EnvelopeError> {
    STANDARD.decode(text).map_err(|_| EnvelopeError::format(why))
}

/// What a DSSE signature signs: type and text, each behind its length, so that neither can be taken for the other.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut text = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    text.extend_from_slice(payload);
    text
}

/// Signs `payload` in the line form. `None` when the key is not an HMAC key.
pub fn sign_line(payload: &[u8], key: &SigningKey) -> Result<Option<Vec<u8>>, SigningError> {
    if key.algorithm() != crate::trust::KeyAlgorithm::HmacSha256 {
        return Ok(None);
    }
    let mut bytes = STANDARD.encode(key.sign(payload)?).into_bytes();
    bytes.push(b'\n');
    bytes.extend_from_slice(payload);
    Ok(Some(bytes))
}

/// Signs a bundle's text with each key, in a DSSE envelope without white space.
pub fn sign_dsse(payload: &[u8], keys: &[SigningKey]) -> Result<Vec<u8>, SigningError> {
    sign(PAYLOAD_TYPE, payload, keys)
}

/// As [`sign_dsse`], with the reason why the bundle may change more than a gateway's `policy.activation` allows. `None`: that
/// is no reason.
pub fn sign_dsse_overriding(
    payload: &[u8],
    keys: &[SigningKey],
    reason: &str,
) -> Result<Option<Vec<u8>>, SigningError> {
    let payload_type = format!("{PAYLOAD_TYPE}{OVERRIDE}{}", URL_SAFE_NO_PAD.encode(reason));
    if !is_bundle_type(&payload_type) {
        return Ok(None);
    }
    sign(&payload_type, payload, keys).map(Some)
}

/// Signs the text of a kill-switch document with each key.
pub fn sign_kill_document(payload: &[u8], keys: &[SigningKey]) -> Result<Vec<u8>, SigningError> {
    sign(KILL_PAYLOAD_TYPE, payload, keys)
}

fn sign(payload_type: &str, payload: &[u8], keys: &[SigningKey]) -> Result<Vec<u8>, SigningError> {
    let text = pre_authentication_encoding(payload_type, payload);
    let mut signatures = Vec::with_capacity(keys.len());
    for key in keys {
        let signature = STANDARD.encode(key.sign(&text)?);
        signatures.push(serde_json::json!({ "keyid": key.id(), "sig": signature }));
    }
    let envelope = serde_json::json!({
        "payload": STANDARD.encode(payload),
        "payloadType": payload_type,
        "signatures": signatures,
    });
    Ok(envelope.to_string().into_bytes())
}
