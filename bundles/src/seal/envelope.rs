//! The form of what is sealed: a line that names the form and the key, a salt, a nonce, then AES-256-GCM over the rest, with
//! the line and the name of the file as associated data.
//!
//! Every text is sealed with a key of its own, made from the data key and the salt, so that no number of writes brings two
//! nonces of one key together.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::SealError;
use super::key::KeyId;

const MAGIC: &str = "portcullis-sealed 1 ";
const SALT: usize = 16;
/// Magic, key id, newline.
const LINE: usize = MAGIC.len() + 16 + 1;

/// A data key.
#[derive(Clone)]
pub(super) struct DataKey {
    pub(super) id: KeyId,
    pub(super) bytes: Zeroizing<[u8; 32]>,
}

impl DataKey {
    pub(super) fn fresh() -> Result<Self, SealError> {
        let mut bytes = Zeroizing::new([0; 32]);
        random(bytes.as_mut_slice())?;
        let mut id = [0; 8];
        random(&mut id)?;
        Ok(Self {
            id: KeyId::new(u64::from_be_bytes(id)),
            bytes,
        })
    }

    fn salted(&self, salt: &[u8]) -> Zeroizing<[u8; 32]> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.bytes.as_slice());
        let mut context = hmac::Context::with_key(&key);
        context.update(MAGIC.as_bytes());
        context.update(salt);
        let mut salted = Zeroizing::new([0; 32]);
        salted.copy_from_slice(context.sign().as_ref());
        salted
    }
}

pub(super) fn random(bytes: &mut [u8]) -> Result<(), SealError> {
    SystemRandom::new().fill(bytes).map_err(|_| SealError::NoEntropy)
}

/// Whether these bytes claim to be sealed.
pub(super) fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC.trim_end().as_bytes())
}

pub(super) fn seal(key: &DataKey, name: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let line = format!("{MAGIC}{}\n", key.id);
    let mut salt = [0; SALT];
    random(&mut salt)?;
    let aad = [line.as_bytes(), name.as_bytes()].concat();
    let mut sealed = Vec::with_capacity(LINE + SALT + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(line.as_bytes());
    sealed.extend_from_slice(&salt);
    encrypt(&key.salted(&salt), &aad, plain, &mut sealed)?;
    Ok(sealed)
}

/// The data key that sealed bytes name.
pub(super) fn key_of(bytes: &[u8]) -> Result<KeyId, SealError> {
    let line = bytes.get(..LINE).ok_or(SealError::Damaged)?;
    let id = line
        .strip_prefix(MAGIC.as_bytes())
        .and_then(|rest| rest.strip_suffix(b"\n"))
        .and_then(|id| std::str::from_utf8(id).ok());
    id.and_then(|id| id.parse().ok()).ok_or(SealError::Damaged)
}

pub(super) fn open(key: &DataKey, name: &str, mut bytes: Vec<u8>) -> Result<Vec<u8>, SealError> {
    let mut rest = bytes.split_off(LINE.min(bytes.len()));
    let aad = [bytes.as_slice(), name.as_bytes()].concat();
    let body = rest.split_off(SALT.min(rest.len()));
    decrypt(&key.salted(&rest), &aad, body)
}

/// Appends nonce, ciphertext and tag.
pub(super) fn encrypt(key: &[u8; 32], aad: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
    let mut nonce = [0; NONCE_LEN];
    random(&mut nonce)?;
    out.extend_from_slice(&nonce);
    let begin = out.len();
    out.extend_from_slice(plain);
    let text = out.get_mut(begin..).ok_or(SealError::Damaged)?;
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = cipher(key)?
        .seal_in_place_separate_tag(nonce, Aad::from(aad), text)
        .map_err(|_| SealError::Damaged)?;
    out.extend_from_slice(tag.as_ref());
    Ok(())
}

/// The text of nonce, ciphertext and tag.
pub(super) fn decrypt(key: &[u8; 32], aad: &[u8], mut bytes: Vec<u8>) -> Result<Vec<u8>, SealError> {
    let (nonce, _) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Damaged)?;
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let text = bytes.get_mut(NONCE_LEN..).ok_or(SealError::Damaged)?;
    let length = cipher(key)?
        .open_in_place(nonce, Aad::from(aad), text)
        .map_err(|_| SealError::Damaged)?
        .len();
    bytes.drain(..NONCE_LEN);
    bytes.truncate(length);
    Ok(bytes)
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey, SealError> {
    UnboundKey::new(&AES_256_GCM, key)
        .map(LessSafeKey::new)
        .map_err(|_| SealError::Damaged)
}
