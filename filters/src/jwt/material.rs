//! Keys and the signatures they verify, on `ring`: what makes a key fit to be trusted (size, exponent, point on
//! its curve, known weaknesses) and nothing of where it came from.

use portcullis_config::identity::Algorithm;
use portcullis_config::secret::Secret;
use ring::agreement::{self, EphemeralPrivateKey, agree_ephemeral};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};

use super::algorithm::Algorithms;

/// Smallest and largest RSA modulus, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Largest RSA exponent that `ring` takes: 33 bits.
const RSA_EXPONENT_MAX: u64 = (1 << 33) - 1;

/// A public key, or a secret that was declared for HMAC.
#[derive(Clone, PartialEq, Eq)]
pub enum Material {
    /// RSA: modulus and exponent, big-endian without leading zeros.
    Rsa {
        /// The modulus.
        n: Box<[u8]>,
        /// The exponent.
        e: Box<[u8]>,
    },
    /// A point on P-256, uncompressed.
    P256([u8; 65]),
    /// A point on P-384, uncompressed.
    P384([u8; 97]),
    /// An Ed25519 public key (RFC 8032).
    Ed25519([u8; 32]),
    /// A secret shared with the issuer. None ever comes from a key set.
    Shared(SharedSecret),
}

/// A secret for HMAC, with the algorithms that it is long enough for.
#[derive(Clone)]
pub struct SharedSecret(Secret);

impl PartialEq for SharedSecret {
    /// For who compares what was configured. No token is compared with it.
    fn eq(&self, other: &Self) -> bool {
        self.0.expose() == other.0.expose()
    }
}

impl Eq for SharedSecret {}

/// Why a key is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// The modulus is outside 2048 to 8192 bits.
    #[error("an RSA modulus must have 2048 to 8192 bits")]
    RsaSize,
    /// The modulus is even.
    #[error("an RSA modulus must be odd")]
    RsaEven,
    /// The exponent is even, 1 or too large.
    #[error("an RSA exponent must be odd, 3 or more and at most 33 bits long")]
    RsaExponent,
    /// Made by the broken generator of CVE-2017-15361.
    #[error("the RSA key is vulnerable to ROCA (CVE-2017-15361)")]
    Roca,
    /// A coordinate has the wrong length, or the point is not on the curve.
    #[error("the point is not on its curve")]
    Point,
    /// A point of small order, for which anybody can sign.
    #[error("the Ed25519 key has a small order")]
    SmallOrder,
}

impl Material {
    /// An RSA key.
    pub fn rsa(n: &[u8], e: &[u8]) -> Result<Self, Weakness> {
        let (n, e) = (without_sign(n), without_sign(e));
        let bits = match n.first() {
            Some(first) => n.len() * 8 - first.leading_zeros() as usize,
            None => 0,
        };
        if n.first() == Some(&0) || !RSA_BITS.contains(&bits) {
            return Err(Weakness::RsaSize);
        }
        if n.last().is_none_or(|last| last % 2 == 0) {
            return Err(Weakness::RsaEven);
        }
        let exponent = e
            .iter()
            .try_fold(0_u64, |sum, byte| Some(sum.checked_mul(256)? + u64::from(*byte)));
        if e.first() == Some(&0)
            || !exponent.is_some_and(|exponent| (3..=RSA_EXPONENT_MAX).contains(&exponent) && exponent % 2 == 1)
        {
            return Err(Weakness::RsaExponent);
        }
        if is_roca(n) {
            return Err(Weakness::Roca);
        }
        Ok(Self::Rsa {
            n: n.into(),
            e: e.into(),
        })
    }

    /// A point on P-256.
    pub fn p256(x: &[u8], y: &[u8]) -> Result<Self, Weakness> {
        point(&agreement::ECDH_P256, x, y).map(Self::P256)
    }

    /// A point on P-384.
    pub fn p384(x: &[u8], y: &[u8]) -> Result<Self, Weakness> {
        point(&agreement::ECDH_P384, x, y).map(Self::P384)
    }

    /// An Ed25519 public key.
    pub fn ed25519(x: &[u8]) -> Result<Self, Weakness> {
        let x: [u8; 32] = x.try_into().map_err(|_| Weakness::Point)?;
        if has_small_order(&x) {
            Err(Weakness::SmallOrder)
        } else {
            Ok(Self::Ed25519(x))
        }
    }

    /// A secret that was declared for HMAC.
    pub fn shared(secret: Secret) -> Self {
        Self::Shared(SharedSecret(secret))
    }

    /// The algorithms that such a key can verify.
    pub fn algorithms(&self) -> Algorithms {
        use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
        Algorithms::of(match self {
            Self::Rsa { .. } => &[RS256, RS384, RS512, PS256, PS384, PS512],
            Self::P256(_) => &[ES256],
            Self::P384(_) => &[ES384],
            Self::Ed25519(_) => &[EdDSA],
            // A secret is at least as long as the hash (RFC 7518, 3.2).
            Self::Shared(SharedSecret(secret)) => match secret.expose().len() {
                64.. => &[HS256, HS384, HS512],
                48.. => &[HS256, HS384],
                32.. => &[HS256],
                _ => &[],
            },
        })
    }

