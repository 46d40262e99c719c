//! What the demo shows: commands for a shell, each with what will come of it. The same list is printed and, with `--once`,
//! run.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::files::{Addresses, BUNDLE, BURST, KEY, KEY_ID, POLICY_2};
use super::folder::Folder;

/// The path that all requests ask for.
pub(super) const PATH: &str = "/v1/hello";

/// Something that the demo shows.
#[derive(Debug)]
pub(super) struct Step {
    /// What it shows.
    pub(super) title: &'static str,
    /// How.
    pub(super) commands: Vec<Command>,
}

/// A command and what will come of it.
#[derive(Debug)]
pub(super) struct Command {
    /// The line for a shell.
    pub(super) shell: String,
    /// The same, for us.
    pub(super) action: Action,
    /// What will come of it.
    pub(super) promise: Promise,
}

/// What a command does.
#[derive(Debug)]
pub(super) enum Action {
    /// GETs of [`PATH`].
    Request {
        /// Where the provider gives a token for each. `None`: without a token.
        token: Option<String>,
    },
    /// `portcullis` with these arguments.
    Portcullis(Vec<String>),
    /// A byte is added to a file.
    Append(PathBuf),
}

/// What will come of a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// As many requests with these statuses, the last with this reason.
    Statuses(Vec<u16>, Option<&'static str>),
    /// It ends well.
    Success,
    /// It ends well, and this version of the bundle is in force.
    Version(u64),
    /// It ends with exit code 1: the bundle was refused, and this version is still in force.
    Refused(u64),
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Statuses(statuses, reason) => {
                let statuses: Vec<_> = statuses.iter().map(ToString::to_string).collect();
                f.write_str(&statuses.join(" "))?;
                reason.map_or(Ok(()), |reason| write!(f, " {reason}"))
            }
            Self::Success => f.write_str("done"),
            Self::Version(version) => write!(f, "bundle version {version} is in force"),
            Self::Refused(version) => write!(f, "refused; version {version} stays in force"),
        }
    }
}

/// Makes the commands.
pub(super) struct Script<'a> {
    /// Who listens where.
    pub(super) addresses: &'a Addresses,
    /// Where the files are.
    pub(super) folder: &'a Folder,
    /// How a shell calls this program.
    pub(super) program: &'a Path,
}

