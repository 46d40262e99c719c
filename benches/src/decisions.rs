//! Chains with one policy filter and the bundles that it goes by: from nothing to ten thousand policies on a host.

use std::fmt::Write as _;

use crate::chain::Exchanges;

/// The filters: who asks is known from a token, and the bundle decides.
const FILTERS: &str = "filters: [{ jwt: { issuer: main } }, { policy: {} }]";

/// A rule that never refuses.
fn rule(name: &str, key: &str) -> String {
    format!(
        "{{ name: {name}, limit_keys: [{key}], algorithm: token_bucket, \
         algorithm_config: {{ tokens_per_second: 100000000, burst: 100000000 }} }}"
    )
}

/// The filter `policy` alone, under a bundle with one policy of one rule about the address.
pub fn one_rule() -> Exchanges {
    one("\"ip:address\"")
}

/// The same, about a header that each thread sends differently.
pub fn one_rule_by_user() -> Exchanges {
    one("\"header:x-user\"")
}

fn one(key: &str) -> Exchanges {
    let bundle = format!(
        "bundle_version: 1\npolicies:\n- {{ id: api, spec: {{ selector: {{ pathPrefix: /v1 }}, rules: [{}] }} }}\n",
        rule("one", key)
    );
    Exchanges::with_keys("filters: [{ policy: {} }]", &bundle)
}

/// Verified tokens, and a bundle that is not about the request.
pub fn tokens() -> Exchanges {
    Exchanges::with_keys(FILTERS, "bundle_version: 1\npolicies: []\n")
}

/// Verified tokens, and a policy of five rules, three of them about claims, with loop detection.
pub fn five_rules() -> Exchanges {
    let keys = [
        ("subject", "\"jwt:sub\""),
        ("tenant", "\"jwt:tenant\""),
        ("plan", "\"jwt:tenant\", \"header:x-plan\""),
        ("address", "\"ip:address\""),
        ("everyone", ""),
    ];
    let rules: Vec<String> = keys.into_iter().map(|(name, key)| rule(name, key)).collect();
    let bundle = format!(
        "bundle_version: 1\npolicies:\n- id: api\n  spec:\n    selector: {{ pathPrefix: /v1 }}\n    \
         loop_detection: {{ enabled: true, window_seconds: 1, threshold_identical_requests: 1000000000 }}\n    rules: [{}]\n",
        rules.join(", ")
    );
    Exchanges::with_keys(FILTERS, &bundle)
}

/// So many policies on one host, each about a path of its own. One of them applies, with one rule.
pub fn one_of(policies: usize) -> Exchanges {
    let mut bundle = String::from("bundle_version: 1\npolicies:\n");
    for number in 0..policies {
        let _ = writeln!(
            bundle,
            "- {{ id: tenant-{number}, spec: {{ selector: {{ hosts: [api.example.com], pathPrefix: /v1/tenants/{number} }}, \
             rules: [{}] }} }}",
            rule("one", "\"ip:address\"")
        );
    }
    Exchanges::with_keys("filters: [{ policy: {} }]", &bundle).path(&format!("/v1/tenants/{}/things", policies / 2))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn all_of_them_pass_and_take_from_a_bucket_for_each_rule() {
        for (mut exchanges, buckets) in [
            (tokens(), 0),
            (one_rule(), 1),
            (one_rule_by_user(), 1),
            (five_rules(), 6),
            (one_of(10), 1),
            (one_of(100), 1),
        ] {
            assert!((0..100).all(|_| exchanges.beside("alice").run() == StatusCode::OK));
            assert_eq!(exchanges.buckets(), buckets);
            assert_eq!(exchanges.run(), StatusCode::OK);
        }
    }
}
