//! A program under `valgrind --tool=callgrind`, and how many instructions it took in all its threads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where callgrind writes, in a folder.
pub fn out_file(dir: &Path) -> PathBuf {
    dir.join("callgrind.out")
}

/// Arguments of valgrind in front of a program.
pub fn arguments(dir: &Path) -> Vec<String> {
    vec![
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={}", out_file(dir).display()),
    ]
}

/// Instructions of the run that ended.
pub fn instructions(dir: &Path) -> u64 {
    let text = fs::read_to_string(out_file(dir)).expect("callgrind wrote what it counted");
    totals(&text).expect("callgrind's totals")
}

fn totals(text: &str) -> Option<u64> {
    let totals = text.lines().filter_map(|line| line.strip_prefix("totals: "));
    totals.map(|count| count.trim().parse::<u64>().ok()).sum()
}

/// The functions that most was spent in, as callgrind_annotate prints them.
pub fn hot(dir: &Path) -> String {
    let output = Command::new("callgrind_annotate")
        .args(["--threshold=97", "--auto=no"])
        .arg(out_file(dir))
        .output()
        .expect("callgrind_annotate runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read_and_added() {
        assert_eq!(totals("events: Ir\nfn=(1) a\n3 4\ntotals: 1234\n"), Some(1234));
        assert_eq!(totals("totals: x\n"), None);
    }
}
