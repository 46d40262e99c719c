//! Where the demo shows what is decided: in place on a terminal, once a second; else a line for each decision.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::files::ACCESS_LOG;
use super::tail::{Tail, Tally};
use super::view::{Line, Look, View, decision};
use super::world::World;
use crate::admin::control::Control as _;
use crate::cli::format::{say, say_line};

/// Time between two pictures.
const REDRAW: Duration = Duration::from_secs(1);
/// Time between two looks when lines are printed.
const LOOK: Duration = Duration::from_millis(200);

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const CLEAR_REST_OF_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Whether standard output is a terminal that can be drawn on.
pub(super) fn is_drawable() -> bool {
    let named = std::env::var_os("TERM").is_some_and(|name| !name.is_empty() && name != "dumb");
    io::stdout().is_terminal() && named
}

/// Draws for ever.
pub(super) async fn draw(world: &World) -> ! {
    let started = Instant::now();
    let (mut tail, mut tally) = (Tail::new(world.folder.path(ACCESS_LOG)), Tally::default());
    let mut drawn = 0;
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    say(HIDE_CURSOR);
    loop {
        let before = tally.total;
        tail.read().into_iter().for_each(|decision| tally.add(decision));
        let readiness = world.live.readiness();
        let bundle = readiness.bundle.as_ref();
        let view = View {
            up: started.elapsed(),
            per_second: tally.total - before,
            tally: &tally,
            bundle_version: bundle.and_then(|bundle| bundle.version),
            snapshot: &world.live.snapshot().digest,
            refused: bundle.and_then(|bundle| bundle.last_error.as_ref()),
            switches: &world.live.kill_list().switches,
            rotation: &world.provider.rotation(),
        };
        let (width, height) = size();
        // The last row stays free: a line feed in it would move everything up.
        let lines = view.lines(width, height.saturating_sub(1));
        say(picture(&lines, drawn, colours));
        drawn = lines.len();
        tokio::time::sleep(REDRAW).await;
    }
}

/// Gives the terminal back.
pub(super) fn leave() {
    say(SHOW_CURSOR);
}

/// Columns and rows.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}

/// What draws `lines` over the `drawn` lines of before.
fn picture(lines: &[Line], drawn: usize, colours: bool) -> String {
    let mut text = if drawn > 0 {
        format!("\x1b[{drawn}A\r")
    } else {
        String::new()
    };
    for (look, line) in lines {
        let (on, off) = match look {
            _ if !colours => ("", ""),
            Look::Plain => ("", ""),
            Look::Strong => ("\x1b[1m", "\x1b[0m"),
            Look::Good => ("\x1b[32m", "\x1b[0m"),
            Look::Bad => ("\x1b[31m", "\x1b[0m"),
        };
        let _ = writeln!(text, "{on}{line}{off}{CLEAR_REST_OF_LINE}");
    }
    text.push_str(CLEAR_BELOW);
    text
}

/// Prints a line for each decision, for ever.
pub(super) async fn print(world: &World) -> ! {
    let mut tail = Tail::new(world.folder.path(ACCESS_LOG));
    loop {
        for one in tail.read() {
            say_line(decision(&one).1.trim_start());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Everything that was said is on its way.
pub(super) fn flush() {
    let _ = io::stdout().flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_covers_the_one_before() {
        let lines = [(Look::Strong, "a".to_owned()), (Look::Bad, "b".to_owned())];
        assert_eq!(picture(&lines, 0, false), "a\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(
            picture(&lines, 3, true),
            "\x1b[3A\r\x1b[1ma\x1b[0m\x1b[K\n\x1b[31mb\x1b[0m\x1b[K\n\x1b[J"
        );
    }
}
