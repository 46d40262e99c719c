//! TLS of a listener: what its keys exclude, need and would make useless of each other.

use super::check::Check;
use super::names::{self, Plaintext};
use crate::diagnostic::codes;
use crate::document::NodeId;
use crate::listener::{CipherSuite, ClientAuth, ListenerTls, Ocsp, TlsSession, TlsVersion};
use crate::units::Duration;

/// Longest life of a ticket (RFC 8446, section 4.6.1).
const LONGEST_TICKET: Duration = Duration::from_secs(7 * 24 * 3600);
/// Most keys of tickets: each ticket of a stranger is compared with all.
const MOST_TICKET_KEYS: usize = 16;
/// Most revocation lists: each is looked through for each certificate.
const MOST_CRLS: usize = 64;

pub(super) fn check(check: &mut Check<'_>, node: NodeId, tls: &ListenerTls) {
    check.not_empty(node, "certificates", &tls.certificates, "add a certificate and its key");
    check.not_empty(node, "alpn", &tls.alpn, "add `h2` or `http/1.1`");
    distinct(check, node, "alpn", "protocol", tls.alpn.iter().map(|it| it.as_str()));
    let certificates = check.at(node, "certificates");
    for (index, files) in tls.certificates.iter().enumerate() {
        let node = check.item(certificates, index);
        check.file(node, "certificate", Some(&files.certificate));
        check.file(node, "key", Some(&files.key));
        if let Some(ocsp) = &files.ocsp {
            stapling(check, check.at(node, "ocsp"), ocsp);
        }
    }
    if let Some(groups) = &tls.groups {
        let help = "name groups, or remove `groups`: then all are offered";
        check.not_empty(node, "groups", groups, help);
        distinct(check, node, "groups", "group", groups.iter().map(|it| it.as_str()));
    }
    if let Some(suites) = &tls.cipher_suites {
        cipher_suites(check, node, suites, tls.min_version);
    }
    session(check, check.at(node, "session"), &tls.session);
    if let Some(auth) = &tls.client_auth {
        client_auth(check, check.at(node, "client_auth"), auth);
    }
}

fn distinct<'t>(check: &mut Check<'_>, node: NodeId, key: &str, what: &str, names: impl IntoIterator<Item = &'t str>) {
    let list = check.at(node, key);
    let names: Vec<_> = names
        .into_iter()
        .enumerate()
        .map(|(index, name)| (name, check.item(list, index)))
        .collect();
    check.distinct(what, names);
}

/// Each version that is spoken needs a suite of its own, and a suite of a version that is not spoken does nothing.
fn cipher_suites(check: &mut Check<'_>, node: NodeId, suites: &[CipherSuite], min_version: TlsVersion) {
    let help = "name cipher suites, or remove `cipher_suites`: then all that are safe are offered";
    check.not_empty(node, "cipher_suites", suites, help);
    let names = suites.iter().map(|it| it.as_str());
    distinct(check, node, "cipher_suites", "cipher suite", names);
    if suites.is_empty() || !check.is_whole(node, "cipher_suites") {
        return;
    }
    let list = check.at(node, "cipher_suites");
    let has = |version| suites.iter().any(|suite| suite.version() == version);
    if min_version == TlsVersion::V1_3 {
        let useless = suites.iter().position(|suite| suite.version() == TlsVersion::V1_2);
        if let Some(index) = useless {
            check.report_with(
                codes::CONFLICTING_KEYS,
                check.item(list, index),
                "this is a cipher suite of TLS 1.2, which `min_version: \"1.3\"` rules out",
                "remove it, or lower `min_version`",
            );
        }
    } else if !has(TlsVersion::V1_2) {
        check.report_key(
            codes::CONFLICTING_KEYS,
            list,
            "TLS 1.2 is spoken here, and none of its cipher suites is listed",
            "add one such as TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, or write `min_version: \"1.3\"`",
        );
    }
    if !has(TlsVersion::V1_3) {
        check.report_key(
            codes::CONFLICTING_KEYS,
            list,
            "none of the cipher suites of TLS 1.3 is listed",
            "add one such as TLS_AES_128_GCM_SHA256: TLS 1.3 is always spoken",
        );
    }
}

fn stapling(check: &mut Check<'_>, node: NodeId, ocsp: &Ocsp) {
    check.file(node, "file", ocsp.file.as_deref());
    if let Some(responder) = &ocsp.responder {
        names::url(check, check.at(node, "responder"), responder, Plaintext::Anywhere);
        if ocsp.file.is_some() {
            check.report_key(
                codes::CONFLICTING_KEYS,
                check.at(node, "responder"),
                "`responder` and `file` exclude each other",
                "remove one: what is in a file is not fetched",
            );
        }
    }
}

fn client_auth(check: &mut Check<'_>, node: NodeId, auth: &ClientAuth) {
    check.file(node, "ca", Some(&auth.ca));
    let crl = check.at(node, "crl");
    for (index, file) in auth.crl.iter().enumerate() {
        if file.as_os_str().is_empty() {
            check.report(codes::INVALID_VALUE, check.item(crl, index), "`crl` names no file");
        }
    }
    if auth.crl.len() > MOST_CRLS {
        check.report(
            codes::OUT_OF_RANGE,
            crl,
            format!("at most {MOST_CRLS} revocation lists are read"),
        );
    }
    let Some(sans) = &auth.allowed_sans else { return };
    let help = "name subject alternative names, or remove `allowed_sans`: then each will do";
    check.not_empty(node, "allowed_sans", sans, help);
    let names: Vec<_> = sans.iter().map(ToString::to_string).collect();
    distinct(check, node, "allowed_sans", "name", names.iter().map(String::as_str));
}

fn session(check: &mut Check<'_>, node: NodeId, session: &TlsSession) {
    let range = Duration::from_secs(1)..=LONGEST_TICKET;
    check.within(node, "ticket_lifetime", session.ticket_lifetime, range);
    check.within(node, "cache", session.cache, 0..=1_000_000);
    let keys = check.at(node, "ticket_keys");
    if session.ticket_keys.len() > MOST_TICKET_KEYS {
        let message = format!("at most {MOST_TICKET_KEYS} keys of tickets are tried");
        check.report(codes::OUT_OF_RANGE, keys, message);
    }
    let names: Vec<_> = session
        .ticket_keys
        .iter()
        .enumerate()
        .map(|(index, key)| (key.to_string(), check.item(keys, index)))
        .collect();
    check.distinct("ticket key", names);
    if !session.tickets && !session.ticket_keys.is_empty() {
        check.report_key(
            codes::CONFLICTING_KEYS,
            keys,
            "`ticket_keys` has no effect with `tickets: false`",
            "remove `ticket_keys`, or `tickets: false`",
        );
    }
    if !session.tickets && session.cache == 0 && check.written(node, "ticket_lifetime").is_some() {
        check.report_key(
            codes::CONFLICTING_KEYS,
            check.at(node, "ticket_lifetime"),
            "`ticket_lifetime` has no effect with `tickets: false` and `cache: 0`: no session is resumed",
            "remove `ticket_lifetime`",
        );
    }
}
