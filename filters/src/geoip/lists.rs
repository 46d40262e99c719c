//! Lists in text: kinds of autonomous systems, Tor exits. Each line is one entry, in the simplest form or as it stands in a
//! `map` or `geo` block of nginx; `#` begins a comment.

use std::net::IpAddr;

use ipnet::IpNet;
use portcullis_config::key::IP_TYPES;

/// Most entries of a list.
const MOST: usize = 1_000_000;
/// The kind of what no list knows.
pub(super) const UNKNOWN: &str = "unknown";

/// What is wrong with a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct ListError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// Kinds of autonomous systems: `64496 hosting` a line.
#[derive(Debug)]
pub struct AsnTypes {
    /// By number.
    known: Box<[(u32, &'static str)]>,
    /// The kind of all others.
    other: &'static str,
}

/// Tor exits: an address or a network a line.
#[derive(Debug)]
pub struct TorExits {
    /// First and last address of each run, in order, none beside another. IPv4 addresses are mapped into IPv6.
    runs: Box<[(u128, u128)]>,
}

/// A kind by its name.
pub(super) fn kind(text: &str) -> Option<&'static str> {
    IP_TYPES.into_iter().find(|known| *known == text)
}

impl AsnTypes {
    /// Of a file's text. `default KIND` is for all that are not named; without it they are `unknown`.
    pub fn parse(text: &str) -> Result<Self, ListError> {
        let (mut known, mut other) = (Vec::new(), UNKNOWN);
        for entry in entries(text) {
            let Entry { line, key, value } = entry?;
            let wrong = |why: String| ListError { line, why };
            let kind = value.map(|value| kind(value).ok_or(value)).transpose();
            let kind = kind.map_err(|value| {
                let kinds = IP_TYPES.join(", ");
                wrong(format!("`{value}` is no kind of network; there are {kinds}"))
            })?;
            let kind = kind.ok_or_else(|| wrong(format!("`{key}` has no kind")))?;
            if key == "default" {
                other = kind;
                continue;
            }
            let number =
                super::number(key).ok_or_else(|| wrong(format!("`{key}` is no number of an autonomous system")))?;
            known.push((number, kind));
        }
        known.sort_unstable();
        known.dedup();
        let twice = known.windows(2).find_map(|pair| match pair {
            [(one, _), (other, _)] if one == other => Some(*one),
            _ => None,
        });
        if let Some(number) = twice {
            let why = format!("the autonomous system {number} has two kinds");
            return Err(ListError {
                line: line_of(text, number),
                why,
            });
        }
        Ok(Self {
            known: known.into(),
            other,
        })
    }

    /// The kind of one, if the list names it.
    pub fn of(&self, number: u32) -> Option<&'static str> {
        let place = self.known.binary_search_by_key(&number, |(known, _)| *known).ok()?;
        self.known.get(place).map(|(_, kind)| *kind)
    }

    /// The kind of those that the list does not name.
    pub fn other(&self) -> &'static str {
        self.other
    }
}

/// The last line that is about a number.
fn line_of(text: &str, number: u32) -> usize {
    let about = |entry: Entry<'_>| (super::number(entry.key) == Some(number)).then_some(entry.line);
    entries(text).filter_map(|entry| about(entry.ok()?)).last().unwrap_or(0)
}

impl TorExits {
    /// Of a file's text.
    pub fn parse(text: &str) -> Result<Self, ListError> {
        let mut runs = Vec::new();
        for entry in entries(text) {
            let Entry { line, key, value } = entry?;
            match (key, value) {
                ("default", Some("0")) => continue,
                (_, None | Some("1")) => {}
                (_, Some(value)) => {
                    let why = format!("`{value}` behind `{key}`: an exit has `1` or nothing");
                    return Err(ListError { line, why });
                }
            }
            let run = run(key).ok_or_else(|| ListError {
                line,
                why: format!("`{key}` is neither an address nor a network"),
            })?;
            runs.push(run);
        }
        runs.sort_unstable();
        let mut joined: Vec<(u128, u128)> = Vec::with_capacity(runs.len());
        for (first, last) in runs {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => joined.push((first, last)),
            }
        }
        Ok(Self { runs: joined.into() })
    }

    /// Whether an address is one.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = bits(address);
        let after = self.runs.partition_point(|(first, _)| *first <= address);
        let run = after.checked_sub(1).and_then(|place| self.runs.get(place));
        run.is_some_and(|(_, last)| address <= *last)
    }
}

/// First and last address of an address or a network.
fn run(text: &str) -> Option<(u128, u128)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((bits(address), bits(address)));
    }
    let network: IpNet = text.parse().ok()?;
    Some((bits(network.network()), bits(network.broadcast())))
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().to_bits(),
        IpAddr::V6(six) => six.to_bits(),
    }
}

/// An entry of a list.
struct Entry<'t> {
    line: usize,
    key: &'t str,
    value: Option<&'t str>,
}

fn entries(text: &str) -> impl Iterator<Item = Result<Entry<'_>, ListError>> {
    let written = text.lines().zip(1..).filter_map(|(line, number)| {
        let bare = line.split('#').next().unwrap_or_default().trim();
        let bare = bare.strip_suffix(';').unwrap_or(bare).trim_end();
        (!bare.is_empty()).then_some((number, bare))
    });
    written.enumerate().map(|(index, (line, bare))| {
        if index >= MOST {
            let why = format!("a list has at most {MOST} entries");
            return Err(ListError { line, why });
        }
        let mut words = bare.split_ascii_whitespace();
        let (key, value) = (words.next().unwrap_or_default(), words.next());
        if words.next().is_some() {
            let why = "an entry is one or two words".to_owned();
            return Err(ListError { line, why });
        }
        Ok(Entry { line, key, value })
    })
}
