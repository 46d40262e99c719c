//! How a [`Tree`] hands out what is in it: items, entries, keys, variants. Hidden items are left out; hidden values of a
//! struct are replaced by stand-ins.

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, VariantAccess, Visitor};

use super::dream::Dream;
use super::error::{Error, Reason};
use super::tree::Tree;
use crate::document::NodeId;

/// The items of a list. Hidden ones are left out, or, where the number counts, replaced by stand-ins.
pub(super) struct Items<'r, 'd> {
    tree: Tree<'r, 'd>,
    rest: std::slice::Iter<'d, NodeId>,
    fixed: bool,
}

impl<'r, 'd> Items<'r, 'd> {
    /// Of a list of any length.
    pub(super) fn new(tree: Tree<'r, 'd>, items: &'d [NodeId]) -> Self {
        let rest = items.iter();
        Self {
            tree,
            rest,
            fixed: false,
        }
    }

    /// How many were not asked for.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Of a tuple.
    pub(super) fn fixed(tree: Tree<'r, 'd>, items: &'d [NodeId]) -> Self {
        let rest = items.iter();
        Self {
            tree,
            rest,
            fixed: true,
        }
    }
}

impl<'d> de::SeqAccess<'d> for Items<'_, 'd> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'d>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let (tree, fixed) = (self.tree, self.fixed);
        let left_out = |item: NodeId| !fixed && (tree.is_hidden(item) || tree.has_passed(item));
        let Some(item) = self.rest.find(|item| !left_out(**item)) else {
            return Ok(None);
        };
        if tree.is_hidden(*item) {
            return seed.deserialize(Dream).map(Some);
        }
        let value = seed
            .deserialize(Tree::new(tree.run, *item))
            .map_err(|error| error.on(*item))?;
        if !fixed {
            tree.pass(*item);
        }
        Ok(Some(value))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// What stands at a key.
#[derive(Clone, Copy)]
pub(super) enum Value {
    Node(NodeId),
    /// The map itself.
    Myself,
    /// A stand-in.
    Dream,
}

pub(super) struct Entries<'r, 'd> {
    tree: Tree<'r, 'd>,
    rest: std::vec::IntoIter<(&'d str, Value)>,
    next: Option<Value>,
}

impl<'r, 'd> Entries<'r, 'd> {
    pub(super) fn new(tree: Tree<'r, 'd>, entries: Vec<(&'d str, Value)>) -> Self {
        Self {
            tree,
            rest: entries.into_iter(),
            next: None,
        }
    }
}

impl<'d> de::MapAccess<'d> for Entries<'_, 'd> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'d>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.next = Some(value);
        let key = seed.deserialize(Key { text: key });
        key.map(Some).map_err(|error| match value {
            Value::Node(node) => error.on_key(node),
            _ => error,
        })
    }

    fn next_value_seed<V: DeserializeSeed<'d>>(&mut self, seed: V) -> Result<V::Value, Error> {
        match self.next.take() {
            Some(Value::Node(node)) => seed
                .deserialize(Tree::new(self.tree.run, node))
                .map_err(|error| error.on(node)),
            Some(Value::Myself) => seed.deserialize(self.tree),
            Some(Value::Dream) | None => seed.deserialize(Dream),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// A key on its way to a type. Whole numbers may be keys too.
struct Key<'d> {
    text: &'d str,
}

macro_rules! number_keys {
    ($($method:ident $visit:ident,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.text.parse() {
                Ok(number) => visitor.$visit(number),
                Err(_) => Err(Error::new(Reason::Custom(format!("the key `{}` must be a whole number in range", self.text)))),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Error;

    number_keys! {
        deserialize_i8 visit_i8,
        deserialize_i16 visit_i16,
        deserialize_i32 visit_i32,
        deserialize_i64 visit_i64,
        deserialize_u8 visit_u8,
        deserialize_u16 visit_u16,
        deserialize_u32 visit_u32,
        deserialize_u64 visit_u64,
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.text)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(IntoDeserializer::<Error>::into_deserializer(self.text))
    }

    serde::forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

/// A variant of an enum: a word, or a map with one key.
pub(super) struct Variant<'r, 'd> {
    tree: Tree<'r, 'd>,
    word: &'d str,
    content: Option<NodeId>,
}

impl<'r, 'd> Variant<'r, 'd> {
    pub(super) fn new(tree: Tree<'r, 'd>, word: &'d str, content: Option<NodeId>) -> Self {
        Self { tree, word, content }
    }

    /// The node of the settings. A stand-in, when it is hidden.
    fn settings(&self) -> Result<Option<Tree<'r, 'd>>, Error> {
        let Some(content) = self.content else {
            let word = self.word;
            let text = format!("`{word}` needs settings\nwrite `{{ {word}: {{ ... }} }}`");
            return Err(Error::new(Reason::Custom(text)));
        };
        Ok((!self.tree.is_hidden(content)).then(|| Tree::new(self.tree.run, content)))
    }
}

impl<'d> de::EnumAccess<'d> for Variant<'_, 'd> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'d>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let value = seed.deserialize(Key { text: self.word })?;
        Ok((value, self))
    }
}

impl<'d> VariantAccess<'d> for Variant<'_, 'd> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            None => Ok(()),
            Some(_) => Err(Error::new(Reason::Custom(format!(
                "`{0}` has no settings\nwrite just `{0}`",
                self.word
            )))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'d>>(self, seed: T) -> Result<T::Value, Error> {
        match self.settings()? {
            Some(tree) => seed.deserialize(tree),
            None => seed.deserialize(Dream),
        }
    }

    fn tuple_variant<V: Visitor<'d>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        match self.settings()? {
            Some(tree) => tree.deserialize_tuple(length, visitor),
            None => Dream.deserialize_tuple(length, visitor),
        }
    }

    fn struct_variant<V: Visitor<'d>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        match self.settings()? {
            Some(tree) => tree.deserialize_struct("", fields, visitor),
            None => Dream.deserialize_struct("", fields, visitor),
        }
    }
}
