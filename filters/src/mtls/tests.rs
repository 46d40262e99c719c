//! Who is let pass by which names, what the upstream hears, and what of a configuration is refused.

use crate::client::{ClientCertificate, San, SanKind};
use crate::testing::{Bench, ENTROPY, RequestBuilder, try_bench};
use crate::zones::Zones;

fn bench(config: &str) -> Bench {
    Bench::new(&format!("filters: [{{ mtls: {config} }}]"))
}

fn certificate(names: &[(SanKind, &str)]) -> ClientCertificate {
    let san = |(kind, text): &(SanKind, &str)| San {
        kind: *kind,
        text: (*text).into(),
    };
    ClientCertificate {
        sans: names.iter().map(san).collect(),
        subject: "CN=app".into(),
        issuer: "CN=Clients, O=Example".into(),
        serial: "01".into(),
        fingerprint: "ab".repeat(32).into(),
        der: [1, 2, 3].into(),
    }
}

fn judged(bench: &Bench, names: &[(SanKind, &str)]) -> &'static str {
    let request = RequestBuilder::get("/").certificate(certificate(names));
    bench.send(&request).reason.map_or("passed", |reason| reason.0)
}

#[test]
fn who_may_come() {
    use SanKind::{Dns, Email, Uri};
    let no = "client_certificate_not_allowed";
    for (allow, names, expected) in [
        ("{ spiffe: [\"spiffe://a/x\"] }", &[(Uri, "spiffe://a/x")][..], "passed"),
        ("{ spiffe: [\"spiffe://a/x\"] }", &[(Uri, "spiffe://a/X")], no),
        (
            "{ spiffe: [\"spiffe://a/x\"] }",
            &[(Uri, "spiffe://a/x"), (Uri, "spiffe://a/y")],
            no,
        ),
        ("{ spiffe: [\"spiffe://a/x\"] }", &[(Dns, "spiffe://a/x")], no),
        (
            "{ spiffe: [\"spiffe://a/ns/*\"] }",
            &[(Uri, "spiffe://a/ns/b/c")],
            "passed",
        ),
        ("{ spiffe: [\"spiffe://a/ns/*\"] }", &[(Uri, "spiffe://a/ns/../c")], no),
        ("{ spiffe: [\"spiffe://a/ns/*\"] }", &[(Uri, "spiffe://a/ns/")], no),
        ("{ spiffe: [\"spiffe://a/ns/*\"] }", &[(Uri, "spiffe://a/nsx")], no),
        (
            "{ uri: [\"urn:a:b\"] }",
            &[(Uri, "urn:a:b"), (Uri, "urn:a:c")],
            "passed",
        ),
        ("{ uri: [\"urn:a:b\"] }", &[(Uri, "urn:a:B")], no),
        (
            "{ dns: [\"*.a.example\"] }",
            &[(Dns, "b.example"), (Dns, "x.a.example")],
            "passed",
        ),
        ("{ dns: [\"*.a.example\"] }", &[(Dns, "x.y.a.example")], no),
        ("{ dns: [a.example] }", &[(Uri, "a.example")], no),
        ("{ email: [\"Ops@a.example\"] }", &[(Email, "Ops@A.example")], "passed"),
        ("{ email: [\"Ops@a.example\"] }", &[(Email, "ops@a.example")], no),
        (
            "{ email: [\"*@a.example\"] }",
            &[(Email, "anybody@a.example")],
            "passed",
        ),
        ("{ email: [\"*@a.example\"] }", &[(Email, "anybody@b.a.example")], no),
        ("{ issuer: [\"CN=Clients, O=Example\"] }", &[], "passed"),
        ("{ issuer: [\"CN=Clients\"] }", &[], no),
        (
            "{ dns: [a.example], issuer: [\"CN=Other\"] }",
            &[(Dns, "a.example")],
            no,
        ),
        (
            "{ dns: [a.example] }, { issuer: [\"CN=Clients, O=Example\"] }",
            &[],
            "passed",
        ),
        ("{ dns: [a.example, b.example] }", &[(Dns, "b.example")], "passed"),
    ] {
        assert_eq!(
            judged(&bench(&format!("{{ allow: [{allow}] }}")), names),
            expected,
            "{allow} {names:?}"
        );
    }
    let fingerprint = vec!["AB"; 32].join(":");
    assert_eq!(
        judged(
            &bench(&format!("{{ allow: [{{ fingerprint: [\"{fingerprint}\"] }}] }}")),
            &[]
        ),
        "passed"
    );
    let other = "cd".repeat(32);
    assert_eq!(
        judged(&bench(&format!("{{ allow: [{{ fingerprint: [\"{other}\"] }}] }}")), &[]),
        no
    );
    assert_eq!(judged(&bench("{}"), &[]), "passed", "whom the listener lets in");
}

