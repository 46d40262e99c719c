//! Resident memory over time, and the line through it.

use std::time::{Duration, Instant};

/// Samples of resident memory.
pub(crate) struct Resident {
    began: Instant,
    /// Seconds since the beginning, MiB.
    samples: Vec<(f64, f64)>,
}

impl Resident {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            samples: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, kib: u64) {
        #[expect(clippy::cast_precision_loss, reason = "for people to read")]
        self.samples
            .push((self.began.elapsed().as_secs_f64(), kib as f64 / 1024.0));
    }

    /// Least squares over all samples after `warm_up`: MiB in ten minutes.
    pub(crate) fn slope(&self, warm_up: Duration) -> Option<f64> {
        let after: Vec<_> = self
            .samples
            .iter()
            .filter(|(at, _)| *at >= warm_up.as_secs_f64())
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "a count of samples")]
        let count = after.len() as f64;
        let (sum_x, sum_y) = after
            .iter()
            .fold((0.0, 0.0), |(x, y), sample| (x + sample.0, y + sample.1));
        let (mean_x, mean_y) = (sum_x / count, sum_y / count);
        let spread: f64 = after.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        let common: f64 = after.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
        (after.len() > 2 && spread > 0.0).then(|| common / spread * 600.0)
    }

    /// The series, a value every so many seconds.
    pub(crate) fn print(&self) {
        let step = self.samples.len().div_ceil(24).max(1);
        let series: Vec<String> = self
            .samples
            .iter()
            .step_by(step)
            .map(|(at, mib)| format!("{at:.0}s {mib:.1}"))
            .collect();
        println!("resident MiB: {}", series.join(", "));
    }
}
