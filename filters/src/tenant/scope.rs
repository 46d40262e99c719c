//! Whose a piece of state is. Keys of stores, caches and counters that hold callers' data are made through a [`Scope`], so
//! that whoever forgets the tenant gets an error of the compiler and not an entry of somebody else. Who a request's tenant
//! is, is not found out here.
//!
//! A key of a tenant:
//!
//! ```
//! use portcullis_filters::tenant::{Scope, Scoped, TenantId};
//!
//! let acme = TenantId::new("acme").unwrap();
//! let key: Scoped<u64> = Scope::of(&acme).key(7);
//! assert_ne!(key, Scope::gateway().key(7));
//! ```
//!
//! The same without the tenant is no key:
//!
//! ```compile_fail,E0308
//! use portcullis_filters::tenant::{Scope, Scoped, TenantId};
//!
//! let acme = TenantId::new("acme").unwrap();
//! let key: Scoped<u64> = 7;
//! assert_ne!(key, Scope::gateway().key(7));
//! ```
//!
//! Nor can one be put together from its parts, or come from nothing:
//!
//! ```compile_fail,E0451
//! use portcullis_filters::tenant::{Scope, Scoped};
//!
//! let key = Scoped { scope: Scope::gateway(), key: 7 };
//! ```
//!
//! ```compile_fail,E0277
//! use portcullis_filters::tenant::Scoped;
//!
//! fn from_nothing<T: Default>() {}
//! from_nothing::<Scoped<u64>>();
//! ```
//!
//! ```compile_fail,E0277
//! use portcullis_filters::tenant::Scope;
//!
//! fn from_nothing<T: Default>() {}
//! from_nothing::<Scope>();
//! ```

use std::fmt;
use std::sync::Arc;

use portcullis_config::key::{MAX_TENANT, is_tenant};

/// The name of a tenant: 1 to [`TenantId::MAX`] letters, digits and `-`, `_`, `.`, `~`, `:`, `@`, `|`, `+`, `=`, and not dots
/// alone. Compared byte by byte: `Acme` and `acme` are two tenants.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// A text is no name of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tenant has 1 to 128 letters, digits and `-`, `_`, `.`, `~`, `:`, `@`, `|`, `+`, `=`, and not dots alone")]
pub struct NotATenant;

impl TenantId {
    /// Most bytes of a name.
    pub const MAX: usize = MAX_TENANT;

    /// Checks a name: see [`is_tenant`].
    pub fn new(text: &str) -> Result<Self, NotATenant> {
        if is_tenant(text) {
            Ok(Self(text.into()))
        } else {
            Err(NotATenant)
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.0)
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose state it is: a tenant's, or nobody's. There is no default: whoever means nobody says so.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(Option<TenantId>);

impl Scope {
    /// What belongs to no tenant, such as state of requests on routes that know none.
    pub const fn gateway() -> Self {
        Self(None)
    }

    /// What belongs to a tenant.
    pub fn of(tenant: &TenantId) -> Self {
        Self(Some(tenant.clone()))
    }

    /// The tenant, if it is one's.
    pub const fn tenant(&self) -> Option<&TenantId> {
        self.0.as_ref()
    }

    /// A key in this scope.
    pub fn key<K>(&self, key: K) -> Scoped<K> {
        let scope = self.clone();
        Scoped { scope, key }
    }

    /// What every key of this scope begins with as bytes, and no key of another: for a store that is asked for all that a
    /// tenant has.
    pub fn prefix(&self) -> Vec<u8> {
        let Some(tenant) = &self.0 else { return vec![0] };
        let name = tenant.as_str().as_bytes();
        // At most 128, which is more than 0: no length is taken for the gateway's.
        let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
        [&[length], name].concat()
    }
}

/// A key of something that belongs to a [`Scope`]. Made by [`Scope::key`] alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scoped<K> {
    scope: Scope,
    key: K,
}

impl<K> Scoped<K> {
    /// Whose it is.
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The key within the scope.
    pub const fn key(&self) -> &K {
        &self.key
    }
}

impl<K: AsRef<[u8]>> Scoped<K> {
    /// The key as bytes, its scope in front. Two keys are the same when their bytes are.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.scope.prefix();
        bytes.extend_from_slice(self.key.as_ref());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    #[test]
    fn names_are_checked() {
        let long = "a".repeat(TenantId::MAX);
        for name in ["a", "Acme-1", "auth0|org:7", "a.b", "..a", "a@b+c=d~e_f", &long] {
            assert_eq!(tenant(name).as_str(), name);
        }
        let longer = "a".repeat(TenantId::MAX + 1);
        let bad = [
            "", ".", "..", "...", "a/b", "a b", "a%61", "ä", "a\n", "a\0", "a,b", "a\"b", "a?b", "a#b", &longer,
        ];
        for name in bad {
            assert_eq!(TenantId::new(name), Err(NotATenant), "{name:?}");
        }
        assert_ne!(tenant("acme"), tenant("Acme"), "with regard to case");
    }

    #[test]
    fn the_same_key_in_two_scopes_is_two_keys() {
        let scopes = [
            Scope::gateway(),
            Scope::of(&tenant("a")),
            Scope::of(&tenant("b")),
            Scope::of(&tenant("A")),
        ];
        let mut table = HashMap::new();
        for (number, scope) in scopes.iter().enumerate() {
            assert_eq!(table.insert(scope.key("user"), number), None, "{scope:?} met another");
        }
        for (number, scope) in scopes.iter().enumerate() {
            assert_eq!(table.get(&scope.key("user")), Some(&number));
            assert_eq!(scope.key("user").scope(), scope);
        }
        assert_eq!(Scope::gateway().tenant(), None);
        assert_eq!(Scope::of(&tenant("a")).tenant(), Some(&tenant("a")));
        assert_eq!(format!("{} {:?}", tenant("a"), tenant("a")), "a TenantId(a)");
    }

    fn scopes() -> impl Strategy<Value = Scope> {
        let named = "[a-c]{1,3}".prop_map(|name| Scope::of(&tenant(&name)));
        prop_oneof![Just(Scope::gateway()), named]
    }

    proptest! {
        #[test]
        fn bytes_of_keys_never_meet(
            one in scopes(), other in scopes(), key in "[\0-\u{4}a-c]{0,4}", second in "[\0-\u{4}a-c]{0,4}",
        ) {
            let (left, right) = (one.key(&key), other.key(&second));
            prop_assert_eq!(left == right, left.to_bytes() == right.to_bytes());
            let (prefix, bytes) = (one.prefix(), right.to_bytes());
            prop_assert_eq!(bytes.starts_with(&prefix), one == other);
        }
    }
}
