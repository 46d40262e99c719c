//! One form of a request path (RFC 3986, 6.2.2): the form that is routed, judged and sent upstream.
//!
//! What two readers could understand differently is refused rather than repaired: an encoded slash, NUL, text that is
//! not UTF-8, a broken escape, and dot segments hidden behind a path parameter (`..;`). Queries are not touched here.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    /// `%` without two hexadecimal digits.
    #[error("the path has a `%` that two hexadecimal digits do not follow")]
    BrokenEscape,
    /// `%2F`.
    #[error("the path has an encoded slash (`%2F`)")]
    EncodedSlash,
    /// `%00`.
    #[error("the path has an encoded NUL (`%00`)")]
    EncodedNul,
    /// Decoded, it is not UTF-8.
    #[error("the path is not UTF-8 once it is decoded")]
    NotUtf8,
    /// A control character, a space or a `#`.
    #[error("the path has a character that RFC 3986 does not allow")]
    ForbiddenCharacter,
    /// `.;` or `..;`: a dot segment to some servers and a name to others.
    #[error("the path has a dot segment with a parameter (`..;`)")]
    AmbiguousDotSegment,
}

impl PathError {
    /// The stable code for logs and answers.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotAbsolute => "path_not_absolute",
            Self::BrokenEscape => "path_broken_escape",
            Self::EncodedSlash => "path_encoded_slash",
            Self::EncodedNul => "path_encoded_nul",
            Self::NotUtf8 => "path_not_utf8",
            Self::ForbiddenCharacter => "path_forbidden_character",
            Self::AmbiguousDotSegment => "path_ambiguous_dot_segment",
        }
    }
}

/// The one form of `raw`, a path without its query. Borrows when `raw` is in that form already.
///
/// Escapes of unreserved characters are decoded, other escapes get upper-case digits, characters that must be escaped
/// are, slashes are merged, then dot segments are removed. The result is a fixed point: it normalises to itself.
pub fn normalize(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if !raw.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_normal(raw.as_bytes()) {
        return Ok(Cow::Borrowed(raw));
    }
    let escaped = canonical_escapes(raw)?;
    let normal = without_dots(&escaped)?;
    Ok(if normal == raw {
        Cow::Borrowed(raw)
    } else {
        Cow::Owned(normal)
    })
}

/// Whether nothing has to be looked at more closely: only plain characters, no empty and no dotted segment.
fn is_normal(raw: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in raw {
        if !is_plain(byte) || (previous == b'/' && matches!(byte, b'/' | b'.')) {
            return false;
        }
        previous = byte;
    }
    true
}

/// RFC 3986 `pchar` without escapes, and the slash.
const fn is_plain(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'/' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
        )
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Every escape in its one form, and the decoded whole checked to be UTF-8.
fn canonical_escapes(raw: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(raw.len() + 8);
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        let value = if byte == b'%' {
            let high = bytes.next().and_then(hex).ok_or(PathError::BrokenEscape)?;
            let low = bytes.next().and_then(hex).ok_or(PathError::BrokenEscape)?;
            high << 4 | low
        } else if byte <= b' ' || byte == 0x7f || byte == b'#' {
            return Err(PathError::ForbiddenCharacter);
        } else {
            byte
        };
        decoded.push(value);
        match value {
            b'/' if byte == b'%' => return Err(PathError::EncodedSlash),
            0 => return Err(PathError::EncodedNul),
            _ if is_unreserved(value) || (byte != b'%' && is_plain(value)) => out.push(char::from(value)),
            _ => push_escape(&mut out, value),
        }
    }
    match std::str::from_utf8(&decoded) {
        Ok(_) => Ok(out),
        Err(_) => Err(PathError::NotUtf8),
    }
}

fn push_escape(out: &mut String, value: u8) {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    out.push('%');
    for nibble in [value >> 4, value & 15] {
        out.push(DIGITS.get(usize::from(nibble)).copied().unwrap_or('0'));
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// Merges slashes, then removes dot segments (RFC 3986, 5.2.4).
fn without_dots(path: &str) -> Result<String, PathError> {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_slash = true;
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        match segment {
            "." => ends_in_slash = true,
            ".." => {
                kept.pop();
                ends_in_slash = true;
            }
            _ if segment.starts_with(".;") || segment.starts_with("..;") => {
                return Err(PathError::AmbiguousDotSegment);
            }
            _ => {
                kept.push(segment);
                ends_in_slash = false;
            }
        }
    }
    ends_in_slash |= path.ends_with('/');
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if kept.is_empty() || ends_in_slash {
        out.push('/');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_form() {
        for (raw, normal) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("//", "/"),
            ("//a///b//", "/a/b/"),
            ("/a/./b", "/a/b"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/../../a", "/a"),
            ("/a//../b", "/b"),
            ("/%61dmin", "/admin"),
            ("/a/%2e%2E/b", "/b"),
            ("/%7euser", "/~user"),
            ("/a%3ab", "/a%3Ab"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/café", "/caf%C3%A9"),
            ("/a{b}", "/a%7Bb%7D"),
            ("/a\\b", "/a%5Cb"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/.hidden", "/.hidden"),
            ("/...", "/..."),
            ("/a;v=1/b", "/a;v=1/b"),
        ] {
            assert_eq!(normalize(raw).as_deref(), Ok(normal), "{raw}");
        }
    }

    #[test]
    fn refused() {
        for (raw, error) in [
            ("", PathError::NotAbsolute),
            ("a", PathError::NotAbsolute),
            ("/a%2fb", PathError::EncodedSlash),
            ("/a%2Fb", PathError::EncodedSlash),
            ("/a%00", PathError::EncodedNul),
            ("/a%", PathError::BrokenEscape),
            ("/a%4", PathError::BrokenEscape),
            ("/a%zz", PathError::BrokenEscape),
            ("/a%+1", PathError::BrokenEscape),
            ("/%ff", PathError::NotUtf8),
            ("/%c0%ae%c0%ae/", PathError::NotUtf8),
            ("/a b", PathError::ForbiddenCharacter),
            ("/a#b", PathError::ForbiddenCharacter),
            ("/a\r\nb", PathError::ForbiddenCharacter),
            ("/a/..;/b", PathError::AmbiguousDotSegment),
            ("/a/%2e%2e;x=1/b", PathError::AmbiguousDotSegment),
        ] {
            assert_eq!(normalize(raw).unwrap_err(), error, "{raw}");
        }
    }

    #[test]
    fn plain_paths_are_borrowed() {
        assert!(matches!(normalize("/v1/users/42;a=b,c"), Ok(Cow::Borrowed(_))));
        assert!(matches!(normalize("/v1/.well-known/x"), Ok(Cow::Borrowed(_))));
    }

    proptest! {
        #[test]
        fn a_fixed_point_without_dots(raw in "/[a-z./%0-9A-Fa-f;é{ ]{0,40}") {
            if let Ok(normal) = normalize(&raw) {
                let again = normalize(&normal);
                prop_assert_eq!(again.as_deref(), Ok(&*normal));
                prop_assert!(!normal.contains("//"));
                prop_assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
                prop_assert!(normal.is_ascii());
            }
        }

        #[test]
        fn never_panics(raw in "\\PC{0,60}") {
            let _ = normalize(&raw);
        }
    }
}
