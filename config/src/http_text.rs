//! Pieces of HTTP as written: methods, header names, status codes.

use std::fmt;
use std::str::FromStr;

use http::StatusCode;
use serde::de::{Deserializer, Error, Visitor};

use crate::text::{TextError, text_type};

/// An HTTP method as written: an upper-case token.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method(pub String);

impl FromStr for Method {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        if text.len() > 32 || http::Method::from_bytes(text.as_bytes()).is_err() {
            return Err(TextError::new(format!("`{text}` is not an HTTP method")));
        }
        let upper = text.to_ascii_uppercase();
        if text != upper {
            let message = format!("`{text}`: methods are compared by case, and those of HTTP are upper-case");
            return Err(TextError::new(message).help(format!("write `{upper}`")));
        }
        Ok(Self(upper))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_type!(
    Method,
    "an HTTP method such as GET",
    "GET",
    "^[!#$%&'*+.^_`|~0-9A-Z-]{1,32}$"
);

/// A header field name, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderName(pub String);

impl FromStr for HeaderName {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let name = http::HeaderName::from_bytes(text.as_bytes());
        name.map(|name| Self(name.as_str().to_owned()))
            .map_err(|_| TextError::new(format!("`{text}` is not a header field name")))
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_type!(
    HeaderName,
    "a header field name such as x-tenant",
    "x-a",
    "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
);

/// A status code as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub StatusCode);

impl serde::Serialize for Status {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.0.as_u16())
    }
}

const STATUS: &str = "a status code from 100 to 599";

impl<'de> serde::Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StatusVisitor;
        impl<'de> Visitor<'de> for StatusVisitor {
            type Value = Status;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(STATUS)
            }

            fn visit_some<D: Deserializer<'de>>(self, _: D) -> Result<Status, D::Error> {
                Ok(Status(StatusCode::FOUND))
            }

            fn visit_u64<E: Error>(self, code: u64) -> Result<Status, E> {
                let code = u16::try_from(code).ok().filter(|code| (100..600).contains(code));
                let status = code.and_then(|code| StatusCode::from_u16(code).ok());
                status
                    .map(Status)
                    .ok_or_else(|| E::custom(format_args!("this is not {STATUS}")))
            }
        }
        deserializer.deserialize_any(StatusVisitor)
    }
}

impl schemars::JsonSchema for Status {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Status".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "description": STATUS, "minimum": 100, "maximum": 599 })
    }
}
