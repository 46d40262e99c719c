//! The search that ends every test finds what it is there for: a gateway that writes a secret makes its test fail.

#![allow(clippy::expect_used)] // helpers of tests fail by panicking, as tests do

use std::panic::{AssertUnwindSafe, catch_unwind};

use portcullis_e2e::gateway::{Builder, Gateway};
use portcullis_e2e::idp::{Idp, Key};
use portcullis_e2e::{h1, leaks};

const SITE: &str = "sites: [{ hosts: [\"*\"], routes: [{ respond: { status: 200, body: here } }] }]\n";

/// What the end of a gateway says.
fn end(gateway: Gateway) -> Option<String> {
    let ended = catch_unwind(AssertUnwindSafe(|| drop(gateway)));
    ended.err().map(|said| *said.downcast::<String>().expect("a text"))
}

#[test]
fn a_secret_in_a_log_is_found() {
    let gateway = Gateway::start(SITE);
    leaks::used("a-secret-in-a-path");
    assert_eq!(h1::get(gateway.public, "a", "/a-secret-in-a-path", &[]).status, 200);
    gateway.access_log(1);
    let said = end(gateway).expect("it is told");
    assert!(
        said.contains("access.log") && !said.contains("a-secret-in-a-path"),
        "{said}"
    );
}

#[test]
fn a_secret_in_a_file_that_was_not_there_and_one_in_what_the_gateway_tells_are_found() {
    let site = SITE.replace("here", "a-secret-in-a-dump");
    let gateway = Builder::new(&site).file("token", "a-secret-of-an-operator").start();
    leaks::used("a-secret-of-an-operator");
    leaks::used("a-secret-in-a-dump");
    std::fs::create_dir_all(gateway.path("state/deeper")).expect("a folder");
    std::fs::write(gateway.path("state/deeper/file"), "is a-secret-of-an-operator here").expect("a file");
    let said = end(gateway).expect("it is told");
    assert!(
        said.contains("state/deeper/file") && said.contains("/-/config"),
        "{said}"
    );
    // What the test itself has put there is no leak.
    assert!(
        !said.contains("/token after") && !said.contains("portcullis.yaml after"),
        "{said}"
    );
}

#[test]
fn what_was_sent_referred_to_and_issued_is_remembered() {
    let key = Key::ed25519("k1");
    let idp = Idp::start(&[&key]);
    let token = key.token(&Idp::claims("alice"));
    let signature = token.rsplit('.').next().expect("a signature").to_owned();
    let yaml = format!("{}{SITE}", idp.identity(""));
    for (name, secret) in [
        ("issued", signature.as_str()),
        ("sent", "credentials-of-a-client"),
        ("line", "the-first-line-of-a-private-key"),
    ] {
        let gateway = Builder::new(&yaml)
            .file(
                "any.pem",
                "-----BEGIN PRIVATE KEY-----\nthe-first-line-of-a-private-key\n-----END PRIVATE KEY-----\n",
            )
            .start();
        h1::get(
            gateway.public,
            "a",
            "/",
            &[("authorization", "Basic credentials-of-a-client")],
        );
        std::fs::write(gateway.path("found"), format!("here: {secret}.")).expect("a file");
        assert!(end(gateway).is_some_and(|said| said.contains("found")), "{name}");
    }
    assert_eq!(end(Gateway::start(&yaml)), None, "nothing is told by itself");
}
