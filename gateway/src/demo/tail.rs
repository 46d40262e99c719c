//! What the gateway decides, as its access log tells: lines that were added since the last look, counted.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use serde_json::Value;

/// Most bytes read at one look.
const MOST_READ: u64 = 4 << 20;
/// The log is emptied when it has grown beyond this: it is only there to be looked at.
const MOST_KEPT: u64 = 32 << 20;
/// Most reasons that are counted apart.
const MOST_REASONS: usize = 64;
/// How many decisions are shown.
pub(super) const SHOWN: usize = 10;
/// What a request counts as that nobody refused.
pub(super) const ALLOWED: &str = "allowed";

/// A place in a growing log.
pub(super) struct Tail {
    path: PathBuf,
    at: u64,
    /// A line whose end is not written yet.
    rest: Vec<u8>,
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    /// Time of day, to the second.
    pub(super) time: String,
    /// The status of the answer; 0 when there was none.
    pub(super) status: u64,
    /// Method and path.
    pub(super) request: String,
    /// Why it was refused, or [`ALLOWED`].
    pub(super) reason: String,
    /// Policy and rule, or what the link says of it.
    pub(super) by: Option<String>,
    /// The bundle it was judged by.
    pub(super) bundle_version: Option<u64>,
}

impl Tail {
    /// From the beginning of a file, which need not be there yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            at: 0,
            rest: Vec::new(),
        }
    }

    /// What was added since.
    pub(super) fn read(&mut self) -> Vec<Decision> {
        let Ok(bytes) = self.added() else { return Vec::new() };
        self.rest.extend_from_slice(&bytes);
        let mut decisions = Vec::new();
        let whole = self
            .rest
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        for line in self
            .rest
            .drain(..whole)
            .collect::<Vec<u8>>()
            .split(|byte| *byte == b'\n')
        {
            decisions.extend(Decision::read(line));
        }
        decisions
    }

    fn added(&mut self) -> std::io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.at))?;
        let mut bytes = Vec::new();
        let read = file.take(MOST_READ).read_to_end(&mut bytes)?;
        self.at = self.at.saturating_add(read as u64);
        if self.at > MOST_KEPT && (read as u64) < MOST_READ {
            // The gateway appends, so that its next line is the first one again.
            OpenOptions::new().write(true).open(&self.path)?.set_len(0)?;
            self.at = 0;
        }
        Ok(bytes)
    }
}

impl Decision {
    /// Of a line of the access log.
    fn read(line: &[u8]) -> Option<Self> {
        let line: Value = serde_json::from_slice(line).ok()?;
        let text = |name: &str| line.get(name).and_then(Value::as_str);
        let decisions = line.get("decisions").and_then(Value::as_array);
        let denied = decisions.and_then(|all| all.iter().find(|one| one.get("action").is_some_and(|it| it == "deny")));
        let by = denied.and_then(|denied| {
            let part = |name: &str| denied.get(name).and_then(Value::as_str);
            match (part("policy"), part("rule")) {
                (Some(policy), Some(rule)) => Some(format!("{policy}/{rule}")),
                _ => part("detail").map(str::to_owned),
            }
        });
        let time = text("time")?.split_once('T')?.1;
        Some(Self {
            time: time.chars().take(8).collect(),
            status: line.get("status").and_then(Value::as_u64).unwrap_or(0),
            request: clean(&format!("{} {}", text("method")?, text("path")?)),
            reason: clean(text("reason").unwrap_or(ALLOWED)),
            by: by.map(|by| clean(&by)),
            bundle_version: line.get("bundle_version").and_then(Value::as_u64),
        })
    }
}

/// Text of clients without what a terminal would obey.
fn clean(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { '\u{fffd}' } else { letter })
        .collect()
}

/// Decisions, counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// All of them.
    pub(super) total: u64,
    /// By reason.
    pub(super) reasons: BTreeMap<String, u64>,
    /// The last ones, the newest first.
    pub(super) last: VecDeque<Decision>,
}

impl Tally {
    /// Counts.
    pub(super) fn add(&mut self, decision: Decision) {
        self.total += 1;
        let known = self.reasons.contains_key(&decision.reason);
        let reason = if known || self.reasons.len() < MOST_REASONS {
            decision.reason.as_str()
        } else {
            "others"
        };
        *self.reasons.entry(reason.to_owned()).or_default() += 1;
        self.last.push_front(decision);
        self.last.truncate(SHOWN);
    }

    /// Reasons, the most frequent first.
    pub(super) fn ranking(&self) -> Vec<(&str, u64)> {
        let mut ranking: Vec<_> = self
            .reasons
            .iter()
            .map(|(reason, count)| (reason.as_str(), *count))
            .collect();
        ranking.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        ranking
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::folder::Folder;
    use super::*;

    const ALLOW: &str = r#"{"time":"2026-02-03T14:00:01.002Z","method":"GET","path":"/v1/hello","status":200,"bundle_version":1,"decisions":[]}"#;
    const DENY: &str = r#"{"time":"2026-02-03T14:00:02.000Z","method":"GET","path":"/v1/\u001b[2J","status":429,"reason":"token_bucket_exceeded","decisions":[{"link":"policy","action":"deny","policy":"api","rule":"per-user"}]}"#;

    #[test]
    #[allow(clippy::string_slice)] // ASCII
    fn added_lines_are_read_once_and_whole() {
        let folder = Folder::new().unwrap();
        let path = folder.path("access.log");
        let mut tail = Tail::new(path.clone());
        assert_eq!(tail.read(), []);
        let mut file = File::create(&path).unwrap();
        write!(file, "{ALLOW}\nnot json\n{}", &DENY[..40]).unwrap();
        assert_eq!(tail.read().len(), 1);
        writeln!(file, "{}", &DENY[40..]).unwrap();
        let read = tail.read();
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].status, read[0].by.as_deref()), (429, Some("api/per-user")));
        assert_eq!(tail.read(), []);
    }

    #[test]
    fn nothing_of_a_client_reaches_the_terminal_as_it_is() {
        let decision = Decision::read(DENY.as_bytes()).unwrap();
        assert_eq!(decision.request, "GET /v1/\u{fffd}[2J");
    }

    #[test]
    fn counts_are_bounded() {
        let mut tally = Tally::default();
        let decision = Decision::read(ALLOW.as_bytes()).unwrap();
        for number in 0..MOST_REASONS + 10 {
            tally.add(Decision {
                reason: number.to_string(),
                ..decision.clone()
            });
        }
        assert_eq!((tally.reasons.len(), tally.last.len()), (MOST_REASONS + 1, SHOWN));
        assert_eq!(tally.ranking()[0], ("others", 10));
    }
}
