//! `tracestate`: checked as W3C Trace Context, level 1, section 3.3 has it, and passed on. We add nothing of our own.

use http::{HeaderMap, HeaderValue};

use super::TRACESTATE;

/// Most members.
const MOST_MEMBERS: usize = 32;
/// Longest list that is passed on.
const LONGEST: usize = 512;
/// A member longer than this is the first to go when the list is too long.
const LONG_MEMBER: usize = 128;

/// The list of a request, its fields joined. `None` when there is none or it is not valid as a whole.
pub(super) fn of(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut members: Vec<&str> = Vec::new();
    for value in headers.get_all(TRACESTATE) {
        for member in value.to_str().ok()?.split(',') {
            let member = member.trim_matches([' ', '\t']);
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            let known = members
                .iter()
                .any(|other| other.split_once('=').is_some_and(|(other, _)| other == key));
            if known || members.len() == MOST_MEMBERS || !is_key(key) || !is_value(value) {
                return None;
            }
            members.push(member);
        }
    }
    shorten(&mut members);
    if members.is_empty() {
        None
    } else {
        HeaderValue::from_str(&members.join(",")).ok()
    }
}

/// Leaves members out until the list is short enough: long ones first, then from the end.
fn shorten(members: &mut Vec<&str>) {
    let length = |members: &[&str]| {
        members
            .iter()
            .map(|member| member.len() + 1)
            .sum::<usize>()
            .saturating_sub(1)
    };
    while length(members) > LONGEST {
        match members.iter().rposition(|member| member.len() > LONG_MEMBER) {
            Some(long) => drop(members.remove(long)),
            None => drop(members.pop()),
        }
    }
}

fn is_key(key: &str) -> bool {
    let rest_fits = |text: &str| {
        text.bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'))
    };
    let begins = |text: &str, digit: bool| {
        text.bytes()
            .next()
            .is_some_and(|b| b.is_ascii_lowercase() || digit && b.is_ascii_digit())
    };
    match key.split_once('@') {
        None => key.len() <= 256 && begins(key, false) && rest_fits(key),
        Some((tenant, system)) => {
            let tenant_fits = tenant.len() <= 241 && begins(tenant, true) && rest_fits(tenant);
            tenant_fits && system.len() <= 14 && begins(system, false) && rest_fits(system)
        }
    }
}

fn is_value(value: &str) -> bool {
    let fits = value
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=');
    !value.is_empty() && value.len() <= 256 && fits && !value.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_fields(fields: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(TRACESTATE, HeaderValue::from_str(field).unwrap());
        }
        of(&headers).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn lists() {
        for (fields, passed) in [
            (vec![], None),
            (vec![""], None),
            (vec!["rojo=00f067aa0ba902b7"], Some("rojo=00f067aa0ba902b7")),
            (vec!["a=1 ,\t b=2", "", ",c=3"], Some("a=1,b=2,c=3")),
            (vec!["0tenant@sys=a b"], Some("0tenant@sys=a b")),
            (vec!["a=1,a=2"], None),
            (vec!["a=1", "a=2"], None),
            (vec!["A=1"], None),
            (vec!["0a=1"], None),
            (vec!["a@0b=1"], None),
            (vec!["a@b@c=1"], None),
            (vec!["a=1=2"], None),
            (vec!["a="], None),
            (vec!["=1"], None),
            (vec!["a"], None),
            (vec!["a b=1"], None),
        ] {
            assert_eq!(of_fields(&fields).as_deref(), passed, "{fields:?}");
        }
    }

    #[test]
    fn limits() {
        let members = |n: usize| (0..n).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert!(of_fields(&[&members(32)]).is_some());
        assert!(of_fields(&[&members(33)]).is_none());
        assert!(of_fields(&[&format!("{}=v", "k".repeat(256))]).is_some());
        assert!(of_fields(&[&format!("{}=v", "k".repeat(257))]).is_none());
        let long = format!("a=1,b={},c={},d=4", "x".repeat(250), "y".repeat(256));
        assert_eq!(of_fields(&[&long]).unwrap(), format!("a=1,b={},d=4", "x".repeat(250)));
    }
}
