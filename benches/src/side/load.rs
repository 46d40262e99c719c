//! The load: wrk for HTTP/1.1, h2load for HTTP/2. Their words are turned into numbers here.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::contestant::Stage;
use super::scenario::{Load, Scenario};

/// What a run of the load came to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Answers {
    /// Answers, good or not.
    pub requests: u64,
    /// Answers that are not 2xx, and connections that broke.
    pub errors: u64,
    /// Latency of the middle one in microseconds.
    pub p50_us: f64,
    /// Latency that 99 of 100 stay below.
    pub p99_us: f64,
}

/// What is to be decided about.
const DESCRIPTION: [&str; 4] = [
    "X-Original-Method: GET",
    "X-Original-URI: /v1/things/42?page=2",
    "X-Original-Host: api.example.com",
    "X-Plan: gold",
];

/// Runs the load of `scenario` for `seconds` on `cores`.
pub fn run(scenario: &Scenario, address: SocketAddr, stage: &Stage, seconds: u32, cores: &str) -> Answers {
    let scheme = if scenario.tls { "https" } else { "http" };
    let url = format!("{scheme}://{address}{}", scenario.path);
    let bearer = format!("Authorization: Bearer {}", stage.token);
    match scenario.load {
        Load::Http2 => h2load(&url, &bearer, seconds, cores),
        load => {
            let mut arguments = vec!["-H".to_owned(), bearer];
            if load == Load::OneRequest {
                arguments.extend(["-H".to_owned(), "Connection: close".to_owned()]);
            }
            if scenario.work.decides() {
                arguments.extend(
                    DESCRIPTION
                        .iter()
                        .flat_map(|field| ["-H".to_owned(), (*field).to_owned()]),
                );
                arguments.extend(["-s".to_owned(), stage.post()]);
            }
            wrk(&url, &arguments, seconds, cores)
        }
    }
}

fn wrk(url: &str, more: &[String], seconds: u32, cores: &str) -> Answers {
    let mut command = Command::new("taskset");
    command.args(["-c", cores, "wrk", "-t1", "-c64", "--latency"]);
    let text = said(command.arg(format!("-d{seconds}s")).args(more).arg(url));
    read_wrk(&text).unwrap_or_else(|| panic!("wrk says:\n{text}"))
}

fn h2load(url: &str, header: &str, seconds: u32, cores: &str) -> Answers {
    let mut command = Command::new("taskset");
    command.args(["-c", cores, "h2load", "-t1", "-c8", "-m16"]);
    measured(command.arg(format!("-D{seconds}")), url, header)
}

fn measured(command: &mut Command, url: &str, header: &str) -> Answers {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let log = dir.path().join("log");
    let text = said(command.arg("--log-file").arg(&log).args(["-H", header, url]));
    let (p50_us, p99_us) = latencies(&log);
    let (requests, errors) = read_h2load(&text).unwrap_or_else(|| panic!("h2load says:\n{text}"));
    Answers {
        requests,
        errors,
        p50_us,
        p99_us,
    }
}

/// HTTP/1.1 at a fixed rate over 20 connections, whatever the answers take.
pub fn paced(address: SocketAddr, path: &str, rate: u32, seconds: u32, cores: &str) -> Answers {
    const CONNECTIONS: u32 = 20;
    let url = format!("http://{address}{path}");
    let mut command = Command::new("taskset");
    command.args(["-c", cores, "h2load", "--h1", "-t1", &format!("-c{CONNECTIONS}")]);
    command.arg(format!("--rps={}", rate / CONNECTIONS));
    measured(command.arg(format!("-D{seconds}")), &url, "X-User: alice")
}

fn said(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("taskset starts it");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn read_wrk(text: &str) -> Option<Answers> {
    let lines = || text.lines().map(str::trim);
    let after = |start: &str| lines().find_map(|line| line.strip_prefix(start));
    let (requests, _) = lines().find_map(|line| line.split_once(" requests in "))?;
    let bad = after("Non-2xx or 3xx responses: ").map_or(Some(0), |count| count.parse().ok())?;
    // connect 0, read 3, write 0, timeout 0
    let broken: u64 = after("Socket errors: ").map_or(0, |counts| {
        let words = counts.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok());
        words.sum()
    });
    Some(Answers {
        requests: requests.parse().ok()?,
        errors: bad + broken,
        p50_us: microseconds(after("50%")?.trim())?,
        p99_us: microseconds(after("99%")?.trim())?,
    })
}

fn microseconds(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 6e7)];
    let (number, factor) = units
        .into_iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

fn read_h2load(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().find_map(|line| line.strip_prefix("requests: "))?;
    let count = |what: &str| {
        let mut counts = line.split(", ").filter_map(|part| part.split_once(' '));
        counts.find(|(_, name)| *name == what)?.0.parse::<u64>().ok()
    };
    let codes = text.lines().find_map(|line| line.strip_prefix("status codes: "))?;
    let good: u64 = codes.split_once(" 2xx")?.0.parse().ok()?;
    let done = count("done")?;
    Some((done, done.saturating_sub(good)))
}

/// The middle and the 99th of 100 of a log of h2load: start, status and duration in microseconds.
fn latencies(log: &Path) -> (f64, f64) {
    let text = fs::read_to_string(log).unwrap_or_default();
    let mut all: Vec<u32> = text
        .lines()
        .filter_map(|line| line.rsplit('\t').next()?.parse().ok())
        .collect();
    all.sort_unstable();
    let at = |percent: usize| all.get(all.len() * percent / 100).map_or(0.0, |us| f64::from(*us));
    (at(50), at(99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_read() {
        let text = "Running 5s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  Thread Stats   Avg\n    Latency     2.49ms    3.32ms\n  \
            Latency Distribution\n     50%  800.00us\n     75%    2.40ms\n     90%    6.90ms\n     99%    1.20s\n  155079 requests in 5.00s, 29.58MB read\n  \
            Socket errors: connect 0, read 3, write 0, timeout 1\n  Non-2xx or 3xx responses: 7\nRequests/sec:  31006.66\n";
        let answers = read_wrk(text).expect("a summary");
        let expected = Answers {
            requests: 155_079,
            errors: 11,
            p50_us: 800.0,
            p99_us: 1.2e6,
        };
        assert_eq!(answers, expected);
        assert!(read_wrk("unable to connect").is_none());
    }

    #[test]
    fn what_h2load_says_is_read() {
        let text = "finished in 5.01s, 24000.20 req/s, 3.10MB/s\nrequests: 120001 total, 120129 started, 120001 done, 120000 succeeded, 1 failed, 0 errored, 0 timeout\n\
            status codes: 119990 2xx, 0 3xx, 0 4xx, 10 5xx\ntraffic: 15MB\n";
        assert_eq!(read_h2load(text), Some((120_001, 11)));
    }

    #[test]
    fn percentiles_are_taken_from_the_log() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = dir.path().join("log");
        let lines: Vec<String> = (0..200).rev().map(|us| format!("1\t200\t{us}")).collect();
        fs::write(&log, lines.join("\n")).expect("a log");
        assert_eq!(latencies(&log), (100.0, 198.0));
        assert_eq!(latencies(Path::new("none")), (0.0, 0.0));
    }
}
