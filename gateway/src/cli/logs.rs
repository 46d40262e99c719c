//! `portcullis logs`: the lines of an access log that are asked for, from a file or standard input, as they come.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::format::tell_line;

/// What `logs --help` ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis logs access.log --action deny
  portcullis logs access.log --reason token_bucket_exceeded --policy limit --follow
  kubectl logs ds/portcullis | portcullis logs --action deny

A line is printed as it stands when it is a JSON object of which one decision, or the line as a
whole, is all that was asked for. Other lines are left out.

Exit codes: 0 = read to its end, 1 = the file cannot be read.";

/// Longest line that is looked at.
const MOST_LINE: u64 = 1 << 20;
/// How often a file that is followed is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// The log. Default, and `-`: standard input.
    file: Option<PathBuf>,
    /// allow, deny (or reject), reply, error.
    #[arg(long)]
    action: Option<String>,
    /// The code of a reason.
    #[arg(long)]
    reason: Option<String>,
    /// The id of a policy.
    #[arg(long)]
    policy: Option<String>,
    /// Wait for more lines at the end of the file, over rotations too.
    #[arg(long, short)]
    follow: bool,
}

/// What a line must be.
#[derive(Debug, Default)]
struct Filter {
    action: Option<String>,
    reason: Option<String>,
    policy: Option<String>,
}

impl Logs {
    /// Prints them.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let filter = Filter {
            action: self.action.map(|action| normal(&action).to_owned()),
            reason: self.reason,
            policy: self.policy,
        };
        let path = self.file.filter(|path| path.as_os_str() != "-");
        let passed = match &path {
            None => pass(&mut Lines::new(io::stdin().lock()), &filter),
            Some(path) => {
                let unreadable = || format!("cannot read {}", path.display());
                if self.follow {
                    follow(path, &filter)
                } else {
                    let file = File::open(path).with_context(unreadable)?;
                    pass(&mut Lines::new(BufReader::new(file)), &filter)
                }
            }
        };
        match passed {
            // Whoever read this has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            Err(error) => {
                let name = path.map_or_else(|| "standard input".into(), |path| path.display().to_string());
                tell_line(format_args!("portcullis: cannot read {name}: {error}"));
                Ok(ExitCode::FAILURE)
            }
            Ok(()) => Ok(ExitCode::SUCCESS),
        }
    }
}

