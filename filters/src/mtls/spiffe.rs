//! What a SPIFFE ID is (the SPIFFE-ID standard, 2): a URI that names a workload and nothing else. Where it stands in a
//! certificate is [`crate::client::ClientCertificate::spiffe`]'s matter.

/// Longest ID, and longest trust domain, in bytes.
const LONGEST: usize = 2048;
const LONGEST_DOMAIN: usize = 255;

/// Whether a URI is a SPIFFE ID: a trust domain in lower case and a path of plain segments, without user, port, query,
/// fragment or escapes.
pub(crate) fn is_id(uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix("spiffe://").filter(|_| uri.len() <= LONGEST) else {
        return false;
    };
    let (domain, path) = rest
        .split_once('/')
        .map_or((rest, None), |(domain, path)| (domain, Some(path)));
    let in_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_');
    let in_path = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(in_path);
    (1..=LONGEST_DOMAIN).contains(&domain.len())
        && domain.bytes().all(in_domain)
        && path.is_none_or(|path| path.split('/').all(is_segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let long = format!("spiffe://example.com/{}", "a".repeat(LONGEST));
        let domain = format!("spiffe://{}/a", "a".repeat(256));
        for (uri, expected) in [
            ("spiffe://example.com/ns/prod/sa/api", true),
            ("spiffe://example.com", true),
            (
                "spiffe://k8s-west_1.example.com/9eebccd2-12bf-40a6-b262-65fe0487d453",
                true,
            ),
            ("spiffe://example.com/Api", true),
            ("spiffe://", false),
            ("spiffe:///api", false),
            ("spiffe://Example.com/api", false),
            ("SPIFFE://example.com/api", false),
            ("spiffe://example.com/", false),
            ("spiffe://example.com/api/", false),
            ("spiffe://example.com//api", false),
            ("spiffe://example.com/./api", false),
            ("spiffe://example.com/../api", false),
            ("spiffe://example.com:8443/api", false),
            ("spiffe://user@example.com/api", false),
            ("spiffe://example.com/api?x=1", false),
            ("spiffe://example.com/api#x", false),
            ("spiffe://example.com/a%2Fb", false),
            ("spiffe://example.com/ä", false),
            ("https://example.com/api", false),
            ("", false),
            (&long, false),
            (&domain, false),
        ] {
            assert_eq!(is_id(uri), expected, "{uri}");
        }
    }
}
