//! Recorded requests, read back: the questions that an engine asks of a request, answered from what was kept.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;

use http::HeaderName;
use portcullis_bundles::attributes::Attributes;
use portcullis_bundles::policies::Policies;
use portcullis_bundles::when::Claim;
use portcullis_config::key::Key;

use super::super::subject::Subject;
use super::record::{HASHED, Line, hashed};
use crate::attributes::KeyError;
use crate::buckets::ScopedHasher;
use crate::facts::Asked;
use crate::tenant::{Scope, TenantId};

/// Requests that were recorded, in the order of time.
#[derive(Debug, Default)]
pub struct Recording {
    keys: Vec<Key>,
    names: HashMap<Box<str>, u16>,
    pub(super) requests: Vec<Recorded>,
}

/// A recorded request.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    /// Milliseconds since 1970.
    pub(super) at_ms: u64,
    /// The method.
    pub(super) method: Box<str>,
    /// The host.
    pub(super) host: Box<str>,
    /// The path; telling segments are hashed.
    pub(super) path: Box<str>,
    pub(super) allowed: bool,
    pub(super) reason: Box<str>,
    pub(super) by: Option<(Box<str>, Box<str>)>,
    query: Option<Box<str>>,
    values: Box<[(u16, Value)]>,
    costs: Box<[(Box<str>, Box<str>)]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Missing,
    /// What it is compared by, and what it is counted by where that is something else.
    Text(Box<str>, Option<Box<str>>),
}

/// A line that is none of a recording.
#[derive(Debug, thiserror::Error)]
#[error("line {number}: {why}")]
pub struct BrokenLine {
    /// Its number, counted from 1.
    pub number: usize,
    /// What is wrong with it.
    pub why: String,
}

impl Recording {
    /// Reads the lines of a recording. Values that one of `bundles` compares with are recognised by their hashes, which takes
    /// the secret that they were made with.
    pub fn read<'l>(
        lines: impl Iterator<Item = &'l [u8]>,
        secret: &[u8; 16],
        bundles: &[&Policies],
    ) -> Result<Self, BrokenLine> {
        let known = known_values(secret, bundles);
        let mut recording = Self::default();
        for (index, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
            let broken = |why: String| BrokenLine { number: index + 1, why };
            let line: Line = serde_json::from_slice(line).map_err(|error| broken(error.to_string()))?;
            let request = recording.request(line, &known).map_err(broken)?;
            recording.requests.push(request);
        }
        recording.requests.sort_by_key(|request| request.at_ms);
        Ok(recording)
    }

    fn request(&mut self, line: Line, known: &HashMap<String, Box<str>>) -> Result<Recorded, String> {
        let mut values = Vec::with_capacity(line.k.len());
        for (name, value) in &line.k {
            values.push((self.key(name)?, self::value(name, value, known)));
        }
        let costs = line
            .c
            .into_iter()
            .map(|(name, number)| (name.into(), number.to_string().into()));
        Ok(Recorded {
            at_ms: line.t,
            method: line.m.into(),
            host: line.h.into(),
            path: line.p.into(),
            allowed: line.a,
            reason: line.r.into(),
            by: line.b.map(|(policy, rule)| (policy.into(), rule.into())),
            query: line.q.map(Into::into),
            values: values.into(),
            costs: costs.collect(),
        })
    }

    fn key(&mut self, name: &str) -> Result<u16, String> {
        if let Some(known) = self.names.get(name) {
            return Ok(*known);
        }
        let key: Key = name.parse().map_err(|_| format!("`{name}` is no key"))?;
        let place = u16::try_from(self.keys.len()).map_err(|_| "there are too many keys".to_owned())?;
        self.keys.push(key);
        self.names.insert(name.into(), place);
        Ok(place)
    }

    fn value<'r>(&self, request: &'r Recorded, key: &Key) -> Option<&'r Value> {
        let is_it = |place: &u16| self.keys.get(usize::from(*place)) == Some(key);
        let found = request.values.iter().find(|(place, _)| is_it(place));
        found.map(|(_, value)| value)
    }
}

/// Hashes of the values that bundles compare with, under the names of their keys.
fn known_values(secret: &[u8; 16], bundles: &[&Policies]) -> HashMap<String, Box<str>> {
    let compared = bundles.iter().flat_map(|policies| policies.compared());
    compared
        .map(|(key, value)| {
            let name = key.to_string();
            (format!("{name} {}", hashed(secret, &name, value)), value.into())
        })
        .collect()
}

