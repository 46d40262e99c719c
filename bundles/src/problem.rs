//! What is wrong with a bundle, and where: a code, a sentence, a JSON pointer (RFC 6901). Lines and columns are added by
//! `explain`, which alone knows the text.

use std::fmt::{self, Write as _};

/// Every code of a [`Problem`] that refuses a bundle, with a sentence. They are never renamed and never change their
/// meaning; what is wrong with the text itself has the codes of `portcullis_config::diagnostic`.
pub const CODES: &[(&str, &str)] = &[
    ("duplicate-header", "A header field of a test is given twice."),
    ("duplicate-policy", "Two policies have one id."),
    ("duplicate-rule", "Two rules of a policy have one name."),
    ("embedded-secret", "A text looks like a credential."),
    ("empty-list", "A list that must name something is empty."),
    ("empty-selector", "A selector has neither pathExact nor pathPrefix."),
    ("empty-value", "A value that is compared is empty."),
    ("empty-window", "The bundle expires before it begins."),
    ("fallback-match", "A fallback_limit has a match or a condition."),
    ("impossible-value", "A value that requests never have under its key."),
    ("invalid-address", "Not an IP address."),
    (
        "invalid-algorithm-config",
        "A number of an algorithm is missing, out of bounds or contradicts another.",
    ),
    ("invalid-bundle", "The bundle cannot be read."),
    (
        "invalid-condition",
        "A condition is no expression that could be judged.",
    ),
    ("invalid-filter-kind", "Not the kind of a filter."),
    ("invalid-header", "Not a header field."),
    ("invalid-host", "Not a host."),
    ("invalid-key", "Not a key."),
    ("invalid-method", "Not a method, or not in upper case."),
    ("invalid-name", "A name has a control character."),
    ("invalid-path", "Not a path."),
    ("invalid-repeat", "A test repeats its request never or too often."),
    ("missing-name", "A name is missing."),
    ("override-expiry", "An override has no expires_at."),
    ("override-reason", "An override has no reason, or too long a one."),
    (
        "path-not-normal",
        "A path is not in the form in which paths are compared.",
    ),
    ("repeated-key", "A rule has a key twice."),
    ("too-long", "A text is too long."),
    ("too-many", "A list is too long."),
    ("unknown-policy", "A test expects a policy that is not there."),
    (
        "unsupported-algorithm",
        "An algorithm that this version does not enforce.",
    ),
    ("unsupported-block", "A block that this version does not enforce."),
];

/// Something that makes a bundle unacceptable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The stable code, kebab-case.
    pub code: &'static str,
    /// Where, as a JSON pointer. Empty: the bundle itself.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() {
            "the bundle"
        } else {
            &self.pointer
        };
        write!(f, "{place}: {} [{}]", self.message, self.code)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// Problems found so far. Bounded: a hundred are told, the rest are counted.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<Problem>,
    untold: usize,
}

impl Problems {
    /// Most problems told.
    pub const MAX: usize = 100;

    /// Adds one.
    pub fn add(&mut self, code: &'static str, place: &Place<'_>, message: impl Into<String>) {
        self.push(Problem {
            code,
            pointer: place.to_string(),
            message: message.into(),
            help: None,
        });
    }

    /// Adds one with advice.
    pub fn advise(
        &mut self,
        code: &'static str,
        place: &Place<'_>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Problem {
            code,
            pointer: place.to_string(),
            message: message.into(),
            help: Some(help.into()),
        });
    }

    /// Adds one, with advice if there is some.
    pub fn add_with(
        &mut self,
        code: &'static str,
        place: &Place<'_>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.push(Problem {
            code,
            pointer: place.to_string(),
            message: message.into(),
            help,
        });
    }

    fn push(&mut self, problem: Problem) {
        if self.found.len() < Self::MAX {
            self.found.push(problem);
        } else {
            self.untold += 1;
        }
    }

    /// Whether none was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many were found, told or not.
    pub fn count(&self) -> usize {
        self.found.len() + self.untold
    }

    /// What was found, in the order of the checks.
    pub fn as_slice(&self) -> &[Problem] {
        &self.found
    }

    /// What was found, by value.
    pub fn into_vec(self) -> Vec<Problem> {
        self.found
    }

    /// How many more there are than are told.
    pub fn untold(&self) -> usize {
        self.untold
    }
}

/// A place in a bundle, built on the stack on the way down and written out only when something is wrong.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Item(usize),
}

impl<'a> Place<'a> {
    /// The bundle itself.
    pub const ROOT: Place<'static> = Place {
        parent: None,
        step: Step::Root,
    };

    /// A field of this place.
    #[must_use]
    pub const fn field(&'a self, name: &'a str) -> Place<'a> {
        Place {
            parent: Some(self),
            step: Step::Field(name),
        }
    }

    /// An item of this place, counted from 0.
    #[must_use]
    pub const fn item(&'a self, index: usize) -> Place<'a> {
        Place {
            parent: Some(self),
            step: Step::Item(index),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Item(index) => write!(f, "/{index}"),
            Step::Field(name) => {
                f.write_char('/')?;
                for character in name.chars() {
                    match character {
                        '~' => f.write_str("~0")?,
                        '/' => f.write_str("~1")?,
                        other => f.write_char(other)?,
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_escape_as_rfc_6901_says() {
        let policies = Place::ROOT.field("policies");
        let policy = policies.item(3);
        assert_eq!(policy.field("a/b~c").to_string(), "/policies/3/a~1b~0c");
        assert_eq!(Place::ROOT.to_string(), "");
    }

    #[test]
    fn codes_are_sorted_and_kebab_case() {
        assert!(CODES.is_sorted_by(|(a, _), (b, _)| a < b));
        assert!(
            CODES
                .iter()
                .all(|(code, _)| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
        );
    }

    #[test]
    fn problems_are_bounded() {
        let mut problems = Problems::default();
        for index in 0..Problems::MAX + 5 {
            problems.add("x", &Place::ROOT.item(index), "no");
        }
        assert_eq!((problems.as_slice().len(), problems.untold()), (Problems::MAX, 5));
    }
}
