//! Verified claims: what the identity filter leaves for the filters after it. Unverified tokens never become this, but in
//! `portcullis edge`, whose environment has no word for keys.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

/// The claims of a token whose signature, issuer, audience and times were verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    /// The issuer's name in the configuration.
    pub issuer: Box<str>,
    /// When the token expires, seconds since 1970.
    pub expires_at: i64,
    values: BTreeMap<Box<str>, Value>,
}

impl Claims {
    /// Claims of a verified token.
    pub fn new(issuer: &str, expires_at: i64, values: serde_json::Map<String, Value>) -> Self {
        let values = values
            .into_iter()
            .map(|(name, value)| (name.into_boxed_str(), value))
            .collect();
        Self {
            issuer: issuer.into(),
            expires_at,
            values,
        }
    }

    /// A top-level claim.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// A scalar claim as text: numbers with all their digits, booleans as `true` and `false`. `None` when it is absent,
    /// null or empty.
    pub fn text(&self, name: &str) -> Result<Option<Cow<'_, str>>, NotScalar> {
        match self.values.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(Cow::Borrowed(text))),
            Some(Value::Bool(true)) => Ok(Some(Cow::Borrowed("true"))),
            Some(Value::Bool(false)) => Ok(Some(Cow::Borrowed("false"))),
            Some(Value::Number(number)) => Ok(Some(Cow::Owned(number.to_string()))),
            Some(Value::Array(_) | Value::Object(_)) => Err(NotScalar),
        }
    }
}

/// A claim that was to be text is an array or an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the claim is an array or an object; only text, numbers and booleans can be a key")]
pub struct NotScalar;
