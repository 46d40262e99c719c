//! Certificates for the tests, and TLS files that cannot be used: each is named with what is wrong.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::*;

/// A folder with a CA, a server's and a client's certificate.
pub(super) struct Files {
    folder: TempDir,
}

impl Files {
    pub(super) fn new() -> Self {
        let files = Self {
            folder: TempDir::new().unwrap(),
        };
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        files.write("ca.pem", &params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(params, key);
        for (file, name) in [("server", "app.internal"), ("client", "gateway.internal")] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            files.write(&format!("{file}.pem"), &params.signed_by(&key, &issuer).unwrap().pem());
            files.write(&format!("{file}.key"), &key.serialize_pem());
        }
        files
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// `tls` with this CA and no client certificate.
    pub(super) fn tls(&self) -> Value {
        json!({ "server_name": "app.internal", "ca": self.path("ca.pem") })
    }

    /// `tls` with a client certificate.
    pub(super) fn mutual_tls(&self) -> Value {
        let mut tls = self.tls();
        tls["certificate"] = json!(self.path("client.pem"));
        tls["key"] = json!(self.path("client.key"));
        tls
    }
}

fn error(tls: &Value) -> String {
    let config = json!({ "app": { "servers": ["10.0.0.1:443"], "tls": tls } });
    let errors = try_compile(config, &nothing(Clock::manual())).unwrap_err();
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let files = Files::new();
    let server_pem = std::fs::read_to_string(files.path("server.pem")).unwrap();
    files.write("text.pem", "hello");
    files.write("empty.pem", "");
    files.write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    files.write("cut.pem", server_pem.split_at(server_pem.len() / 2).0);
    files.write(
        "broken.key",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    for (key, file, expected) in [
        ("ca", "none.pem", "cannot be read"),
        (
            "ca",
            "text.pem",
            "is no list of PEM certificates: it holds no PEM block `CERTIFICATE`",
        ),
        ("ca", "empty.pem", "is no list of PEM certificates"),
        ("ca", "broken.pem", "is no list of PEM certificates"),
        ("ca", "cut.pem", "is no list of PEM certificates"),
        ("ca", "client.key", "is no list of PEM certificates"),
        ("certificate", "broken.pem", "is no list of PEM certificates"),
        ("certificate", "none.pem", "cannot be read"),
        ("key", "none.key", "cannot be read"),
        ("key", "broken.key", "private key"),
        ("key", "client.pem", "is no PEM private key"),
        ("key", "server.key", "does not fit the key"),
    ] {
        let mut tls = files.mutual_tls();
        tls[key] = json!(files.path(file));
        let text = error(&tls);
        assert!(text.contains(expected) && text.contains(file), "{key} {file}: {text}");
        assert!(text.starts_with("upstream `app`: "), "{text}");
    }
}

#[test]
fn halves_and_wrong_names_are_refused() {
    let files = Files::new();
    let mut tls = files.mutual_tls();
    tls.as_object_mut().unwrap().remove("key");
    assert!(error(&tls).contains("`tls.certificate` and `tls.key` belong together"));
    for name in ["", "a b", "*.app.internal", "app..internal", "app.internal:443"] {
        let mut tls = files.tls();
        tls["server_name"] = json!(name);
        assert!(
            error(&tls).contains("is no DNS name and no IP address"),
            "{name}: {}",
            error(&tls)
        );
    }
}

#[test]
fn secrets_are_not_shown() {
    let files = Files::new();
    let upstream = app(json!({ "servers": ["10.0.0.1:443"], "tls": files.mutual_tls() }));
    let key = KeyPair::from_pem(&std::fs::read_to_string(files.path("client.key")).unwrap()).unwrap();
    let shown = format!("{upstream:?}");
    let bytes = format!("{:?}", key.serialized_der());
    assert!(!shown.contains(bytes.trim_matches(['[', ']'])));
}
