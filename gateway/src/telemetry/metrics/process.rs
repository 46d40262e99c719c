//! The process as the kernel sees it, under the names that every Prometheus client library uses. Where there is no `/proc`, the
//! samples are left out.

use std::fs;

use crate::telemetry::exposition::{Collect, Exposition};
use crate::telemetry::stamp::Stamp;

/// Ticks a second of the times in `/proc/self/stat`: fixed on every Linux ABI that Rust supports.
const TICKS: f64 = 100.0;

/// The process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) started: Stamp,
}

impl Collect for Process {
    fn collect(&self, out: &mut Exposition) {
        let started = self.started.as_secs_f64();
        out.gauge(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
            &[],
            started,
        );
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        out.gauge(
            "portcullis_build_info",
            "The version of the binary; the value is 1.",
            &version,
            1.0,
        );
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(kib) = number_after(&status, "VmRSS:") {
            out.gauge_u64("process_resident_memory_bytes", "Memory in RAM.", &[], kib * 1024);
        }
        if let Some(kib) = number_after(&status, "VmSize:") {
            out.gauge_u64(
                "process_virtual_memory_bytes",
                "Memory in the address space.",
                &[],
                kib * 1024,
            );
        }
        if let Some(threads) = number_after(&status, "Threads:") {
            out.gauge_u64("process_threads", "Threads.", &[], threads);
        }
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(seconds) = cpu_seconds(&stat) {
            out.counter_seconds("process_cpu_seconds_total", "CPU time, user and system.", &[], seconds);
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            out.gauge_u64("process_open_fds", "Open file descriptors.", &[], open.count() as u64);
        }
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        if let Some(most) = number_after(&limits, "Max open files") {
            out.gauge_u64("process_max_fds", "Most file descriptors that may be open.", &[], most);
        }
    }
}

/// The first number after `name`.
fn number_after(text: &str, name: &str) -> Option<u64> {
    text.split_once(name)?.1.split_whitespace().next()?.parse().ok()
}

/// User and system time. The command's name, which may hold anything, ends with the last parenthesis.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        assert_eq!(number_after("VmPeak: 9 kB\nVmRSS:\t  1234 kB\n", "VmRSS:"), Some(1234));
        assert_eq!(
            number_after("Max open files            unlimited  4096  files", "Max open files"),
            None
        );
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0";
        assert!((cpu_seconds(stat).unwrap() - 4.0).abs() < 1e-9);
        assert_eq!(cpu_seconds(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn of_this_process() {
        let mut out = Exposition::new();
        Process { started: Stamp::now() }.collect(&mut out);
        let text = out.render();
        for name in [
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_cpu_seconds_total",
            "process_start_time_seconds",
            "portcullis_build_info{version=",
        ] {
            assert!(text.contains(&format!("\n{name}")), "{name}\n{text}");
        }
    }
}
