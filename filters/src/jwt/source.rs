//! Where the token is in a request: a header field (RFC 6750, 2.1), a cookie or a parameter of the query (2.3). It must be
//! in one place, and there once.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName};
use portcullis_bundles::cookie;

use super::refusal::Refusal;
use crate::request::{Head, query_values};

/// Where tokens are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The header field.
    pub header: Option<HeaderName>,
    /// The cookie.
    pub cookie: Option<Box<str>>,
    /// The parameter of the query.
    pub query: Option<Box<str>>,
}

/// A token that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<'r> {
    /// The token.
    pub token: Cow<'r, [u8]>,
    /// Whether it was in the query.
    pub in_query: bool,
}

impl Places {
    /// The token of a request, `None` if there is none in any place.
    pub fn find<'r>(&self, head: &Head<'r>) -> Result<Option<Found<'r>>, Refusal> {
        let mut found = match &self.header {
            Some(field) => token(head.headers, field)?.map(|token| Found {
                token: Cow::Borrowed(token),
                in_query: false,
            }),
            None => None,
        };
        let cookie = match &self.cookie {
            Some(name) => in_cookie(head.headers, name)?,
            None => None,
        };
        let query = match (&self.query, head.query) {
            (Some(name), Some(query)) => in_query(query, name)?,
            _ => None,
        };
        for other in [cookie, query].into_iter().flatten() {
            // Which one another reader would take cannot be known.
            if found.replace(other).is_some() {
                return Err(Refusal::Repeated);
            }
        }
        Ok(found)
    }
}

/// An empty cookie is how a browser is told to forget one: no token.
fn in_cookie<'r>(headers: &'r HeaderMap, name: &str) -> Result<Option<Found<'r>>, Refusal> {
    let fields = headers.get_all(COOKIE).iter();
    let mut values = fields.flat_map(|field| cookie::values(field.as_bytes(), name));
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Refusal::Repeated),
        (Some(token), None) if !token.is_empty() => Ok(Some(Found {
            token: Cow::Borrowed(token),
            in_query: false,
        })),
        _ => Ok(None),
    }
}

fn in_query<'r>(query: &'r str, name: &str) -> Result<Option<Found<'r>>, Refusal> {
    let mut values = query_values(query, name);
    let (first, second) = (values.next(), values.next());
    match (first, second) {
        // More parameters than are looked at: there may be another one behind.
        (Some(Err(_)), _) | (_, Some(Err(_))) => Err(Refusal::Malformed),
        (_, Some(Ok(_))) => Err(Refusal::Repeated),
        (Some(Ok(token)), None) if !token.is_empty() => Ok(Some(Found {
            token: match token {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            },
            in_query: true,
        })),
        _ => Ok(None),
    }
}

/// The other cookies of a request as one field, `None` where there are no others. For who takes one away.
pub fn other_cookies(headers: &HeaderMap, name: &str) -> Option<Vec<u8>> {
    let mut kept: Vec<u8> = Vec::new();
    for field in headers.get_all(COOKIE) {
        for pair in field.as_bytes().split(|byte| *byte == b';') {
            let own = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
            if own.trim_ascii() == name.as_bytes() || pair.trim_ascii().is_empty() {
                continue;
            }
            if !kept.is_empty() {
                kept.extend_from_slice(b"; ");
            }
            kept.extend_from_slice(pair.trim_ascii());
        }
    }
    (!kept.is_empty()).then_some(kept)
}

/// The token that `field` carries, `None` if there is none. In `Authorization`, credentials of another scheme than
/// `Bearer` are no token.
pub fn token<'h>(headers: &'h HeaderMap, field: &HeaderName) -> Result<Option<&'h [u8]>, Refusal> {
    let mut values = headers.get_all(field).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    // Which one another reader would take cannot be known.
    if values.next().is_some() {
        return Err(Refusal::Repeated);
    }
    if field == AUTHORIZATION {
        bearer(value.as_bytes())
    } else {
        Ok(Some(value.as_bytes()))
    }
}

fn bearer(credentials: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    // A tab is no space (RFC 9110, 11.4), but a reader behind us could take it for one.
    let end = credentials
        .iter()
        .position(|byte| matches!(byte, b' ' | b'\t'))
        .unwrap_or(credentials.len());
    let (scheme, rest) = credentials.split_at_checked(end).ok_or(Refusal::Malformed)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    match rest.get(spaces..) {
        Some(token @ [first, ..]) if *first != b'\t' => Ok(Some(token)),
        _ => Err(Refusal::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    /// Values of the field, and the token found.
    type Row = (&'static [&'static str], Result<Option<&'static str>, Refusal>);

    #[test]
    fn one_field_with_one_token() {
        let table: &[Row] = &[
            (&[], Ok(None)),
            (&["Bearer a.b.c"], Ok(Some("a.b.c"))),
            (&["bearer a.b.c"], Ok(Some("a.b.c"))),
            (&["BEARER   a.b.c"], Ok(Some("a.b.c"))),
            (&["Basic dTpw"], Ok(None)),
            (&["a.b.c"], Ok(None)),
            (&["Bearera.b.c"], Ok(None)),
            (&[""], Ok(None)),
            (&["Bearer"], Err(Refusal::Malformed)),
            (&["Bearer "], Err(Refusal::Malformed)),
            (&["Bearer\ta.b.c"], Err(Refusal::Malformed)),
            (&["Bearer \ta.b.c"], Err(Refusal::Malformed)),
            (&["Negotiate\ta.b.c"], Ok(None)),
            (&["Bearer a.b.c, Bearer d.e.f"], Ok(Some("a.b.c, Bearer d.e.f"))),
            (&["Bearer a.b.c", "Bearer a.b.c"], Err(Refusal::Repeated)),
            (&["Bearer a.b.c", "Basic dTpw"], Err(Refusal::Repeated)),
            (&["Basic dTpw", "Bearer a.b.c"], Err(Refusal::Repeated)),
            (&["", ""], Err(Refusal::Repeated)),
        ];
        for (values, expected) in table {
            let mut headers = HeaderMap::new();
            for value in *values {
                headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            let expected = expected.map(|token| token.map(str::as_bytes));
            assert_eq!(token(&headers, &AUTHORIZATION), expected, "{values:?}");
        }
    }

    #[test]
    fn elsewhere_the_token_stands_alone() {
        let field = HeaderName::from_static("x-token");
        let mut headers = HeaderMap::new();
        assert_eq!(token(&headers, &field), Ok(None));
        headers.append(&field, HeaderValue::from_static("a.b.c"));
        assert_eq!(token(&headers, &field), Ok(Some(&b"a.b.c"[..])));
        headers.append(&field, HeaderValue::from_static("a.b.c"));
        assert_eq!(token(&headers, &field), Err(Refusal::Repeated));
    }
}
