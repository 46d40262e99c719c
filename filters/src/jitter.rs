//! Spreading of `Retry-After`, so that clients that were refused together do not come back together. The same client gets
//! the same number; which one cannot be told without the instance's salt.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::request::Request;
use crate::verdict::Reason;

/// Claims that name a client, in the order in which they are tried.
const SUBJECTS: [&str; 3] = ["sub", "user_id", "uid"];

/// `base` seconds and up to half as many again, at least 1.
pub fn spread(base: u32, salt: &[u8; 16], request: &Request<'_>, limit: &[&str], reason: Reason) -> u32 {
    let mut hasher = SipHasher13::new_with_key(salt);
    for part in limit.iter().chain(&[reason.0, request.head.path]) {
        write(&mut hasher, part.as_bytes());
    }
    let claims = request.facts.claims.as_ref();
    let subject = claims.and_then(|claims| SUBJECTS.iter().find_map(|name| claims.text(name).ok().flatten()));
    write(&mut hasher, subject.as_deref().unwrap_or_default().as_bytes());
    match request.head.client.address {
        std::net::IpAddr::V4(address) => hasher.write(&address.octets()),
        std::net::IpAddr::V6(address) => hasher.write(&address.octets()),
    }
    let share = hasher.finish() >> 32;
    let more = (u64::from(base) * share).div_ceil(1 << 33);
    u32::try_from(u64::from(base) + more).unwrap_or(u32::MAX).max(1)
}

fn write(hasher: &mut SipHasher13, bytes: &[u8]) {
    hasher.write_usize(bytes.len());
    hasher.write(bytes);
}
