//! Cookies in a `Cookie` field (RFC 6265, 4.2.1).

/// The values of a cookie in a field, in order. Names are compared with regard to case; the quotes around a value are no part
/// of it.
pub fn values<'f>(field: &'f [u8], name: &str) -> impl Iterator<Item = &'f [u8]> {
    field.split(|byte| *byte == b';').filter_map(move |pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (own, value) = pair.split_at_checked(equals)?;
        if own.trim_ascii() != name.as_bytes() {
            return None;
        }
        Some(unquoted(value.split_first()?.1.trim_ascii()))
    })
}

/// The names of the cookies in a field, in order. What has no name is left out.
pub fn names(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    let pairs = field.split(|byte| *byte == b';');
    pairs.filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        Some(pair.split_at_checked(equals)?.0.trim_ascii())
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::values;

    #[test]
    fn names_are_exact_and_every_value_is_found() {
        let all = |field: &'static str| -> Vec<&str> {
            let found = values(field.as_bytes(), "id");
            found.map(|value| std::str::from_utf8(value).unwrap()).collect()
        };
        assert_eq!(all("id=1"), ["1"]);
        assert_eq!(all("a=b; id=1;id=2 ; id = 3"), ["1", "2", "3"]);
        assert_eq!(all("id=\"1\"; id=\"; id=\"\""), ["1", "\"", ""]);
        assert_eq!(all("id=a=b"), ["a=b"]);
        assert_eq!(all("ID=1; xid=2; id; idd=3; =; ;;"), [""; 0]);
        assert_eq!(all("id="), [""]);
        assert_eq!(all(""), [""; 0]);
    }
}
