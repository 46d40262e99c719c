//! Cipher suites and groups of a listener, from their names to what rustls has of ring's. There is no other cryptography.

use portcullis_config::listener::{CipherSuite, Group, ListenerTls, TlsVersion};
use rustls::crypto::ring::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

static ONLY_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// The suites and groups that `tls` asks for, in its order.
pub(super) fn provider(tls: &ListenerTls) -> CryptoProvider {
    let mut provider = ring::default_provider();
    if let Some(suites) = &tls.cipher_suites {
        provider.cipher_suites = suites.iter().map(|it| suite(*it)).collect();
    }
    if let Some(groups) = &tls.groups {
        provider.kx_groups = groups.iter().map(|it| group(*it)).collect();
    }
    provider
}

/// The versions from the lowest one on.
pub(super) fn versions(lowest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match lowest {
        TlsVersion::V1_2 => rustls::ALL_VERSIONS,
        TlsVersion::V1_3 => ONLY_1_3,
    }
}

fn suite(name: CipherSuite) -> SupportedCipherSuite {
    use CipherSuite as Suite;
    match name {
        Suite::TLS_AES_128_GCM_SHA256 => cipher_suite::TLS13_AES_128_GCM_SHA256,
        Suite::TLS_AES_256_GCM_SHA384 => cipher_suite::TLS13_AES_256_GCM_SHA384,
        Suite::TLS_CHACHA20_POLY1305_SHA256 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

fn group(name: Group) -> &'static dyn SupportedKxGroup {
    match name {
        Group::X25519 => kx_group::X25519,
        Group::Secp256r1 => kx_group::SECP256R1,
        Group::Secp384r1 => kx_group::SECP384R1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_and_group_of_ring_has_a_name() {
        for known in ring::ALL_CIPHER_SUITES {
            let name = super::super::cipher_name(known.suite());
            let named: CipherSuite = serde_json::from_value(name.into()).expect(name);
            assert_eq!((suite(named), named.as_str()), (*known, name));
        }
        for known in ring::default_provider().kx_groups {
            let name = format!("{:?}", known.name()).to_lowercase();
            let named: Group = serde_json::from_value(name.clone().into()).expect(&name);
            assert_eq!((group(named).name(), named.as_str()), (known.name(), &*name));
        }
    }
}
