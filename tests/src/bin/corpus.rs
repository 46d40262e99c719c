//! Runs the corpus, or the fuzzer, against one proxy and prints the table: `cargo run -p portcullis-e2e --bin corpus --
//! --against nginx`. Tests run the same cases against Portcullis; this is for comparing and for looking closer.

#![allow(clippy::expect_used, clippy::panic)] // a tool of tests fails by panicking, as tests do

use portcullis_e2e::corpus::portable;
use portcullis_e2e::mutate;
use portcullis_e2e::proxies::{Which, version};
use portcullis_e2e::suite;

const USAGE: &str = "corpus --against portcullis|nginx|pingora [--only PREFIX] [--lanes COUNT] [--bytes] [--fuzz COUNT] [--seed NUMBER]";

struct Options {
    which: Which,
    only: String,
    lanes: usize,
    bytes: bool,
    fuzz: u64,
    seed: u64,
}

fn options() -> Option<Options> {
    let mut options = Options {
        which: Which::Portcullis,
        only: String::new(),
        lanes: 4,
        bytes: false,
        fuzz: 0,
        seed: 1,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--against" => options.which = Which::named(&arguments.next()?)?,
            "--only" => options.only = arguments.next()?,
            "--lanes" => options.lanes = arguments.next()?.parse().ok()?,
            "--fuzz" => options.fuzz = arguments.next()?.parse().ok()?,
            "--seed" => options.seed = arguments.next()?.parse().ok()?,
            "--bytes" => options.bytes = true,
            _ => return None,
        }
    }
    Some(options)
}

fn main() {
    let options = options().unwrap_or_else(|| panic!("{USAGE}"));
    if options.fuzz > 0 {
        return fuzz(&options);
    }
    let mut cases = portable::cases();
    cases.retain(|case| case.name.starts_with(&options.only));
    let started = std::time::Instant::now();
    let report = suite::run(options.which, &cases, options.lanes).expect("a proxy that is installed");
    let version = version(options.which);
    println!(
        "{}\n{}\n{}",
        report.table(&version),
        report.families(&cases),
        report.list()
    );
    if options.bytes {
        for failure in &report.failures {
            let case = cases
                .iter()
                .find(|case| case.name == failure.name)
                .expect("a case of the corpus");
            println!("{} (RFC {}): {}", case.name, case.rfc, case.shown());
        }
    }
    println!("{:.1} s", started.elapsed().as_secs_f64());
}

fn fuzz(options: &Options) {
    let started = std::time::Instant::now();
    let tally =
        mutate::run(options.which, options.seed, options.fuzz, options.lanes).expect("a proxy that is installed");
    let bases = mutate::bases();
    for (number, what) in &tally.faults {
        println!("{number}: {what}");
        if options.bytes {
            println!(
                "  sent {}",
                mutate::mutated(&bases, options.seed, *number).escape_ascii()
            );
        }
    }
    println!(
        "{}: seed {}, {} requests: {} forwarded in canonical form, {} cut, {} not forwarded, {} unsafe; {:.0} s",
        version(options.which),
        options.seed,
        tally.sent,
        tally.forwarded,
        tally.cut,
        tally.refused,
        tally.faults.len(),
        started.elapsed().as_secs_f64()
    );
}
