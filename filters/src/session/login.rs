//! A login on its way: what the browser keeps while the user is at the provider, in a signed cookie that is good for one
//! answer and ten minutes, and where the user is sent (RFC 6749, 4.1; RFC 7636; OpenID Connect Core, 3.1.2). Nothing is stored
//! here: `state`, `nonce` and the code verifier are made from the cookie's random part and the key. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{digest, hmac};

use super::id::Random;

/// How long a user may take at the provider.
pub const LIFETIME_MS: u64 = 600_000;
/// Longest place to return to, in bytes.
pub const MAX_RETURN: usize = 1024;

/// A login that was begun.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    random: Random,
    begun_ms: u64,
    tenant: String,
    return_to: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("return_to", &self.return_to)
            .finish_non_exhaustive()
    }
}

/// What is made from a login and the key alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Derived {
    /// `state`: binds the provider's answer to this browser.
    pub state: String,
    /// `nonce`: binds the ID token to this login.
    pub nonce: String,
    /// The code verifier (RFC 7636, 4.1).
    pub verifier: String,
}

impl Derived {
    /// The code challenge of method `S256` (RFC 7636, 4.2).
    pub fn challenge(&self) -> String {
        let hash = digest::digest(&digest::SHA256, self.verifier.as_bytes());
        URL_SAFE_NO_PAD.encode(hash)
    }
}

impl Login {
    /// Begins one. A place to return to that is none is the root.
    pub fn begin(random: Random, begun_ms: u64, return_to: &str, tenant: &str) -> Self {
        Self {
            random,
            begun_ms,
            tenant: tenant.to_owned(),
            return_to: local(return_to).unwrap_or("/").to_owned(),
        }
    }

    /// The cookie's value. `context` says for which client of which provider the login is.
    pub fn seal(&self, key: &hmac::Key, context: &str) -> String {
        let mut bytes = Vec::with_capacity(41 + self.tenant.len() + self.return_to.len() + 32);
        bytes.extend_from_slice(&self.random);
        bytes.extend_from_slice(&self.begun_ms.to_be_bytes());
        bytes.push(u8::try_from(self.tenant.len()).unwrap_or(0));
        bytes.extend_from_slice(self.tenant.as_bytes());
        bytes.extend_from_slice(self.return_to.as_bytes());
        let tag = hmac::sign(key, &signed(context, &bytes));
        bytes.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cookie's value. `None` if it is not ours, for another client, or too old.
    pub fn open(key: &hmac::Key, context: &str, text: &[u8], now_ms: u64) -> Option<Self> {
        if text.len() > 2 * (MAX_RETURN + 512) {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (bytes, tag) = bytes.split_last_chunk::<32>()?;
        hmac::verify(key, &signed(context, bytes), tag).ok()?;
        let (random, rest) = bytes.split_first_chunk::<32>()?;
        let (begun, rest) = rest.split_first_chunk::<8>()?;
        let (tenant, rest) = rest.split_first()?;
        let (tenant, return_to) = rest.split_at_checked(usize::from(*tenant))?;
        let login = Self {
            random: *random,
            begun_ms: u64::from_be_bytes(*begun),
            tenant: String::from_utf8(tenant.to_vec()).ok()?,
            return_to: local(std::str::from_utf8(return_to).ok()?)?.to_owned(),
        };
        (now_ms.saturating_sub(login.begun_ms) <= LIFETIME_MS).then_some(login)
    }

    /// What goes to the provider, and what must come back.
    pub fn derive(&self, key: &hmac::Key) -> Derived {
        let make = |purpose: &str| {
            let message = [b"portcullis login v1\0", purpose.as_bytes(), b"\0", &self.random].concat();
            URL_SAFE_NO_PAD.encode(hmac::sign(key, &message))
        };
        Derived {
            state: make("state"),
            nonce: make("nonce"),
            verifier: make("verifier"),
        }
    }

    /// Where the user wanted to go: a path of this host, with its query.
    pub fn return_to(&self) -> &str {
        &self.return_to
    }

    /// The tenant that the user wants to act for; empty when none was asked for.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }
}

fn signed(context: &str, bytes: &[u8]) -> Vec<u8> {
    let length = (context.len() as u64).to_be_bytes();
    [b"portcullis login cookie v1\0", &length[..], context.as_bytes(), bytes].concat()
}

/// A place on this host, as a browser understands it too: it begins with one slash and has nothing that a browser drops or
/// takes for another character. Anything else could lead elsewhere.
pub fn local(place: &str) -> Option<&str> {
    let plain = |byte: u8| matches!(byte, 0x21..=0x7e) && byte != b'\\' && byte != b'#';
    let begins = place.starts_with('/') && !place.starts_with("//");
    (begins && place.len() <= MAX_RETURN && place.bytes().all(plain)).then_some(place)
}

/// Appends parameters to a URL's query, or makes a form of them.
pub fn form<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        encode(name, &mut text);
        text.push('=');
        encode(value, &mut text);
    }
    text
}

/// Percent-encodes all but unreserved characters (RFC 3986, 2.3).
fn encode(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let digit = |nibble: u8| {
                char::from_digit(u32::from(nibble), 16)
                    .unwrap_or('0')
                    .to_ascii_uppercase()
            };
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// A URL with a query added.
pub fn with_query(url: &str, query: &str) -> String {
    let joint = match url.split_once('?') {
        None => "?",
        Some((_, before)) if before.is_empty() || before.ends_with('&') => "",
        Some(_) => "&",
    };
    format!("{url}{joint}{query}")
}
