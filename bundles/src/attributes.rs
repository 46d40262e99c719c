//! What policies and kill switches may ask of a request. Whoever holds the request implements it.

use std::borrow::Cow;

use portcullis_config::key::Key;

/// A request as keys see it. Every answer is total: what is not there is `None`.
pub trait Attributes {
    /// The value of a key as text; `None` when it is absent, empty, not a scalar or not known (yet).
    fn get(&self, key: &Key) -> Option<Cow<'_, str>>;

    /// Calls `look` with every value of a key: a field or a parameter may be given more than once. Empty ones are left out.
    fn each(&self, key: &Key, look: &mut dyn FnMut(&str)) {
        if let Some(value) = self.get(key) {
            look(&value);
        }
    }

    /// The normalised path, without a query.
    fn path(&self) -> &str;

    /// Whether an identity was verified, so that `jwt:` keys and `tenant:id` can have values.
    fn claims_known(&self) -> bool;
}
