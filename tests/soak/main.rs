//! Long runs against the real binary, off by default: `idle` (memory of connections that wait), `overload` (twice
//! capacity) and `soak` (half capacity for twenty minutes). Each prints what it measured and whether that is within its
//! bound, which is also the exit code. No test of `make test` is in here.

// All of this is test code, which fails by panicking.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cores;
mod idle;
mod origin;
mod overload;
mod resident;
mod soak;
mod traffic;
mod wire;

use std::collections::BTreeMap;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: soak MODE [--FLAG VALUE]...

  idle      memory of idle keep-alive connections
              --connections 4000  --cycles 3  --tls no
  overload  peak capacity, then more than that
              --connections 64 (for the peak)  --turns 9  --seconds 4  --factor 2  --crowd 256 (connections under overload)
              --neighbour yes (takes half of the gateway's core)
              --origin-ms 0  --origin-slots 0 (0: any number at once)
  soak      half capacity with churn, aborts, 4xx, slow clients, and a reload every ten seconds
              --seconds 1200  --share 0.5  --connections 64

PORTCULLIS_BINARY names the binary; without it, the one of this build is used, which measures a development build.
";

/// Flags of the command line, as they were written.
pub(crate) struct Flags(BTreeMap<String, String>);

impl Flags {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut flags = BTreeMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--")?.to_owned();
            flags.insert(name, words.next()?);
        }
        Some(Self(flags))
    }

    /// The value of a flag, or what holds without it.
    fn take<T: std::str::FromStr>(&mut self, name: &str, default: T) -> T {
        match self.0.remove(name) {
            Some(text) => text
                .parse()
                .unwrap_or_else(|_| panic!("--{name} {text}: that is no value for it")),
            None => default,
        }
    }

    fn all_taken(&self) {
        assert!(self.0.is_empty(), "unknown flags: {:?}", self.0.keys());
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (Some(mode), Some(mut flags)) = (words.next(), Flags::parse(words)) else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    let within = match mode.as_str() {
        "idle" => idle::run(&mut flags),
        "overload" => overload::run(&mut flags),
        "soak" => soak::run(&mut flags),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    println!(
        "{mode}: {}",
        if within {
            "within its bounds"
        } else {
            "NOT within its bounds"
        }
    );
    if within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A runtime for clients, on the thread that calls.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}
