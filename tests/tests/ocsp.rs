//! OCSP stapling: answers from a file and from a responder, which ones are stapled, and that no handshake depends on them.
//! The answers are OpenSSL's.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use portcullis_e2e::gateway::{Builder, Gateway, replace, wait};
use portcullis_e2e::origin::Origin;
use portcullis_e2e::{ports, skip};

/// Runs OpenSSL in a folder; what it said.
fn openssl(tool: &Path, dir: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(tool);
    let output = command.args(arguments).current_dir(dir).stdin(Stdio::null()).output();
    let output = output.expect("openssl runs");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// An authority `ca`, a certificate `a` of it (with the authority's behind), and another authority `other`.
fn certificates(tool: &Path, dir: &Path) {
    std::fs::write(dir.join("ext"), "subjectAltName=DNS:a.example.com\n").expect("ext");
    let ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    for name in ["ca", "other"] {
        let (key, crt) = (format!("{name}.key"), format!("{name}.crt"));
        let mut arguments = vec![
            "req",
            "-x509",
            "-days",
            "9",
            "-subj",
            "/CN=authority",
            "-keyout",
            &key,
            "-out",
            &crt,
        ];
        arguments.extend(ec);
        openssl(tool, dir, &arguments);
    }
    let mut arguments = vec!["req", "-new", "-subj", "/CN=a", "-keyout", "a.key", "-out", "a.csr"];
    arguments.extend(ec);
    openssl(tool, dir, &arguments);
    openssl(
        tool,
        dir,
        &[
            "x509",
            "-req",
            "-in",
            "a.csr",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-set_serial",
            "77",
            "-days",
            "9",
            "-out",
            "leaf.crt",
            "-extfile",
            "ext",
        ],
    );
    let chain = ["leaf.crt", "ca.crt"].map(|file| std::fs::read_to_string(dir.join(file)).expect("a certificate"));
    std::fs::write(dir.join("a.crt"), chain.concat()).expect("a.crt");
}

/// An answer about `a`: its status, and who signs it.
fn answer(tool: &Path, dir: &Path, status: &str, signer: &str) -> Vec<u8> {
    let revoked = if status == "R" { "250101000000Z" } else { "" };
    let serial = if status == "unknown" { "4E" } else { "4D" };
    let status = if status == "R" { "R" } else { "V" };
    std::fs::write(
        dir.join("index"),
        format!("{status}\t290101000000Z\t{revoked}\t{serial}\tunknown\t/CN=a\n"),
    )
    .expect("index");
    let (crt, key) = (format!("{signer}.crt"), format!("{signer}.key"));
    openssl(
        tool,
        dir,
        &[
            "ocsp",
            "-issuer",
            "ca.crt",
            "-cert",
            "leaf.crt",
            "-no_nonce",
            "-reqout",
            "request.der",
        ],
    );
    let said = openssl(
        tool,
        dir,
        &[
            "ocsp",
            "-index",
            "index",
            "-CA",
            "ca.crt",
            "-rsigner",
            &crt,
            "-rkey",
            &key,
            "-reqin",
            "request.der",
            "-ndays",
            "3",
            "-respout",
            "answer.der",
        ],
    );
    std::fs::read(dir.join("answer.der")).expect(&said)
}

struct World {
    tool: std::path::PathBuf,
    gateway: Gateway,
    address: std::net::SocketAddr,
}

impl World {
    /// What OpenSSL sees stapled.
    fn stapled(&self) -> String {
        let address = self.address.to_string();
        openssl(
            &self.tool,
            self.gateway.dir.path(),
            &["s_client", "-connect", &address, "-status", "-CAfile", "ca.crt"],
        )
    }
}

fn start(tool: &Path, builder: Builder, ocsp: &str) -> World {
    let address = ports::free();
    let yaml = format!(
        "listeners: [{{ name: public, address: \"{{public}}\" }}, {{ name: tls, address: \"{address}\", tls: {{ certificates: [{{ certificate: \"{{dir}}/a.crt\", key: \"{{dir}}/a.key\", {ocsp} }}] }} }}]\nsites: [{{ hosts: [\"*\"], routes: [{{ respond: {{ status: 200 }} }}] }}]\n"
    );
    let gateway = builder.with_yaml(&yaml).start();
    wait("the listener", || std::net::TcpStream::connect(address).is_ok());
    World {
        tool: tool.into(),
        gateway,
        address,
    }
}

const GOOD: &str = "OCSP Response Status: successful";
const NONE: &str = "OCSP response: no response sent";

#[test]
fn an_answer_from_a_file() {
    let Some(tool) = skip::tool("an_answer_from_a_file", "openssl") else {
        return;
    };
    let builder = Builder::new("");
    certificates(&tool, builder.dir());
    let good = answer(&tool, builder.dir(), "V", "ca");
    std::fs::write(builder.dir().join("a.ocsp"), &good).expect("a.ocsp");
    let world = start(&tool, builder, "ocsp: { file: \"{dir}/a.ocsp\" }");
    assert!(world.stapled().contains(GOOD), "{}", world.stapled());
    for (status, signer, words) in [
        ("R", "ca", "REVOKED"),
        ("unknown", "ca", "does not know"),
        ("V", "other", "not signed"),
    ] {
        let bad = answer(&tool, world.gateway.dir.path(), status, signer);
        replace(&world.gateway.path("a.ocsp"), &bad);
        world.gateway.wait_for("/-/status", |_, body| body.contains(words));
        assert!(world.stapled().contains(GOOD), "the last good one stays");
    }
    replace(&world.gateway.path("a.ocsp"), b"not an answer");
    world
        .gateway
        .wait_for("/-/status", |_, body| body.contains("malformed"));
}

#[test]
fn an_answer_is_fetched_and_stapled() {
    let Some(tool) = skip::tool("an_answer_is_fetched_and_stapled", "openssl") else {
        return;
    };
    for (status, signer, stapled, reason) in [
        ("V", "ca", true, ""),
        ("R", "ca", false, "revoked"),
        ("V", "other", false, "signature"),
        ("", "", false, "malformed"),
    ] {
        let builder = Builder::new("");
        certificates(&tool, builder.dir());
        let body = if signer.is_empty() {
            b"?".to_vec()
        } else {
            answer(&tool, builder.dir(), status, signer)
        };
        let body = Arc::new(Mutex::new(body));
        let responder = Origin::with(move |_| {
            let body = body.lock().expect("the answer").clone();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            [head.into_bytes(), body].concat()
        });
        let world = start(
            &tool,
            builder,
            &format!("ocsp: {{ responder: \"http://{}/\" }}", responder.address),
        );
        let result = if stapled { "ok" } else { "failed" };
        let certificate = world.gateway.path("a.crt").display().to_string();
        let series = format!(
            "portcullis_ocsp_fetches_total{{certificate=\"{certificate}\",listener=\"tls\",result=\"{result}\"}}"
        );
        wait(&series, || world.gateway.metric(&series) >= 1.0);
        assert!(
            world.stapled().contains(if stapled { GOOD } else { NONE }),
            "{status} {signer}"
        );
        wait(reason, || world.gateway.log().contains(reason));
        let until =
            format!("portcullis_ocsp_valid_until_timestamp_seconds{{certificate=\"{certificate}\",listener=\"tls\"}}");
        assert_eq!(world.gateway.metric(&until) > 1e9, stapled);
        assert_eq!(responder.seen()[0].target(), "/");
    }
}
