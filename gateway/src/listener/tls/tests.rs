//! Loading certificates: what is accepted, and that each mistake names its file and the way out.

use std::fs;
use std::path::Path;
use std::time::Duration;

use portcullis_config::listener::CertificateFiles;
use rcgen::{CertificateParams, KeyPair};

use super::*;

/// Writes a certificate for `names` and its key as `NAME.crt` and `NAME.key`.
fn write(folder: &Path, name: &str, names: &[&str], edit: impl FnOnce(&mut CertificateParams)) -> CertificateFiles {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    edit(&mut params);
    let files = CertificateFiles {
        certificate: folder.join(name).with_extension("crt"),
        key: folder.join(name).with_extension("key"),
        ocsp: None,
    };
    fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

fn load(certificates: Vec<CertificateFiles>) -> Result<LoadedTls, TlsError> {
    LoadedTls::load(&ListenerTls::new(certificates), None, SystemTime::now())
}

fn refusal(certificates: Vec<CertificateFiles>) -> String {
    load(certificates).expect_err("should not load").to_string()
}

#[test]
fn loads_names_and_expiry() {
    let folder = tempfile::tempdir().unwrap();
    let files = write(folder.path(), "a", &["Example.com", "*.example.com"], |params| {
        params.not_after = rcgen::date_time_ymd(2999, 1, 1);
    });
    let loaded = load(vec![files.clone()]).unwrap();
    let info = &loaded.certificates[0];
    assert_eq!(info.file, files.certificate);
    assert_eq!(info.names, ["example.com".into(), "*.example.com".into()]);
    assert!(info.not_after > SystemTime::now() + Duration::from_secs(28_000_000_001));
    assert_eq!(loaded.config.max_early_data_size, 0);
    assert!(!loaded.config.send_half_rtt_data);
    assert!(loaded.config.ticketer.enabled());
}

#[test]
fn tickets_and_sessions_outlive_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let files = write(folder.path(), "a", &["example.com"], |_| {});
    let first = load(vec![files.clone()]).unwrap();
    let mut tls = ListenerTls::new(vec![files]);
    tls.alpn = vec![Alpn::Http11];
    let second = LoadedTls::load(&tls, Some(&first), SystemTime::now()).unwrap();
    let ticket = first.config.ticketer.encrypt(b"session").unwrap();
    assert_eq!(second.config.ticketer.decrypt(&ticket).unwrap(), b"session");
    assert!(Arc::ptr_eq(
        &first.config.session_storage,
        &second.config.session_storage
    ));
    assert_eq!(second.config.alpn_protocols, [b"http/1.1"]);
}

#[test]
fn mistakes_name_the_file_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let good = write(folder.path(), "good", &["example.com"], |_| {});
    let other = write(folder.path(), "other", &["example.com"], |_| {});
    let old = write(folder.path(), "old", &["example.com"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 2, 3);
    });
    let early = write(folder.path(), "early", &["example.com"], |params| {
        params.not_before = rcgen::date_time_ymd(2998, 1, 1);
        params.not_after = rcgen::date_time_ymd(2999, 1, 1);
    });
    fs::write(at("empty"), "").unwrap();
    fs::write(
        at("broken"),
        "-----BEGIN CERTIFICATE-----\nMII!\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    fs::write(
        at("not_x509"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    fs::write(
        at("locked"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    fs::write(
        at("bad_key"),
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    fs::write(at("huge"), vec![b'x'; (1 << 20) + 1]).unwrap();
    let pair = |certificate: &Path, key: &Path| {
        vec![CertificateFiles {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            ocsp: None,
        }]
    };
    for (certificates, file, words) in [
        (vec![], "", "has no certificate"),
        (pair(&at("missing"), &good.key), "missing", "cannot read"),
        (pair(&good.certificate, &at("missing")), "missing", "cannot read"),
        (pair(&at("empty"), &good.key), "empty", "holds no certificate"),
        (pair(&good.key, &good.key), "good.key", "holds no certificate"),
        (pair(&good.certificate, &at("empty")), "empty", "holds no private key"),
        (pair(&good.certificate, &at("locked")), "locked", "openssl pkey"),
        (pair(&good.certificate, &at("bad_key")), "bad_key", "cannot be used"),
        (pair(&at("broken"), &good.key), "broken", "not base64"),
        (pair(&at("not_x509"), &good.key), "not_x509", "issued anew"),
        (pair(&at("huge"), &good.key), "huge", "larger than"),
        (pair(&good.certificate, &other.key), "other.key", "is not the key of"),
        (
            vec![good.clone(), old.clone()],
            "old.crt",
            "expired at 2002-02-03T00:00:00Z; renew it",
        ),
        (vec![early.clone()], "early.crt", "valid only from 2998-01-01T00:00:00Z"),
    ] {
        let text = refusal(certificates);
        assert!(
            text.contains(file) && text.contains(words),
            "{text:?} should tell of {file:?}: {words:?}"
        );
    }
}
