//! A test's request, compiled: what an evaluator judges in place of a real one. Nothing is judged here.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use http::{HeaderMap, Method, header};
use portcullis_config::key::{IpAttribute, Key};
use serde_json::{Map, Value};

use crate::attributes::Attributes;
use crate::cookie;
use crate::format::Expectation;

/// A test of a bundle.
#[derive(Debug, Clone)]
pub struct Test {
    /// Names it in reports.
    pub name: Box<str>,
    /// The request.
    pub request: Sample,
    /// How often it is sent, at least once.
    pub repeat: u32,
    /// What must come of the last one.
    pub expect: Expectation,
}

/// A test's request.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The method.
    pub method: Method,
    /// The host: lower-case, no port. Empty when there is none.
    pub host: Box<str>,
    /// The normalised path.
    pub path: Box<str>,
    /// Header fields.
    pub headers: HeaderMap,
    /// Query parameters, decoded.
    pub query: BTreeMap<Box<str>, Box<str>>,
    /// Verified claims; `None` when there is no token.
    pub claims: Option<Map<String, Value>>,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// Other keys the request has.
    pub attributes: HashMap<Key, Box<str>>,
}

impl Attributes for Sample {
    fn get(&self, key: &Key) -> Option<Cow<'_, str>> {
        if let Some(value) = self.attributes.get(key) {
            return Some(Cow::Borrowed(value));
        }
        match key {
            Key::Jwt(name) => scalar(self.claims.as_ref()?.get(name.as_ref())?),
            Key::Header(name) => filled(self.headers.get(name)?.to_str().ok()?),
            Key::Query(name) => filled(self.query.get(name.as_ref())?),
            Key::Cookie(name) => {
                let value = cookie::values(self.headers.get(header::COOKIE)?.as_bytes(), name).next()?;
                filled(std::str::from_utf8(value).ok()?)
            }
            Key::Ip(IpAttribute::Address) => Some(Cow::Owned(self.address?.to_canonical().to_string())),
            Key::Ip(_) | Key::Mtls(_) | Key::Ua(_) | Key::Route | Key::Tenant => None,
        }
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn claims_known(&self) -> bool {
        self.claims.is_some()
    }
}

fn filled(text: &str) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then_some(Cow::Borrowed(text))
}

/// A claim as text: integers keep all digits; arrays, objects and null are nothing.
fn scalar(claim: &Value) -> Option<Cow<'_, str>> {
    match claim {
        Value::String(text) => filled(text),
        Value::Bool(true) => Some(Cow::Borrowed("true")),
        Value::Bool(false) => Some(Cow::Borrowed("false")),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
