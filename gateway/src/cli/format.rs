//! How commands print: for people or for tools, and without a panic when nobody reads on.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};

use clap::ValueEnum;

/// How to print.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For tools.
    Json,
}

/// Names and values in two columns.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    /// Adds a line. An empty name continues the line before.
    pub(crate) fn line(&mut self, name: &str, text: impl Display) {
        let _ = writeln!(self.0, "{name:<11} {text}");
    }

    /// Adds lines as they are.
    pub(crate) fn text(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// All of it.
    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

/// `1 policy`, `2 policies`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Prints to standard output, as it is.
pub(crate) fn say(text: impl Display) {
    write(&mut io::stdout().lock(), text);
}

/// Prints a line to standard output.
pub(crate) fn say_line(line: impl Display) {
    write(&mut io::stdout().lock(), format_args!("{line}\n"));
}

/// Prints to standard error, as it is.
pub(crate) fn tell(text: impl Display) {
    write(&mut io::stderr().lock(), text);
}

/// Prints a line to standard error.
pub(crate) fn tell_line(line: impl Display) {
    write(&mut io::stderr().lock(), format_args!("{line}\n"));
}

/// A reader that has gone (`| head`) has seen enough. Whatever else is wrong with the output, there is no place to say it.
fn write(out: &mut impl Write, text: impl Display) {
    let _ = out.write_fmt(format_args!("{text}")).and_then(|()| out.flush());
}
