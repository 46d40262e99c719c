//! Schemes of signed requests as data: where signature and timestamp stand, and what is signed. Whether a signature is good
//! enough for a route is the filter's matter.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};
use portcullis_config::site;
use ring::hmac;

use super::config::{Encoding, Known, PlaceConfig, SchemeConfig};
use crate::headers::names::{is_twin, reserved_in_request};

/// Most items of a field that are looked at: more is no rotation of secrets.
const MOST_ITEMS: usize = 16;
/// Bytes of an HMAC-SHA-256.
const TAG: usize = 32;

/// A scheme, compiled.
#[derive(Debug)]
pub(super) struct Scheme {
    pub(super) signature: Place,
    encoding: Encoding,
    pub(super) timestamp: Option<Place>,
    front: Box<[Part]>,
}

/// A place in a header field.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) field: HeaderName,
    separator: Option<char>,
    prefix: Box<str>,
}

/// What stands before the body in what is signed.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Timestamp,
    Field(HeaderName),
}

/// What of a request is not as the scheme has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    Missing,
    Malformed,
}

/// What a request says of its signature.
#[derive(Debug)]
pub(super) struct Claimed {
    tags: Vec<[u8; TAG]>,
    timestamp: Option<(Box<str>, u64)>,
}

impl Scheme {
    /// One that is known by name.
    pub(super) fn known(name: Known) -> Option<Self> {
        let place = |header: &str, separator: Option<char>, prefix: &str| PlaceConfig {
            header: site::HeaderName(header.into()),
            separator,
            prefix: prefix.to_owned(),
        };
        let (signature, timestamp, signed) = match name {
            Known::Fanfare => (
                place("x-fanfare-signature", None, "sha256="),
                Some(place("x-fanfare-timestamp", None, "")),
                "{timestamp}.{body}",
            ),
            Known::Github => (place("x-hub-signature-256", None, "sha256="), None, "{body}"),
            Known::Slack => (
                place("x-slack-signature", None, "v0="),
                Some(place("x-slack-request-timestamp", None, "")),
                "v0:{timestamp}:{body}",
            ),
            Known::Stripe => (
                place("stripe-signature", Some(','), "v1="),
                Some(place("stripe-signature", Some(','), "t=")),
                "{timestamp}.{body}",
            ),
        };
        Self::new(SchemeConfig {
            signature,
            encoding: Encoding::Hex,
            timestamp,
            signed: signed.to_owned(),
        })
        .ok()
    }

    /// One in its own words, or what is wrong with it.
    pub(super) fn new(written: SchemeConfig) -> Result<Self, String> {
        let timestamp = written.timestamp.map(Place::new).transpose()?;
        let front = front(&written.signed)?;
        if front.contains(&Part::Timestamp) != timestamp.is_some() {
            return Err(
                "`timestamp` says where what `{timestamp}` in `signed` stands for is: both or neither".to_owned(),
            );
        }
        Ok(Self {
            signature: Place::new(written.signature)?,
            encoding: written.encoding,
            timestamp,
            front,
        })
    }

    /// The fields that it writes.
    pub(super) fn fields(&self) -> impl Iterator<Item = &HeaderName> {
        let timestamp = self.timestamp.iter().map(|place| &place.field);
        timestamp.chain([&self.signature.field])
    }

    /// What a request says of its signature.
    pub(super) fn read(&self, headers: &HeaderMap) -> Result<Claimed, Unread> {
        let timestamp = match &self.timestamp {
            None => None,
            Some(place) => {
                let [text] = place.items(headers)?[..] else {
                    return Err(Unread::Malformed);
                };
                let digits = (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
                let seconds = text.parse().ok().filter(|_| digits).ok_or(Unread::Malformed)?;
                Some((text.into(), seconds))
            }
        };
        let items = self.signature.items(headers)?;
        let tags: Vec<_> = items.iter().filter_map(|item| self.decode(item)).collect();
        if tags.is_empty() {
            return Err(Unread::Malformed);
        }
        Ok(Claimed { tags, timestamp })
    }

    /// What is signed. `None`: a field that is part of it is not there once, or cannot be told from what follows it.
    pub(super) fn text(&self, headers: &HeaderMap, timestamp: &str, body: &[u8]) -> Option<Vec<u8>> {
        let mut text = Vec::with_capacity(body.len() + 64);
        for (place, part) in self.front.iter().enumerate() {
            match part {
                Part::Text(plain) => text.extend_from_slice(plain.as_bytes()),
                Part::Timestamp => text.extend_from_slice(timestamp.as_bytes()),
                Part::Field(name) => {
                    let value = single(headers, name).ok()?;
                    // Else its end and what follows it could be told apart in two ways.
                    if let Some(Part::Text(next)) = self.front.get(place + 1)
                        && value.contains(&**next)
                    {
                        return None;
                    }
                    text.extend_from_slice(value.as_bytes());
                }
            }
        }
        text.extend_from_slice(body);
        Some(text)
    }

    /// The header fields of a signature.
    pub(super) fn write(&self, timestamp: &str, tag: &[u8]) -> Vec<(HeaderName, String)> {
        let written = match self.encoding {
            Encoding::Hex => tag.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}")),
            Encoding::Base64 => STANDARD.encode(tag),
        };
        let signature = format!("{}{written}", self.signature.prefix);
        let field = self.signature.field.clone();
        match &self.timestamp {
            None => vec![(field, signature)],
            Some(place) if place.field == field => {
                let separator = place.separator.unwrap_or(',');
                vec![(field, format!("{}{timestamp}{separator}{signature}", place.prefix))]
            }
            Some(place) => vec![
                (place.field.clone(), format!("{}{timestamp}", place.prefix)),
                (field, signature),
            ],
        }
    }