fn value(name: &str, written: &str, known: &HashMap<String, Box<str>>) -> Value {
    if written.is_empty() {
        return Value::Missing;
    }
    if let Some(plain) = written.strip_prefix('=') {
        return Value::Text(plain.into(), None);
    }
    let (own, network) = match written.split_once('/') {
        Some((own, network)) => (own, Some(network.into())),
        None => (written, None),
    };
    let text = known.get(&format!("{name} {own}"));
    Value::Text(text.cloned().unwrap_or_else(|| own.into()), network)
}

/// A recorded request before an engine.
pub(super) struct Replayed<'r> {
    request: &'r Recorded,
    recording: &'r Recording,
    short: Cell<bool>,
}

impl<'r> Replayed<'r> {
    pub(super) fn new(request: &'r Recorded, recording: &'r Recording) -> Self {
        Self {
            request,
            recording,
            short: Cell::new(false),
        }
    }

    /// Whether a key was asked for that was not recorded.
    pub(super) fn is_short_of_keys(&self) -> bool {
        self.short.get()
    }

    fn value(&self, key: &Key) -> Option<(&'r str, Option<&'r str>)> {
        match self.recording.value(self.request, key) {
            Some(Value::Text(text, counted)) => Some((&**text, counted.as_deref())),
            Some(Value::Missing) => None,
            None => {
                self.short.set(true);
                None
            }
        }
    }

    fn cost(&self, name: &str) -> Option<Cow<'r, str>> {
        let found = self.request.costs.iter().find(|(known, _)| &**known == name);
        found.map(|(_, number)| Cow::Borrowed(&**number))
    }
}

impl Attributes for Replayed<'_> {
    fn get(&self, key: &Key) -> Option<Cow<'_, str>> {
        self.value(key).map(|(text, _)| Cow::Borrowed(text))
    }

    fn path(&self) -> &str {
        &self.request.path
    }

    fn claims_known(&self) -> bool {
        true
    }
}

impl Subject for Replayed<'_> {
    /// The hash that was kept of the tenant stands for it. It is kept whenever one is known.
    fn scope(&self) -> Scope {
        let Some(Value::Text(text, _)) = self.recording.value(self.request, &Key::Tenant) else {
            return Scope::gateway();
        };
        let tenant = TenantId::new(text).ok();
        tenant.as_ref().map_or(Scope::gateway(), Scope::of)
    }

    fn host(&self) -> &str {
        &self.request.host
    }

    fn path(&self) -> &str {
        &self.request.path
    }

    fn method(&self) -> &str {
        &self.request.method
    }

    fn text(&self, key: &Key) -> Result<Option<Cow<'_, str>>, KeyError> {
        Ok(Attributes::get(self, key))
    }

    /// Of most values only a hash was kept, which is good enough to be compared with.
    fn whole_text(&self, key: &Key) -> Result<Option<Cow<'_, str>>, KeyError> {
        let text = self.value(key).map(|(text, _)| text);
        let hashed = text.is_some_and(|text| text.starts_with(HASHED));
        self.short.set(self.short.get() || hashed);
        Ok(text.filter(|_| !hashed).map(Cow::Borrowed))
    }

    fn claim(&self, name: &str, whole: bool) -> Option<Claim<'_>> {
        let text = self.value(&Key::Jwt(name.into())).map(|(text, _)| text)?;
        // What kind of value it was is not known.
        self.short.set(self.short.get() || whole);
        (!whole).then_some(Claim::Text(Cow::Borrowed(text)))
    }

    fn count_by(&self, key: &Key, hasher: &mut ScopedHasher) -> Result<bool, KeyError> {
        let value = self.value(key);
        if let Some((text, counted)) = value {
            hasher.add(Some(counted.unwrap_or(text)));
        }
        Ok(value.is_some())
    }

    fn header(&self, name: &HeaderName) -> Option<Cow<'_, str>> {
        self.cost(&format!("header:{name}"))
    }

    /// Nobody recorded who said it.
    fn trusted_header(&self, _: &HeaderName) -> Option<Cow<'_, str>> {
        None
    }

    fn asked(&self) -> Option<Asked> {
        Some(Asked::Unseen)
    }

    fn query(&self, name: &str) -> Result<Option<Cow<'_, str>>, KeyError> {
        Ok(self.cost(&format!("query:{name}")))
    }

    fn parameters(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let query = self.request.query.as_deref();
        query
            .map(|query| (Cow::Borrowed("query"), Cow::Borrowed(query)))
            .into_iter()
    }
}

/// The keys of a bundle that were not recorded of a request.
pub(super) fn short_keys(policies: &Policies, request: &Recorded, recording: &Recording) -> Vec<String> {
    let short = |key: &&Key| recording.value(request, key).is_none();
    let mut names: Vec<String> = policies.keys().filter(short).map(ToString::to_string).collect();
    names.sort();
    names.dedup();
    names
}
