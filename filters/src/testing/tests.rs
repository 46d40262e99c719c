//! Every filter's README, run; and the runner itself.

use super::{Bench, Readme, check_readme, run_steps};
use crate::registry::FILTERS;

#[test]
fn readme_of_every_filter() {
    for filter in FILTERS {
        let path = format!("{}/src/{}/README.md", env!("CARGO_MANIFEST_DIR"), filter.kind);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        if let Err(error) = check_readme(&text) {
            panic!("{path}: {error}");
        }
    }
}

#[test]
fn blocks_and_headings_are_found() {
    let readme = Readme::parse("# a\n## One\n```yaml config\nx: 1\n```\n## Two\n```\n## no\n```\n");
    assert_eq!(readme.headings, ["One", "Two"]);
    assert_eq!(
        readme.blocks,
        [(4, "yaml config", "x: 1\n".to_owned()), (8, "", "## no\n".to_owned())]
    );
}

#[test]
fn steps_that_do_not_hold_are_told_with_their_line() {
    let bench = Bench::new("filters: [{ rate_limit: { key: ip:address, rate: 1/s, burst: 2 } }]");
    let run = |steps: &str| run_steps(&bench, None, steps, 10);
    run("> GET / x2\n< 200\n< RateLimit-Limit: 2\n< RateLimit-Remaining: 0..1\n< !Retry-After\n^ !X-A").unwrap();
    assert!(
        run("> GET /\n< 200")
            .unwrap_err()
            .starts_with("line 10: the request was answered 429")
    );
    assert!(
        run("\n> GET /\n< 429").unwrap_err().contains("line 11"),
        "the reason is compared too"
    );
    assert!(run("> GET /\n").unwrap_err().contains("no expected status"));
    assert!(run("< 200").is_err() && run("GET /").is_err() && run("@nothing").is_err());
    assert!(
        run("@ip 192.0.2.9\n> GET /\n< 200\n^ X-A: b")
            .unwrap_err()
            .contains("went on with")
    );
    assert!(
        run("> GET /\n< 429 reason=rate_limit_exceeded\n^ X-A: b")
            .unwrap_err()
            .contains("did not reach")
    );
}
