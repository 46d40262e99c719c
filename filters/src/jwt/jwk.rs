//! JWK sets (RFC 7517): which keys of an issuer's document are trusted for what, and the choice of one for a token.
//! Strict: a key that is not plainly a public signature key of a known kind is left out, with the reason. Fetching is
//! elsewhere.

use portcullis_config::identity::Algorithm;
use portcullis_config::secret::Secret;
use ring::digest;
use serde_json::{Map, Value};

use super::algorithm::{self, Algorithms};
use super::json;
use super::jws::{MAX_KID, decode};
use super::material::{Material, Weakness};

/// Most keys in a set.
pub const MAX_KEYS: usize = 64;
/// Largest document that is parsed, in bytes: the most that `refresh.max_bytes` can allow to be fetched.
pub const MAX_JWKS: usize = 16 << 20;
/// Levels of nesting in a key set.
const DEPTH: usize = 8;

/// Members that only private keys have (RFC 7518, 6.2.2, 6.3.2; RFC 8037, 2).
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

/// Why a key set is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// More bytes than allowed.
    #[error("the key set has {0} bytes, more than allowed")]
    TooLarge(usize),
    /// Not JSON, names that stand twice, nested too deeply.
    #[error("the key set is not proper JSON: {0}")]
    Json(String),
    /// Not an object with a list `keys` of objects.
    #[error("the document is not a key set: it has no list `keys` of objects")]
    Shape,
    /// More than [`MAX_KEYS`].
    #[error("the key set has {0} keys; the limit is {MAX_KEYS}")]
    TooMany(usize),
    /// Every key was left out.
    #[error("the key set has no usable key ({} left out{})", .0.len(), first(.0))]
    NoUsableKey(Vec<Omission>),
}

fn first(omissions: &[Omission]) -> String {
    omissions.first().map(|first| format!("; {first}")).unwrap_or_default()
}

/// A key that was left out of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Omission {
    /// Its place in the list.
    pub place: usize,
    /// Why.
    pub why: Unfit,
}

impl std::fmt::Display for Omission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "key {}: {}", self.place, self.why)
    }
}

/// Why a key is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// `kty: oct`: whoever can verify with it can sign with it.
    #[error("a symmetric key does not belong in a key set")]
    Symmetric,
    /// A private key, which is public now.
    #[error("a private key was published; whoever read it can sign")]
    Private,
    /// Another `kty` or `crv`.
    #[error("this kind of key or curve is not supported")]
    Unsupported,
    /// `use` or `key_ops` say something else than verifying signatures.
    #[error("the key is not for verifying signatures")]
    Purpose,
    /// `alg` is unknown or impossible with such a key.
    #[error("`alg` is not a signature algorithm of such a key")]
    Algorithm,
    /// A member is missing or of the wrong type.
    #[error("a member is missing or malformed")]
    Malformed,
    /// The key itself is not sound.
    #[error(transparent)]
    Weak(#[from] Weakness),
    /// Another key of the set has the same `kid` and could be meant as well. It stays, but tokens that fit both are
    /// refused.
    #[error("another key of the set has the same `kid`")]
    Ambiguous,
}

/// A usable key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    kid: Option<Box<str>>,
    algorithms: Algorithms,
    material: Material,
}

/// The usable keys of an issuer at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    usable: Vec<Key>,
    omissions: Vec<Omission>,
    generation: u64,
}

/// Why no key was found for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoKey {
    /// None fits.
    Unknown,
    /// Several fit.
    Ambiguous,
}

impl Keys {
    /// Reads a key set. Keys that cannot be used are left out, see [`Keys::omissions`].
    pub fn parse(text: &[u8]) -> Result<Self, JwksError> {
        if text.len() > MAX_JWKS {
            return Err(JwksError::TooLarge(text.len()));
        }
        let document = json::object(text, DEPTH).map_err(|error| JwksError::Json(error.to_string()))?;
        let Some(Value::Array(list)) = document.get("keys") else {
            return Err(JwksError::Shape);
        };
        if list.len() > MAX_KEYS {
            return Err(JwksError::TooMany(list.len()));
        }
        let (mut keys, mut places, mut omissions) = (Vec::new(), Vec::new(), Vec::new());
        for (place, item) in list.iter().enumerate() {
            let Value::Object(members) = item else {
                return Err(JwksError::Shape);
            };
            match Key::parse(members) {
                // The same key twice is no contradiction.
                Ok(key) if keys.contains(&key) => {}
                Ok(key) => {
                    keys.push(key);
                    places.push(place);
                }
                Err(why) => omissions.push(Omission { place, why }),
            }
        }
        if keys.is_empty() {
            return Err(JwksError::NoUsableKey(omissions));
        }
        for (key, place) in keys.iter().zip(places) {
            if keys.iter().any(|other| key.clashes(other)) {
                omissions.push(Omission {
                    place,
                    why: Unfit::Ambiguous,
                });
            }
        }
        let generation = generation(&keys);
        Ok(Self {
            usable: keys,
            omissions,
            generation,
        })
    }

    /// Secrets that were declared for HMAC, each with the `kid` that tokens name it by. No document says any of it.
    pub fn shared(secrets: impl IntoIterator<Item = (Option<Box<str>>, Secret)>) -> Self {
        let key = |(kid, secret)| {
            let material = Material::shared(secret);
            let algorithms = material.algorithms();
            Key {
                kid,
                algorithms,
                material,
            }
        };
        let usable: Vec<Key> = secrets.into_iter().map(key).collect();
        Self {
            generation: generation(&usable),
            usable,
            omissions: Vec::new(),
        }
    }

