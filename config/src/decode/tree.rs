//! A `Deserializer` over the nodes of a document.

use serde::de::{Deserializer, Visitor};

use super::access::{Entries, Items, Value, Variant};
use super::error::{Error, Reason};
use super::{Run, State};
use crate::diagnostic::render::names_secret;
use crate::diagnostic::{Diagnostic, closest, codes, suggest};
use crate::document::{Kind, NodeId, Number, NumberValue, RawNode};
use crate::secret::SecretRef;
use crate::site::Link;

/// A node on its way to a type.
#[derive(Clone, Copy)]
pub(super) struct Tree<'r, 'd> {
    pub(super) run: &'r Run<'d>,
    node: NodeId,
}

impl<'r, 'd> Tree<'r, 'd> {
    pub(super) fn new(run: &'r Run<'d>, node: NodeId) -> Self {
        Self { run, node }
    }

    fn kind(self) -> &'d Kind {
        self.run.document.kind(self.node)
    }

    pub(super) fn is_hidden(self, node: NodeId) -> bool {
        self.run.state.borrow().hidden.contains(&node)
    }

    /// Whether an earlier round found nothing more in a list's item.
    pub(super) fn has_passed(self, item: NodeId) -> bool {
        self.run.state.borrow().passed.contains(&item)
    }

    /// Notes an item that was decoded. While nothing is wrong, the items are needed.
    pub(super) fn pass(self, item: NodeId) {
        let mut state = self.run.state.borrow_mut();
        if state.failed {
            state.passed.insert(item);
        }
    }

    fn wrong<T>(self, expected: impl Into<String>) -> Result<T, Error> {
        Err(Error::wrong_type(expected).on(self.node))
    }

    /// A value that looks like another type than the string it was meant to be.
    fn not_a_string<T>(self) -> Result<T, Error> {
        let text = match self.kind() {
            Kind::Number(Number { text, .. }) => text.as_ref(),
            Kind::Bool(true) => "true",
            Kind::Bool(false) => "false",
            _ => return self.wrong("a string"),
        };
        let reason = Reason::WrongType {
            expected: "a string".into(),
            help: Some(format!("put it in quotes: \"{text}\"")),
        };
        Err(Error::new(reason).on(self.node))
    }

    fn whole<T: TryFrom<i128>>(self, least: i128, most: i128) -> Result<T, Error> {
        let Kind::Number(Number { text, value }) = self.kind() else {
            return self.wrong("a number");
        };
        let value = match *value {
            NumberValue::Unsigned(value) => i128::from(value),
            NumberValue::Signed(value) => i128::from(value),
            // Too many digits for a machine integer.
            NumberValue::Float(_) if text.bytes().all(|b| b.is_ascii_digit()) => i128::MAX,
            NumberValue::Float(_) => return self.wrong("a whole number"),
        };
        let fits = (least..=most)
            .contains(&value)
            .then(|| T::try_from(value).ok())
            .flatten();
        let range = || {
            Reason::OutOfRange(format!(
                "`{text}` is out of range: a number from {least} to {most} is expected"
            ))
        };
        fits.ok_or_else(|| Error::new(range()).on(self.node))
    }

    fn float(self) -> Result<f64, Error> {
        #[allow(clippy::cast_precision_loss)] // as every JSON and YAML reader does
        let value = match self.kind() {
            Kind::Number(Number {
                value: NumberValue::Unsigned(value),
                ..
            }) => *value as f64,
            Kind::Number(Number {
                value: NumberValue::Signed(value),
                ..
            }) => *value as f64,
            Kind::Number(Number {
                value: NumberValue::Float(value),
                ..
            }) => *value,
            _ => return self.wrong("a number"),
        };
        if value.is_finite() {
            return Ok(value);
        }
        Err(Error::new(Reason::OutOfRange("the number must be finite".into())).on(self.node))
    }

    /// The entries of a map that are for the type, with the unknown ones reported.
    fn known_entries(self, name: &str, fields: &'static [&'static str]) -> Result<Vec<(&'d str, NodeId)>, Error> {
        let at_root = self.node == self.run.root;
        let entries = match self.kind() {
            Kind::Map(entries) => entries.as_slice(),
            Kind::Null if name == Link::MAGIC || (at_root && !self.run.rules.ignore.is_empty()) => &[],
            _ if name == Link::MAGIC => return self.wrong("the settings of a filter: a map"),
            _ => return self.wrong(expected_map(fields)),
        };
        let mut state = self.run.state.borrow_mut();
        let mut known = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            if fields.contains(&key.as_ref()) {
                known.extend((!self.run.is_absent(*value)).then_some((key.as_ref(), *value)));
            } else if !(at_root && self.run.rules.ignore.contains(&key.as_ref())) && name != Link::MAGIC {
                self.unknown_key(&mut state, key, *value, fields);
            }
        }
        Ok(known)
    }

    fn unknown_key(self, state: &mut State, key: &str, value: NodeId, fields: &'static [&'static str]) {
        if !state.unknown.insert(value) {
            return;
        }
        if state.found.is_full() {
            return state.found.drop_one();
        }
        let document = self.run.document;
        let meant = closest(key, fields.iter().copied());
        if let (Some(meant), Some(map)) = (meant, document.parent(value)) {
            state.misspelt.insert((map, meant));
        }
        if names_secret(key) || meant.is_some_and(names_secret) {
            state.found.hide(document.span(value));
        }
        let diagnostic = Diagnostic::new(codes::UNKNOWN_KEY, format!("unknown key `{key}`"));
        let help = if fields.is_empty() {
            "no keys are known here".into()
        } else {
            suggest(key, fields.iter().copied())
        };
        state.found.push(diagnostic.on_key(document, value).help(help));
    }

    fn items<V: Visitor<'d>>(self, mut items: Items<'_, 'd>, visitor: V) -> Result<V::Value, Error> {
        let value = visitor.visit_seq(&mut items).map_err(|error| error.on(self.node))?;
        match items.left() {
            0 => Ok(value),
            left => Err(Error::new(Reason::OutOfRange(format!("the list has {left} items too many"))).on(self.node)),
        }
    }

    fn secret<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        let reference = self
            .run
            .document
            .string(self.node)
            .filter(|text| SecretRef::looks_like_one(text));
        if reference.is_none() {
            self.run
                .state
                .borrow_mut()
                .found
                .hide(self.run.document.span(self.node));
        }
        visitor.visit_newtype_struct(self)
    }
}

