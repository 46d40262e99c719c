//! `.ci/flaky` says which failed tests are run once more: few, and black-box tests only.

#![allow(clippy::expect_used)] // helpers of tests fail by panicking, as tests do

use std::path::Path;
use std::process::Command;

/// What it prints of such an output of cargo, and whether those tests are to be run again.
fn flaky(log: &str) -> (String, bool) {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("log");
    std::fs::write(&file, log).expect("the log");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/flaky");
    let output = Command::new("sh").arg(script).arg(file).output().expect("sh");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    (text, output.status.success())
}

/// What cargo prints of a target, one of whose tests went well.
fn target(name: &str, failed: &[&str]) -> String {
    let result = |test: &&str| format!("test {test} ... FAILED\n");
    let tests: String = failed.iter().map(result).collect();
    let end = if failed.is_empty() {
        String::new()
    } else {
        format!("\nerror: test failed, to rerun pass `-p portcullis-e2e --test {name}`\n")
    };
    format!("     Running tests/{name}.rs (target/debug/deps/{name}-1)\n\ntest good ... ok\n{tests}{end}")
}

#[test]
fn a_few_black_box_tests_are_run_again() {
    let log = target("replay", &["one"]) + &target("bundles", &[]) + &target("kill", &["module::two", "three"]);
    let end = "error: 2 targets failed:\n    `-p portcullis-e2e --test replay`\n    `-p portcullis-e2e --test kill`\n";
    let found = "replay one\nkill module::two\nkill three\n".to_owned();
    assert_eq!(flaky(&(log + end)), (found, true));
    let coloured = target("replay", &["one"]).replace("FAILED", "\u{1b}[31mFAILED\u{1b}[0m");
    assert_eq!(flaky(&coloured), ("replay one\n".to_owned(), true));
}

#[test]
fn nothing_else_is() {
    assert!(!flaky("").1, "nothing failed");
    assert!(!flaky(&target("replay", &["1", "2", "3", "4"])).1, "too many");
    let one = target("replay", &["one"]);
    let unit = "     Running unittests src/lib.rs (target/debug/deps/portcullis_filters-1)\ntest chain ... FAILED\n\
                error: test failed, to rerun pass `-p portcullis-filters --lib`\n";
    assert!(!flaky(&format!("{one}{unit}")).1, "a test of one function");
    let other = target("golden", &["errors"]).replace("portcullis-e2e", "portcullis-config");
    assert!(!flaky(&other).1, "a test of another package");
    let doc = "   Doc-tests portcullis_config\ntest src/units.rs - units (line 3) ... FAILED\n";
    assert!(!flaky(&format!("{one}{doc}")).1, "an example");
    let died = "     Running tests/kill.rs (target/debug/deps/kill-1)\n\
                error: test failed, to rerun pass `-p portcullis-e2e --test kill`\n\
                error: 2 targets failed:\n    `-p portcullis-e2e --test replay`\n    `-p portcullis-e2e --test kill`\n";
    assert!(!flaky(&format!("{one}{died}")).1, "a target that died without a word");
    assert!(!flaky(&format!("{one}error: could not compile `portcullis`\n")).1);
}
