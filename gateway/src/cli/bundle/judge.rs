//! What every gateway would hold against a bundle that can be read and compiled: times, and tests that come out otherwise.
//! Each at its place in the author's text.

use std::path::Path;

use anyhow::ensure;
use portcullis_bundles::author::{Authored, canonical_json};
use portcullis_bundles::examine;
use portcullis_bundles::explain::Explanation;
use portcullis_bundles::format::Bundle;
use portcullis_bundles::lint;
use portcullis_bundles::loader::{Loader, Refused, RefusedReason, Settings};
use portcullis_bundles::problem::{Place, Problem, Problems};
use portcullis_bundles::timestamp::Timestamp;
use portcullis_bundles::trust::Trust;
use portcullis_config::diagnostic::suggest;
use portcullis_filters::policy::PolicyExaminer;
use portcullis_filters::registry::{FILTERS, UNKNOWN_FILTER};

use super::file::{MAX_BYTES, Signed, Text};
use crate::cli::format::tell;

/// The code of a test that does not come out as it says.
pub(crate) const FAILED_TEST: &str = "failed-test";

/// An author's file that a gateway would accept.
pub(super) struct Acceptable {
    /// The file's name.
    pub(super) name: String,
    /// What is in it.
    pub(super) authored: Authored,
    /// The moment at which it was judged.
    pub(super) at: i64,
}

impl Acceptable {
    /// Reads and judges it; what is to be said of it is told. `None`: a gateway would not. `verb`: what is to be done.
    pub(super) fn read(file: &Path, verb: &str) -> anyhow::Result<Option<Self>> {
        let text = Text::read(file)?;
        ensure!(
            text.signed == Signed::No,
            "{} is signed already; {verb} the author's file",
            text.name
        );
        let authored = match text.authored() {
            Ok(authored) => authored,
            Err(wrong) => {
                tell(wrong.render_text());
                return Ok(None);
            }
        };
        // Bundles may be signed ahead of time: then it is the moment at which they begin to be valid.
        let begins = authored.bundle.not_before.map_or(i64::MIN, Timestamp::unix);
        let at = begins.max(super::now());
        let faults = faults(&authored, at);
        if !faults.is_empty() {
            tell(explain(&authored, &faults).render_text());
            return Ok(None);
        }
        tell(render_hints(&explain(&authored, &hints(&authored.bundle, at))));
        let name = text.name;
        Ok(Some(Self { name, authored, at }))
    }
}

/// Everything that would make a gateway refuse `authored` at the moment `now`.
pub(crate) fn faults(authored: &Authored, now: i64) -> Vec<Problem> {
    let mut faults: Vec<_> = out_of_time(&authored.bundle, now).into_iter().collect();
    faults.extend(failed_tests(authored, now));
    faults
}

/// What is allowed in it and most likely not meant.
pub(crate) fn hints(bundle: &Bundle, now: i64) -> Vec<Problem> {
    let mut hints = lint::hints(bundle, now);
    hints.extend(unknown_filters(bundle));
    hints
}

/// Problems at their places, in the order of the text.
pub(crate) fn explain(authored: &Authored, problems: &[Problem]) -> Explanation {
    let mut explanation = authored.explain(problems);
    explanation.diagnostics.sort();
    explanation
}

