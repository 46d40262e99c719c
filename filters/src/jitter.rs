//! Spreading of `Retry-After`, so that clients that were refused together do not come back together. The same client gets
//! the same number; which one cannot be told without the instance's salt, unless the public one is asked for.
//!
//! The arithmetic is that of Fairvisor Edge: up to half as many seconds again, and for a budget up to half as many less, by a
//! polynomial hash of what was refused and of who asks. Only who asks is hashed with the salt.

use std::fmt::Write;
use std::hash::Hasher;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use siphasher::sip::SipHasher13;

use crate::policy::BUDGET_EXCEEDED;
use crate::request::Request;
use crate::verdict::Reason;

/// Claims that name a client, in the order in which they are tried.
const SUBJECTS: [&str; 3] = ["sub", "user_id", "uid"];

/// The modulus of the hash.
const MODULUS: u32 = 1_000_003;

/// What keeps clients from telling their number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Salt {
    /// The instance's own random bytes.
    Own([u8; 16]),
    /// None: the numbers of Fairvisor Edge.
    Public,
}

/// `base` seconds, spread, at least 1. `limit` is the policy (or the link) and the rule, as far as there are any.
pub fn spread(base: u32, salt: Salt, request: &Request<'_>, limit: (&str, &str), reason: Reason) -> u32 {
    let mut hash = Polynomial::default();
    for part in ["retry_jitter:v1|", limit.0, "|", limit.1, "|", reason.0, "||"] {
        hash.add(part.as_bytes());
    }
    let mut identity = String::with_capacity(8);
    // Writing to a string cannot fail.
    let _ = write!(identity, "{:08x}", who(salt, request));
    hash.add(identity.as_bytes());
    let share = u64::from(hash.0) * u64::from(base);
    let half = 2 * u64::from(MODULUS);
    let seconds = if reason == BUDGET_EXCEEDED {
        u64::from(base) - share / half
    } else {
        u64::from(base) + share.div_ceil(half)
    };
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

/// Who asks, in four bytes.
fn who(salt: Salt, request: &Request<'_>) -> u32 {
    let claims = request.facts.claims.as_ref();
    let subject = claims.and_then(|claims| SUBJECTS.iter().find_map(|name| claims.text(name).ok().flatten()));
    let address = request.head.client.address.to_canonical();
    let subject = subject.as_deref().unwrap_or_default();
    let text = format!("{subject}|{address}|{}", request.head.path);
    match salt {
        Salt::Own(salt) => {
            let mut hasher = SipHasher13::new_with_key(&salt);
            hasher.write(text.as_bytes());
            u32::try_from(hasher.finish() >> 32).unwrap_or(0)
        }
        Salt::Public => {
            let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{PUBLIC}{text}").as_bytes());
            sum.as_ref().first_chunk().copied().map_or(0, u32::from_be_bytes)
        }
    }
}

/// What the public hash begins with.
const PUBLIC: &str = "fairvisor-retry-jitter|";

#[derive(Default)]
struct Polynomial(u32);

impl Polynomial {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            // Below 131 * 1,000,003 + 256.
            self.0 = (self.0 * 131 + u32::from(*byte)) % MODULUS;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::RequestBuilder;

    fn value(request: &RequestBuilder, base: u32, limit: (&str, &str), reason: &'static str) -> u32 {
        let mut facts = request.facts();
        request.with(&mut facts, |request| {
            spread(base, Salt::Public, request, limit, Reason(reason))
        })
    }

    #[test]
    fn the_public_numbers() {
        let chat = RequestBuilder::get("/api/v1/chat").ip("127.0.0.1");
        let killed = |request: &RequestBuilder| value(request, 3600, ("", ""), "kill_switch");
        for (subject, seconds) in [
            ("jitter-user-a", 4800),
            ("jitter-user-b", 4998),
            ("jitter-user-c", 4953),
        ] {
            assert_eq!(
                killed(&chat.clone().claims(json!({ "sub": subject }))),
                seconds,
                "{subject}"
            );
        }
        assert_eq!(killed(&chat), 5099);
        let budget = RequestBuilder::get("/v1/x")
            .ip("127.0.0.1")
            .claims(json!({ "user_id": 7 }));
        assert_eq!(value(&budget, 80_590, ("p", "c"), "budget_exceeded"), 50_047);
    }

    #[test]
    fn the_instances_own_numbers_differ_and_stay() {
        let mut facts = RequestBuilder::get("/x").facts();
        let of = |salt: u8, address: &str, facts: &mut crate::facts::Facts| {
            let request = RequestBuilder::get("/x").ip(address);
            request.with(facts, |request| {
                spread(1_000_000, Salt::Own([salt; 16]), request, ("p", "r"), Reason("x"))
            })
        };
        let first = of(1, "192.0.2.1", &mut facts);
        assert!((1_000_000..=1_500_000).contains(&first));
        assert_eq!(of(1, "192.0.2.1", &mut facts), first);
        assert_ne!(of(1, "192.0.2.2", &mut facts), first);
        assert_ne!(of(2, "192.0.2.1", &mut facts), first);
    }

    #[test]
    fn nothing_is_below_a_second() {
        let request = RequestBuilder::get("/x");
        assert_eq!(value(&request, 0, ("", ""), "budget_exceeded"), 1);
        assert!((1..=2).contains(&value(&request, 1, ("", ""), "x")));
    }
}
