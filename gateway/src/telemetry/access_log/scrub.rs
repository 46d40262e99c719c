//! Takes credentials out of URLs before they are logged: query parameters that are credentials by their name (RFC 6750, RFC 6749,
//! OpenID Connect), and anything that has the form of a JWT. It is for logs only and decides nothing.

use std::borrow::Cow;

/// What stands for a credential.
const HIDDEN: &[u8] = b"-hidden-";

/// Parameters whose values are credentials.
const NAMES: [&[u8]; 13] = [
    b"access_token",
    b"api_key",
    b"apikey",
    b"assertion",
    b"client_assertion",
    b"client_secret",
    b"id_token",
    b"jwt",
    b"passwd",
    b"password",
    b"refresh_token",
    b"secret",
    b"token",
];

/// A query without credentials.
pub(crate) fn query(query: &[u8]) -> Cow<'_, [u8]> {
    scrub(query, b'&')
}

/// A path without credentials.
pub(crate) fn path(path: &[u8]) -> Cow<'_, [u8]> {
    scrub(path, b'/')
}

/// A URL without credentials.
pub(super) fn url(url: &[u8]) -> Cow<'_, [u8]> {
    let Some(mark) = memchr::memchr2(b'?', b'#', url) else {
        return path(url);
    };
    let (before, after) = url.split_at(mark + 1);
    match (path(before), query(after)) {
        (Cow::Borrowed(_), Cow::Borrowed(_)) => Cow::Borrowed(url),
        (before, after) => Cow::Owned([before, after].concat()),
    }
}

fn scrub(text: &[u8], separator: u8) -> Cow<'_, [u8]> {
    if text.split(|byte| *byte == separator).all(|part| hidden(part).is_none()) {
        return Cow::Borrowed(text);
    }
    let mut clean = Vec::with_capacity(text.len());
    for (n, part) in text.split(|byte| *byte == separator).enumerate() {
        if n > 0 {
            clean.push(separator);
        }
        match hidden(part) {
            None => clean.extend_from_slice(part),
            Some(kept) => {
                clean.extend_from_slice(kept);
                clean.extend_from_slice(HIDDEN);
            }
        }
    }
    Cow::Owned(clean)
}

/// What may stay of a part that holds a credential: its name and `=`.
fn hidden(part: &[u8]) -> Option<&[u8]> {
    let (name, value) = match memchr::memchr(b'=', part) {
        Some(place) => part.split_at(place + 1),
        None => (&b""[..], part),
    };
    let plain = decode(name.strip_suffix(b"=").unwrap_or(name));
    let by_name = !value.is_empty() && NAMES.iter().any(|known| plain.eq_ignore_ascii_case(known));
    (by_name || is_jwt(value)).then_some(name)
}

/// A name with its percent-escapes undone; what is no escape stays.
fn decode(name: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', name).is_none() {
        return Cow::Borrowed(name);
    }
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        let escaped = match tail {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        plain.push(escaped.map_or(*first, |(high, low)| high << 4 | low));
        rest = if escaped.is_some() {
            tail.get(2..).unwrap_or_default()
        } else {
            tail
        };
    }
    Cow::Owned(plain)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// Three parts of base64url, the first of which begins as `{"` does. A prefix such as `Bearer%20` does not hide it.
fn is_jwt(value: &[u8]) -> bool {
    memchr::memmem::find(value, b"eyJ").is_some_and(|start| {
        let rest = value.get(start..).unwrap_or_default();
        memchr::memchr_iter(b'.', rest).count() >= 2
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> String {
        String::from_utf8(query(text.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn queries() {
        for (sent, logged) in [
            ("", ""),
            ("a=b&c=d", "a=b&c=d"),
            ("access_token=abc", "access_token=-hidden-"),
            ("a=b&Access_Token=abc&c", "a=b&Access_Token=-hidden-&c"),
            ("access%5Ftoken=abc", "access%5Ftoken=-hidden-"),
            ("%61ccess_token=a=b", "%61ccess_token=-hidden-"),
            ("%zz%=1&tok%65n=2&%", "%zz%=1&tok%65n=-hidden-&%"),
            ("access_token=", "access_token="),
            ("access_token", "access_token"),
            ("x=eyJhbGciOi.eyJzdWIi.c2ln", "x=-hidden-"),
            ("x=Bearer%20eyJhbGciOi.eyJzdWIi.c2ln", "x=-hidden-"),
            ("eyJhbGciOi.eyJzdWIi.", "-hidden-"),
            ("x=eyJ.a", "x=eyJ.a"),
            ("tokens=5&mytoken=6", "tokens=5&mytoken=6"),
            ("&&=&", "&&=&"),
        ] {
            assert_eq!(clean(sent), logged);
        }
    }

    #[test]
    fn urls_and_paths() {
        assert_eq!(&*url(b"https://a/b?token=1&d=2#e"), b"https://a/b?token=-hidden-&d=2#e");
        assert_eq!(
            &*url(b"https://a/cb#access_token=1"),
            b"https://a/cb#access_token=-hidden-"
        );
        assert_eq!(&*path(b"/reset/eyJa.eyJb.c/x"), b"/reset/-hidden-/x");
        assert!(matches!(url(b"https://a/b?c=d"), Cow::Borrowed(_)));
    }
}
