//! From links as written to chains, and what is refused.

use super::{bench, reload, send, stats, wrong};
use crate::testing::{Bench, RequestBuilder};

#[test]
fn unknown_filters_are_told_with_the_one_that_was_meant() {
    let error = wrong("filters: [{ probee: {} }]");
    assert!(
        error.contains("unknown-filter") && error.contains("did you mean `probe`?"),
        "{error}"
    );
    assert!(error.contains("example.yaml:1:13"), "{error}");
}

#[test]
fn every_error_is_told_at_once() {
    let error = wrong("filters: [{ probe: { akt: deny } }, { probe: { name: b, act: not_built } }, { nothing: {} }]");
    for part in ["akt", "this is not built", "there is no filter `nothing`"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn names_are_unique_within_site_and_route() {
    let error = wrong("filters: [{ probe: {} }, { probe: {} }]");
    assert!(
        error.contains("duplicate-name") && error.contains("two links of this chain are called `probe`"),
        "{error}"
    );
    bench("filters: [{ probe: {} }, { probe: { name: b } }]");
    let shared = bench("site_links: 1\nfilters: [{ probe: {} }, { probe: {} }]");
    let scopes: Vec<_> = shared.chain.links().map(|link| link.scope.to_string()).collect();
    assert_eq!(scopes, ["test", "site", "test"]);
}

#[test]
fn names_are_plain() {
    for name in ["''", "'a b'", "ä", &"x".repeat(65)] {
        let error = wrong(&format!("filters: [{{ probe: {{ name: {name} }} }}]"));
        assert!(
            error.contains("invalid-value") && error.contains("cannot name a link"),
            "{error}"
        );
    }
}

#[test]
fn a_chain_has_at_most_63_links() {
    let links = |count: usize| {
        let links: Vec<_> = (0..count)
            .map(|place| format!("{{ probe: {{ name: n{place} }} }}"))
            .collect();
        format!("filters: [{}]", links.join(", "))
    };
    let most = bench(&links(63));
    let answered = send(&most);
    assert_eq!((answered.status.as_u16(), answered.receipt.0), (200, u64::MAX));
    let error = wrong(&links(64));
    assert!(
        error.contains("out-of-range") && error.contains("at most 63 links"),
        "{error}"
    );
}

#[test]
fn only_what_cannot_be_passed_over_counts_as_enforced() {
    let bench = bench(
        "filters: [{ probe: { mode: shadow } }, { counting: { on_error: allow } }, { quiet: { on_error: deny } }]",
    );
    assert!(!bench.chain.enforces("probe") && !bench.chain.enforces("counting"));
    assert!(bench.chain.enforces("quiet") && bench.chain.enforces("gate") && !bench.chain.enforces("jwt"));
}

#[test]
fn counters_outlive_reloads() {
    let first = bench("filters: [{ probe: { act: deny } }]");
    send(&first);
    let second = reload(
        &first.zones,
        "filters: [{ probe: { name: new } }, { probe: { act: deny } }]",
    );
    send(&second);
    assert_eq!((stats(&second, 1)[0], stats(&second, 2)[1]), (1, 2));
    let third = reload(&reload(&second.zones, "filters: []").zones, "filters: [{ probe: {} }]");
    assert_eq!(stats(&third, 1)[1], 2, "also when a link was gone in between");
}

#[test]
fn the_bare_chain_has_the_gate_and_nothing_else() {
    let bare = Bench::bare();
    assert_eq!(bare.chain.links().count(), 1);
    assert_eq!(bare.send(&RequestBuilder::get("/")).status, 200);
    assert_eq!(
        bare.send(&RequestBuilder::get("/").bundle_missing("no_bundle_loaded"))
            .status,
        503
    );
}

#[test]
fn schemas_of_all_filters_are_there() {
    let schemas = crate::registry::schemas();
    assert_eq!(schemas.len(), crate::registry::FILTERS.len());
    let kinds: Vec<_> = schemas.iter().map(|(kind, _)| *kind).collect();
    assert!(kinds.is_sorted(), "{kinds:?}");
    let whole = portcullis_config::schema::schema(&schemas);
    assert!(whole["$defs"]["Link"]["properties"]["rate_limit"]["properties"]["burst"].is_object());
}
