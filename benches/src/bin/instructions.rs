//! Counts instructions of the gateway and its pieces, and compares them with `benches/baseline.json` or records them
//! there. Binaries are built before it is run: see `make bench-check`.

#![allow(clippy::expect_used)] // a count that cannot be taken ends it

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use portcullis_benches::count::baseline::{Baseline, Counts};
use portcullis_benches::count::callgrind;
use portcullis_benches::count::gateway::{CASES, count_piece};
use portcullis_benches::count::pieces::PIECES;
use portcullis_benches::side::contestant::Stage;
use portcullis_e2e::skip;

/// Counts instructions for each request with callgrind.
#[derive(Parser)]
struct Options {
    /// What is counted, all when nothing is named: pass, guard, pass-16k, connect, tls-h1, and the pieces.
    names: Vec<String>,
    /// Write the counts to the baseline instead of comparing them.
    #[arg(long)]
    record: bool,
    /// The folder of `portcullis` and `pieces`, built with `--profile count`.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/count"))]
    programs: PathBuf,
    /// Write the functions that most was spent in to this folder, one file for each case.
    #[arg(long)]
    hot: Option<PathBuf>,
    /// Count so often and print all counts.
    #[arg(long, default_value_t = 1)]
    times: u32,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if skip::tool("instructions", "valgrind").is_none() {
        eprintln!("!!! nothing was counted: install valgrind");
        return ExitCode::FAILURE;
    }
    let mut counts = Counts::new();
    for time in 1..=options.times {
        counts = options.count();
        if options.times > 1 {
            println!("{time}: {counts:?}");
        }
    }
    options.judge(&counts)
}

impl Options {
    fn count(&self) -> Counts {
        let wanted = |name: &str| self.names.is_empty() || self.names.iter().any(|one| one == name);
        let dir = tempfile::tempdir().expect("a temporary folder");
        let stage = Stage::new();
        let mut counts = Counts::new();
        for case in CASES.iter().filter(|case| wanted(case.name)) {
            let count = case.count(&self.programs.join("portcullis"), &stage, dir.path());
            eprintln!("{}: {count}", case.name);
            counts.insert(case.name.to_owned(), count);
            self.write_hot(case.name, dir.path());
        }
        for (name, short, more) in PIECES.iter().filter(|(name, ..)| wanted(name)) {
            let count = count_piece(&self.programs.join("pieces"), name, *short, *more, dir.path());
            eprintln!("{name}: {count}");
            counts.insert((*name).to_owned(), count);
            self.write_hot(name, dir.path());
        }
        counts
    }

    fn write_hot(&self, name: &str, dir: &Path) {
        if let Some(folder) = &self.hot {
            std::fs::write(folder.join(format!("{name}.txt")), callgrind::hot(dir)).expect("a hot list");
        }
    }

    fn judge(&self, counts: &Counts) -> ExitCode {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.json");
        let recorded = std::fs::read_to_string(&path)
            .ok()
            .and_then(|text| Baseline::read(&text));
        if self.record {
            let mut all = recorded.map_or_else(Counts::new, |recorded| recorded.counts);
            all.extend(counts.clone());
            std::fs::write(&path, Baseline::new(all).write()).expect("the baseline");
            return ExitCode::SUCCESS;
        }
        let Some(recorded) = recorded else {
            eprintln!("!!! there is no baseline: `make bench-baseline` records one");
            return ExitCode::FAILURE;
        };
        let here = Baseline::new(Counts::new()).tools;
        if here != recorded.tools {
            eprintln!(
                "!!! recorded with {}, and this is {here}: counts may differ for that alone",
                recorded.tools
            );
        }
        let (table, good) = recorded.compare(counts);
        print!("{table}");
        if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
