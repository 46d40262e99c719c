//! The live view as lines of text: what it shows, and what it leaves out when there is little room. Where they are drawn is
//! not known here.

use std::time::Duration;

use super::local::Rotation;
use super::tail::{ALLOWED, Decision, Tally};
use crate::admin::wire::{KillSwitch, LastError};

/// Everything that is shown.
pub(super) struct View<'a> {
    /// Since when it runs.
    pub(super) up: Duration,
    /// Requests that ended in the last second.
    pub(super) per_second: u64,
    /// What was decided.
    pub(super) tally: &'a Tally,
    /// The bundle's version.
    pub(super) bundle_version: Option<u64>,
    /// Names configuration and bundle.
    pub(super) snapshot: &'a str,
    /// The last bundle that was refused.
    pub(super) refused: Option<&'a LastError>,
    /// Kill switches in force.
    pub(super) switches: &'a [KillSwitch],
    /// The identity provider's keys.
    pub(super) rotation: &'a Rotation,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// As any text.
    Plain,
    /// A heading.
    Strong,
    /// Something was let through.
    Good,
    /// Something was refused.
    Bad,
}

/// A line.
pub(super) type Line = (Look, String);

/// Most reasons and most kill switches that are listed.
const MOST_LISTED: usize = 6;

impl View<'_> {
    /// The lines, at most `height` of at most `width` characters.
    pub(super) fn lines(&self, width: usize, height: usize) -> Vec<Line> {
        let mut lines = self.head();
        lines.push((Look::Strong, "decisions".to_owned()));
        lines.extend(self.reasons());
        lines.push((Look::Strong, "last (times in UTC)".to_owned()));
        let room = height.saturating_sub(lines.len());
        lines.extend(self.tally.last.iter().take(room).map(decision));
        lines.truncate(height);
        for (_, line) in &mut lines {
            if let Some((end, _)) = line.char_indices().nth(width) {
                line.truncate(end);
            }
        }
        lines
    }

    fn head(&self) -> Vec<Line> {
        let seconds = self.up.as_secs();
        let Rotation {
            current,
            published,
            next_in,
        } = self.rotation;
        let version = self
            .bundle_version
            .map_or_else(|| "none".to_owned(), |version| version.to_string());
        let title = format!(
            "portcullis demo   up {:02}:{:02}:{:02}   Ctrl-C ends it and removes its files",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        );
        let mut lines = vec![
            (Look::Strong, title),
            (
                Look::Plain,
                format!(
                    "  requests   {} in all, {} in the last second",
                    self.tally.total, self.per_second
                ),
            ),
            (
                Look::Plain,
                format!("  bundle     version {version}   snapshot {}", self.snapshot),
            ),
        ];
        if let Some(LastError { reason, .. }) = self.refused {
            lines.push((
                Look::Bad,
                format!("  refused    the bundle in the file: {reason}; the one above stays in force"),
            ));
        }
        let keys = published.join(" ");
        lines.push((
            Look::Plain,
            format!(
                "  identity   {current} signs, {keys} are published, the next signs in {} s",
                next_in.as_secs()
            ),
        ));
        for switch in self.switches.iter().take(MOST_LISTED) {
            let reason = switch.reason.as_deref().unwrap_or("no reason given");
            lines.push((
                Look::Bad,
                format!("  killed     {} = {}: {reason}", switch.key, switch.value),
            ));
        }
        let more = self.switches.len().saturating_sub(MOST_LISTED);
        if more > 0 {
            lines.push((Look::Bad, format!("  killed     and {more} more")));
        }
        lines
    }

    fn reasons(&self) -> Vec<Line> {
        const WIDEST: u64 = 30;
        let ranking = self.tally.ranking();
        let most = ranking.first().map_or(1, |(_, count)| (*count).max(1));
        let line = |(reason, count): &(&str, u64)| {
            let bar = usize::try_from((count * WIDEST).div_ceil(most)).unwrap_or(0);
            (look(reason), format!("  {count:>8}  {reason:<24} {}", "=".repeat(bar)))
        };
        ranking.iter().take(MOST_LISTED).map(line).collect()
    }
}

fn look(reason: &str) -> Look {
    if reason == ALLOWED { Look::Good } else { Look::Bad }
}

/// A decision in a line.
pub(super) fn decision(decision: &Decision) -> Line {
    let Decision {
        time,
        status,
        request,
        reason,
        by,
        bundle_version,
    } = decision;
    let by = by.as_ref().map_or_else(String::new, |by| format!("  {by}"));
    let version = bundle_version.map_or_else(String::new, |version| format!("  bundle {version}"));
    (
        look(reason),
        format!("  {time}  {status}  {request:<20}  {reason}{by}{version}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let mut tally = Tally::default();
        for number in 0..30 {
            let (status, reason) = if number % 3 == 0 {
                (429, "token_bucket_exceeded")
            } else {
                (200, ALLOWED)
            };
            tally.add(Decision {
                time: format!("14:00:{number:02}"),
                status,
                request: "GET /v1/hello".into(),
                reason: reason.into(),
                by: (status == 429).then(|| "api/per-user".into()),
                bundle_version: Some(1),
            });
        }
        tally
    }

    fn text(lines: &[Line]) -> String {
        let lines: Vec<_> = lines.iter().map(|(_, line)| line.trim_end()).collect();
        lines.join("\n") + "\n"
    }

    fn lines(width: usize, height: usize) -> Vec<Line> {
        let rotation = Rotation {
            current: "demo-1".into(),
            published: vec!["demo-1".into(), "demo-2".into()],
            next_in: Duration::from_secs(12),
        };
        let view = View {
            up: Duration::from_secs(3723),
            per_second: 4,
            tally: &tally(),
            bundle_version: Some(1),
            snapshot: "0123-4567",
            refused: None,
            switches: &[],
            rotation: &rotation,
        };
        view.lines(width, height)
    }

    #[test]
    fn it_shows_what_was_decided() {
        let shown = text(&lines(200, 40));
        let expected = "\
portcullis demo   up 01:02:03   Ctrl-C ends it and removes its files
  requests   30 in all, 4 in the last second
  bundle     version 1   snapshot 0123-4567
  identity   demo-1 signs, demo-1 demo-2 are published, the next signs in 12 s
decisions
        20  allowed                  ==============================
        10  token_bucket_exceeded    ===============
last (times in UTC)
  14:00:29  200  GET /v1/hello         allowed  bundle 1
  14:00:28  200  GET /v1/hello         allowed  bundle 1
  14:00:27  429  GET /v1/hello         token_bucket_exceeded  api/per-user  bundle 1
";
        assert!(shown.starts_with(expected), "{shown}");
        assert_eq!(shown.lines().count(), 8 + super::super::tail::SHOWN);
    }

    #[test]
    fn it_fits() {
        for (width, height) in [(80, 23), (20, 5), (1, 1), (0, 0)] {
            let lines = lines(width, height);
            assert!(lines.len() <= height);
            assert!(lines.iter().all(|(_, line)| line.chars().count() <= width));
        }
    }
}
