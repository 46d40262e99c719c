//! A request as filters see it: what came in (fixed), and what filters found out (growing). No socket, no clock.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis_bundles::policies::{Matches, Policies};
use portcullis_bundles::switches::AllSwitches;

use crate::attributes::readable;
use crate::client::{Client, Now};
use crate::facts::Facts;
use crate::geoip::GeoIp;
use crate::policy::Trial;

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
    /// The host with the port, where the client named one; lower-case. Empty when HTTP/1.0 sent none.
    pub authority: &'a str,
    /// The normalised path, the same that was routed and goes upstream.
    pub path: &'a str,
    /// The query without its question mark, as sent.
    pub query: Option<&'a str>,
    /// The header fields as sent.
    pub headers: &'a HeaderMap,
    /// Who sent it.
    pub client: &'a Client,
    /// The name of the route that it took, if it took one.
    pub route: Option<&'a str>,
    /// Where the client's address is looked up, if anywhere.
    pub geoip: Option<&'a GeoIp>,
    /// When its header was complete.
    pub now: Now,
}

impl Head<'_> {
    /// The policies of a bundle that are about the request.
    pub(crate) fn matches(&self, policies: &Policies) -> Matches {
        let mut matches = Matches::new();
        policies.matching(self.host, self.path, self.method.as_str(), &mut matches);
        matches
    }
}

/// The policy that is in force for a request.
#[derive(Clone, Copy)]
pub struct PolicyView<'a> {
    /// The bundle. `None` when the configuration names none.
    pub bundle: Bundle<'a>,
    /// A bundle that is tried beside it.
    pub trial: Option<&'a Trial>,
    /// Kill switches of every source.
    pub switches: &'a AllSwitches,
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

    /// The first value of a query parameter: see [`query_parameter`].
    pub fn query(&self, name: &str) -> Result<Option<Cow<'a, str>>, TooManyParameters> {
        self.head.query.map_or(Ok(None), |query| query_parameter(query, name))
    }
}

/// All parameters of a query in their order, decoded as by [`query_parameter`]. As many as there are: a query is bounded
/// where requests come in.
pub fn query_parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| match pair.split_once('=') {
        Some((name, value)) => (decoded(name), decoded(value)),
        None => (decoded(pair), Cow::Borrowed("true")),
    })
}

/// Most parameters of a query that are looked at.
pub const MAX_PARAMETERS: usize = 100;

/// A query has more parameters than are looked at, and the one that was asked for is not among those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the query has more than {MAX_PARAMETERS} parameters")]
pub struct TooManyParameters;

/// The first value of a parameter in a query, percent-decoded (RFC 3986), `+` as a space. A name alone has the value
/// `true`. `None` when the parameter is absent or its first value is empty.
pub fn query_parameter<'q>(query: &'q str, name: &str) -> Result<Option<Cow<'q, str>>, TooManyParameters> {
    let first = query_values(query, name).next().transpose()?;
    Ok(first.filter(|value| !value.is_empty()))
}

/// Every value of a parameter in a query, in order, empty ones included; see [`query_parameter`]. The last item is the
/// error when there are more parameters than are looked at.
pub fn query_values<'q>(query: &'q str, name: &str) -> impl Iterator<Item = Result<Cow<'q, str>, TooManyParameters>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).enumerate();
    pairs.take(MAX_PARAMETERS + 1).filter_map(move |(place, pair)| {
        if place >= MAX_PARAMETERS {
            return Some(Err(TooManyParameters));
        }
        let (key, value) = pair
            .split_once('=')
            .map_or((pair, None), |(key, value)| (key, Some(value)));
        (decoded(key) == name).then(|| Ok(value.map_or(Cow::Borrowed("true"), decoded)))
    })
}

/// A query without the parameters whose decoded names are unwanted; what stays is not changed.
pub fn without_parameters(query: &str, unwanted: impl Fn(&str) -> bool) -> Cow<'_, str> {
    let name = |pair: &str| decoded(pair.split_once('=').map_or(pair, |(name, _)| name)).into_owned();
    let drops = |pair: &&str| !pair.is_empty() && unwanted(&name(pair));
    if !query.split('&').any(|pair| drops(&pair)) {
        return Cow::Borrowed(query);
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !drops(pair)).collect();
    Cow::Owned(kept.join("&"))
}

/// Percent-decoding. What is no escape stays as it is.
pub(crate) fn decoded(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(nibble(*high) << 4 | nibble(*low));
                rest = tail;
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) => Cow::Owned(text),
        Err(error) => Cow::Owned(readable(error.as_bytes()).into_owned()),
    }
}

fn nibble(digit: u8) -> u8 {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
        .unwrap_or(0)
}
