//! What filters find out and leave for each other, for the answer and for the log. One value an exchange.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::buckets::{Params, Taken};
use crate::claims::Claims;
use crate::client::ClientCertificate;
use crate::geoip::Located;
use crate::policy::llm::prompt::Ask;
use crate::record::Decision;
use crate::tenant::{Scope, TenantId};
use crate::trace::Trace;
use crate::verdict::Reason;

/// Findings of an exchange.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The client's certificate, verified in the TLS handshake. Known from the beginning.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// Claims of the verified token.
    pub claims: Option<Arc<Claims>>,
    /// The session that it belongs to: what stays the same while its ids change.
    pub session: Option<[u8; 32]>,
    /// Whose request it is, once that is certain. It never becomes another's.
    pub tenant: Option<TenantId>,
    /// Changes to the header fields that go upstream. Later filters see them.
    pub request_headers: HeaderEdits,
    /// Changes to the header fields of the answer, whoever gives it.
    pub response_headers: HeaderEdits,
    /// The request's body, once a filter asked for it: see [`crate::verdict::Verdict::Body`].
    pub body: Option<Body>,
    /// What is known of the client's address, once somebody wanted to know.
    pub located: OnceLock<Located>,
    /// The kind of bot that `User-Agent` names, once somebody wanted to know. Only while no filter has changed header fields.
    pub bot: OnceLock<Option<&'static str>>,
    /// Which of two bundles judges it, once one does. `None` where there is but one.
    pub side: Option<Side>,
    /// The tightest limit that was evaluated and enforced.
    pub limit: Option<Limit>,
    /// What the client is warned of: a limit that it will reach.
    pub warning: Option<Reason>,
    /// How often an identical request came, where that was too often.
    pub repeats: Option<u64>,
    /// How policies looked at it, where somebody asked.
    pub trace: Option<Box<Trace>>,
    /// What links decided, for logs and traces. Bounded by [`Facts::MAX_DECISIONS`].
    pub decisions: SmallVec<[Decision; 4]>,
}

/// One of two bundles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one in force.
    InForce,
    /// The one that is tried beside it.
    OnTrial,
}

/// A request's body, as far as it is there.
#[derive(Debug, Clone)]
pub enum Body {
    /// All of it, and what it asks of a model, once somebody wanted to know.
    Whole(Bytes, OnceLock<Ask>),
    /// It is larger than what was asked for.
    TooLarge,
    /// Too many others are held already.
    NoRoom,
    /// Nobody has it: somebody else asks about the request.
    Unseen,
}

/// What a body asks of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// This.
    Read(Ask),
    /// Nothing: it is empty.
    Nothing,
    /// Nobody has the body.
    Unseen,
    /// Nobody knows: it is too large.
    TooLarge,
    /// Nobody knows: there was no room for it.
    NoRoom,
    /// Nobody knows: it is compressed.
    Encoded,
}

impl Body {
    /// All of a body.
    pub fn whole(bytes: Bytes) -> Self {
        Self::Whole(bytes, OnceLock::new())
    }

    /// What it asks of a model. It is read once.
    pub fn asked(&self) -> Asked {
        match self {
            Self::Whole(bytes, _) if bytes.is_empty() => Asked::Nothing,
            Self::Whole(bytes, ask) => Asked::Read(*ask.get_or_init(|| Ask::read(bytes))),
            Self::TooLarge => Asked::TooLarge,
            Self::NoRoom => Asked::NoRoom,
            Self::Unseen => Asked::Unseen,
        }
    }
}

impl Facts {
    /// Most decisions that are recorded of an exchange; counters count all of them.
    pub const MAX_DECISIONS: usize = 128;

    /// Whose the state of this request is: its tenant's, or nobody's while none is known.
    pub fn scope(&self) -> Scope {
        self.tenant.as_ref().map_or(Scope::gateway(), Scope::of)
    }

    /// Records a decision. The chain does so for what a link's hook returns; a filter does so for what happened within.
    pub fn decide(&mut self, decision: Decision) {
        if self.decisions.len() < Self::MAX_DECISIONS {
            self.decisions.push(decision);
        }
    }

    /// Keeps the tighter of the known limit and this one: less left in proportion, then the later reset.
    pub fn tighten(&mut self, limit: Limit) {
        Limit::tighten(&mut self.limit, limit);
    }
}

/// A limit's state, for `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers) and the classic fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The policy's id or the link's name.
    pub name: Arc<str>,
    /// The quota: a bucket's burst.
    pub limit: u64,
    /// What is left.
    pub remaining: u64,
    /// Seconds until there is more (at a refusal), or until it is whole again.
    pub reset: u32,
    /// Seconds in which the whole quota comes back.
    pub window: u32,
}

impl Limit {
    /// What a bucket answered, under the name of its limit.
    pub fn of(name: &Arc<str>, taken: &Taken, params: &Params) -> Self {
        Self {
            name: Arc::clone(name),
            limit: taken.limit,
            remaining: taken.remaining,
            reset: if taken.allowed {
                taken.full_after
            } else {
                taken.retry_after
            },
            window: params.seconds(),
        }
    }

    /// Keeps the tighter of the known limit and another: less left in proportion, then the later reset.
    pub(crate) fn tighten(known: &mut Option<Self>, other: Self) {
        if known.as_ref().is_none_or(|known| other.tightness() < known.tightness()) {
            *known = Some(other);
        }
    }

