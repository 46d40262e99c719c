//! Texts that look like credentials. A bundle that holds one is refused.

/// What `text` looks like, if it looks like a credential anywhere.
pub(crate) fn detect(text: &str) -> Option<&'static str> {
    /// How it begins, how many more characters it has at least, what it is.
    const KNOWN: [(&str, usize, &str); 10] = [
        ("eyJ", 5, "a JSON Web Token"),
        ("sk_live_", 1, "a Stripe secret key"),
        ("rk_live_", 1, "a Stripe restricted key"),
        ("ghp_", 8, "a GitHub token"),
        ("github_pat_", 8, "a GitHub token"),
        ("glpat-", 8, "a GitLab token"),
        ("xoxb-", 8, "a Slack token"),
        ("xoxp-", 8, "a Slack token"),
        ("AKIA", 16, "an AWS access key"),
        ("AIza", 16, "a Google API key"),
    ];
    if text.contains("-----BEGIN ") {
        return Some("a PEM block");
    }
    let parts = text.split(|character: char| !(character.is_ascii_alphanumeric() || "_-.".contains(character)));
    for part in parts {
        for (prefix, more, kind) in KNOWN {
            if part.strip_prefix(prefix).is_some_and(|rest| rest.len() >= more) {
                return Some(kind);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::detect;

    #[test]
    fn credentials_are_seen_and_names_are_not() {
        for text in [
            "sk_live_4eC39HqLyjWDarjt",
            "/hooks/eyJhbGciOi",
            "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x",
            "-----BEGIN PRIVATE KEY-----",
            "token ghp_0123456789abcdef",
            "AKIAIOSFODNN7EXAMPLE",
        ] {
            assert!(detect(text).is_some(), "{text}");
        }
        for text in [
            "tenant-42",
            "eyJ",
            "risk_live_thing_everywhere",
            "sk_live_",
            "BEGIN of the incident",
            "/v1/AKIA",
        ] {
            assert_eq!(detect(text), None, "{text}");
        }
    }
}
