//! Child processes on chosen cores, and what the kernel says of them: CPU time and resident memory. Linux only.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longest that a process may take to listen, or to leave.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server with all of its workers. Ended when dropped.
pub struct Server {
    child: Child,
    name: String,
    out: PathBuf,
}

impl Server {
    /// Starts a program on `cores` (as `taskset -c` takes them) in `dir`; what it says goes to `dir/NAME.out`.
    pub fn start<S: AsRef<OsStr>>(name: &str, cores: &str, dir: &Path, program: &Path, arguments: &[S]) -> Self {
        let path = dir.join(format!("{name}.out"));
        let out = File::create(&path).expect("a file for its output");
        let child = Command::new("taskset")
            .args(["-c", cores])
            .arg(program)
            .args(arguments)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("its output"))
            .stderr(out)
            .spawn()
            .expect("taskset (util-linux) starts it");
        Self {
            child,
            name: name.to_owned(),
            out: path,
        }
    }

    /// Waits until somebody listens there.
    pub fn wait_for(&mut self, address: SocketAddr) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            let ended = self.child.try_wait().expect("the child").is_some();
            let waits = !ended && Instant::now() < deadline;
            assert!(waits, "{} does not listen:\n{}", self.name, self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// CPU time of the process and its children so far, user and system.
    pub fn cpu(&self) -> Duration {
        let ticks: u64 = self.family().iter().map(|process| process.ticks).sum();
        // USER_HZ is 100 on every Linux that Rust runs on.
        Duration::from_millis(ticks * 10)
    }

    /// Resident memory in KiB, shared pages counted for each worker.
    pub fn resident_kib(&self) -> u64 {
        self.family().iter().map(|process| resident_kib(process.id)).sum()
    }

    /// What it said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// Asks it to leave and waits until it has.
    pub fn leave(mut self) {
        self.terminate();
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().expect("the child").is_none() {
            assert!(
                Instant::now() < deadline,
                "{} does not leave:\n{}",
                self.name,
                self.said()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn terminate(&self) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            let _ = kill_process(id, Signal::TERM);
        }
    }

    fn family(&self) -> Vec<Process> {
        let own = self.child.id();
        let all = fs::read_dir("/proc").expect("Linux").flatten();
        let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter_map(Process::read)
            .filter(|process| process.id == own || process.parent == own)
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx would leave its workers behind if it were killed.
        self.terminate();
        let deadline = Instant::now() + Duration::from_secs(3);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line of `/proc/PID/stat` (proc(5)).
struct Process {
    id: u32,
    parent: u32,
    ticks: u64,
}

impl Process {
    fn read(id: u32) -> Option<Self> {
        Self::parse(id, &fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
    }

    fn parse(id: u32, stat: &str) -> Option<Self> {
        // The name in parentheses may hold anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let parent = fields.nth(1)?.parse().ok()?;
        let user: u64 = fields.nth(9)?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        Some(Self {
            id,
            parent,
            ticks: user + system,
        })
    }
}

fn resident_kib(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_whatever_the_name() {
        let line = "77 (a) b) S 12 77 77 0 -1 4194560 1 2 3 4 250 30 9 9 20 0 1 0 5 6 7";
        let process = Process::parse(77, line).expect("a process");
        assert_eq!((process.id, process.parent, process.ticks), (77, 12, 280));
        assert!(Process::parse(1, "1 (x) S").is_none());
    }

    #[test]
    fn a_child_has_memory_and_is_gone_when_dropped() {
        let dir = tempfile::tempdir().expect("a folder");
        let server = Server::start("sleep", "0", dir.path(), Path::new("sleep"), &["60"]);
        let id = server.id();
        assert!(server.resident_kib() > 0);
        drop(server);
        assert_eq!(resident_kib(id), 0);
    }
}
