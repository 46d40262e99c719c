//! What the two largest things that a gateway holds take: a bundle of many policies, and live buckets. Printed as the
//! growth of the resident set, with the allocator and the settings of the gateway. It judges nothing.

#![allow(clippy::expect_used, clippy::cast_precision_loss)]

use std::time::{Duration, Instant};

use clap::Parser;
use portcullis_benches::bundles::{Publisher, accept};
use portcullis_benches::tables::Filled;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Prints resident memory of a loaded bundle and of a full table of buckets.
#[derive(Parser)]
struct Options {
    /// Policies of the bundle.
    #[arg(long, default_value_t = 100_000)]
    policies: usize,
    /// Live buckets.
    #[arg(long, default_value_t = 10_000_000)]
    buckets: u32,
}

fn main() {
    let options = Options::parse();
    bundle(options.policies);
    buckets(options.buckets);
}

fn bundle(policies: usize) {
    let publisher = Publisher::new();
    let loader = publisher.loader();
    // What is needed once for the first bundle of all is not counted.
    drop(accept(&loader, &publisher.sign(1, 10)));
    let bytes = publisher.sign(1, policies);
    let before = settled();
    let begin = Instant::now();
    let accepted = accept(&loader, &bytes);
    let took = begin.elapsed();
    let (with, peak) = (settled(), status("VmHWM:"));
    println!(
        "bundle of {policies} policies: {:.1} MB signed; {:.1} MB in force, {:.1} MB more at most while it was loaded; {:.2} s",
        bytes.len() as f64 / 1e6,
        (with - before) as f64 * 1024.0 / 1e6,
        (peak - with) as f64 * 1024.0 / 1e6,
        took.as_secs_f64()
    );
    assert_eq!(accepted.policies.all().len(), policies, "all of them were held");
}

fn buckets(count: u32) {
    let before = settled();
    let begin = Instant::now();
    let filled = Filled::of(count);
    let took = begin.elapsed();
    // The keys are the bench's own.
    let keys = u64::from(count) * 32 / 1024;
    let with = settled();
    println!(
        "{} live buckets in a table with room for {}: {:.0} MiB, {:.1} B each; filled in {:.1} s",
        filled.len(),
        filled.room(),
        (with - before - keys) as f64 / 1024.0,
        (with - before - keys) as f64 * 1024.0 / f64::from(count),
        took.as_secs_f64()
    );
}

/// Resident KiB once the allocator has given back what it gives back.
fn settled() -> u64 {
    std::thread::sleep(Duration::from_secs(3));
    status("VmRSS:")
}

fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .expect("a number of KiB")
}
