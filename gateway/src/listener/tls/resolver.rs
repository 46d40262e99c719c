//! Which certificate for which name? The exact name, else the wildcard one level up (RFC 9525, section 6.3), else the first of the list.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::ocsp::Staple;

/// A listener's certificates by name.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    /// In the order of the configuration.
    all: Vec<Served>,
    exact: ByName,
    /// By the name behind `*.`.
    wildcard: ByName,
}

/// Several for one name, so that one may be RSA and another ECDSA.
type ByName = HashMap<Box<str>, Vec<Served>>;

/// A certificate, and what comes with it.
#[derive(Debug, Clone)]
pub(super) struct Served {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) staple: Option<Arc<Staple>>,
}

impl Served {
    fn now(&self) -> Arc<CertifiedKey> {
        match &self.staple {
            Some(staple) => staple.key(),
            None => Arc::clone(&self.key),
        }
    }
}

impl Resolver {
    /// Adds a certificate for `names`, which are in lower case.
    pub(super) fn add(&mut self, served: Served, names: &[Box<str>]) {
        for name in names {
            let (map, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcard, parent),
                None => (&mut self.exact, &**name),
            };
            map.entry(name.into()).or_default().push(served.clone());
        }
        self.all.push(served);
    }

    /// Whether a certificate is for `name`.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.named(name).is_some()
    }

    fn named(&self, name: &str) -> Option<&[Served]> {
        let lower;
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = name.to_ascii_lowercase();
            &lower
        } else {
            name
        };
        let parent = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(name).or_else(parent).map(Vec::as_slice)
    }

    /// The certificates to choose from for `name`.
    fn candidates(&self, name: Option<&str>) -> &[Served] {
        name.and_then(|name| self.named(name)).unwrap_or(&self.all)
    }

    /// The first that `usable` accepts, else the first.
    fn choose(&self, name: Option<&str>, usable: impl Fn(&CertifiedKey) -> bool) -> Option<Arc<CertifiedKey>> {
        let candidates = self.candidates(name);
        candidates
            .iter()
            .find(|served| usable(&served.key))
            .or_else(|| candidates.first())
            .map(Served::now)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        self.choose(hello.server_name(), |key| key.key.choose_scheme(schemes).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Arc<CertifiedKey> {
        let pair = rcgen::KeyPair::generate().unwrap();
        let der = rustls::pki_types::PrivateKeyDer::try_from(pair.serialize_der()).unwrap();
        Arc::new(CertifiedKey::new(
            Vec::new(),
            rustls::crypto::ring::sign::any_supported_type(&der).unwrap(),
        ))
    }

    fn served(key: &Arc<CertifiedKey>) -> Served {
        Served {
            key: Arc::clone(key),
            staple: None,
        }
    }

    #[test]
    fn exact_then_wildcard_then_first() {
        let keys: Vec<_> = (0..4).map(|_| key()).collect();
        let mut resolver = Resolver::default();
        resolver.add(served(&keys[0]), &["default.test".into()]);
        resolver.add(served(&keys[1]), &["a.example.com".into(), "example.com".into()]);
        resolver.add(served(&keys[2]), &["*.example.com".into()]);
        resolver.add(served(&keys[3]), &["a.example.com".into()]);
        for (name, expected) in [
            (Some("default.test"), 0),
            (Some("a.example.com"), 1),
            (Some("A.Example.COM"), 1),
            (Some("example.com"), 1),
            (Some("b.example.com"), 2),
            (Some("c.b.example.com"), 0),
            (Some("com"), 0),
            (Some("unknown.test"), 0),
            (None, 0),
        ] {
            let chosen = resolver.choose(name, |_| true).unwrap();
            assert!(Arc::ptr_eq(&chosen, &keys[expected]), "{name:?}");
            let known = expected != 0 || name == Some("default.test");
            assert_eq!(name.is_some_and(|name| resolver.knows(name)), known, "{name:?}");
        }
        let second = resolver
            .choose(Some("a.example.com"), |key| !std::ptr::eq(key, Arc::as_ptr(&keys[1])))
            .unwrap();
        assert!(Arc::ptr_eq(&second, &keys[3]), "the other certificate of the same name");
        let none = resolver.choose(Some("a.example.com"), |_| false).unwrap();
        assert!(Arc::ptr_eq(&none, &keys[1]));
    }
}
