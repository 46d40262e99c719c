//! What of a configuration is refused, and what it says.

use super::config;
use crate::testing::{ENTROPY, try_bench};
use crate::zones::Zones;

#[test]
fn configurations_that_are_refused() {
    for (settings, message) in [
        ("{}", "needs an `issuer`"),
        ("{ issuers: [] }", "needs an `issuer`"),
        ("{ issuer: nope }", "no issuer is named `nope`"),
        ("{ issuer: main, issuers: [other] }", "exclude each other"),
        ("{ issuers: [main, nope] }", "no issuer is named `nope`"),
        ("{ issuers: [main, main] }", "same `issuer`"),
        ("{ isuer: main }", "issuer"),
        ("{ issuer: main, header: \"a b\" }", "header field name"),
        ("{ issuer: main, header: host }", "`host` cannot be used here"),
        (
            "{ issuer: main, header: connection }",
            "`connection` cannot be used here",
        ),
        ("{ issuer: main, forward: drop }", "drop"),
        ("{ issuer: main, optional: \"yes\" }", "optional"),
        (
            "{ issuer: main, claims_to_headers: { authorization: sub } }",
            "carries the token itself",
        ),
        (
            "{ issuer: main, header: x-t, claims_to_headers: { x_t: sub } }",
            "carries the token itself",
        ),
        (
            "{ issuer: main, claims_to_headers: { x-a: sub, x_a: org } }",
            "for each other",
        ),
        (
            "{ issuer: main, claims_to_headers: { x-forwarded-for: sub } }",
            "cannot be used here",
        ),
        ("{ issuer: main, claims_to_headers: { x-a: \"\" } }", "name of a claim"),
        ("{ issuer: main, required_claims: { a: [] } }", "no request could pass"),
        (
            "{ issuer: main, required_claims: { a: { b: c } } }",
            "a string, a whole number, a boolean or a list",
        ),
        (
            "{ issuer: main, required_claims: { a: [[b]] } }",
            "a string, a whole number or a boolean",
        ),
        (
            "{ issuer: main, required_claims: { a: 1.5 } }",
            "a string, a whole number, a boolean or a list",
        ),
        ("{ issuer: main, scopes: [\"a b\"] }", "not one scope"),
        ("{ issuer: main, scopes: [a, a] }", "listed twice"),
        ("{ issuer: main, scopes: [\"\"] }", "not one scope"),
        ("{ issuer: main, realm: \"a\\\"b\" }", "realm"),
        ("{ issuer: main, cookie: \"a b\" }", "cannot be the name of a cookie"),
        ("{ issuer: main, query: \"\" }", "needs a name"),
        ("{ issuer: main, when: \"jwt.claims.level >\" }", "character"),
        ("{ issuer: main, when: \"nothing.known == 1\" }", "nothing"),
        ("{ issuer: main, when: 'ip.country == \"CH\"' }", "has no source for it"),
        ("{ issuer: main, max_token_age: 0s }", "a second or more"),
        ("{ issuer: main, step_up: {} }", "asks for nothing"),
        (
            "{ issuer: main, step_up: { acr_values: [\"a b\"] } }",
            "not one value of `acr`",
        ),
        ("{ issuer: main, step_up: { amr: [\"\"] } }", "is empty"),
        ("{ issuer: main, step_up: { max_age: 0s } }", "a second or more"),
    ] {
        let error = try_bench(&Zones::new(ENTROPY), &config(&format!("[{{ jwt: {settings} }}]"))).err();
        assert!(
            error.as_ref().is_some_and(|error| error.contains(message)),
            "{settings}: {error:?}"
        );
    }
}

#[test]
fn the_errors_say_what_there_is() {
    let error = |text: &str| try_bench(&Zones::new(ENTROPY), text).err().unwrap();
    let with = error(&config("[{ jwt: { issuer: mian } }]"));
    assert!(
        with.contains("did you mean `main`?") && with.contains("filters[0].jwt.issuer"),
        "{with}"
    );
    let without = error("filters: [{ jwt: { issuer: main } }]");
    assert!(without.contains("none is defined"), "{without}");
}

#[test]
fn values_of_claims_are_written_as_one_or_as_a_list() {
    for settings in ["a", "1", "-1", "true", "[a, 2, false]", "18446744073709551615"] {
        let filters = format!("[{{ jwt: {{ issuer: main, required_claims: {{ a: {settings} }} }} }}]");
        assert!(try_bench(&Zones::new(ENTROPY), &config(&filters)).is_ok(), "{settings}");
    }
}
