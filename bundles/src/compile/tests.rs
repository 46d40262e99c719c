//! The tests that a bundle brings along, as written to compiled.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis_config::key::{IpAttribute, Key};
use portcullis_config::matcher::HostPattern;
use portcullis_config::path;

use super::{Compiler, scalars};
use crate::format::{self, TestRequest};
use crate::problem::Place;
use crate::sample::{Sample, Test};

impl Compiler {
    pub(super) fn tests(&mut self, written: &[format::Test], policies: &[format::Policy]) -> Vec<Test> {
        let list = Place::ROOT.field("tests");
        self.at_most(written.len(), scalars::MAX_TESTS, &list, "tests");
        if written.is_empty() {
            return Vec::new();
        }
        let known: HashSet<&str> = policies.iter().map(|policy| policy.id.as_str()).collect();
        let mut tests = Vec::with_capacity(written.len());
        for (index, test) in written.iter().enumerate() {
            let place = list.item(index);
            if let Some(policy) = test.expect.policy.as_deref().filter(|policy| !known.contains(policy)) {
                let message = format!("there is no policy `{policy}` in this bundle");
                self.problems
                    .add("unknown-policy", &place.field("expect").field("policy"), message);
            }
            tests.extend(self.test(test, &place));
        }
        tests
    }

    fn test(&mut self, written: &format::Test, place: &Place<'_>) -> Option<Test> {
        let name = self.name(&written.name, &place.field("name"), "missing name");
        let repeat = written.repeat.unwrap_or(1);
        if repeat == 0 || repeat > scalars::MAX_REPEAT {
            let message = format!("repeat must be from 1 to {}", scalars::MAX_REPEAT);
            self.problems.add("invalid-repeat", &place.field("repeat"), message);
        }
        let request = self.sample(&written.request, &place.field("request"))?;
        Some(Test {
            name: name?.as_ref().into(),
            request,
            repeat,
            expect: written.expect.clone(),
        })
    }

    fn sample(&mut self, written: &TestRequest, place: &Place<'_>) -> Option<Sample> {
        let method = self.test_method(written.method.as_deref(), place);
        let host = self.test_host(written.host.as_deref(), place);
        let path = path::normalize(&written.path).map(|path| Box::from(path.as_ref()));
        if let Err(error) = &path {
            self.problems
                .add("invalid-path", &place.field("path"), error.to_string());
        }
        let headers = self.test_headers(written, &place.field("headers"));
        let mut query = BTreeMap::new();
        for (name, value) in &written.query.0 {
            self.no_secret(&value.0, &place.field("query").field(name));
            query.insert(Box::from(name.as_str()), Box::from(value.0.as_str()));
        }
        for (name, value) in written.claims.iter().flat_map(|claims| &claims.0) {
            if let Some(text) = value.0.as_str() {
                self.no_secret(text, &place.field("claims").field(name));
            }
        }
        let address = written.ip.as_deref().map(str::parse::<IpAddr>);
        if let Some(Err(_)) = &address {
            self.problems
                .add("invalid-address", &place.field("ip"), "not an IP address");
        }
        Some(Sample {
            method: method?,
            host: host?,
            path: path.ok()?,
            headers: headers?,
            query,
            claims: written.claims.as_ref().map(|claims| {
                claims
                    .0
                    .iter()
                    .map(|(name, value)| (name.clone(), value.0.clone()))
                    .collect()
            }),
            address: address.transpose().ok()?,
            attributes: self.test_attributes(written, &place.field("attributes")),
        })
    }

    fn test_method(&mut self, written: Option<&str>, place: &Place<'_>) -> Option<Method> {
        let method = Method::from_bytes(written.unwrap_or("GET").as_bytes());
        if method.is_err() {
            self.problems
                .add("invalid-method", &place.field("method"), "not a method");
        }
        method.ok()
    }

    fn test_host(&mut self, written: Option<&str>, place: &Place<'_>) -> Option<Box<str>> {
        let Some(written) = written else {
            return Some(Box::default());
        };
        if let Ok(HostPattern::Exact(host)) = written.parse() {
            return Some(host);
        }
        self.problems.add(
            "invalid-host",
            &place.field("host"),
            "not the name or address of one host",
        );
        None
    }

    fn test_headers(&mut self, written: &TestRequest, place: &Place<'_>) -> Option<HeaderMap> {
        let mut headers = HeaderMap::with_capacity(written.headers.0.len());
        let before = self.problems.count();
        for (name, value) in &written.headers.0 {
            let place = place.field(name);
            self.no_secret(&value.0, &place);
            match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value.0)) {
                (Ok(name), Ok(value)) => {
                    if headers.insert(name, value).is_some() {
                        self.problems
                            .add("duplicate-header", &place, "this header field is given twice");
                    }
                }
                _ => self.problems.add("invalid-header", &place, "not a header field"),
            }
        }
        (before == self.problems.count()).then_some(headers)
    }

    fn test_attributes(&mut self, written: &TestRequest, place: &Place<'_>) -> HashMap<Key, Box<str>> {
        let mut attributes = HashMap::new();
        for (key, value) in &written.attributes.0 {
            let place = place.field(key);
            let Some(key) = self.key(key, &place, "attributes") else {
                continue;
            };
            let has_none = matches!(key, Key::Ip(_) | Key::Mtls(_) | Key::Ua(_) | Key::Route | Key::Tenant);
            if !has_none || key == Key::Ip(IpAttribute::Address) {
                let help = "write it under `claims`, `headers`, `query` or `ip`";
                let message = format!("attributes: `{key}` has a field of its own");
                self.problems.advise("invalid-key", &place, message, help);
            }
            let Some(value) = self.value(&key, &value.0, &place) else {
                continue;
            };
            attributes.insert(key, value.as_ref().into());
        }
        attributes
    }
}
