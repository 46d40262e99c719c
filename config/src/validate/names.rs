//! The form of names, addresses and URLs as written.

use std::net::{IpAddr, Ipv6Addr};

use http::Uri;

use super::check::Check;
use crate::diagnostic::codes;
use crate::diagnostic::render::userinfo;
use crate::document::NodeId;
use crate::matcher::HostPattern;

/// Names of listeners, upstreams and the like: they become labels of metrics and words of logs.
pub(super) fn name(check: &mut Check<'_>, node: NodeId, on_key: bool, name: &str) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if (1..=64).contains(&name.len()) && name.bytes().all(plain) {
        return;
    }
    let help = "use letters, digits, `_`, `-` and `.`, 1 to 64 of them";
    let message = format!("{name:?} cannot be a name");
    if on_key {
        check.report_key(codes::INVALID_VALUE, node, message, help);
    } else {
        check.report_with(codes::INVALID_VALUE, node, message, help);
    }
}

/// `host:port`, where the host is a name, an IPv4 address or an IPv6 address in brackets.
pub(super) fn host_and_port(text: &str) -> Result<(), String> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err("the port is missing".to_owned());
    };
    if !host.starts_with('[') && host.contains(':') {
        return Err("an IPv6 address stands in brackets, such as [::1]:8080".to_owned());
    }
    match port.parse::<u16>() {
        Ok(1..) if port.bytes().all(|b| b.is_ascii_digit()) => is_host(host),
        _ => Err("the port must be a number from 1 to 65535".to_owned()),
    }
}

/// One host: no pattern, no port.
pub(super) fn is_host(text: &str) -> Result<(), String> {
    match text.parse::<HostPattern>() {
        Ok(HostPattern::Exact(_)) => Ok(()),
        Ok(_) => Err("it must be one host, not a pattern".to_owned()),
        Err(error) => Err(error
            .message
            .split_once("`: ")
            .map_or(error.message.clone(), |(_, why)| why.to_owned())),
    }
}

/// What is sent as Host: a host, with or without a port.
pub(super) fn authority(text: &str) -> Result<(), String> {
    is_host(text).or_else(|error| host_and_port(text).map_err(|_| error))
}

/// A URL that is fetched: `https`, or `http` where `plaintext` allows it. No user, no fragment.
pub(super) fn url(check: &mut Check<'_>, node: NodeId, text: &str, plaintext: Plaintext) {
    if !userinfo(text).is_empty() {
        let help = "remove what stands before the `@`";
        return check.report_with(
            codes::LITERAL_SECRET,
            node,
            "a URL must not carry a user or password",
            help,
        );
    }
    let Ok(uri) = text.parse::<Uri>() else {
        return check.report(codes::INVALID_VALUE, node, "this is not a URL");
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        let help = "begin with https:// and a host";
        return check.report_with(codes::INVALID_VALUE, node, "the URL has no scheme or no host", help);
    };
    if text.contains('#') {
        return check.report(
            codes::INVALID_VALUE,
            node,
            "a URL that is fetched has no fragment (`#`)",
        );
    }
    if let Err(why) = self::authority(authority.as_str()) {
        return check.report(codes::INVALID_VALUE, node, format!("the host of the URL: {why}"));
    }
    match scheme {
        "https" => {}
        "http" if plaintext == Plaintext::Anywhere || is_loopback(authority.host()) => {}
        "http" => {
            let help = "use https; plain http is accepted on loopback only";
            check.report_with(
                codes::INSECURE,
                node,
                "what is fetched over plain http can be forged on the way",
                help,
            );
        }
        _ => check.report(
            codes::INVALID_VALUE,
            node,
            format!("the scheme `{scheme}` is not supported"),
        ),
    }
}

/// Where plain http is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plaintext {
    OnLoopback,
    Anywhere,
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(address) => address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
        None => {
            host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}