impl Script<'_> {
    /// Everything that the demo shows, in order.
    pub(super) fn steps(&self) -> Vec<Step> {
        vec![
            Step {
                title: "A token of the identity provider lets alice in.",
                commands: vec![self.get(Some("token/acme/alice"), 200, None)],
            },
            Step {
                title: "Without a token, or with one that somebody else signed, nobody gets in.",
                commands: vec![
                    self.get(None, 401, Some("token_missing")),
                    self.get(Some("forged/acme/alice"), 401, Some("signature_invalid")),
                ],
            },
            Step {
                title: "The policy allows each user five requests at once: the sixth of bob is one too many.",
                commands: vec![self.burst("bob", true)],
            },
            Step {
                title: "A kill switch stops a tenant at once, and nobody else.",
                commands: vec![
                    self.get(Some("token/initech/peter"), 200, None),
                    self.kill(),
                    self.get(Some("token/initech/peter"), 429, Some("kill_switch")),
                    self.get(Some("token/acme/alice"), 200, None),
                ],
            },
            Step {
                title: "A new policy, signed and put in place while traffic flows: six at once are fine from now on.\n\
                        # (Its file is watched. `reload` only spares you the second that this takes.)",
                commands: vec![
                    self.sign(),
                    self.reload(Promise::Version(2)),
                    self.burst("carol", false),
                ],
            },
            Step {
                title: "A bundle that somebody has touched is refused, and the last good one stays in force.",
                commands: vec![
                    self.tamper(),
                    self.reload(Promise::Refused(2)),
                    self.status(),
                    self.get(Some("token/acme/alice"), 200, None),
                ],
            },
        ]
    }

    fn url(&self) -> String {
        format!("http://{}{PATH}", self.addresses.public)
    }

    fn get(&self, token: Option<&str>, status: u16, reason: Option<&'static str>) -> Command {
        Command {
            shell: format!("curl -i {}{}", self.url(), self.bearer(token)),
            action: Action::Request {
                token: token.map(str::to_owned),
            },
            promise: Promise::Statuses(vec![status], reason),
        }
    }

    fn bearer(&self, token: Option<&str>) -> String {
        let provider: SocketAddr = self.addresses.provider;
        token.map_or_else(String::new, |path| {
            format!(" -H \"Authorization: Bearer $(curl -s http://{provider}/{path})\"")
        })
    }

    /// One request more of a user than the first policy allows at once.
    fn burst(&self, user: &str, limited: bool) -> Command {
        let token = format!("token/acme/{user}");
        let numbers: Vec<_> = (1..=BURST + 1).map(|number| number.to_string()).collect();
        let mut statuses = vec![200; numbers.len()];
        if let (true, Some(last)) = (limited, statuses.last_mut()) {
            *last = 429;
        }
        Command {
            shell: format!(
                "for i in {}; do curl -s -o /dev/null -w '%{{http_code}} ' {}{}; done; echo",
                numbers.join(" "),
                self.url(),
                self.bearer(Some(&token))
            ),
            action: Action::Request { token: Some(token) },
            promise: Promise::Statuses(statuses, limited.then_some("token_bucket_exceeded")),
        }
    }

    fn portcullis(&self, arguments: &[&str], promise: Promise) -> Command {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut shell = quoted(&self.program.display().to_string());
        for argument in &arguments {
            shell.push(' ');
            shell.push_str(&quoted(argument));
        }
        Command {
            shell,
            action: Action::Portcullis(arguments),
            promise,
        }
    }

    fn kill(&self) -> Command {
        let admin = self.addresses.admin.to_string();
        let switch = ["kill", "set", "jwt:tenant", "initech"];
        let why = ["--ttl", "10m", "--reason", "runaway job", "--by", "demo"];
        let arguments: Vec<_> = switch.iter().chain(&why).chain(&["--admin", &admin]).copied().collect();
        self.portcullis(&arguments, Promise::Success)
    }

    fn sign(&self) -> Command {
        let path = |name: &str| self.folder.path(name).display().to_string();
        let (file, key, out) = (path(POLICY_2), format!("file:{}", path(KEY)), path(BUNDLE));
        let arguments = [
            "bundle", "sign", &file, "--key", &key, "--key-id", KEY_ID, "--out", &out,
        ];
        self.portcullis(&arguments, Promise::Success)
    }

    fn tamper(&self) -> Command {
        let path = self.folder.path(BUNDLE);
        Command {
            shell: format!("printf x >> {}", quoted(&path.display().to_string())),
            action: Action::Append(path),
            promise: Promise::Success,
        }
    }

    fn reload(&self, promise: Promise) -> Command {
        self.portcullis(&["reload", "--admin", &self.addresses.admin.to_string()], promise)
    }

    fn status(&self) -> Command {
        self.portcullis(
            &["status", "--admin", &self.addresses.admin.to_string()],
            Promise::Success,
        )
    }
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// All steps for people, ready for another terminal.
pub(super) fn print(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        let _ = writeln!(text, "# {}", step.title);
        for Command { shell, promise, .. } in &step.commands {
            let _ = writeln!(text, "{shell}   # {promise}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted("file:/tmp/key.pem"), "file:/tmp/key.pem");
        assert_eq!(quoted("runaway job"), "'runaway job'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("$(x)"), "'$(x)'");
    }

    #[test]
    fn commands_stand_alone() {
        let folder = Folder::new().unwrap();
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let addresses = Addresses {
            public: address(1),
            admin: address(2),
            upstream: address(3),
            provider: address(4),
        };
        let script = Script {
            addresses: &addresses,
            folder: &folder,
            program: Path::new("/opt/my tools/portcullis"),
        };
        let text = print(&script.steps());
        let allowed = "curl -i http://127.0.0.1:1/v1/hello -H \"Authorization: Bearer \
                       $(curl -s http://127.0.0.1:4/token/acme/alice)\"   # 200\n";
        assert!(text.contains(allowed), "{text}");
        assert!(
            text.contains("curl -i http://127.0.0.1:1/v1/hello   # 401 token_missing\n"),
            "{text}"
        );
        assert!(
            text.contains("# 200 200 200 200 200 429 token_bucket_exceeded\n"),
            "{text}"
        );
        let kill = "'/opt/my tools/portcullis' kill set jwt:tenant initech --ttl 10m --reason 'runaway job' --by demo \
                    --admin 127.0.0.1:2   # done\n";
        assert!(text.contains(kill), "{text}");
        assert!(
            text.contains("reload --admin 127.0.0.1:2   # bundle version 2 is in force\n"),
            "{text}"
        );
    }
}