    /// Whether `signature` is this key's over `message`. ECDSA signatures are `r` and `s` in full length (RFC 7518,
    /// 3.4), PSS salts are as long as the hash (RFC 7518, 3.5). An algorithm that the key cannot do: no.
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let rsa: &signature::RsaParameters = match (self, algorithm) {
            (Self::Shared(secret), algorithm) => return secret.verifies(algorithm, message, signature),
            (Self::P256(point), Algorithm::ES256) => {
                let key = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
                return key.verify(message, signature).is_ok();
            }
            (Self::P384(point), Algorithm::ES384) => {
                let key = UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point);
                return key.verify(message, signature).is_ok();
            }
            (Self::Ed25519(key), Algorithm::EdDSA) => {
                return UnparsedPublicKey::new(&signature::ED25519, key)
                    .verify(message, signature)
                    .is_ok();
            }
            (Self::Rsa { .. }, Algorithm::RS256) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (Self::Rsa { .. }, Algorithm::RS384) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (Self::Rsa { .. }, Algorithm::RS512) => &signature::RSA_PKCS1_2048_8192_SHA512,
            (Self::Rsa { .. }, Algorithm::PS256) => &signature::RSA_PSS_2048_8192_SHA256,
            (Self::Rsa { .. }, Algorithm::PS384) => &signature::RSA_PSS_2048_8192_SHA384,
            (Self::Rsa { .. }, Algorithm::PS512) => &signature::RSA_PSS_2048_8192_SHA512,
            _ => return false,
        };
        match self {
            Self::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(rsa, message, signature).is_ok(),
            _ => false,
        }
    }

    /// The parts of the key, for a digest.
    pub(super) fn parts(&self) -> (u8, &[u8], &[u8]) {
        match self {
            Self::Rsa { n, e } => (0, n, e),
            Self::P256(point) => (1, point, &[]),
            Self::P384(point) => (2, point, &[]),
            Self::Ed25519(key) => (3, key, &[]),
            Self::Shared(SharedSecret(secret)) => (4, secret.expose(), &[]),
        }
    }
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rsa { .. } => "Rsa",
            Self::P256(_) => "P256",
            Self::P384(_) => "P384",
            Self::Ed25519(_) => "Ed25519",
            Self::Shared(_) => "Shared",
        })
    }
}

impl SharedSecret {
    /// In constant time, as `ring` compares.
    fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let hash = match algorithm {
            Algorithm::HS256 => hmac::HMAC_SHA256,
            Algorithm::HS384 => hmac::HMAC_SHA384,
            Algorithm::HS512 => hmac::HMAC_SHA512,
            _ => return false,
        };
        let secret = self.0.expose();
        algorithm.hash_bytes().is_some_and(|least| secret.len() >= least)
            && hmac::verify(&hmac::Key::new(hash, secret), message, signature).is_ok()
    }
}

/// RFC 7518, 6.3.1.1 warns of libraries that write a zero octet before a high bit. It changes nothing, so one is taken
/// off.
fn without_sign(number: &[u8]) -> &[u8] {
    match number {
        [0, rest @ ..] if rest.first().is_some_and(|first| *first >= 0x80) => rest,
        _ => number,
    }
}

/// The uncompressed form of a point, if it is on the curve.
///
/// `ring` looks at points only when it uses them, and tells of a bad point and a bad signature in the same way. A key
/// agreement with a throw-away key is its one operation that fails for a bad point and for nothing else.
fn point<const N: usize>(curve: &'static agreement::Algorithm, x: &[u8], y: &[u8]) -> Result<[u8; N], Weakness> {
    let half = N / 2;
    if x.len() != half || y.len() != half {
        return Err(Weakness::Point);
    }
    let mut bytes = [4; N];
    for (to, from) in bytes.iter_mut().skip(1).zip(x.iter().chain(y)) {
        *to = *from;
    }
    let probe = EphemeralPrivateKey::generate(curve, &SystemRandom::new()).map_err(|_| Weakness::Point)?;
    let peer = agreement::UnparsedPublicKey::new(curve, &bytes);
    agree_ephemeral(probe, &peer, |_| ()).map_err(|_| Weakness::Point)?;
    Ok(bytes)
}

/// Whether a modulus has the fingerprint of ROCA: modulo each of these primes it is a power of 65537 (Nemec et al.,
/// "The Return of Coppersmith's Attack", 2017). One modulus in some 2^28 has it by chance.
fn is_roca(n: &[u8]) -> bool {
    const PRIMES: [u32; 38] = [
        3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107,
        109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
    ];
    PRIMES.iter().all(|prime| {
        let rest = n
            .iter()
            .fold(0_u32, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let mut power = 1;
        (0..*prime).any(|_| {
            let met = power == rest;
            power = power * 65_537 % prime;
            met
        })
    })
}

/// Whether an Ed25519 key is one of the points whose order divides 8, in any encoding of their y coordinate (0, 1, -1
/// and the two of order 8, also with p added). The sign bit does not matter.
fn has_small_order(key: &[u8; 32]) -> bool {
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
    ];
    let mut y = *key;
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    let [low, middle @ .., high] = y;
    // 0 and 1; then p - 1 (that is -1), p and p + 1 (other spellings of 0 and 1), all 0x..ff..7f.
    let near_zero = low <= 1 && high == 0 && middle.iter().all(|byte| *byte == 0);
    let near_p = (0xec..=0xee).contains(&low) && high == 0x7f && middle.iter().all(|byte| *byte == 0xff);
    near_zero || near_p || ORDER_8.contains(&y)
}