/// Prints what is wanted of the lines that are there.
fn pass(lines: &mut Lines<impl BufRead>, filter: &Filter) -> io::Result<()> {
    let mut out = io::stdout().lock();
    while let Some(line) = lines.next_line()? {
        if filter.wants(line) {
            out.write_all(line)?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()
}

/// The same, without an end: a file that was replaced or cut is read anew.
fn follow(path: &Path, filter: &Filter) -> io::Result<()> {
    loop {
        let file = File::open(path)?;
        let identity = file.metadata()?.ino();
        let mut lines = Lines::new(BufReader::new(file));
        loop {
            pass(&mut lines, filter)?;
            std::thread::sleep(LOOK);
            let now = match path.metadata() {
                Ok(now) => now,
                // Between two files of a rotation.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if now.ino() != identity || now.len() < lines.read {
                pass(&mut lines, filter)?;
                break;
            }
        }
    }
}

/// Lines of bounded length. One that is not finished yet is kept until it is.
struct Lines<R> {
    from: R,
    line: Vec<u8>,
    /// The line in hand was given out.
    given: bool,
    /// The rest of the line is passed over.
    too_long: bool,
    /// Bytes read so far.
    read: u64,
}

impl<R: BufRead> Lines<R> {
    const fn new(from: R) -> Self {
        Self {
            from,
            line: Vec::new(),
            given: false,
            too_long: false,
            read: 0,
        }
    }

    /// The next line that is finished, without its end.
    fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        if std::mem::take(&mut self.given) {
            self.line.clear();
        }
        loop {
            let room = MOST_LINE.saturating_sub(self.line.len() as u64);
            let count = self.from.by_ref().take(room.max(1)).read_until(b'\n', &mut self.line)?;
            if count == 0 {
                return Ok(None);
            }
            self.read += count as u64;
            let finished = self.line.last() == Some(&b'\n');
            if finished && !self.too_long {
                self.line.pop();
                self.given = true;
                return Ok(Some(&self.line));
            }
            if finished || self.line.len() as u64 >= MOST_LINE {
                self.too_long = !finished;
                self.line.clear();
            }
        }
    }
}

/// `reject` is what others call it.
fn normal(action: &str) -> &str {
    match action {
        "reject" => "deny",
        other => other,
    }
}

impl Filter {
    fn wants(&self, line: &[u8]) -> bool {
        let Ok(Value::Object(line)) = serde_json::from_slice(line) else {
            return false;
        };
        let text = |of: &serde_json::Map<String, Value>, name: &str| -> Option<String> {
            of.get(name).and_then(Value::as_str).map(str::to_owned)
        };
        let reason = text(&line, "reason");
        let whole = Decision {
            action: text(&line, "action").or_else(|| Some(if reason.is_some() { "deny" } else { "allow" }.to_owned())),
            reason,
            policy: text(&line, "policy_id"),
        };
        let decisions = line.get("decisions").and_then(Value::as_array).into_iter().flatten();
        let decisions = decisions.filter_map(Value::as_object).map(|decision| Decision {
            action: text(decision, "action"),
            reason: text(decision, "reason"),
            policy: text(decision, "policy"),
        });
        std::iter::once(whole)
            .chain(decisions)
            .any(|decision| self.fits(&decision))
    }

    fn fits(&self, decision: &Decision) -> bool {
        let fits =
            |wanted: &Option<String>, is: Option<&str>| wanted.as_deref().is_none_or(|wanted| is == Some(wanted));
        fits(&self.action, decision.action.as_deref().map(normal))
            && fits(&self.reason, decision.reason.as_deref())
            && fits(&self.policy, decision.policy.as_deref())
    }
}

/// A decision as a line shows it.
struct Decision {
    action: Option<String>,
    reason: Option<String>,
    policy: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(action: Option<&str>, reason: Option<&str>, policy: Option<&str>) -> Filter {
        Filter {
            action: action.map(Into::into),
            reason: reason.map(Into::into),
            policy: policy.map(Into::into),
        }
    }

    #[test]
    fn all_that_is_asked_for_must_be_of_one_decision() {
        let line = br#"{"status":429,"reason":"token_bucket_exceeded","decisions":[
            {"action":"deny","reason":"token_bucket_exceeded","policy":"limit"},
            {"action":"allow","reason":"budget_warn","policy":"other"}]}"#;
        assert!(filter(None, None, None).wants(line));
        assert!(filter(Some("deny"), Some("token_bucket_exceeded"), Some("limit")).wants(line));
        assert!(filter(Some("allow"), None, Some("other")).wants(line));
        assert!(!filter(Some("deny"), None, Some("other")).wants(line));
        assert!(!filter(Some("deny"), Some("kill_switch"), None).wants(line));
        assert!(filter(Some("allow"), None, None).wants(br#"{"status":200}"#));
        assert!(!filter(Some("deny"), None, None).wants(br#"{"status":200}"#));
        let theirs = br#"{"action":"reject","reason":"kill_switch","policy_id":"p"}"#;
        assert!(filter(Some("deny"), Some("kill_switch"), Some("p")).wants(theirs));
        for none in [&b"[1]"[..], b"text", b"", b"\xff"] {
            assert!(!filter(None, None, None).wants(none));
        }
    }

    #[test]
    fn lines_are_bounded_and_half_a_line_is_none() {
        let long = "x".repeat(3 << 20);
        let text = format!("one\n{long}\ntwo\nthr");
        let mut lines = Lines::new(text.as_bytes());
        let mut seen = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            seen.push(String::from_utf8(line.to_vec()).unwrap());
        }
        assert_eq!(seen, ["one", "two"]);
        assert_eq!(lines.read, text.len() as u64);
    }
}