    fn decode(&self, item: &str) -> Option<[u8; TAG]> {
        let bytes = match self.encoding {
            Encoding::Base64 => STANDARD.decode(item).ok()?,
            Encoding::Hex => {
                let digits: Option<Vec<u8>> = item.chars().map(|c| u8::try_from(c.to_digit(16)?).ok()).collect();
                let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
                let byte = |pair: &[u8]| pair.iter().fold(0, |byte, digit| byte << 4 | digit);
                digits.chunks(2).map(byte).collect()
            }
        };
        bytes.try_into().ok()
    }
}

impl Claimed {
    /// The timestamp as written.
    pub(super) fn timestamp(&self) -> &str {
        self.timestamp.as_ref().map_or("", |(text, _)| text)
    }

    /// Seconds since 1970.
    pub(super) fn seconds(&self) -> Option<u64> {
        self.timestamp.as_ref().map(|(_, seconds)| *seconds)
    }

    /// The tag that one of the keys made. Each is compared in constant time, and all of them, so that nobody learns which.
    pub(super) fn verified<'k>(&self, keys: impl Iterator<Item = &'k hmac::Key>, text: &[u8]) -> Option<[u8; TAG]> {
        let mut good = None;
        for key in keys {
            for tag in &self.tags {
                if hmac::verify(key, text, tag).is_ok() {
                    good = Some(*tag);
                }
            }
        }
        good
    }
}

impl Place {
    fn new(written: PlaceConfig) -> Result<Self, String> {
        let field = HeaderName::try_from(written.header.0.as_str()).ok();
        let field = field.filter(|name| reserved_in_request(name).is_none());
        let field = field.ok_or_else(|| format!("`{}` cannot carry a signature", written.header.0))?;
        let visible = |c: char| c.is_ascii_graphic() || c == ' ';
        if !written.prefix.chars().all(visible) || written.separator.is_some_and(|c| !visible(c)) {
            return Err("`prefix` and `separator` have printable ASCII characters".to_owned());
        }
        Ok(Self {
            field,
            separator: written.separator,
            prefix: written.prefix.into(),
        })
    }

    /// The items of the field that have the prefix, without it.
    fn items<'h>(&self, headers: &'h HeaderMap) -> Result<Vec<&'h str>, Unread> {
        let value = single(headers, &self.field)?;
        let all: Vec<&str> = match self.separator {
            Some(separator) => value.split(separator).take(MOST_ITEMS + 1).collect(),
            None => vec![value],
        };
        if all.len() > MOST_ITEMS {
            return Err(Unread::Malformed);
        }
        let own = all.iter().filter_map(|item| item.trim().strip_prefix(&*self.prefix));
        Ok(own.collect())
    }
}

/// The value of a field that is there once, under no name that a server could take for it.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h str, Unread> {
    let alike = headers.iter().filter(|(sent, _)| is_twin(name.as_str(), sent.as_str()));
    let mut values = alike.map(|(sent, value)| (sent == name, value));
    match (values.next(), values.next()) {
        (None, _) => Err(Unread::Missing),
        (Some((true, value)), None) => value.to_str().map_err(|_| Unread::Malformed),
        (Some(_), _) => Err(Unread::Malformed),
    }
}

/// What stands before `{body}`, which is the end.
fn front(signed: &str) -> Result<Box<[Part]>, String> {
    let mut rest = signed.strip_suffix("{body}").ok_or("`signed` ends with `{body}`")?;
    let mut parts = Vec::new();
    while let Some((plain, from)) = rest.split_once('{') {
        let (name, behind) = from.split_once('}').ok_or("`signed` has a `{` without `}`")?;
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        parts.push(match (name, name.strip_prefix("header:")) {
            ("timestamp", _) => Part::Timestamp,
            (_, Some(field)) => {
                let field = HeaderName::try_from(field).map_err(|_| format!("`{field}` is no header field"))?;
                Part::Field(field)
            }
            _ => {
                return Err(format!(
                    "`signed` knows `{{timestamp}}`, `{{header:NAME}}` and `{{body}}`, not `{{{name}}}`"
                ));
            }
        });
        rest = behind;
    }
    // Two neighbours could share a letter: `1` and `23` as `12` and `3`.
    let runs = parts
        .windows(2)
        .any(|two| !two.iter().any(|part| matches!(part, Part::Text(_))));
    if runs || (rest.is_empty() && parts.last().is_some_and(|part| !matches!(part, Part::Text(_)))) {
        return Err("in `signed`, a text stands between any two of what is filled in".to_owned());
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.into()));
    }
    Ok(parts.into())
}
