//! Keeps web pages from using an operator's browser against the admin listener: requests that change something come from no page, and ask for
//! the listener by an address or as localhost, never by a name that somebody else can point here (DNS rebinding).

use std::net::IpAddr;

use http::StatusCode;
use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;

use super::answer::Problem;

/// Whether a request may change something.
pub(super) fn check(request: &Parts) -> Result<(), Problem> {
    let refuse = |reason, detail: &str| Err(Problem::new(StatusCode::FORBIDDEN, reason, detail));
    if request.headers.contains_key(ORIGIN) {
        return refuse(
            "origin_not_allowed",
            "requests with an Origin header come from web pages, which may change nothing here",
        );
    }
    // Browsers say where a request comes from; `none` is the address bar.
    let site = request.headers.get("sec-fetch-site");
    if site.is_some_and(|site| site != "none") {
        return refuse("origin_not_allowed", "web pages may change nothing here");
    }
    let mut hosts = request.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(only), None) => only.to_str().ok().and_then(|host| host.parse().ok()),
        _ => None,
    };
    let named = request.uri.authority();
    if host.is_some_and(|host| is_own(&host)) && named.is_none_or(is_own) {
        return Ok(());
    }
    refuse(
        "host_not_allowed",
        "ask for this listener by its IP address or as localhost",
    )
}

fn is_own(authority: &Authority) -> bool {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let plain = !authority.as_str().contains('@');
    plain && (host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn allowed(fields: &[(&str, &str)], target: &str) -> bool {
        let mut request = Request::builder().uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap().into_parts().0).is_ok()
    }

    #[test]
    fn table() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9901",
            "10.1.2.3:9901",
            "[::1]:9901",
            "[2001:db8::1]",
            "localhost",
            "LocalHost:1",
        ] {
            assert!(allowed(&[("host", host)], "/"), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "localhost:x y",
            "a@127.0.0.1",
            "0x7f000001",
            "127.1",
        ] {
            assert!(!allowed(&[("host", host)], "/"), "{host}");
        }
        assert!(!allowed(&[], "/"));
        assert!(!allowed(&[("host", "127.0.0.1"), ("host", "127.0.0.1")], "/"));
        assert!(!allowed(&[("host", "127.0.0.1")], "http://evil.example/"));
        assert!(allowed(&[("host", "127.0.0.1")], "http://127.0.0.1/"));
        for origin in ["null", "http://127.0.0.1:9901", "https://evil.example", ""] {
            assert!(!allowed(&[("host", "127.0.0.1"), ("origin", origin)], "/"), "{origin}");
        }
        assert!(!allowed(
            &[("host", "127.0.0.1"), ("sec-fetch-site", "same-origin")],
            "/"
        ));
        assert!(allowed(&[("host", "127.0.0.1"), ("sec-fetch-site", "none")], "/"));
    }
}
