//! JSON values by what they are, without building them: who reads one says what it makes of those kinds that matter to it, and
//! everything else is nothing to it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Reads one JSON value.
pub(super) trait Value<'de>: Sized {
    /// What it makes of it.
    type Out;

    /// `null`, and every kind that it does not care for.
    fn nothing(self) -> Self::Out;

    /// `true` or `false`.
    fn flag(self, _: bool) -> Self::Out {
        self.nothing()
    }

    /// A number that is whole and not negative.
    fn whole(self, number: u64) -> Self::Out {
        #[allow(clippy::cast_precision_loss)] // what is large is large
        self.number(number as f64)
    }

    /// Another number.
    fn number(self, _: f64) -> Self::Out {
        self.nothing()
    }

    /// A text.
    fn text(self, _: &str) -> Self::Out {
        self.nothing()
    }

    /// A list, which has to be read to its end.
    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Out, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.nothing())
    }

    /// An object, which has to be read to its end.
    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Out, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.nothing())
    }
}

/// A reader of a value, as serde takes one.
pub(super) struct By<'de, V>(V, PhantomData<&'de ()>);

/// Has this reader read a value.
pub(super) fn by<'de, V: Value<'de>>(reader: V) -> By<'de, V> {
    By(reader, PhantomData)
}

impl<'de, V: Value<'de>> DeserializeSeed<'de> for By<'de, V> {
    type Value = V::Out;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Out, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, V: Value<'de>> Visitor<'de> for By<'de, V> {
    type Value = V::Out;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<V::Out, E> {
        Ok(self.0.nothing())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<V::Out, E> {
        Ok(self.0.flag(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<V::Out, E> {
        #[allow(clippy::cast_precision_loss)] // what is large is large
        Ok(match u64::try_from(value) {
            Ok(whole) => self.0.whole(whole),
            Err(_) => self.0.number(value as f64),
        })
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<V::Out, E> {
        Ok(self.0.whole(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<V::Out, E> {
        Ok(self.0.number(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Out, E> {
        Ok(self.0.text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Out, A::Error> {
        self.0.list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<V::Out, A::Error> {
        self.0.object(object)
    }
}
