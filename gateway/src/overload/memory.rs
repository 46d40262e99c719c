//! How much memory is used, against how much may be. A little before the end no new connection comes in and idle ones
//! go; at the end requests are refused. The kernel, which would end the process, is not asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// Shares of the ceiling, in hundredths, at which a pressure begins. It ends [`SLACK`] below.
const SOFT: u64 = 85;
const HARD: u64 = 95;
const SLACK: u64 = 5;

/// How close to the ceiling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Far.
    #[default]
    None,
    /// New connections are closed, idle ones too, the least important requests are refused.
    Soft,
    /// Requests are refused, but for the most important ones.
    Hard,
}

impl Pressure {
    const ALL: [Self; 3] = [Self::None, Self::Soft, Self::Hard];

    /// For logs, metrics and the admin listener.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Soft => "soft",
            Self::Hard => "hard",
        }
    }

    /// What `used` of `ceiling` bytes means after `self`. Without a ceiling there is no pressure.
    fn next(self, used: u64, ceiling: u64) -> Self {
        if ceiling == 0 {
            return Self::None;
        }
        let hundredths = used.saturating_mul(100) / ceiling;
        let holds = |pressure: Self, begins: u64| hundredths >= if self >= pressure { begins - SLACK } else { begins };
        if holds(Self::Hard, HARD) {
            Self::Hard
        } else if holds(Self::Soft, SOFT) {
            Self::Soft
        } else {
            Self::None
        }
    }
}

/// What is known of the memory, for everybody.
#[derive(Debug, Default)]
pub struct Memory {
    pressure: AtomicU8,
    used: AtomicU64,
    ceiling: AtomicU64,
}

impl Memory {
    /// How close to the ceiling.
    pub fn pressure(&self) -> Pressure {
        let pressure = usize::from(self.pressure.load(Relaxed));
        Pressure::ALL.get(pressure).copied().unwrap_or_default()
    }

    /// Bytes that count against [`Self::ceiling`].
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Bytes that may be used; 0: any number.
    pub fn ceiling(&self) -> u64 {
        self.ceiling.load(Relaxed)
    }

    /// Looks again; gives the pressure before and after.
    pub fn look(&self, meter: &Meter) -> (Pressure, Pressure) {
        let before = self.pressure();
        let used = meter.used().unwrap_or(0);
        let after = before.next(used, meter.ceiling);
        self.used.store(used, Relaxed);
        self.ceiling.store(meter.ceiling, Relaxed);
        self.pressure.store(after as u8, Relaxed);
        (before, after)
    }
}

/// Where the numbers come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    ceiling: u64,
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// What the process has in RAM.
    Process,
    /// What the control group is charged with, less the files that the kernel can drop at once.
    Group { used: PathBuf, files: &'static str },
}

impl Meter {
    /// `configured`: bytes, 0 for no ceiling, `None` for the control group's limit, if it has one.
    pub fn new(configured: Option<u64>) -> Self {
        match configured {
            Some(ceiling) => Self {
                ceiling,
                source: Source::Process,
            },
            None => Self::of_group(Path::new("/sys/fs/cgroup"), &read("/proc/self/cgroup")).unwrap_or(Self {
                ceiling: 0,
                source: Source::Process,
            }),
        }
    }

    /// The nearest group above the process, itself included, that has a limit (cgroups version 2, then 1).
    fn of_group(root: &Path, groups: &str) -> Option<Self> {
        let version_2 = groups.lines().find_map(|line| line.strip_prefix("0::"));
        let version_1 = groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|name| name == "memory").then_some(path)
        });
        let names_2 = ("memory.max", "memory.current", "inactive_file ");
        let names_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ");
        let of = |root: PathBuf, path: &str, (limit, used, files): (&str, &str, &'static str)| {
            let path = root.join(path.trim_start_matches('/'));
            let within = path.ancestors().take_while(|folder| folder.starts_with(&root));
            within
                .filter_map(|folder| {
                    let ceiling = read(folder.join(limit)).trim().parse().ok()?;
                    // Version 1 has no word for "none", only a number near the largest.
                    (ceiling < 1 << 60).then(|| Self {
                        ceiling,
                        source: Source::Group {
                            used: folder.join(used),
                            files,
                        },
                    })
                })
                .min_by_key(|meter| meter.ceiling)
        };
        version_2
            .and_then(|path| of(root.to_owned(), path, names_2))
            .or_else(|| version_1.and_then(|path| of(root.join("memory"), path, names_1)))
    }

    fn used(&self) -> Option<u64> {
        match &self.source {
            Source::Process => {
                let status = read("/proc/self/status");
                let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
                resident
                    .split_whitespace()
                    .next()?
                    .parse::<u64>()
                    .ok()?
                    .checked_mul(1024)
            }
            Source::Group { used, files } => {
                let charged: u64 = read(used).trim().parse().ok()?;
                let statistics = read(used.with_file_name("memory.stat"));
                let droppable = statistics
                    .lines()
                    .find_map(|line| line.strip_prefix(files)?.parse().ok());
                Some(charged.saturating_sub(droppable.unwrap_or(0)))
            }
        }
    }
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_begins_and_ends_at_different_marks() {
        let mut pressure = Pressure::None;
        let mut at = |used| {
            pressure = pressure.next(used, 1000);
            pressure
        };
        assert_eq!(at(849), Pressure::None);
        assert_eq!(at(850), Pressure::Soft);
        assert_eq!(at(800), Pressure::Soft);
        assert_eq!(at(949), Pressure::Soft);
        assert_eq!(at(950), Pressure::Hard);
        assert_eq!(at(900), Pressure::Hard);
        assert_eq!(at(899), Pressure::Soft);
        assert_eq!(at(799), Pressure::None);
        assert_eq!(at(5000), Pressure::Hard);
        assert_eq!(Pressure::Hard.next(u64::MAX, 0), Pressure::None, "no ceiling");
    }

    #[test]
    fn the_nearest_limit_of_a_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(Meter::of_group(root.path(), "0::/a/b\n"), None);
        write("a/memory.max", "2000\n");
        write("a/memory.current", "900\n");
        write("a/memory.stat", "anon 5\ninactive_file 300\n");
        write("a/b/memory.max", "max\n");
        let meter = Meter::of_group(root.path(), "0::/a/b\n").unwrap();
        assert_eq!((meter.ceiling, meter.used()), (2000, Some(600)));

        write("memory/c/memory.limit_in_bytes", "3000\n");
        write("memory/c/memory.usage_in_bytes", "1000\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        let meter = Meter::of_group(root.path(), "5:cpu:/x\n4:memory:/c\n").unwrap();
        assert_eq!((meter.ceiling, meter.used()), (3000, Some(1000)));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn of_this_process() {
        let memory = Memory::default();
        assert_eq!(memory.look(&Meter::new(Some(1))), (Pressure::None, Pressure::Hard));
        assert!(memory.used() > 1 << 20);
        assert_eq!(memory.look(&Meter::new(Some(0))).1, Pressure::None);
    }
}
