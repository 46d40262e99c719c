//! Finding the token in a request (RFC 6750, 2.1): one header field, once.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

use super::refusal::Refusal;

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
