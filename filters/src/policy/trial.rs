//! A bundle that is tried beside the one in force, and for whom. How it does and how long it is tried is not known here.

use std::sync::Arc;

use portcullis_bundles::digest::Digest;
use portcullis_bundles::policies::Policies;

use crate::buckets::{KeyHasher, ScopedHasher};
use crate::facts::Side;
use crate::request::Request;
use crate::tenant::Scope;

/// A bundle that is tried beside the one in force.
#[derive(Debug)]
pub struct Trial {
    /// The bundle.
    pub policies: Arc<Policies>,
    /// For whom.
    pub share: Share,
}

/// Those that a bundle is tried on. Which they are depends on the bundle and on them alone, so that every gateway and every
/// start of one come to the same answer, and a larger share has in it whoever was in a smaller one.
#[derive(Debug)]
pub enum Share {
    /// All or none of this gateway's requests.
    Node(bool),
    /// Identities: those whose hash is below `limit`.
    Identities {
        /// Hashes an identity.
        hasher: ScopedHasher,
        /// In parts of 2^32.
        limit: u64,
    },
}

/// The whole of what hashes are parts of.
const WHOLE: f64 = 4_294_967_296.0;

impl Share {
    /// `percent` of all identities.
    pub fn of_identities(percent: f64, bundle: &Digest) -> Self {
        Self::Identities {
            hasher: hasher(bundle),
            limit: limit(percent),
        }
    }

    /// The gateway of this name, if it is among `percent` of all.
    pub fn of_node(percent: f64, bundle: &Digest, name: &str) -> Self {
        let mut hasher = hasher(bundle);
        hasher.add(Some(name));
        Self::Node(hash(&hasher) < limit(percent))
    }

    /// Whether any request of this gateway may be in it.
    pub fn takes_part(&self) -> bool {
        !matches!(self, Self::Node(false))
    }
}

/// The digest is the key: whoever does not know the bundle cannot tell who is in its share.
fn hasher(bundle: &Digest) -> ScopedHasher {
    let mut key = [0; 16];
    for (to, byte) in key.iter_mut().zip(bundle.as_bytes()) {
        *to = *byte;
    }
    KeyHasher::new(&key, &["rollout"]).within(&Scope::gateway())
}

fn hash(hasher: &ScopedHasher) -> u64 {
    let (own, _) = hasher.finish().parts();
    u64::try_from(own >> 96).unwrap_or(u64::MAX)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 0 and 2^32
fn limit(percent: f64) -> u64 {
    (percent.clamp(0.0, 100.0) / 100.0 * WHOLE).round() as u64
}

impl Trial {
    /// Which bundle judges a request. Asked once a request: what later filters find out changes nothing any more.
    pub(super) fn side(&self, request: &mut Request<'_>) -> Side {
        if let Some(known) = request.facts.side {
            return known;
        }
        let on_trial = match &self.share {
            Share::Node(takes_part) => *takes_part,
            Share::Identities { hasher, limit } => {
                let mut hasher = hasher.clone();
                add_identity(&mut hasher, request);
                hash(&hasher) < *limit
            }
        };
        let side = if on_trial { Side::OnTrial } else { Side::InForce };
        request.facts.side = Some(side);
        side
    }
}

/// Who asks: the subject of the verified token, else the client's certificate, else its address.
fn add_identity(hasher: &mut ScopedHasher, request: &Request<'_>) {
    if let Some(claims) = &request.facts.claims
        && let Ok(Some(subject)) = claims.text("sub")
    {
        hasher.add(Some(&claims.issuer));
        hasher.add(Some(&subject));
        return;
    }
    match &request.facts.certificate {
        Some(certificate) => hasher.add(Some(&certificate.fingerprint)),
        None => hasher.add_address(request.head.client.address),
    }
}