fn expected_map(fields: &'static [&'static str]) -> String {
    const SHOWN: usize = 6;
    let names: Vec<_> = fields.iter().take(SHOWN).map(|field| format!("`{field}`")).collect();
    match fields.len() {
        0 => "a map".to_owned(),
        1..=SHOWN => format!("a map with {}", names.join(", ")),
        _ => format!("a map with {}, ...", names.join(", ")),
    }
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident $type:ty,)*) => {
        $(fn $method<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
            let value = self.whole::<$type>(i128::from(<$type>::MIN), i128::from(<$type>::MAX))?;
            visitor.$visit(value).map_err(|error: Error| error.on(self.node))
        })*
    };
}

impl<'d> Deserializer<'d> for Tree<'_, 'd> {
    type Error = Error;

    whole_numbers! {
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
    }

    fn deserialize_any<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        let result: Result<V::Value, Error> = match self.kind() {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Number(number) => match number.value {
                NumberValue::Unsigned(value) => visitor.visit_u64(value),
                NumberValue::Signed(value) => visitor.visit_i64(value),
                NumberValue::Float(_) => visitor.visit_f64(self.float()?),
            },
            Kind::String(text) => visitor.visit_borrowed_str(text),
            Kind::List(_) => return self.deserialize_seq(visitor),
            Kind::Map(_) => return self.deserialize_map(visitor),
        };
        result.map_err(|error| error.on(self.node))
    }

    fn deserialize_bool<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind() {
            Kind::Bool(value) => visitor.visit_bool(*value).map_err(|error: Error| error.on(self.node)),
            Kind::String(text)
                if ["yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str()) =>
            {
                let help = Some("in YAML 1.2 only `true` and `false` are booleans".to_owned());
                Err(Error::new(Reason::WrongType {
                    expected: "`true` or `false`".into(),
                    help,
                })
                .on(self.node))
            }
            _ => self.wrong("`true` or `false`"),
        }
    }

    fn deserialize_f32<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor
            .visit_f64(self.float()?)
            .map_err(|error: Error| error.on(self.node))
    }

    fn deserialize_f64<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor
            .visit_f64(self.float()?)
            .map_err(|error: Error| error.on(self.node))
    }

    fn deserialize_char<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind() {
            Kind::String(text) => visitor
                .visit_borrowed_str(text)
                .map_err(|error: Error| error.on(self.node)),
            _ => self.not_a_string(),
        }
    }

    fn deserialize_string<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind() {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
        .map_err(|error: Error| error.on(self.node))
    }

    fn deserialize_unit<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind() {
            Kind::Null => visitor.visit_unit().map_err(|error: Error| error.on(self.node)),
            _ => self.wrong("nothing"),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'d>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'d>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        let result = match name {
            RawNode::MAGIC => visitor.visit_u32(self.node.0),
            SecretRef::MAGIC => self.secret(visitor),
            _ => visitor.visit_newtype_struct(self),
        };
        result.map_err(|error| error.on(self.node))
    }

    fn deserialize_seq<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        let Kind::List(items) = self.kind() else {
            return self.wrong("a list");
        };
        self.items(Items::new(self, items), visitor)
    }

    fn deserialize_tuple<V: Visitor<'d>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        let Kind::List(items) = self.kind() else {
            return self.wrong("a list");
        };
        self.items(Items::fixed(self, items), visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'d>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        let Kind::Map(entries) = self.kind() else {
            return self.wrong("a map");
        };
        let ignored = |key: &str| self.node == self.run.root && self.run.rules.ignore.contains(&key);
        let entries = entries
            .iter()
            .filter(|(key, value)| !ignored(key) && !self.is_hidden(*value));
        let entries = entries
            .map(|(key, value)| (key.as_ref(), Value::Node(*value)))
            .collect::<Vec<_>>();
        visitor
            .visit_map(Entries::new(self, entries))
            .map_err(|error| error.on(self.node))
    }

    fn deserialize_struct<V: Visitor<'d>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let known = self.known_entries(name, fields)?;
        let mut entries = Vec::with_capacity(known.len() + 1);
        if name == Link::MAGIC {
            entries.push((Link::NODE, Value::Myself));
        }
        for (key, node) in known {
            entries.push((
                key,
                if self.is_hidden(node) {
                    Value::Dream
                } else {
                    Value::Node(node)
                },
            ));
        }
        if let Some(provided) = self.run.state.borrow().provided.get(&self.node) {
            let provided = fields.iter().filter(|field| provided.iter().any(|name| name == *field));
            entries.extend(provided.map(|field| (*field, Value::Dream)));
        }
        visitor
            .visit_map(Entries::new(self, entries))
            .map_err(|error| error.on(self.node))
    }

    fn deserialize_enum<V: Visitor<'d>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (word, content) = match self.kind() {
            Kind::String(word) => (word.as_ref(), None),
            Kind::Map(entries) => match entries.as_slice() {
                [(word, content)] => (word.as_ref(), Some(*content)),
                _ => return self.wrong("a word, or a map with one key"),
            },
            _ => return self.not_a_string(),
        };
        if !variants.contains(&word) {
            let error = Error::new(Reason::UnknownVariant {
                word: word.to_owned(),
                known: variants,
            });
            return Err(match content {
                Some(content) => error.on_key(content),
                None => error.on(self.node),
            });
        }
        visitor
            .visit_enum(Variant::new(self, word, content))
            .map_err(|error| error.on(self.node))
    }

    fn deserialize_identifier<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}
