//! Compact JWS (RFC 7515, 7.1) taken apart, strictly: size before decoding, two dots, unpadded base64url without stray
//! bits, a header without duplicate names. It judges form; keys and signatures are [`super::jwk`]'s.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::json;

/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 16 << 10;
/// Longest key id, in bytes.
pub const MAX_KID: usize = 256;
/// Levels of nesting in a header.
const HEADER_DEPTH: usize = 4;

/// Why a token is no JWS that anybody should look at any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than [`MAX_TOKEN`].
    #[error("the token is too long")]
    TooLong,
    /// Not three parts: a JWE, a JSON serialisation, a fragment.
    #[error("the token is not a JWS in compact form")]
    NotCompact,
    /// A part is not base64url as RFC 7515 wants it.
    #[error("the token is not base64url")]
    NotBase64,
    /// The header is not an object, or names something twice.
    #[error("the token's header is not a proper JSON object")]
    Header,
    /// `crit`, or a parameter that changes how the token is to be read.
    #[error("the token's header asks for an extension")]
    Extension,
}

/// A compact JWS. Nothing in it is verified.
#[derive(Debug)]
pub struct Compact<'t> {
    /// What its header says.
    pub header: Header,
    /// Header and payload as sent, with the dot: what is signed.
    pub signed: &'t [u8],
    /// The payload, decoded.
    pub payload: Vec<u8>,
    /// The signature, decoded.
    pub signature: Vec<u8>,
}

/// What of a header matters. `jwk`, `jku`, `x5u`, `x5c` and `x5t` do not: a token never brings its own key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The algorithm as the token names it.
    pub algorithm: String,
    /// Which key of the issuer.
    pub kid: Option<String>,
    /// The media type of the token, without `application/`.
    pub typ: Option<String>,
}

impl<'t> Compact<'t> {
    /// Takes a token apart.
    pub fn parse(token: &'t [u8]) -> Result<Self, Malformed> {
        if token.len() > MAX_TOKEN {
            return Err(Malformed::TooLong);
        }
        let mut dots = token
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'.')
            .map(|(at, _)| at);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(Malformed::NotCompact);
        };
        let part = |from: usize, to: usize| token.get(from..to).ok_or(Malformed::NotCompact);
        let header = decode(part(0, first)?)?;
        let payload = decode(part(first + 1, second)?)?;
        let signature = decode(part(second + 1, token.len())?)?;
        Ok(Self {
            header: Header::parse(&header)?,
            signed: part(0, second)?,
            payload,
            signature,
        })
    }
}

impl Header {
    fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut header = json::object(text, HEADER_DEPTH).map_err(|_| Malformed::Header)?;
        // RFC 7515 4.1.11: what is not understood must be refused, and nothing here understands an extension. `b64`
        // (RFC 7797) must be listed in `crit`; `zip` and `enc` belong to JWE.
        if ["crit", "b64", "zip", "enc"]
            .iter()
            .any(|name| header.contains_key(*name))
        {
            return Err(Malformed::Extension);
        }
        let algorithm = text_of(header.remove("alg"))?.ok_or(Malformed::Header)?;
        let kid = text_of(header.remove("kid"))?;
        if kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
            return Err(Malformed::Header);
        }
        let typ = text_of(header.remove("typ"))?.map(|typ| media_type(&typ).to_owned());
        // A nested token says so here (RFC 7519, 5.2); what is inside was signed for somebody else to open.
        match text_of(header.remove("cty"))? {
            Some(cty) if media_type(&cty).eq_ignore_ascii_case("jwt") => Err(Malformed::Extension),
            _ => Ok(Self { algorithm, kid, typ }),
        }
    }
}

fn text_of(value: Option<Value>) -> Result<Option<String>, Malformed> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Malformed::Header),
    }
}

/// A media type in its short form: `application/at+jwt` is `at+jwt` (RFC 7515, 4.1.9).
pub(super) fn media_type(typ: &str) -> &str {
    match typ.split_at_checked("application/".len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") && !rest.contains('/') => rest,
        _ => typ,
    }
}

/// Decodes base64url without padding; stray bits in the last character are refused.
pub(super) fn decode(text: &[u8]) -> Result<Vec<u8>, Malformed> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Malformed::NotBase64)
}