    /// The one key that a token may mean: same `kid` (or, for a token without one, any), able to and meant to do
    /// `algorithm`.
    pub fn select(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Key, NoKey> {
        let mut fitting = self.usable.iter().filter(|key| {
            let named = kid.is_none() || key.kid.as_deref() == kid;
            named && key.algorithms.has(algorithm)
        });
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (None, _) => Err(NoKey::Unknown),
            (Some(_), Some(_)) => Err(NoKey::Ambiguous),
        }
    }

    /// How many keys are usable.
    pub fn len(&self) -> usize {
        self.usable.len()
    }

    /// Whether none is, which [`Keys::parse`] never lets happen.
    pub fn is_empty(&self) -> bool {
        self.usable.is_empty()
    }

    /// Key ids, in the order of the document.
    pub fn kids(&self) -> impl Iterator<Item = Option<&str>> {
        self.usable.iter().map(|key| key.kid.as_deref())
    }

    /// Keys that were left out, and those that share a `kid`.
    pub fn omissions(&self) -> &[Omission] {
        &self.omissions
    }

    /// Stands for the keys: the same keys have the same number, and other keys have another.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl Key {
    fn parse(members: &Map<String, Value>) -> Result<Self, Unfit> {
        let kty = text(members, "kty")?.ok_or(Unfit::Malformed)?;
        if kty == "oct" || members.contains_key("k") {
            return Err(Unfit::Symmetric);
        }
        if PRIVATE.iter().any(|name| members.contains_key(*name)) {
            return Err(Unfit::Private);
        }
        check_purpose(members)?;
        let kid = text(members, "kid")?;
        if kid.is_some_and(|kid| kid.len() > MAX_KID) {
            return Err(Unfit::Malformed);
        }
        let named = match text(members, "alg")? {
            Some(name) => Some(algorithm::by_name(name).ok_or(Unfit::Algorithm)?),
            None => None,
        };
        let material = material(kty, members)?;
        let algorithms = match named {
            Some(algorithm) => Algorithms::of(&[algorithm]).and(material.algorithms()),
            None => material.algorithms(),
        };
        if algorithms.is_empty() {
            return Err(Unfit::Algorithm);
        }
        Ok(Self {
            kid: kid.map(Into::into),
            algorithms,
            material,
        })
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.algorithms.has(algorithm) && self.material.verifies(algorithm, message, signature)
    }

    /// Whether a token with this key's `kid` could mean the other key as well.
    fn clashes(&self, other: &Self) -> bool {
        self != other
            && self.kid.is_some()
            && self.kid == other.kid
            && !self.algorithms.and(other.algorithms).is_empty()
    }
}

/// `use` and `key_ops` (RFC 7517, 4.2 and 4.3): where they are given, both must allow the verifying of signatures.
fn check_purpose(members: &Map<String, Value>) -> Result<(), Unfit> {
    if text(members, "use")?.is_some_and(|purpose| purpose != "sig") {
        return Err(Unfit::Purpose);
    }
    let operations = match members.get("key_ops") {
        None => return Ok(()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(Unfit::Malformed),
    };
    for (place, operation) in operations.iter().enumerate() {
        if !operation.is_string() || operations.iter().skip(place + 1).any(|other| other == operation) {
            return Err(Unfit::Malformed);
        }
    }
    if operations.iter().any(|operation| operation == "verify") {
        Ok(())
    } else {
        Err(Unfit::Purpose)
    }
}

fn material(kty: &str, members: &Map<String, Value>) -> Result<Material, Unfit> {
    let bytes = |name| {
        let text = text(members, name)?.ok_or(Unfit::Malformed)?;
        decode(text.as_bytes()).map_err(|_| Unfit::Malformed)
    };
    let curve = || text(members, "crv")?.ok_or(Unfit::Malformed);
    match kty {
        "RSA" => Ok(Material::rsa(&bytes("n")?, &bytes("e")?)?),
        "EC" => match curve()? {
            "P-256" => Ok(Material::p256(&bytes("x")?, &bytes("y")?)?),
            "P-384" => Ok(Material::p384(&bytes("x")?, &bytes("y")?)?),
            _ => Err(Unfit::Unsupported),
        },
        "OKP" => match curve()? {
            "Ed25519" => Ok(Material::ed25519(&bytes("x")?)?),
            _ => Err(Unfit::Unsupported),
        },
        _ => Err(Unfit::Unsupported),
    }
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Result<Option<&'m str>, Unfit> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Unfit::Malformed),
    }
}

/// A digest of the keys rather than a counter: a set that comes back after a restart or a reload is the same set.
fn generation(keys: &[Key]) -> u64 {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut add = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    for key in keys {
        let (kind, first, second) = key.material.parts();
        add(&[kind, u8::from(key.kid.is_some())]);
        add(key.kid.as_deref().unwrap_or_default().as_bytes());
        add(&key.algorithms.bits().to_be_bytes());
        add(first);
        add(second);
    }
    let digest = context.finish();
    digest
        .as_ref()
        .iter()
        .take(8)
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
