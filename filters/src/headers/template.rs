//! Values with variables: `${client_ip}`. What a variable stands for comes from the request, already judged and
//! normalised.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::str::FromStr;

use http::HeaderValue;
use portcullis_config::diagnostic::suggest;
use portcullis_config::text::{TextError, from_text};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::request::Head;

/// Longest value as written, in bytes.
const MAX_LENGTH: usize = 8 << 10;
const EXPECTED: &str = "the value of a header field; ${client_ip} and the like are replaced";

/// What a value can refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    ClientIp,
    PeerIp,
    Host,
    Method,
    Path,
    Scheme,
}

/// Variables by name.
const VARIABLES: [(&str, Variable); 6] = [
    ("client_ip", Variable::ClientIp),
    ("peer_ip", Variable::PeerIp),
    ("host", Variable::Host),
    ("method", Variable::Method),
    ("path", Variable::Path),
    ("scheme", Variable::Scheme),
];

/// A value, ready to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Parts);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Parts {
    /// Without variables: made once.
    Constant(HeaderValue),
    Mixed(Box<[Part]>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Variable(Variable),
}

impl Template {
    /// The value for a request. `None` if what a variable stands for cannot be in a header field.
    pub fn fill(&self, head: &Head<'_>) -> Option<HeaderValue> {
        let parts = match &self.0 {
            Parts::Constant(value) => return Some(value.clone()),
            Parts::Mixed(parts) => parts,
        };
        let mut text = String::new();
        for part in parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Variable(variable) => variable.write(head, &mut text),
            }
        }
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
    }
}

impl Variable {
    fn write(self, head: &Head<'_>, out: &mut String) {
        match self {
            Self::ClientIp => {
                let _ = write!(out, "{}", head.client.address);
            }
            Self::PeerIp => {
                let _ = write!(out, "{}", head.client.peer);
            }
            Self::Host => out.push_str(head.host),
            Self::Method => out.push_str(head.method.as_str()),
            Self::Path => out.push_str(head.path),
            Self::Scheme => out.push_str(if head.client.tls { "https" } else { "http" }),
        }
    }
}

impl FromStr for Template {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        if text.len() > MAX_LENGTH {
            return Err(TextError::new(format!(
                "the value has {} bytes; the limit is {MAX_LENGTH}",
                text.len()
            )));
        }
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            let message = "the value has a control character: it could end the field and begin another";
            return Err(TextError::new(message));
        }
        if text.trim_matches(' ').len() != text.len() {
            return Err(TextError::new(
                "the value begins or ends with a space, which no header field may (RFC 9110, 5.5)",
            ));
        }
        let parts = parts(text)?;
        if let [] | [Part::Text(_)] = parts.as_slice() {
            let literal = parts
                .first()
                .map_or("", |part| if let Part::Text(literal) = part { literal } else { "" });
            let value = HeaderValue::from_bytes(literal.as_bytes());
            return value
                .map(|value| Self(Parts::Constant(value)))
                .map_err(|_| TextError::new("the value cannot be that of a header field"));
        }
        Ok(Self(Parts::Mixed(parts.into())))
    }
}

/// Takes a value apart. `$$` stands for `$`; a `$` before anything but `{` stands for itself.
fn parts(text: &str) -> Result<Vec<Part>, TextError> {
    let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        literal.push_str(before);
        let Some(named) = after.strip_prefix('{') else {
            literal.push('$');
            rest = after.strip_prefix('$').unwrap_or(after);
            continue;
        };
        let Some((name, tail)) = named.split_once('}') else {
            return Err(TextError::new("`${` without a `}`").help("write `$$` for a dollar sign"));
        };
        let Some((_, variable)) = VARIABLES.iter().find(|(known, _)| *known == name) else {
            let help = suggest(name, VARIABLES.iter().map(|(name, _)| *name));
            return Err(TextError::new(format!("there is no variable `{name}`")).help(help));
        };
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal).into()));
        }
        parts.push(Part::Variable(*variable));
        rest = tail;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Text(literal.into()));
    }
    Ok(parts)
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, EXPECTED, "")
    }
}

impl JsonSchema for Template {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": EXPECTED, "maxLength": MAX_LENGTH })
    }
}
