//! A filter's README: its fixed headings, and the examples in it, which are run.
//!
//! Examples are fenced blocks: `yaml config` gives the chain (and forgets what was counted), `yaml bundle` the policy
//! bundle, `http steps` the requests and what must come of them.

use std::fmt::Write;

use super::run_steps;
use super::{Bench, ENTROPY};
use crate::zones::Zones;

/// The headings of every README, in order.
const HEADINGS: [&str; 8] = [
    "What it does",
    "When to use it",
    "Config",
    "Example",
    "Decisions",
    "State and reload",
    "Limits",
    "Metrics",
];

/// What a README holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Readme<'t> {
    /// Second-level headings.
    pub headings: Vec<&'t str>,
    /// Fenced blocks: the line at which the text begins, what stands behind the fence, and the text.
    pub blocks: Vec<(usize, &'t str, String)>,
}

impl<'t> Readme<'t> {
    /// Reads one.
    pub fn parse(text: &'t str) -> Self {
        let mut readme = Self::default();
        let mut open: Option<(usize, &str, String)> = None;
        for (number, line) in (1..).zip(text.lines()) {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(info)) => open = Some((number + 1, info.trim(), String::new())),
                (Some(_), Some(_)) => readme.blocks.extend(open.take()),
                (Some((_, _, block)), None) => writeln!(block, "{line}").expect("a string takes any text"),
                (None, None) => readme.headings.extend(line.strip_prefix("## ").map(str::trim)),
            }
        }
        readme
    }
}

/// Checks a README and runs its examples. Says what is wrong, with lines.
pub fn check_readme(text: &str) -> Result<(), String> {
    let readme = Readme::parse(text);
    if readme.headings != HEADINGS {
        return Err(format!(
            "the headings are {:?}, and should be {HEADINGS:?}",
            readme.headings
        ));
    }
    let (mut bench, mut bundle, mut ran) = (None, None, 0);
    for (line, info, block) in &readme.blocks {
        match *info {
            "yaml config" => {
                let built = super::try_bench(&Zones::new(ENTROPY), block);
                bench = Some(built.map_err(|error| format!("line {line}: {error}"))?);
            }
            "yaml bundle" => bundle = Some(Bench::policies(block)),
            "http steps" => {
                let bench = bench
                    .as_ref()
                    .ok_or_else(|| format!("line {line}: no `yaml config` before it"))?;
                run_steps(bench, bundle.as_ref(), block, *line)?;
                ran += 1;
            }
            _ => {}
        }
    }
    if ran == 0 {
        Err("there is no example with `http steps`".to_owned())
    } else {
        Ok(())
    }
}
