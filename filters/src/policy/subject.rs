//! What the engine judges: a request, or the sample request of a bundle's test. The same questions, the same answers.

use std::borrow::Cow;

use http::header::CONTENT_ENCODING;
use http::{HeaderName, HeaderValue};
use portcullis_bundles::attributes::Attributes;
use portcullis_bundles::sample::Sample;
use portcullis_bundles::when::Claim;
use portcullis_config::key::{IpAttribute, Key};
use serde_json::Value;

use crate::attributes::{self, KeyError};
use crate::buckets::ScopedHasher;
use crate::claims::NotScalar;
use crate::facts::{Asked, Body};
use crate::request::{Request, query_parameters};
use crate::tenant::{Scope, TenantId};

/// What the engine judges.
pub(super) trait Subject {
    fn host(&self) -> &str;
    fn path(&self) -> &str;
    fn method(&self) -> &str;

    /// Whose counters it is counted by.
    fn scope(&self) -> Scope;

    /// The value of a key as text; `None` when it is missing.
    fn text(&self, key: &Key) -> Result<Option<Cow<'_, str>>, KeyError>;

    /// Whether the value of a key is this text.
    fn equals(&self, key: &Key, value: &str) -> Result<bool, KeyError> {
        Ok(self.text(key)?.as_deref() == Some(value))
    }

    /// The same for who looks at the text itself; else it is only compared with texts of the bundle.
    fn whole_text(&self, key: &Key) -> Result<Option<Cow<'_, str>>, KeyError> {
        self.text(key)
    }

    /// A claim of the verified token. `whole`: more is asked than whether it is a text of the bundle.
    fn claim(&self, name: &str, whole: bool) -> Option<Claim<'_>>;

    /// Adds the value of a key to those that the subject is counted by. False: it is missing.
    fn count_by(&self, key: &Key, hasher: &mut ScopedHasher) -> Result<bool, KeyError>;

    /// A header field that tells a cost.
    fn header(&self, name: &HeaderName) -> Option<Cow<'_, str>>;

    /// The same, when somebody who is trusted says it.
    fn trusted_header(&self, name: &HeaderName) -> Option<Cow<'_, str>>;

    /// What the body asks of a model. `None`: it was not looked for yet.
    fn asked(&self) -> Option<Asked>;

    /// A query parameter that tells a cost.
    fn query(&self, name: &str) -> Result<Option<Cow<'_, str>>, KeyError>;

    /// All parameters of the query, decoded.
    fn parameters(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)>;
}

impl Subject for Request<'_> {
    fn scope(&self) -> Scope {
        self.facts.scope()
    }

    fn host(&self) -> &str {
        self.head.host
    }

    fn path(&self) -> &str {
        self.head.path
    }

    fn method(&self) -> &str {
        self.head.method.as_str()
    }

    fn text(&self, key: &Key) -> Result<Option<Cow<'_, str>>, KeyError> {
        attributes::text(self, key)
    }

    fn equals(&self, key: &Key, value: &str) -> Result<bool, KeyError> {
        attributes::equals(self, key, value)
    }

    fn claim(&self, name: &str, _: bool) -> Option<Claim<'_>> {
        self.facts.claims.as_ref()?.get(name).map(Claim::Json)
    }

    fn count_by(&self, key: &Key, hasher: &mut ScopedHasher) -> Result<bool, KeyError> {
        attributes::count_by(self, key, hasher)
    }

    fn header(&self, name: &HeaderName) -> Option<Cow<'_, str>> {
        attributes::header(self, name)
    }

    fn trusted_header(&self, name: &HeaderName) -> Option<Cow<'_, str>> {
        attributes::header(self, name).filter(|_| self.head.client.peer_is_trusted)
    }

    fn asked(&self) -> Option<Asked> {
        let body = self.facts.body.as_ref()?;
        let coding = self.head.headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
        let coding = coding.map(<[u8]>::trim_ascii).unwrap_or_default();
        let encoded = !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity");
        let there = !matches!(body, Body::Unseen);
        Some(if encoded && there { Asked::Encoded } else { body.asked() })
    }

    fn query(&self, name: &str) -> Result<Option<Cow<'_, str>>, KeyError> {
        Ok(Request::query(self, name)?)
    }

    fn parameters(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        self.head.query.into_iter().flat_map(query_parameters)
    }
}

impl Subject for Sample {
    fn scope(&self) -> Scope {
        let tenant = self.attributes.get(&Key::Tenant);
        let tenant = tenant.and_then(|name| TenantId::new(name).ok());
        tenant.as_ref().map_or(Scope::gateway(), Scope::of)
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn text(&self, key: &Key) -> Result<Option<Cow<'_, str>>, KeyError> {
        if let Key::Jwt(name) = key
            && let Some(Value::Array(_) | Value::Object(_)) =
                self.claims.as_ref().and_then(|claims| claims.get(name.as_ref()))
        {
            return Err(KeyError::NotScalar(NotScalar));
        }
        Ok(Attributes::get(self, key))
    }

    fn claim(&self, name: &str, _: bool) -> Option<Claim<'_>> {
        self.claims.as_ref()?.get(name).map(Claim::Json)
    }

    fn count_by(&self, key: &Key, hasher: &mut ScopedHasher) -> Result<bool, KeyError> {
        if let (Key::Ip(IpAttribute::Address), Some(address)) = (key, self.address) {
            hasher.add_address(address);
            return Ok(true);
        }
        let value = self.text(key)?;
        if let Some(value) = &value {
            hasher.add(Some(value));
        }
        Ok(value.is_some())
    }

    fn header(&self, name: &HeaderName) -> Option<Cow<'_, str>> {
        self.headers
            .get(name)
            .map(|value| attributes::readable(value.as_bytes()))
    }

    /// Whoever writes a test is trusted.
    fn trusted_header(&self, name: &HeaderName) -> Option<Cow<'_, str>> {
        Subject::header(self, name)
    }

    fn asked(&self) -> Option<Asked> {
        Some(Asked::Unseen)
    }

    fn query(&self, name: &str) -> Result<Option<Cow<'_, str>>, KeyError> {
        Ok(self.query.get(name).map(|value| Cow::Borrowed(value.as_ref())))
    }

    fn parameters(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let pairs = self.query.iter();
        pairs.map(|(name, value)| (Cow::Borrowed(name.as_ref()), Cow::Borrowed(value.as_ref())))
    }
}
