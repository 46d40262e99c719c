//! The whole corpus against one proxy: several lanes at once, each with a proxy and an origin of its own, and the table of
//! what came of it. Cases are judged in [`crate::trial`].

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::corpus::portable::{Case, Kind};
use crate::proxies::Which;
use crate::trial::Lane;

/// What came of a case.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub kind: Kind,
    /// Whether an RFC says MUST.
    pub must: bool,
    /// What was wrong.
    pub what: String,
}

/// What came of all of them.
#[derive(Debug, Default)]
pub struct Report {
    /// How many cases of each kind.
    pub cases: [usize; 3],
    /// Those that failed, in the order of their names.
    pub failures: Vec<Failure>,
}

impl Report {
    /// How many of a kind failed; `must` alone: those of an RFC's MUST.
    pub fn failed(&self, kind: Kind, must: bool) -> usize {
        let of = |failure: &&Failure| failure.kind == kind && (!must || failure.must);
        self.failures.iter().filter(of).count()
    }

    /// One line a kind: cases, passed, failed, failed of a MUST.
    pub fn table(&self, name: &str) -> String {
        let rows = [Kind::Request, Kind::Response, Kind::Downgrade].map(|kind| {
            let (cases, failed) = (self.cases[kind as usize], self.failed(kind, false));
            let passed = cases - failed;
            let must = self.failed(kind, true);
            format!("| {name} | {kind:?} | {cases} | {passed} | {failed} | {must} |\n")
        });
        format!(
            "| proxy | kind | cases | passed | failed | of these a MUST |\n|---|---|---|---|---|---|\n{}",
            rows.concat()
        )
    }

    /// One line a family of names: cases and failed.
    pub fn families(&self, cases: &[Case]) -> String {
        let family = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
        let mut rows: BTreeMap<String, [usize; 2]> = BTreeMap::new();
        for case in cases {
            rows.entry(family(&case.name)).or_default()[0] += 1;
        }
        for failure in &self.failures {
            rows.entry(family(&failure.name)).or_default()[1] += 1;
        }
        let rows = rows
            .iter()
            .map(|(family, [cases, failed])| format!("| {family} | {cases} | {failed} |\n"));
        format!(
            "| family | cases | failed |\n|---|---|---|\n{}",
            rows.collect::<String>()
        )
    }

    /// The names of those that failed, each with what was wrong.
    pub fn list(&self) -> String {
        let line = |failure: &Failure| {
            let must = if failure.must { "must" } else { "should" };
            format!("{} ({must}): {}\n", failure.name, failure.what)
        };
        self.failures.iter().map(line).collect()
    }
}

/// Runs cases. `None`: the proxy is not installed.
pub fn run(which: Which, cases: &[Case], lanes: usize) -> Option<Report> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let started: Vec<Lane> = (0..lanes).map_while(|_| Lane::start(which)).collect();
    if started.len() < lanes {
        return None;
    }
    std::thread::scope(|scope| {
        for mut lane in started {
            let (next, failures) = (&next, &failures);
            scope.spawn(move || {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(what) = lane.run(case) {
                        failures.lock().expect("the list").push(Failure {
                            name: case.name.clone(),
                            kind: case.kind,
                            must: case.must,
                            what,
                        });
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("the list");
    failures.sort_by(|a, b| a.name.cmp(&b.name));
    let count = |kind| cases.iter().filter(|case| case.kind == kind).count();
    Some(Report {
        cases: [Kind::Request, Kind::Response, Kind::Downgrade].map(count),
        failures,
    })
}
