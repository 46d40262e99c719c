//! Bundles' own tests, and what a bundle may not ask for.

use portcullis_bundles::author::{self, Format};
use portcullis_bundles::compile::Compiled;

use super::{bundle, policy, rule};
use crate::policy::{selftest, unsupported};

fn compiled(yaml: &str) -> Compiled {
    author::read("b.yaml", yaml, Format::Yaml)
        .unwrap_or_else(|error| panic!("{}", error.render_text()))
        .compiled
}

const BUNDLE: &str = "bundle_version: 1
policies:
  - id: p
    spec:
      selector: { pathPrefix: /v1 }
      rules:
        - { name: r, limit_keys: [jwt:sub], algorithm: token_bucket, on_missing: deny, algorithm_config: { tokens_per_second: 1, burst: 3 } }
kill_switches: [{ scope_key: header:x-tenant, scope_value: bad }, { scope_key: jwt:sub, scope_value: mallory }]
tests:
";

fn failures(tests: &str) -> Vec<String> {
    let Compiled { policies, tests } = compiled(&format!("{BUNDLE}{tests}"));
    let failed = selftest(&policies, &tests, 1_767_225_600).err().unwrap_or_default();
    failed.iter().map(ToString::to_string).collect()
}

#[test]
fn tests_that_hold() {
    let held = failures(
        "  - { name: elsewhere, request: { path: /x }, expect: { decision: allow, reason: no_matching_policy } }
  - { name: three pass, request: { path: /v1/a, claims: { sub: a } }, repeat: 3, expect: { decision: allow, reason: all_rules_passed } }
  - { name: four do not, request: { path: /v1/a, claims: { sub: a } }, repeat: 4, expect: { decision: reject, reason: token_bucket_exceeded, policy: p, rule: r } }
  - { name: no token, request: { path: /v1/a }, expect: { decision: reject, reason: limit_key_missing } }
  - { name: killed, request: { path: /x, headers: { X-Tenant: bad } }, expect: { decision: reject, reason: kill_switch } }
  - { name: killed too, request: { path: /x, claims: { sub: mallory } }, expect: { decision: reject, reason: kill_switch } }
",
    );
    assert_eq!(held, Vec::<String>::new());
}

#[test]
fn tests_that_do_not_hold_are_told() {
    let failed = failures(
        "  - { name: wrong decision, request: { path: /v1/a, claims: { sub: a } }, expect: { decision: reject } }
  - { name: fine, request: { path: /v1/a, claims: { sub: a } }, expect: { decision: allow } }
  - { name: wrong rule, request: { path: /v1/a, claims: { sub: a } }, repeat: 9, expect: { decision: reject, reason: kill_switch } }
  - { name: broken, request: { path: /v1/a, claims: { sub: [a] } }, expect: { decision: allow } }
",
    );
    assert_eq!(failed.len(), 3, "{failed:?}");
    assert!(failed[0].contains("`wrong decision`") && failed[0].contains("expected decision `reject`, got `allow`"));
    assert!(failed[1].contains("`wrong rule`") && failed[1].contains("got `token_bucket_exceeded`"));
    assert!(
        failed[2].contains("could not be evaluated") && failed[2].contains("policy p, rule r"),
        "{failed:?}"
    );
}

#[test]
fn keys_that_could_never_have_a_value_are_found_everywhere() {
    let rules = [
        rule("country", "'ip:country', jwt:sub", 1.0, 1.0, ""),
        rule("tor", "ip:address", 1.0, 1.0, ", match: { ip:tor: 'true' }"),
    ];
    let fallback = format!("fallback_limit: {},", rule("rest", "'ip:asn'", 1.0, 1.0, ""));
    let policies = bundle(
        &[policy("p", &fallback, &rules)],
        "kill_switches: [{ scope_key: ip:type, scope_value: hosting }]",
    );
    let found: Vec<String> = unsupported(&policies, None).iter().map(ToString::to_string).collect();
    let begins = [
        "kill_switches[0]: `ip:type`",
        "policy `p`, rule `country`: `ip:country`",
        "policy `p`, rule `tor`: `ip:tor`",
        "policy `p`, rule `rest`: `ip:asn`",
    ];
    assert_eq!(found.len(), begins.len(), "{found:?}");
    for (found, begin) in found.iter().zip(begins) {
        assert!(
            found.starts_with(begin) && found.contains("`geoip` of the configuration has no source"),
            "{found}"
        );
    }
    let fine = bundle(
        &[policy(
            "p",
            "",
            &[rule("r", "jwt:sub, 'ip:address', 'ua:bot'", 1.0, 1.0, "")],
        )],
        "",
    );
    assert!(unsupported(&fine, None).is_empty());
}
