//! Numbers of many runs as one line for each contestant. The middle one of all rounds counts; a ratio is taken within a
//! round, where both saw the same machine.

use std::fmt::Write as _;
use std::time::Duration;

use super::idle::Held;
use super::load::Answers;

/// One run of one contestant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Run {
    /// What the load saw.
    pub answers: Answers,
    /// CPU time of the proxy meanwhile.
    pub cpu: Duration,
    /// How long it took.
    pub seconds: f64,
    /// Its resident memory afterwards, in KiB.
    pub resident_kib: u64,
}

impl Run {
    /// CPU time for each request, in microseconds.
    pub fn each_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / (self.answers.requests.max(1) as f64)
    }
}

/// The middle of some numbers; of an even count the mean of the two in the middle.
pub fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = numbers.into_iter().collect();
    all.sort_unstable_by(f64::total_cmp);
    let half = all.len() / 2;
    let at = |index: usize| all.get(index).copied().unwrap_or(f64::NAN);
    match all.len() % 2 {
        0 => f64::midpoint(at(half.wrapping_sub(1)), at(half)),
        _ => at(half),
    }
}

fn spread(numbers: &[f64]) -> (f64, f64) {
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (low, high)
}

/// The table of a scenario in Markdown: `rounds[round][contestant]`. The first contestant is 1.0.
pub fn cost(names: &[&str], rounds: &[Vec<Run>]) -> String {
    let mut out = String::from(
        "| proxy | CPU us/request | least..most | ratio | least..most | requests/CPU-s | requests/s | p50 ms | p99 ms | RSS MiB | errors |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (number, name) in names.iter().enumerate() {
        let runs: Vec<Run> = rounds.iter().filter_map(|round| round.get(number).copied()).collect();
        let middle = |of: fn(&Run) -> f64| median(runs.iter().map(of));
        let each: Vec<f64> = runs.iter().map(Run::each_us).collect();
        let pairs = rounds
            .iter()
            .filter_map(|round| Some((round.get(number)?, round.first()?)));
        let ratios: Vec<f64> = pairs.map(|(own, mark)| own.each_us() / mark.each_us()).collect();
        let (each_us, ratio) = (median(each.iter().copied()), median(ratios.iter().copied()));
        let ((low, high), (below, above)) = (spread(&each), spread(&ratios));
        let errors: u64 = runs.iter().map(|run| run.answers.errors).sum();
        let _ = writeln!(
            out,
            "| {name} | {each_us:.2} | {low:.2}..{high:.2} | {ratio:.2} | {below:.2}..{above:.2} | {:.0} | {:.0} | {:.2} | {:.2} | {:.1} | {errors} |",
            1e6 / each_us,
            middle(|run| run.answers.requests as f64 / run.seconds),
            middle(|run| run.answers.p50_us / 1e3),
            middle(|run| run.answers.p99_us / 1e3),
            middle(|run| run.resident_kib as f64 / 1024.0),
        );
    }
    out
}

/// The table of idle connections.
pub fn idle(names: &[&str], held: &[Held]) -> String {
    let mut out = String::from(
        "| proxy | start MiB | KiB each, cycle 1 | left MiB | KiB each, cycle 2 | left MiB | KiB each, cycle 3 | left MiB |\n|---|---|---|---|---|---|---|---|\n",
    );
    for (name, held) in names.iter().zip(held) {
        let _ = write!(out, "| {name} | {:.1} |", held.start as f64 / 1024.0);
        for (cycle, (_, left)) in held.cycles.iter().enumerate() {
            let each = held.each(cycle).unwrap_or(f64::NAN);
            let _ = write!(out, " {each:.1} | {:.1} |", *left as f64 / 1024.0);
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_counts_and_ratios_are_those_of_a_round() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0]) - 2.5).abs() < 1e-9);
        assert!(median([]).is_nan());
        let run = |millis| Run {
            answers: Answers {
                requests: 1000,
                ..Answers::default()
            },
            cpu: Duration::from_millis(millis),
            seconds: 1.0,
            resident_kib: 2048,
        };
        // The second round's machine was half as fast.
        let rounds = [vec![run(20), run(22)], vec![run(40), run(44)]];
        let table = cost(&["bare", "ours"], &rounds);
        assert!(
            table.contains("| ours | 33.00 | 22.00..44.00 | 1.10 | 1.10..1.10 |"),
            "{table}"
        );
    }

    #[test]
    fn each_cycle_is_counted_from_its_own_start() {
        let held = Held {
            start: 10_000,
            cycles: vec![(90_000, 20_000), (100_000, 21_000)],
        };
        assert_eq!(
            (held.each(0), held.each(1), held.each(2)),
            (Some(20.0), Some(20.0), None)
        );
    }
}
