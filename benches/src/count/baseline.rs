//! The recorded counts, and the comparison with new ones. A count that rose by more than the tolerance is a failure; one
//! that fell by more should be recorded.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use serde_json::{Value, json};

/// Percent that a count may rise by.
pub const TOLERANCE: f64 = 3.0;

/// Counts by name.
pub type Counts = BTreeMap<String, u64>;

/// What was counted, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// Compiler and valgrind, which decide about counts too.
    pub tools: String,
    /// Instructions for each request, or each run of a piece.
    pub counts: Counts,
}

impl Baseline {
    /// Of these counts and the tools of this machine.
    pub fn new(counts: Counts) -> Self {
        Self { tools: tools(), counts }
    }

    /// As JSON.
    pub fn write(&self) -> String {
        let value = json!({ "tools": self.tools, "instructions": self.counts });
        format!("{value:#}\n")
    }

    /// From JSON.
    pub fn read(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let counts = value.get("instructions")?.as_object()?.iter();
        Some(Self {
            tools: value.get("tools")?.as_str()?.to_owned(),
            counts: counts
                .map(|(name, count)| Some((name.clone(), count.as_u64()?)))
                .collect::<Option<_>>()?,
        })
    }

    /// A table of both, and whether nothing rose by more than the tolerance. What `new` does not have is not compared.
    pub fn compare(&self, new: &Counts) -> (String, bool) {
        let mut table = String::from("| what | instructions, recorded | now | change % | |\n|---|---|---|---|---|\n");
        let mut good = true;
        for (name, now) in new {
            let Some(before) = self.counts.get(name) else {
                let _ = writeln!(table, "| {name} | none | {now} | | new: record it |");
                continue;
            };
            let change = (*now as f64 - *before as f64) * 100.0 / *before as f64;
            let verdict = if change > TOLERANCE {
                good = false;
                "ROSE"
            } else if change < -TOLERANCE {
                "fell: record it"
            } else {
                ""
            };
            let _ = writeln!(table, "| {name} | {before} | {now} | {change:+.2} | {verdict} |");
        }
        (table, good)
    }
}

/// Versions of what decides about counts beside the code.
fn tools() -> String {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        text.unwrap_or_else(|_| format!("no {program}"))
    };
    format!("{}; {}", version("rustc"), version("valgrind"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(all: &[(&str, u64)]) -> Counts {
        all.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn a_rise_over_the_tolerance_fails_and_a_smaller_one_does_not() {
        let baseline = Baseline {
            tools: "t".to_owned(),
            counts: counts(&[("a", 1000), ("b", 1000), ("c", 1000), ("d", 1000)]),
        };
        let (table, good) = baseline.compare(&counts(&[("a", 1030), ("b", 900)]));
        assert!(good, "{table}");
        assert!(
            table.contains("| b | 1000 | 900 | -10.00 | fell: record it |"),
            "{table}"
        );
        let (table, good) = baseline.compare(&counts(&[("a", 1031), ("e", 5)]));
        assert!(!good, "{table}");
        assert!(table.contains("| e | none | 5 |"), "{table}");
    }

    #[test]
    fn what_is_written_is_read() {
        let baseline = Baseline::new(counts(&[("a", 1)]));
        assert_eq!(Baseline::read(&baseline.write()), Some(baseline));
        assert_eq!(Baseline::read("{}"), None);
    }
}
