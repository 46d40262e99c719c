//! Does a new bundle every second slow requests down? Load at a fixed rate below what the gateway can do, in rounds with
//! and without swaps; the 99th percentile of both. It judges nothing.

#![allow(clippy::expect_used, clippy::cast_precision_loss)] // a measurement that cannot be made ends it

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use portcullis_benches::bundles::Publisher;
use portcullis_benches::side::contestant::Contestant;
use portcullis_benches::side::load::paced;
use portcullis_benches::side::process::Server;
use portcullis_benches::side::table::median;
use portcullis_benches::side::upstream::Upstream;
use portcullis_e2e::{gateway, ports, skip};

/// Compares p99 with and without a swap of the bundle every second.
#[derive(Parser)]
struct Options {
    /// Policies of the bundle.
    #[arg(long, default_value_t = 100_000)]
    policies: usize,
    /// Pairs of rounds.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of a round.
    #[arg(long, default_value_t = 8)]
    seconds: u32,
    /// Requests a second.
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// Cores of the gateway, as taskset takes them. Work on a bundle is done beside the requests, so there are two.
    #[arg(long, default_value = "0,1")]
    cores: String,
}

fn main() {
    let options = Options::parse();
    let tools = ["taskset", "h2load", "nginx"].map(|tool| skip::tool("swap", tool));
    let ours = Contestant::all(&[]).into_iter().find(|one| one.name == "portcullis");
    let ([Some(_), Some(_), Some(nginx)], Some(ours)) = (tools, ours) else {
        eprintln!("!!! nothing was measured");
        std::process::exit(1);
    };
    let upstream = Upstream::start(&nginx, "1");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let publisher = Publisher::new();
    let (address, admin) = (ports::free(), ports::free());
    let text = format!(
        "listeners: [{{ name: public, address: \"{address}\" }}]\n\
         upstreams: {{ app: {{ servers: [\"{}\"] }} }}\n{}\
         sites: [{{ hosts: [\"*\"], routes: [{{ filters: [{{ policy: {{}} }}], proxy: {{ upstream: app }} }}] }}]\n\
         telemetry: {{ access_log: {{ file: access.log }} }}\n\
         runtime: {{ threads: 1, drain_delay: 0s, grace_period: 0s }}\nadmin: {{ address: \"{admin}\" }}\n",
        upstream.address,
        publisher.policy().replace("{dir}", &dir.path().display().to_string()),
    );
    let config = dir.path().join("portcullis.yaml");
    std::fs::write(&config, text).expect("a configuration");
    let mut version = 1;
    publish(&publisher, &mut version, options.policies, dir.path());
    let arguments = ["run".to_owned(), "--config".to_owned(), config.display().to_string()];
    let mut server = Server::start("portcullis", &options.cores, dir.path(), &ours.program, &arguments);
    server.wait_for(address);
    let run = || paced(address, "/small", options.rate, options.seconds, "1");
    run();
    let (mut quiet, mut swapped) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        let calm = run();
        let prepared = prepare(&publisher, &mut version, &options, dir.path());
        let done = AtomicBool::new(false);
        let (busy, swaps) = std::thread::scope(|scope| {
            let swaps = scope.spawn(|| swap(&prepared, dir.path(), admin, &done));
            let busy = run();
            done.store(true, Ordering::Relaxed);
            (busy, swaps.join().expect("the swapper"))
        });
        println!(
            "round {round}: p50 {:.2} -> {:.2} ms, p99 {:.2} -> {:.2} ms with {swaps} swaps; {} and {} errors; {:.0} MiB",
            calm.p50_us / 1e3,
            busy.p50_us / 1e3,
            calm.p99_us / 1e3,
            busy.p99_us / 1e3,
            calm.errors,
            busy.errors,
            server.resident_kib() as f64 / 1024.0
        );
        quiet.push(calm.p99_us);
        swapped.push(busy.p99_us);
    }
    let (quiet, swapped) = (median(quiet), median(swapped));
    println!(
        "p99, middle of {} rounds: {:.2} ms without, {:.2} ms with swaps: {:+.1} %",
        options.rounds,
        quiet / 1e3,
        swapped / 1e3,
        (swapped / quiet - 1.0) * 100.0
    );
}

/// Signed beforehand, so that the signing is not in the way: one for each second.
fn prepare(publisher: &Publisher, version: &mut u64, options: &Options, dir: &Path) -> Vec<std::path::PathBuf> {
    (0..options.seconds)
        .map(|number| {
            *version += 1;
            let path = dir.join(format!("next-{number}"));
            std::fs::write(&path, publisher.sign(*version, options.policies)).expect("a bundle");
            path
        })
        .collect()
}

fn publish(publisher: &Publisher, version: &mut u64, policies: usize, dir: &Path) {
    std::fs::write(dir.join("policy.bundle"), publisher.sign(*version, policies)).expect("a bundle");
    *version += 1;
}

/// A new bundle each second until it is `done`. How many there were.
fn swap(prepared: &[std::path::PathBuf], dir: &Path, admin: std::net::SocketAddr, done: &AtomicBool) -> usize {
    let mut swaps = 0;
    for path in prepared {
        let begin = Instant::now();
        std::fs::rename(path, dir.join("policy.bundle")).expect("a bundle in place");
        let (status, text) = gateway::ask(admin, "POST", "/-/reload", "").expect("the admin listener answers");
        assert_eq!(status, 200, "{text}");
        swaps += 1;
        std::thread::sleep(Duration::from_secs(1).saturating_sub(begin.elapsed()));
        if done.load(Ordering::Relaxed) {
            break;
        }
    }
    swaps
}
