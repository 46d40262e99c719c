//! Names of header fields: which ones no filter may touch, and which ones a server behind us could mistake for each
//! other.

use http::HeaderName;

/// Fields that belong to one connection (RFC 9110, 7.6.1) or frame the message (RFC 9112, 6).
const CONNECTION: [&str; 11] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Fields of a request that the gateway itself writes or acts upon.
const REQUEST: [&str; 4] = ["expect", "forwarded", "host", "x-request-id"];

/// Why a filter may not change a request's field of this name. `None` if it may.
pub fn reserved_in_request(name: &HeaderName) -> Option<&'static str> {
    let text = name.as_str();
    if REQUEST.iter().any(|known| is_twin(known, text)) || is_forwarding(text) {
        return Some("the gateway itself writes this field");
    }
    reserved_in_response(name)
}

/// Why a filter may not change a response's field of this name. `None` if it may.
pub fn reserved_in_response(name: &HeaderName) -> Option<&'static str> {
    let reserved = CONNECTION.iter().any(|known| is_twin(known, name.as_str()));
    reserved.then_some("the field belongs to a connection, and the gateway settles it")
}

fn is_forwarding(name: &str) -> bool {
    const PREFIX: &str = "x-forwarded-";
    name.split_at_checked(PREFIX.len())
        .is_some_and(|(prefix, _)| is_twin(PREFIX, prefix))
}

/// Whether two names are the same to a server that turns everything but letters and digits into `_`, as CGI does
/// (RFC 3875, 4.1.18). A name is its own twin.
pub fn is_twin(one: &str, other: &str) -> bool {
    let folded = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            byte.to_ascii_lowercase()
        } else {
            b'_'
        }
    };
    one.len() == other.len() && one.bytes().map(folded).eq(other.bytes().map(folded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins() {
        for (one, other, expected) in [
            ("x-user", "x-user", true),
            ("x-user", "X_User", true),
            ("x-user", "x.user", true),
            ("x-user", "x-users", false),
            ("x-user", "xuser", false),
            ("authorization", "authorization", true),
        ] {
            assert_eq!(is_twin(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn reserved() {
        let both = [
            "connection",
            "content-length",
            "content_length",
            "transfer-encoding",
            "te",
            "upgrade",
            "trailer",
        ];
        let request = [
            "host",
            "forwarded",
            "x-forwarded-for",
            "x_forwarded_proto",
            "x-forwarded-port",
            "x-request-id",
        ];
        let free = [
            "x-user",
            "authorization",
            "set-cookie",
            "x-forwarded",
            "x-real-ip",
            "accept-encoding",
        ];
        for name in both {
            let name = HeaderName::from_static(name);
            assert!(
                reserved_in_request(&name).is_some() && reserved_in_response(&name).is_some(),
                "{name}"
            );
        }
        for name in request {
            let name = HeaderName::from_static(name);
            assert!(
                reserved_in_request(&name).is_some() && reserved_in_response(&name).is_none(),
                "{name}"
            );
        }
        for name in free {
            let name = HeaderName::from_static(name);
            assert!(
                reserved_in_request(&name).is_none() && reserved_in_response(&name).is_none(),
                "{name}"
            );
        }
    }
}
