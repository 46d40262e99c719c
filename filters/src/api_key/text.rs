//! The text of a key: its class, its environment, 256 random bits and a checksum, in letters and digits. Whether such a key
//! was ever issued is not known here.
//!
//! ```text
//! sk_live_ 43 digits in base 62 (32 bytes)  6 digits in base 62 (checksum of all before)
//! ```
//!
//! The checksum is no proof of anything. It tells a key from a typing error or a cut one without a look-up, and lets tools
//! that search for leaked keys be certain.

use ring::digest::{SHA256, digest};

use super::record::{Class, Environment};

/// Random bytes of a key.
pub const ENTROPY: usize = 32;
const BODY: usize = 43;
const CHECK: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What a text says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// Its class.
    pub class: Class,
    /// Its environment.
    pub environment: Environment,
}

/// A key of 32 random bytes.
pub fn mint(class: Class, environment: Environment, entropy: &[u8; ENTROPY]) -> String {
    let mut text = format!("{}_{}_", class.prefix(), environment.as_str());
    push_base62(&mut text, entropy, BODY);
    let check = checksum(text.as_bytes());
    push_base62(&mut text, &check, CHECK);
    text
}

/// Whether a text begins as keys do, and is to be judged as one.
pub fn is_meant(text: &[u8]) -> bool {
    said(text).is_some()
}

/// Reads a key. `None`: it is none, or was not copied whole.
pub fn parse(text: &[u8]) -> Option<Said> {
    let said = said(text)?;
    let (front, check) = text.split_at_checked(text.len().checked_sub(CHECK)?)?;
    let length = said.class.prefix().len() + said.environment.as_str().len() + 2 + BODY;
    if front.len() != length || !front.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
        return None;
    }
    let mut expected = String::with_capacity(CHECK);
    push_base62(&mut expected, &checksum(front), CHECK);
    (expected.as_bytes() == check).then_some(said)
}

fn said(text: &[u8]) -> Option<Said> {
    let mut parts = text.splitn(3, |byte| *byte == b'_');
    let (class, environment) = (parts.next()?, parts.next()?);
    parts.next()?;
    Some(Said {
        class: Class::ALL
            .into_iter()
            .find(|known| known.prefix().as_bytes() == class)?,
        environment: Environment::ALL
            .into_iter()
            .find(|known| known.as_str().as_bytes() == environment)?,
    })
}

fn checksum(front: &[u8]) -> [u8; 4] {
    let digest = digest(&SHA256, front);
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

/// A number in base 62, most significant digit last, in so many digits.
fn push_base62(text: &mut String, number: &[u8], digits: usize) {
    let mut number = number.to_vec();
    for _ in 0..digits {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest << 8 | u32::from(*byte);
            // Less than 256, for the rest is less than 62.
            *byte = u8::try_from(value / 62).unwrap_or(0);
            rest = value % 62;
        }
        let digit = DIGITS.get(rest as usize).copied().unwrap_or(b'0');
        text.push(char::from(digit));
    }
}
