//! One command for the table of `docs/performance.md`: starts the proxies and the upstream, runs every scenario in rounds
//! with the proxies in a new order each time, prints CPU time for each request beside that of bare Pingora. It judges nothing.

#![allow(clippy::expect_used, clippy::panic)] // a measurement that cannot be made ends it

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use portcullis_benches::side::contestant::{Contestant, Running, Stage, start};
use portcullis_benches::side::scenario::{Load, SCENARIOS, Scenario};
use portcullis_benches::side::table::{self, Run};
use portcullis_benches::side::upstream::Upstream;
use portcullis_benches::side::{idle, load};
use portcullis_e2e::skip;

/// Measures Portcullis beside nginx, HAProxy and bare Pingora on one core, in front of one upstream.
#[derive(Parser)]
struct Options {
    /// Scenarios, all when none is named: small, guard, 16k, 1m, tls-h1, tls-h2, connect, tls-connect, cores, decision,
    /// decision-five, idle.
    scenarios: Vec<String>,
    /// Who takes part, such as bare-pingora,portcullis: all when left out. The first in the table is 1.0.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// One more binary of Portcullis (or, when the name begins with bare, of bare_pingora).
    #[arg(long, value_name = "NAME=PATH")]
    also: Vec<String>,
    /// Seconds of a run.
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Rounds: runs of each contestant in each scenario.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds to settle between changes of the idle scenario.
    #[arg(long, default_value_t = 4)]
    rest: u64,
    /// The proxy's core.
    #[arg(long, default_value_t = 0)]
    core: u32,
    /// The core of load and upstream.
    #[arg(long, default_value_t = 1)]
    load_core: u32,
}

struct Measuring {
    options: Options,
    contestants: Vec<Contestant>,
    stage: Stage,
    upstream: Upstream,
}

fn main() {
    let options = Options::parse();
    let tools = ["taskset", "wrk", "h2load", "nginx"].map(|tool| skip::tool("side_by_side", tool));
    let [Some(_), Some(_), Some(_), Some(nginx)] = tools else {
        eprintln!("!!! nothing was measured: install util-linux, wrk, nghttp2-client and nginx");
        std::process::exit(1);
    };
    raise_files();
    let also: Vec<(String, PathBuf)> = options.also.iter().map(|also| split(also)).collect();
    let mut contestants = Contestant::all(&also);
    if !options.only.is_empty() {
        contestants.retain(|one| options.only.contains(&one.name));
    }
    let chosen: Vec<&Scenario> = SCENARIOS
        .iter()
        .filter(|one| options.scenarios.is_empty() || options.scenarios.iter().any(|name| name == one.name))
        .collect();
    let upstream = Upstream::start(&nginx, &options.load_core.to_string());
    let measuring = Measuring {
        options,
        contestants,
        stage: Stage::new(),
        upstream,
    };
    for scenario in chosen {
        println!("\n## {}: {}\n", scenario.name, scenario.about);
        measuring.run(scenario);
    }
}

fn split(also: &str) -> (String, PathBuf) {
    let (name, path) = also.split_once('=').expect("--also NAME=PATH");
    (name.to_owned(), std::path::absolute(path).expect("a path"))
}

/// As many open files as the system allows: thousands of connections are held.
fn raise_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

impl Measuring {
    fn run(&self, scenario: &Scenario) {
        let cores = match scenario.threads {
            1 => self.options.core.to_string(),
            _ => format!("{},{}", self.options.core, self.options.load_core),
        };
        let begin = |number, contestant| {
            let upstream = self.upstream.address;
            start(number, contestant, scenario, &self.stage, upstream, &cores)
        };
        let able: Vec<&Contestant> = self
            .contestants
            .iter()
            .filter(|one| one.kind.does(scenario.work))
            .collect();
        let contestants = able.iter().copied().enumerate();
        let names: Vec<&str> = able.iter().map(|one| one.name.as_str()).collect();
        if scenario.load == Load::Idle {
            let rest = Duration::from_secs(self.options.rest);
            let held: Vec<_> = contestants
                .map(|(number, contestant)| {
                    let running = begin(number, contestant);
                    idle::run(running.address, &running.server, rest)
                        .unwrap_or_else(|error| panic!("{}: {error}", contestant.name))
                })
                .collect();
            print!("{}", table::idle(&names, &held));
            return;
        }
        let mut running: Vec<Running> = contestants
            .map(|(number, contestant)| begin(number, contestant))
            .collect();
        for one in &running {
            self.once(scenario, one, 1);
        }
        let mut rounds = Vec::new();
        for round in 0..self.options.rounds {
            fastrand::shuffle(&mut running);
            let mut runs = vec![Run::default(); running.len()];
            for one in &running {
                if let Some(run) = runs.get_mut(one.number) {
                    *run = self.once(scenario, one, self.options.seconds);
                }
            }
            let each: Vec<String> = runs.iter().map(|run| format!("{:.2}", run.each_us())).collect();
            eprintln!("{} round {}: {} us", scenario.name, round + 1, each.join(" "));
            rounds.push(runs);
        }
        print!("{}", table::cost(&names, &rounds));
    }

    fn once(&self, scenario: &Scenario, one: &Running, seconds: u32) -> Run {
        let (cpu, begin) = (one.server.cpu(), Instant::now());
        let load_core = match scenario.threads {
            1 => self.options.load_core.to_string(),
            _ => format!("{},{}", self.options.core, self.options.load_core),
        };
        let answers = load::run(scenario, one.address, &self.stage, seconds, &load_core);
        Run {
            answers,
            cpu: one.server.cpu().saturating_sub(cpu),
            seconds: begin.elapsed().as_secs_f64(),
            resident_kib: one.server.resident_kib(),
        }
    }
}