    fn tightness(&self) -> (u64, u64) {
        let share = self
            .remaining
            .saturating_mul(1_000_000)
            .checked_div(self.limit)
            .unwrap_or(0);
        (share, u64::MAX - u64::from(self.reset))
    }
}

/// Changes to header fields, in order.
#[derive(Debug, Clone, Default)]
pub struct HeaderEdits {
    edits: SmallVec<[HeaderEdit; 6]>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderEdit {
    /// Replaces every field of the name by this one.
    Set(HeaderName, HeaderValue),
    /// Adds a field.
    Append(HeaderName, HeaderValue),
    /// Removes every field of the name.
    Remove(HeaderName),
}

impl HeaderEdits {
    /// Adds a change.
    pub fn push(&mut self, edit: HeaderEdit) {
        self.edits.push(edit);
    }

    /// Replaces every field of the name by this one.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.push(HeaderEdit::Set(name, value));
    }

    /// Adds a field.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.push(HeaderEdit::Append(name, value));
    }

    /// Removes every field of the name.
    pub fn remove(&mut self, name: HeaderName) {
        self.push(HeaderEdit::Remove(name));
    }

    /// The changes in order.
    pub fn iter(&self) -> impl Iterator<Item = &HeaderEdit> {
        self.edits.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.edits.len()
    }

    /// Forgets all but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.edits.truncate(len);
    }

    /// The first value of `name` in `base` once the changes are made.
    pub fn first<'a>(&'a self, base: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
        let mut value = base.get(name);
        for edit in &self.edits {
            match edit {
                HeaderEdit::Set(edited, new) if edited == name => value = Some(new),
                HeaderEdit::Append(edited, new) if edited == name => value = value.or(Some(new)),
                HeaderEdit::Remove(edited) if edited == name => value = None,
                _ => {}
            }
        }
        value
    }

    /// Every value of `name` in `base` once the changes are made.
    pub fn all<'a>(&'a self, base: &'a HeaderMap, name: &HeaderName) -> SmallVec<[&'a HeaderValue; 2]> {
        let mut values: SmallVec<[&HeaderValue; 2]> = base.get_all(name).iter().collect();
        for edit in &self.edits {
            match edit {
                HeaderEdit::Set(edited, new) if edited == name => {
                    values.clear();
                    values.push(new);
                }
                HeaderEdit::Append(edited, new) if edited == name => values.push(new),
                HeaderEdit::Remove(edited) if edited == name => values.clear(),
                _ => {}
            }
        }
        values
    }

    /// Makes the changes in a header map.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for edit in &self.edits {
            match edit {
                HeaderEdit::Set(name, value) => {
                    headers.insert(name.clone(), value.clone());
                }
                HeaderEdit::Append(name, value) => {
                    headers.append(name.clone(), value.clone());
                }
                HeaderEdit::Remove(name) => {
                    headers.remove(name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(name: &str, limit: u64, remaining: u64, reset: u32) -> Limit {
        Limit {
            name: name.into(),
            limit,
            remaining,
            reset,
            window: 60,
        }
    }

    #[test]
    fn the_tightest_limit_is_kept() {
        let mut facts = Facts::default();
        let mut kept = |next: Limit| {
            facts.tighten(next);
            facts.limit.as_ref().map(|limit| limit.name.to_string()).unwrap()
        };
        assert_eq!(kept(limit("half", 10, 5, 1)), "half");
        assert_eq!(kept(limit("more left, in proportion", 2, 2, 9)), "half");
        assert_eq!(kept(limit("less", 1_000_000_000_000, 499_000_000_000, 1)), "less");
        assert_eq!(kept(limit("none", 10, 0, 1)), "none");
        assert_eq!(kept(limit("none for longer", 1, 0, 5)), "none for longer");
        assert_eq!(kept(limit("none for shorter", 1, 0, 4)), "none for longer");
    }

    #[test]
    fn edits_are_seen_in_order() {
        let mut base = HeaderMap::new();
        base.insert("x-a", HeaderValue::from_static("1"));
        let (a, b) = (HeaderName::from_static("x-a"), HeaderName::from_static("x-b"));
        let mut edits = HeaderEdits::default();
        edits.append(a.clone(), HeaderValue::from_static("2"));
        assert_eq!(edits.first(&base, &a).unwrap(), "1", "the first of several");
        edits.remove(a.clone());
        assert!(edits.first(&base, &a).is_none());
        edits.append(a.clone(), HeaderValue::from_static("3"));
        edits.set(b.clone(), HeaderValue::from_static("4"));
        assert_eq!(
            (edits.first(&base, &a).unwrap(), edits.first(&base, &b).unwrap()),
            (&"3".parse().unwrap(), &"4".parse().unwrap())
        );
        assert_eq!(edits.all(&base, &a).as_slice(), ["3"]);
        edits.apply(&mut base);
        assert_eq!(base.get_all("x-a").iter().collect::<Vec<_>>(), ["3"]);
        edits.truncate(1);
        assert!(edits.len() == 1 && !edits.is_empty());
    }

    #[test]
    fn decisions_are_bounded() {
        let mut facts = Facts::default();
        for _ in 0..1000 {
            facts.decide(Decision::new(crate::record::Action::Deny, Reason("x")));
        }
        assert_eq!(facts.decisions.len(), Facts::MAX_DECISIONS);
    }
}
