//! Every tenant that a JSON text names, held against the caller's: members by path, whatever the order, also where a name
//! stands twice. Nothing is kept of the text. Reading it off the wire is not done here.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use smallvec::SmallVec;

/// The names that lead to a member.
pub(super) type MemberPath = Box<[Box<str>]>;

/// What a text says of tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// None, or only this one.
    Nothing,
    /// Another one, or something that is no name.
    Other,
    /// It is no JSON.
    Unreadable,
}

/// Reads a path such as `data.organizationId`.
pub(super) fn parse(text: &str) -> Option<MemberPath> {
    let names = text.split('.').map(Box::from);
    let path: MemberPath = names.collect();
    let right = path.len() <= 16 && path.iter().all(|name| !name.is_empty());
    right.then_some(path)
}

/// Holds every member at one of `paths` against `tenant`. A list on the way, or at its end, stands for each of its items.
/// Names are compared without regard to the case of ASCII letters, as some servers do.
pub(super) fn check(text: &[u8], paths: &[MemberPath], tenant: &str) -> Said {
    let other = Cell::new(false);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let node = Node {
        paths: paths.iter().map(AsRef::as_ref).collect(),
        tenant,
        other: &other,
    };
    let read = node.deserialize(&mut reader).and_then(|()| reader.end());
    match (other.get(), read) {
        (true, _) => Said::Other,
        (false, Ok(())) => Said::Nothing,
        (false, Err(_)) => Said::Unreadable,
    }
}

/// A value, with what is left of the paths that lead to it.
#[derive(Clone)]
struct Node<'a> {
    paths: SmallVec<[&'a [Box<str>]; 4]>,
    tenant: &'a str,
    other: &'a Cell<bool>,
}

impl Node<'_> {
    /// Whether it is a member that names a tenant.
    fn is_name(&self) -> bool {
        self.paths.iter().any(|path| path.is_empty())
    }

    fn text<E: Error>(&self, text: &str) -> Result<(), E> {
        if self.is_name() && text != self.tenant {
            return self.fail();
        }
        Ok(())
    }

    fn fail<E: Error>(&self) -> Result<(), E> {
        self.other.set(true);
        Err(E::custom("another tenant"))
    }

    fn member(&self, name: &str) -> Self {
        let below = self.paths.iter().filter_map(|path| {
            let (first, rest) = path.split_first()?;
            first.eq_ignore_ascii_case(name).then_some(rest)
        });
        Self {
            paths: below.collect(),
            ..*self
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.paths.is_empty() {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(|_| ());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    /// Null names nobody.
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        if self.is_name() { self.fail() } else { Ok(()) }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.text(&value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.text(&value.to_string())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        if self.is_name() { self.fail() } else { Ok(()) }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.text(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.clone())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        if self.is_name() {
            return self.fail();
        }
        while let Some(name) = members.next_key::<std::borrow::Cow<'de, str>>()? {
            members.next_value_seed(self.member(&name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_wherever_they_stand() {
        let paths = ["org", "data.org", "items.org"].map(|path| parse(path).unwrap());
        for (text, expected) in [
            ("{}", Said::Nothing),
            ("[]", Said::Nothing),
            ("null", Said::Nothing),
            (r#"{"org":"acme"}"#, Said::Nothing),
            (r#"{"org":"\u0061cme"}"#, Said::Nothing),
            (r#"{"org":null}"#, Said::Nothing),
            (r#"{"org":["acme","acme"]}"#, Said::Nothing),
            (r#"{"name":"other","x":{"org":"other"}}"#, Said::Nothing),
            (r#"{"org":"other"}"#, Said::Other),
            (r#"{"ORG":"other"}"#, Said::Other),
            (r#"{"\u006frg":"other"}"#, Said::Other),
            (r#"{"org":"acme","org":"other"}"#, Said::Other),
            (r#"{"org":"other","org":"acme"}"#, Said::Other),
            (r#"{"data":{"org":"acme"},"data":{"org":"other"}}"#, Said::Other),
            (r#"{"items":[{"org":"acme"},{"x":1},{"org":"other"}]}"#, Said::Other),
            (r#"[{"org":"acme"},{"org":"other"}]"#, Said::Other),
            (r#"{"org":["acme","other"]}"#, Said::Other),
            (r#"{"org":{"id":"acme"}}"#, Said::Other),
            (r#"{"org":true}"#, Said::Other),
            (r#"{"org":1}"#, Said::Other),
            (r#"{"org":""}"#, Said::Other),
            (r#"{"org":"acme "}"#, Said::Other),
            (r#"{"org":"Acme"}"#, Said::Other),
            ("", Said::Unreadable),
            ("org=acme", Said::Unreadable),
            (r#"{"org":"acme"} x"#, Said::Unreadable),
            (r#"{"org":"acme"}{"org":"other"}"#, Said::Unreadable),
            ("\u{feff}{}", Said::Unreadable),
            (r#"{"org":'other'}"#, Said::Unreadable),
        ] {
            assert_eq!(check(text.as_bytes(), &paths, "acme"), expected, "{text}");
        }
        assert_eq!(check(br#"{"org":42}"#, &paths, "42"), Said::Nothing);
        let deep = format!("{}1{}", r#"{"data":"#.repeat(100_000), "}".repeat(100_000));
        assert_eq!(check(deep.as_bytes(), &[parse("data").unwrap()], "acme"), Said::Other);
        let deep = "[".repeat(100_000);
        assert_eq!(
            check(deep.as_bytes(), &paths, "acme"),
            Said::Unreadable,
            "without growing"
        );
    }

    #[test]
    fn bad_paths() {
        for bad in ["", ".", "a.", ".a", "a..b", &"a.".repeat(20)] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