/// Hints for people: as errors are shown, and plainly none.
pub(crate) fn render_hints(hints: &Explanation) -> String {
    let text = hints.render_text();
    let lines = text.lines().map(|line| match line.strip_prefix("error") {
        Some(rest) => format!("hint{rest}\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}

/// Requirements that no configuration can meet.
fn unknown_filters(bundle: &Bundle) -> Vec<Problem> {
    let mut found = Problems::default();
    let list = Place::ROOT.field("require");
    for (index, requirement) in bundle.require.iter().enumerate() {
        let place = list.item(index);
        let filters = place.field("filters");
        for (index, kind) in requirement.filters.iter().enumerate() {
            if FILTERS.iter().all(|filter| filter.kind != kind) {
                let message = format!("this version has no filter `{kind}`: no route here can meet the requirement");
                let help = suggest(kind, FILTERS.iter().map(|filter| filter.kind));
                found.advise(UNKNOWN_FILTER, &filters.item(index), message, help);
            }
        }
    }
    found.into_vec()
}

/// What the loader says of a bundle apart from its signature and its tests: above all, of its times.
fn out_of_time(bundle: &Bundle, now: i64) -> Option<Problem> {
    let settings = Settings {
        max_bytes: MAX_BYTES,
        max_version_jump: None,
        insecure_unsigned: true,
        names: None,
    };
    let loader = Loader::new(settings, Trust::default(), Box::new(PolicyExaminer));
    let without_tests = Bundle {
        tests: Vec::new(),
        ..bundle.clone()
    };
    let refused = match canonical_json(&without_tests) {
        Ok(json) => loader.accept(&json, now, None).err()?,
        Err(error) => return Some(problem("invalid-bundle", "", error.to_string())),
    };
    let Refused { reason, detail, .. } = refused;
    let (code, pointer) = match reason {
        RefusedReason::BundleExpired => ("bundle-expired", "/expires_at"),
        RefusedReason::NotYetValid => ("not-yet-valid", "/not_before"),
        RefusedReason::IssuedInFuture => ("issued-in-future", "/issued_at"),
        RefusedReason::OverrideExpired if detail.starts_with("global_shadow") => ("override-expired", "/global_shadow"),
        RefusedReason::OverrideExpired => ("override-expired", "/kill_switch_override"),
        RefusedReason::TooLarge => ("too-large", ""),
        _ => ("invalid-bundle", ""),
    };
    Some(problem(code, pointer, detail))
}

fn failed_tests(authored: &Authored, now: i64) -> Vec<Problem> {
    let compiled = &authored.compiled;
    let failures = examine::run(&PolicyExaminer, &compiled.policies, &compiled.tests, now);
    let place =
        |failure: examine::Failure| problem(FAILED_TEST, &format!("/tests/{}", failure.index), failure.to_string());
    failures.into_iter().map(place).collect()
}

fn problem(code: &'static str, pointer: &str, message: String) -> Problem {
    Problem {
        code,
        pointer: pointer.to_owned(),
        message,
        help: None,
    }
}

#[cfg(test)]
mod tests {
    use portcullis_bundles::author::{self, Format};

    use super::*;

    /// 2026-02-03T14:00:00Z.
    const NOW: i64 = 1_770_127_200;

    fn codes(yaml: &str) -> Vec<(&'static str, String)> {
        let authored = author::read("policy.yaml", yaml, Format::Yaml).unwrap();
        faults(&authored, NOW)
            .into_iter()
            .map(|fault| (fault.code, fault.pointer))
            .collect()
    }

    #[test]
    fn a_bundle_without_fault_has_none() {
        assert_eq!(
            codes("bundle_version: 1\nexpires_at: 2099-01-01T00:00:00Z\npolicies: []\n"),
            []
        );
    }

    #[test]
    fn times_have_their_places() {
        let cases = [
            ("expires_at: 2026-01-01T00:00:00Z", "bundle-expired", "/expires_at"),
            ("not_before: 2027-01-01T00:00:00Z", "not-yet-valid", "/not_before"),
            ("issued_at: 2027-01-01T00:00:00Z", "issued-in-future", "/issued_at"),
            (
                "global_shadow: { enabled: true, reason: x, expires_at: 2026-01-01T00:00:00Z }",
                "override-expired",
                "/global_shadow",
            ),
            (
                "kill_switch_override: { enabled: true, reason: x, expires_at: 2026-01-01T00:00:00Z }",
                "override-expired",
                "/kill_switch_override",
            ),
        ];
        for (line, code, pointer) in cases {
            let yaml = format!("bundle_version: 1\n{line}\npolicies: []\n");
            assert_eq!(codes(&yaml), [(code, pointer.to_owned())], "{line}");
        }
    }

    #[test]
    fn tests_that_fail_have_their_places() {
        let rule = |key: &str| {
            format!(
                "bundle_version: 1\npolicies:\n- id: a\n  spec:\n    selector: {{ pathPrefix: / }}\n    rules:\n    \
                 - {{ name: r, limit_keys: [\"{key}\"], algorithm: token_bucket, \
                 algorithm_config: {{ tokens_per_second: 1, burst: 1 }} }}\n\
                 tests:\n- {{ name: t, request: {{ path: /, ip: 192.0.2.1 }}, expect: {{ decision: reject }} }}\n"
            )
        };
        assert_eq!(codes(&rule("ip:address")), [(FAILED_TEST, "/tests/0".to_owned())]);
    }

    #[test]
    fn a_requirement_that_nobody_can_meet_is_hinted_at() {
        let yaml =
            "bundle_version: 1\nexpires_at: 2099-01-01T00:00:00Z\npolicies: []\nrequire: [{ filters: [jwtt] }]\n";
        let authored = author::read("policy.yaml", yaml, Format::Yaml).unwrap();
        let hints = hints(&authored.bundle, NOW);
        assert_eq!(hints.iter().map(|hint| hint.code).collect::<Vec<_>>(), [UNKNOWN_FILTER]);
        let text = render_hints(&explain(&authored, &hints));
        assert!(text.starts_with("hint[unknown-filter]: "), "{text}");
        assert!(text.contains("did you mean `jwt`?"), "{text}");
    }
}
