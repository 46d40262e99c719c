//! The forms of a request target and of an authority (RFC 9112, 3.2; RFC 3986, 3.2), for both versions of HTTP. Paths have
//! their own rules, which are not looked at here.

use super::table::Case;

/// Authority and the rest of a target: origin-form, absolute-form, or `*` with OPTIONS.
pub fn split<'t>(target: &'t str, method: &str) -> Result<(Option<&'t str>, &'t str), Case> {
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok((None, target));
    }
    let (scheme, rest) = target.split_once("://").ok_or(Case::TargetForm)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Case::TargetForm);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).ok_or(Case::TargetForm)?;
    if authority.is_empty() {
        return Err(Case::HostInvalid);
    }
    match path {
        "" if method == "OPTIONS" => Ok((Some(authority), "*")),
        "" => Ok((Some(authority), "/")),
        _ if path.starts_with('/') => Ok((Some(authority), path)),
        _ => Err(Case::TargetForm),
    }
}

/// The host of an authority: a name, an IPv4 address or an IPv6 address in brackets, without the port that may follow
/// and without the root's dot. `None`: it is no authority.
pub fn host(authority: &str) -> Option<&str> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        let host = authority.get(..address.len() + 2)?;
        match after {
            "" => (host, None),
            _ => (host, Some(after.strip_prefix(':')?)),
        }
    } else {
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        let name = host.strip_suffix('.').unwrap_or(host);
        (is_name(name).then_some(name)?, port)
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    port.is_none_or(is_port).then_some(host)
}

fn is_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_three_forms() {
        for (method, target, expected) in [
            ("GET", "/a?b", Ok((None, "/a?b"))),
            ("OPTIONS", "*", Ok((None, "*"))),
            ("GET", "*", Err(Case::TargetForm)),
            ("GET", "HTTPS://a:1/b?c", Ok((Some("a:1"), "/b?c"))),
            ("GET", "http://a", Ok((Some("a"), "/"))),
            ("OPTIONS", "http://a", Ok((Some("a"), "*"))),
            ("GET", "http://a?b", Err(Case::TargetForm)),
            ("GET", "http:///b", Err(Case::HostInvalid)),
            ("GET", "ftp://a/b", Err(Case::TargetForm)),
            ("GET", "a:80", Err(Case::TargetForm)),
            ("GET", "http:/a", Err(Case::TargetForm)),
        ] {
            assert_eq!(split(target, method), expected, "{method} {target}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for (authority, expected) in [
            ("a.example:80", Some("a.example")),
            ("a.", Some("a")),
            ("a_b", Some("a_b")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("[::1]:8443", Some("[::1]")),
        ] {
            assert_eq!(host(authority), expected, "{authority}");
        }
        for bad in [
            "", ".", "a..b", "a b", "a:", "a:x", "a:+1", "a:99999", "a:1:2", "u@a", "a/b", "a,b", "[::1", "[a]",
            "[::1]x", "%61", "\u{e4}",
        ] {
            assert_eq!(host(bad), None, "{bad}");
        }
    }
}