#[test]
fn without_a_certificate() {
    let get = RequestBuilder::get("/");
    let reason = |config: &str| bench(config).send(&get).reason.map(|reason| reason.0);
    assert_eq!(reason("{}"), Some("client_certificate_missing"));
    assert_eq!(reason("{ optional: true }"), None);
    let strict = "{ optional: true, allow: [{ dns: [a.example] }] }";
    assert_eq!(reason(strict), None);
    assert_eq!(
        judged(&bench(strict), &[]),
        "client_certificate_not_allowed",
        "a bad one is none the better"
    );
}

#[test]
fn the_upstream_hears_of_it_from_us_alone() {
    let parts = [
        "san",
        "spiffe",
        "uri",
        "dns",
        "email",
        "subject",
        "issuer",
        "serial",
        "fingerprint",
    ];
    let headers: Vec<_> = parts.iter().map(|part| format!("x-{part}: {part}")).collect();
    let all = format!("{{ headers: {{ {} }}, client_cert: true }}", headers.join(", "));
    let spoofed = parts.iter().fold(RequestBuilder::get("/"), |request, part| {
        let twin = format!("x_{part}");
        request.header(&format!("x-{part}"), "spoofed").header(&twin, "spoofed")
    });
    let spoofed = spoofed
        .header("client-cert", ":AAAA:")
        .header("client-cert-chain", ":AAAA:")
        .header("client_cert", "x");
    let names = [
        (SanKind::Uri, "spiffe://a/x"),
        (SanKind::Dns, "a.example"),
        (SanKind::Email, "ops@a.example"),
    ];
    let seen = bench(&all)
        .send(&spoofed.clone().certificate(certificate(&names)))
        .upstream
        .unwrap();
    let fingerprint = "ab".repeat(32);
    for (name, expected) in [
        ("x-san", "spiffe://a/x"),
        ("x-spiffe", "spiffe://a/x"),
        ("x-uri", "spiffe://a/x"),
        ("x-dns", "a.example"),
        ("x-email", "ops@a.example"),
        ("x-subject", "CN=app"),
        ("x-issuer", "CN=Clients, O=Example"),
        ("x-serial", "01"),
        ("x-fingerprint", &fingerprint),
        ("client-cert", ":AQID:"),
    ] {
        let values: Vec<_> = seen.get_all(name).iter().collect();
        assert_eq!(values, [expected], "{name}");
    }
    assert_eq!(seen.len(), 10, "{seen:?}");
    // What the certificate does not say is not there, whoever says it.
    let bare = bench(&all)
        .send(&spoofed.clone().certificate(certificate(&[])))
        .upstream
        .unwrap();
    assert_eq!(bare.len(), 5, "{bare:?}");
    let optional = all.replacen('{', "{ optional: true,", 1);
    assert!(bench(&optional).send(&spoofed).upstream.unwrap().is_empty());
    let control = [(SanKind::Dns, "a\r\nx-admin: 1")];
    assert_eq!(judged(&bench(&all), &control), "client_certificate_unusable");
}

#[test]
fn what_is_refused_when_it_is_loaded() {
    for (config, expected) in [
        ("{ allow: [{}] }", "would fit everybody"),
        ("{ allow: [{ spiffe: [a.example] }] }", "is no SPIFFE ID"),
        ("{ allow: [{ spiffe: [\"spiffe://A/x\"] }] }", "is no SPIFFE ID"),
        ("{ allow: [{ spiffe: [\"https://a/*\"] }] }", "is no SPIFFE ID"),
        ("{ allow: [{ uri: [a.example] }] }", "is no URI"),
        ("{ allow: [{ uri: [\"*.example\"] }] }", "is no URI"),
        ("{ allow: [{ dns: [\"spiffe://a/x\"] }] }", "is no host name"),
        ("{ allow: [{ email: [a.example] }] }", "is no address"),
        ("{ allow: [{ email: [\"a*@example.com\"] }] }", "is no address"),
        ("{ allow: [{ fingerprint: [abc] }] }", "is no SHA-256"),
        ("{ headers: { host: san } }", "cannot carry a part of the certificate"),
        (
            "{ headers: { client-cert: san } }",
            "cannot carry a part of the certificate",
        ),
        ("{ headers: { x-a: colour } }", "colour"),
    ] {
        let built = try_bench(&Zones::new(ENTROPY), &format!("filters: [{{ mtls: {config} }}]"));
        let said = built.err().expect(config);
        assert!(said.contains(expected), "{config}: {said}");
    }
}
