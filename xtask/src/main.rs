//! `cargo xtask`: the project's own tools. `tidy` proves what no compiler proves, `generate` writes the files that are
//! made from code. Building, testing and packaging are not here: the Makefile and `.ci/` call cargo for those.

mod generate;
mod tidy;
mod tree;

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::tree::{Finding, Tree};

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  tidy                 check the tree: dependencies, sizes, pages, links, settings
  generate             write the files that are made from code
  generate --check     fail when one of them differs from what would be written
";

fn main() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["tidy"] => Ok(report("tidy", &tidy::run(&tree()?)?)),
        ["generate"] => {
            for path in generate::write(&tree()?)? {
                println!("wrote {path}");
            }
            Ok(ExitCode::SUCCESS)
        }
        ["generate", "--check"] => Ok(report("generate --check", &generate::check(&tree()?)?)),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprint!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}

fn tree() -> Result<Tree> {
    let folder = std::env::var("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`")?;
    let root = std::path::Path::new(&folder)
        .parent()
        .context("xtask/ has no parent folder")?;
    Tree::open(root)
}

fn report(what: &str, findings: &[Finding]) -> ExitCode {
    for finding in findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("{what}: clean");
        return ExitCode::SUCCESS;
    }
    println!("{what}: {} findings", findings.len());
    ExitCode::FAILURE
}
