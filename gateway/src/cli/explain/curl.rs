//! A command line of curl, as far as it says which request is sent. Words are split as a POSIX shell does; nothing is
//! expanded and nothing is run.

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) method: Option<String>,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) has_body: bool,
}

/// Options with a value that say nothing about the request's header.
const IGNORED_WITH_VALUE: [&str; 14] = [
    "-o",
    "--output",
    "-w",
    "--write-out",
    "--cacert",
    "--cert",
    "--key",
    "-m",
    "--max-time",
    "--connect-timeout",
    "--resolve",
    "--connect-to",
    "--retry",
    "-D",
];

/// Reads a command line, or a URL alone.
pub(super) fn read(text: &str) -> anyhow::Result<Command> {
    let words = split(text)?;
    let mut words = words.into_iter().peekable();
    if words.peek().is_some_and(|word| word == "curl") {
        words.next();
    }
    let mut command = Command::default();
    let mut head = false;
    while let Some(word) = words.next() {
        let (option, inline) = option(&word);
        let mut value = || {
            let given = inline.clone().or_else(|| words.next());
            given.with_context(|| format!("{option} needs a value"))
        };
        match option.as_str() {
            "-X" | "--request" => command.method = Some(value()?),
            "-H" | "--header" => {
                let header = value()?;
                let (name, value) = header
                    .split_once(':')
                    .with_context(|| format!("no header field: {header}"))?;
                command.headers.push((name.to_owned(), value.trim().to_owned()));
            }
            "-d" | "--data" | "--data-raw" | "--data-binary" | "--json" | "-F" | "--form" => {
                value()?;
                command.has_body = true;
                let media_type = match option.as_str() {
                    "--json" => "application/json",
                    "-F" | "--form" => "multipart/form-data",
                    _ => "application/x-www-form-urlencoded",
                };
                command.default_header("Content-Type", media_type);
            }
            "-A" | "--user-agent" => command.headers.push(("User-Agent".to_owned(), value()?)),
            "-e" | "--referer" => command.headers.push(("Referer".to_owned(), value()?)),
            "-b" | "--cookie" => command.headers.push(("Cookie".to_owned(), value()?)),
            "-u" | "--user" => {
                let basic = format!("Basic {}", STANDARD.encode(value()?));
                command.headers.push(("Authorization".to_owned(), basic));
            }
            "--url" => command.url = value()?,
            "-I" | "--head" => head = true,
            known if IGNORED_WITH_VALUE.contains(&known) => {
                value()?;
            }
            flag if flag.starts_with('-') => {}
            _ if command.url.is_empty() => command.url = word,
            _ => bail!("there are two URLs: {} and {word}", command.url),
        }
    }
    if command.url.is_empty() {
        bail!("there is no URL in the command");
    }
    if head && command.method.is_none() {
        command.method = Some("HEAD".to_owned());
    }
    command.default_header("User-Agent", "curl/8");
    command.default_header("Accept", "*/*");
    Ok(command)
}

impl Command {
    fn default_header(&mut self, name: &str, value: &str) {
        if !self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
    }
}

/// An option and the value that is written with it: `--header=X`, `-XPOST`.
fn option(word: &str) -> (String, Option<String>) {
    if word.starts_with("--") {
        return match word.split_once('=') {
            Some((option, value)) => (option.to_owned(), Some(value.to_owned())),
            None => (word.to_owned(), None),
        };
    }
    let with_value = ['X', 'H', 'd', 'F', 'A', 'e', 'b', 'u', 'o', 'w', 'm', 'D'];
    let mut letters = word.chars();
    if let (Some('-'), Some(letter)) = (letters.next(), letters.next())
        && with_value.contains(&letter)
    {
        let rest = letters.as_str();
        return (format!("-{letter}"), (!rest.is_empty()).then(|| rest.to_owned()));
    }
    (word.to_owned(), None)
}

/// Words as a POSIX shell splits them: white space, two kinds of quotes, a backslash.
fn split(text: &str) -> anyhow::Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        match next {
            '\'' => loop {
                match chars.next().context("a quote is not closed")? {
                    '\'' => break word.get_or_insert_default(),
                    other => word.get_or_insert_default().push(other),
                }
            },
            '"' => loop {
                match chars.next().context("a quote is not closed")? {
                    '"' => break word.get_or_insert_default(),
                    '\\' => {
                        let escaped = chars.next().context("a backslash ends the command")?;
                        if !matches!(escaped, '"' | '\\' | '$' | '`' | '\n') {
                            word.get_or_insert_default().push('\\');
                        }
                        word.get_or_insert_default().push(escaped);
                    }
                    other => word.get_or_insert_default().push(other),
                }
            },
            '\\' => match chars.next().context("a backslash ends the command")? {
                '\n' => continue,
                other => {
                    word.get_or_insert_default().push(other);
                    continue;
                }
            },
            white if white.is_whitespace() => {
                words.extend(word.take());
                continue;
            }
            other => {
                word.get_or_insert_default().push(other);
                continue;
            }
        };
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        assert_eq!(
            split(
                r#"a 'b c'd "e\"f" \g "" h\
i"#
            )
            .unwrap(),
            ["a", "b cd", "e\"f", "g", "", "hi"]
        );
        assert!(split("'a").is_err() && split("\"a").is_err() && split("a\\").is_err());
    }

    #[test]
    fn options_say_what_is_sent() {
        let command = read("curl -X PUT --header='X-A: 1' -H'X-B:2' -u a:b -o /dev/null http://a/x").unwrap();
        assert_eq!(
            (command.method.as_deref(), command.url.as_str()),
            (Some("PUT"), "http://a/x")
        );
        let named = |name: &str| {
            command
                .headers
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(
            (named("X-A"), named("X-B"), named("Authorization")),
            (Some("1"), Some("2"), Some("Basic YTpi"))
        );
        let command = read("curl -I http://a/ --json {}").unwrap();
        assert_eq!((command.method.as_deref(), command.has_body), (Some("HEAD"), true));
        assert_eq!(read("http://a/").unwrap().url, "http://a/");
        for wrong in ["curl", "curl -H", "curl -H x http://a/", "curl http://a/ http://b/"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
