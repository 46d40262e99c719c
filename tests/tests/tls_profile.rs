//! TLS of a listener as others judge it: OpenSSL tries versions that must not be spoken and protocols that are not
//! offered, and sslyze holds it against Mozilla's intermediate profile.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use portcullis_e2e::gateway::{Builder, Gateway, wait};
use portcullis_e2e::{ports, skip};

const HOST: &str = "a.example.com";

/// Runs a tool in a folder: whether it went well, and what it said.
fn run(tool: &Path, dir: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(tool);
    let output = command.args(arguments).current_dir(dir).stdin(Stdio::null()).output();
    let output = output.expect("the tool runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

/// `ca.crt`, and certificates of it with ECDSA P-256 and RSA 2048 keys, as public authorities make them.
fn certificates(openssl: &Path, dir: &Path) {
    let make = |arguments: &[&str]| {
        let (made, said) = run(openssl, dir, arguments);
        assert!(made, "{arguments:?}: {said}");
    };
    make(&[
        "req",
        "-x509",
        "-sha256",
        "-days",
        "60",
        "-nodes",
        "-subj",
        "/CN=authority",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
        "-addext",
        "keyUsage=critical,keyCertSign",
    ]);
    let extensions = format!(
        "basicConstraints=CA:FALSE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:{HOST}\n"
    );
    std::fs::write(dir.join("ext"), extensions).expect("ext");
    for (name, key) in [
        ("ec", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"][..]),
        ("rsa", &["rsa:2048"]),
    ] {
        let (crt, pem, csr) = (format!("{name}.crt"), format!("{name}.key"), format!("{name}.csr"));
        let mut request = vec![
            "req",
            "-new",
            "-nodes",
            "-subj",
            "/CN=a.example.com",
            "-keyout",
            &pem,
            "-out",
            &csr,
        ];
        request.push("-newkey");
        request.extend(key);
        make(&request);
        make(&[
            "x509",
            "-req",
            "-sha256",
            "-days",
            "60",
            "-in",
            &csr,
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            "ext",
            "-out",
            &crt,
        ]);
    }
}

/// A gateway with a listener of each version and key: ECDSA P-256, RSA 2048, and ECDSA P-256 over TLS 1.3 only.
fn start(openssl: &Path) -> (Gateway, [SocketAddr; 3]) {
    let builder = Builder::new("");
    let dir = builder.dir().to_owned();
    certificates(openssl, &dir);
    let addresses = [ports::free(), ports::free(), ports::free()];
    let listener = |name: &str, address: SocketAddr, files: &str, more: &str| {
        format!(
            "{{ name: {name}, address: \"{address}\", tls: {{ certificates: [{{ certificate: \"{{dir}}/{files}.crt\", key: \"{{dir}}/{files}.key\" }}]{more} }} }}"
        )
    };
    let listeners = [
        "{ name: public, address: \"{public}\" }".to_owned(),
        listener("ec", addresses[0], "ec", ""),
        listener("rsa", addresses[1], "rsa", ""),
        listener("strict", addresses[2], "ec", ", min_version: \"1.3\""),
    ];
    let yaml = format!(
        "listeners: [{}]\nsites: [{{ hosts: [\"*\"], hsts: {{ max_age: 730d }}, routes: [{{ respond: {{ status: 200, body: here }} }}] }}]\n",
        listeners.join(", ")
    );
    let gateway = builder.with_yaml(&yaml).start();
    for address in addresses {
        wait("the listeners", || std::net::TcpStream::connect(address).is_ok());
    }
    (gateway, addresses)
}

#[test]
fn openssl_gets_1_2_and_1_3_and_nothing_older() {
    let Some(openssl) = skip::tool("openssl_gets_1_2_and_1_3_and_nothing_older", "openssl") else {
        return;
    };
    let (gateway, addresses) = start(&openssl);
    let dir = gateway.dir.path();
    let connect = |address: SocketAddr, more: &[&str]| {
        let address = address.to_string();
        let mut arguments = vec!["s_client", "-connect", &address, "-servername", HOST];
        arguments.extend(more);
        run(&openssl, dir, &arguments)
    };
    for (place, version, spoken) in [
        (0, "-tls1", false),
        (0, "-tls1_1", false),
        (0, "-tls1_2", true),
        (0, "-tls1_3", true),
        (1, "-tls1_1", false),
        (1, "-tls1_2", true),
        (2, "-tls1_2", false),
        (2, "-tls1_3", true),
    ] {
        let (done, said) = connect(addresses[place], &[version, "-cipher", "ALL:@SECLEVEL=0"]);
        assert_eq!(done, spoken, "{version} at {place}: {said}");
        let agreed = said.contains("Cipher is TLS_") || said.contains("Cipher is ECDHE");
        assert_eq!(agreed, spoken, "{version} at {place}: {said}");
    }
    // RFC 7301: none offered is HTTP/1.1, none of ours is an alert.
    for (offered, done, words) in [
        (&["-alpn", "h2,http/1.1"][..], true, "ALPN protocol: h2"),
        (&["-alpn", "http/1.1"], true, "ALPN protocol: http/1.1"),
        (&[], true, "No ALPN negotiated"),
        (&["-alpn", "imap,unknown"], false, "no application protocol"),
    ] {
        let (connected, said) = connect(addresses[0], offered);
        assert!(connected == done && said.contains(words), "{offered:?}: {said}");
    }
}

#[test]
fn sslyze_finds_mozillas_intermediate_profile() {
    let test = "sslyze_finds_mozillas_intermediate_profile";
    let (Some(openssl), Some(sslyze)) = (skip::tool(test, "openssl"), skip::tool(test, "sslyze")) else {
        return;
    };
    let (gateway, addresses) = start(&openssl);
    for address in &addresses[..2] {
        let target = format!("{HOST}:{}{{127.0.0.1}}", address.port());
        let (_, said) = run(
            &sslyze,
            gateway.dir.path(),
            &["--mozilla_config=intermediate", "--certinfo_ca_file=ca.crt", &target],
        );
        assert!(said.contains("OK - Compliant"), "{address}: {said}");
    }
}
