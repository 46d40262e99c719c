//! Certificates of clients: which are refused and what that is called, what they tell filters and logs, and that neither a
//! resumed session nor another name on the same connection gets around them.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use portcullis_e2e::gateway::{Builder, Gateway, replace, wait};
use portcullis_e2e::tls::{Authority, connect, get};
use portcullis_e2e::{ports, skip};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, NameConstraints, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion};

const HOST: &str = "a.example.com";
const ALL: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];

/// A gateway whose first TLS listener asks for certificates of `clients`.
struct World {
    gateway: Gateway,
    address: SocketAddr,
    servers: Authority,
    clients: Authority,
}

/// An authority that may sign revocation lists too.
fn authority() -> Authority {
    Authority::with(|params| {
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    })
}

/// `auth` is the listener's `client_auth` beside `ca`; `prepare` puts files into the gateway's folder.
fn world(auth: &str, prepare: impl FnOnce(&Builder, &Authority)) -> World {
    world_of(
        authority(),
        auth,
        prepare,
        "routes: [{ respond: { status: 200, body: here } }]",
    )
}

fn world_of(clients: Authority, auth: &str, prepare: impl FnOnce(&Builder, &Authority), site: &str) -> World {
    let (servers, address) = (Authority::new(), ports::free());
    let builder = Builder::new("");
    servers.issue(builder.dir(), "a", &[HOST, "b.example.com"]);
    std::fs::write(builder.dir().join("clients.crt"), clients.pem()).expect("clients.crt");
    prepare(&builder, &clients);
    let gateway = builder
        .with_yaml(&format!(
            "listeners: [{{ name: public, address: \"{{public}}\" }}, {{ name: mtls, address: \"{address}\", tls: {{ certificates: [{{ certificate: \"{{dir}}/a.crt\", key: \"{{dir}}/a.key\" }}], client_auth: {{ ca: \"{{dir}}/clients.crt\", {auth} }} }} }}]\nsites: [{{ hosts: [\"*\"], {site} }}]\n"
        ))
        .start();
    wait("the listener", || std::net::TcpStream::connect(address).is_ok());
    World {
        gateway,
        address,
        servers,
        clients,
    }
}

/// Parameters of a client's certificate for `san`.
fn client(san: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    let name = Ia5String::try_from(san).expect("a name");
    params.subject_alt_names = vec![if san.contains("://") {
        SanType::URI(name)
    } else {
        SanType::DnsName(name)
    }];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

impl World {
    /// A client that shows these certificates.
    fn shows(&self, chain: &str, key: &KeyPair, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .expect("certificates");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let builder = self
            .servers
            .client_with(versions, rustls::crypto::ring::default_provider());
        Arc::new(
            builder
                .with_client_auth_cert(chain, key)
                .expect("a certificate of the client"),
        )
    }

    /// A client with a certificate of the authority.
    fn with(&self, params: &CertificateParams) -> Arc<ClientConfig> {
        self.with_version(params, ALL)
    }

    fn with_version(
        &self,
        params: &CertificateParams,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let key = KeyPair::generate().expect("a key");
        self.shows(&self.clients.sign(params, &key), &key, versions)
    }

    /// Asks once; the answer, or nothing.
    async fn ask(&self, config: &Arc<ClientConfig>) -> (String, Option<HandshakeKind>) {
        match connect(config, self.address, HOST).await {
            Ok(mut stream) => {
                let answer = get(&mut stream, HOST, "/").await;
                (answer, stream.get_ref().1.handshake_kind())
            }
            Err(_) => (String::new(), None),
        }
    }

    fn failures(&self, reason: &str) -> f64 {
        self.gateway.metric(&format!(
            "portcullis_tls_handshake_failures_total{{listener=\"mtls\",reason=\"client_certificate_{reason}\"}}"
        ))
    }

    async fn accepts(&self, config: &Arc<ClientConfig>) {
        let (answer, _) = self.ask(config).await;
        assert!(answer.contains("here"), "{answer:?}");
    }

    /// Sees it refused for this reason.
    async fn refuses(&self, what: &str, config: &Arc<ClientConfig>, reason: &str) {
        let before = self.failures(reason);
        let (answer, _) = self.ask(config).await;
        assert_eq!(answer, "", "{what}");
        wait(&format!("{what} is refused as {reason}"), || {
            self.failures(reason) > before
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn optional_and_required() {
    let required = world("mode: required", |_, _| {});
    let nobody = Arc::new(required.servers.client(&[]));
    required.refuses("nothing", &nobody, "missing").await;
    required.accepts(&required.with(&client("app.example.com"))).await;

    let optional = world("mode: optional", |_, _| {});
    optional.accepts(&Arc::new(optional.servers.client(&[]))).await;
    optional.accepts(&optional.with(&client("app.example.com"))).await;
    let stranger = required.with(&client("app.example.com"));
    let (answer, _) = optional.ask(&stranger).await;
    assert_eq!(answer, "", "what is shown must be good");
    let log = optional.gateway.access_log(2);
    assert!(log[0]["tls"]["client"].is_null(), "{log:?}");
    assert_eq!(log[1]["tls"]["client"]["san"], "app.example.com");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_certificates() {
    let world = world("mode: required", |_, _| {});
    let edited = |edit: fn(&mut CertificateParams)| {
        let mut params = client("app.example.com");
        edit(&mut params);
        world.with(&params)
    };
    let expired = edited(|params| params.not_after = date_time_ymd(2020, 1, 1));
    world.refuses("expired", &expired, "expired").await;
    let early = edited(|params| params.not_before = date_time_ymd(2900, 1, 1));
    world.refuses("not yet valid", &early, "expired").await;
    let purpose = edited(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    world.refuses("for servers", &purpose, "invalid").await;
    let (key, other) = (KeyPair::generate().expect("a key"), Authority::new());
    let foreign = other.sign(&client("app.example.com"), &key);
    world
        .refuses("of another authority", &world.shows(&foreign, &key, ALL), "invalid")
        .await;
    world.accepts(&edited(|_| {})).await;
}

/// An authority below `issuer`.
fn below<'i>(issuer: &Issuer<'_, KeyPair>, edit: impl FnOnce(&mut CertificateParams)) -> (String, Issuer<'i, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, format!("below {}", unique()));
    edit(&mut params);
    let key = KeyPair::generate().expect("a key");
    let pem = params.signed_by(&key, issuer).expect("a certificate").pem();
    (pem, Issuer::new(params, key))
}

/// Something that no other name has.
fn unique() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_that_are_long_large_or_out_of_bounds() {
    let world = world("mode: required", |_, _| {});
    let key = KeyPair::generate().expect("a key");
    let leaf =
        |issuer: &Issuer<'_, KeyPair>, san: &str| client(san).signed_by(&key, issuer).expect("a certificate").pem();
    let (one, first) = below(world.clients.issuer(), |_| {});
    let short = leaf(&first, "app.example.com") + &one;
    world.accepts(&world.shows(&short, &key, ALL)).await;

    let (mut chain, mut last) = (vec![one.clone()], first);
    for _ in 0..9 {
        let (pem, issuer) = below(&last, |_| {});
        chain.insert(0, pem);
        last = issuer;
    }
    let long = leaf(&last, "app.example.com") + &chain.concat();
    assert_eq!(long.matches("BEGIN").count(), 11);
    world
        .refuses("a chain of 11", &world.shows(&long, &key, ALL), "invalid")
        .await;

    let (large, _) = below(world.clients.issuer(), |params| {
        let name = |n: usize| SanType::DnsName(Ia5String::try_from(format!("{n:0>60}.example.com")).expect("a name"));
        params.subject_alt_names = (0..200).map(name).collect();
    });
    let heavy = short.clone() + &large.repeat(4);
    let bytes = CertificateDer::pem_slice_iter(heavy.as_bytes()).map(|der| der.expect("DER").len());
    assert!((55_000..65_536).contains(&bytes.sum::<usize>()));
    world
        .refuses("a chain of 64 kB", &world.shows(&heavy, &key, ALL), "invalid")
        .await;

    let (bound, issuer) = below(world.clients.issuer(), |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("good.example.com".to_owned())],
            excluded_subtrees: vec![],
        });
    });
    let inside = leaf(&issuer, "x.good.example.com") + &bound;
    world.accepts(&world.shows(&inside, &key, ALL)).await;
    let outside = leaf(&issuer, "x.evil.example.com") + &bound;
    world
        .refuses(
            "outside of name constraints",
            &world.shows(&outside, &key, ALL),
            "invalid",
        )
        .await;
}

/// Certificates that rustls would not make use of as a client: OpenSSL does.
#[test]
fn weak_signatures_and_keys() {
    let Some(openssl) = skip::tool("weak_signatures_and_keys", "openssl") else {
        return;
    };
    let run = |dir: &std::path::Path, arguments: &[&str]| {
        let mut command = Command::new(&openssl);
        let output = command.args(arguments).current_dir(dir).stdin(Stdio::null()).output();
        let output = output.expect("openssl");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    };
    let clients = authority();
    let key = clients.issuer().key().serialize_pem();
    let world = world_of(
        clients,
        "mode: required",
        |_, _| {},
        "routes: [{ respond: { status: 200, body: here } }]",
    );
    let dir = world.gateway.dir.path();
    std::fs::write(dir.join("clients.key"), key).expect("clients.key");
    std::fs::write(dir.join("ext"), "extendedKeyUsage=clientAuth\n").expect("ext");
    for (bits, digest, refused) in [
        ("2048", "-sha256", false),
        ("2048", "-sha1", true),
        ("1024", "-sha256", true),
    ] {
        let made = run(
            dir,
            &[
                "req",
                "-new",
                "-newkey",
                &format!("rsa:{bits}"),
                "-nodes",
                "-keyout",
                "c.key",
                "-out",
                "c.csr",
                "-subj",
                "/CN=c",
            ],
        );
        assert!(made.0, "{}", made.1);
        let signed = run(
            dir,
            &[
                "x509",
                "-req",
                "-in",
                "c.csr",
                "-CA",
                "clients.crt",
                "-CAkey",
                "clients.key",
                "-CAcreateserial",
                digest,
                "-days",
                "2",
                "-extfile",
                "ext",
                "-out",
                "c.crt",
            ],
        );
        assert!(signed.0, "{}", signed.1);
        let address = world.address.to_string();
        let before = world.failures("invalid");
        for version in ["-tls1_2", "-tls1_3"] {
            let (_, said) = run(
                dir,
                &[
                    "s_client",
                    "-connect",
                    &address,
                    "-servername",
                    HOST,
                    "-cert",
                    "c.crt",
                    "-key",
                    "c.key",
                    version,
                    "-cipher",
                    "DEFAULT@SECLEVEL=0",
                    "-ign_eof",
                ],
            );
            let alert = said.contains("alert");
            // Without a request the server says nothing more over TLS 1.3; it is the alert that tells.
            assert_eq!(alert, refused, "{bits} {digest} {version}: {said}");
        }
        if refused {
            wait(&format!("{bits} {digest}"), || {
                world.failures("invalid") >= before + 2.0
            });
        }
    }
}

/// A revocation list of an authority with these serial numbers, PEM.
fn revoke(authority: &Authority, serials: &[u64], until: (i32, u8, u8)) -> String {
    let revoked = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(until.0, until.1, until.2),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let signed = list.signed_by(authority.issuer()).expect("a revocation list");
    signed.pem().expect("PEM")
}

fn with_serial(serial: u64) -> CertificateParams {
    let mut params = client("app.example.com");
    params.serial_number = Some(SerialNumber::from(serial));
    params
}

const NEVER: (i32, u8, u8) = (2900, 1, 1);

#[tokio::test(flavor = "multi_thread")]
async fn revoked_and_unchecked() {
    let world = world("mode: required, crl: [\"{dir}/clients.crl\"]", |builder, clients| {
        let list = revoke(clients, &[7], NEVER);
        std::fs::write(builder.dir().join("clients.crl"), list).expect("clients.crl");
    });
    world.refuses("revoked", &world.with(&with_serial(7)), "revoked").await;
    world.accepts(&world.with(&with_serial(8))).await;

    let (key, (middle, issuer)) = (
        KeyPair::generate().expect("a key"),
        below(world.clients.issuer(), |_| {}),
    );
    let chain = client("app.example.com")
        .signed_by(&key, &issuer)
        .expect("a certificate")
        .pem()
        + &middle;
    world
        .refuses(
            "of an authority without a list",
            &world.shows(&chain, &key, ALL),
            "unchecked",
        )
        .await;

    // Sessions that began before it, over both versions.
    let mut known = Vec::new();
    for version in ALL {
        let config = world.with_version(&with_serial(9), &[*version]);
        world.accepts(&config).await;
        let (answer, kind) = world.ask(&config).await;
        assert!(
            answer.contains("here") && kind == Some(HandshakeKind::Resumed),
            "{kind:?}"
        );
        known.push(config);
    }
    replace(
        &world.gateway.path("clients.crl"),
        revoke(&world.clients, &[7, 9], NEVER).as_bytes(),
    );
    let fresh = with_serial(9);
    for _ in 0..200 {
        if world.ask(&world.with(&fresh)).await.0.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for config in known {
        world.refuses("revoked since", &config, "revoked").await;
    }

    replace(
        &world.gateway.path("clients.crl"),
        revoke(&world.clients, &[], (2025, 1, 1)).as_bytes(),
    );
    let before = world.failures("unchecked");
    for _ in 0..200 {
        world.ask(&world.with(&with_serial(8))).await;
        if world.failures("unchecked") > before {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("a list that has expired still lets clients in");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_outlives_its_authority() {
    let world = world("mode: required", |_, _| {});
    let mut known = Vec::new();
    for version in ALL {
        let config = world.with_version(&client("app.example.com"), &[*version]);
        world.accepts(&config).await;
        assert_eq!(world.ask(&config).await.1, Some(HandshakeKind::Resumed));
        known.push(config);
    }
    let next = authority();
    replace(&world.gateway.path("clients.crt"), next.pem().as_bytes());
    let key = KeyPair::generate().expect("a key");
    let welcome = world.shows(&next.sign(&client("new.example.com"), &key), &key, ALL);
    for _ in 0..200 {
        if world.ask(&welcome).await.0.contains("here") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    world.accepts(&welcome).await;
    for config in known {
        world.refuses("of an authority that is gone", &config, "invalid").await;
    }
}

/// Two listeners with the same ticket keys: a session of the one that asks for nothing is none at the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_a_certificate_is_not_resumed_where_one_is_required() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let (open, closed) = (ports::free(), ports::free());
    let builder = Builder::new("")
        .file("tickets.key", [5; 80])
        .file("clients.crt", clients.pem());
    servers.issue(builder.dir(), "a", &[HOST]);
    let tls = "certificates: [{ certificate: \"{dir}/a.crt\", key: \"{dir}/a.key\" }], session: { ticket_keys: [\"file:{dir}/tickets.key\"] }";
    let gateway = builder
        .with_yaml(&format!(
            "listeners: [{{ name: public, address: \"{{public}}\" }}, {{ name: open, address: \"{open}\", tls: {{ {tls} }} }}, {{ name: mtls, address: \"{closed}\", tls: {{ {tls}, client_auth: {{ mode: required, ca: \"{{dir}}/clients.crt\" }} }} }}]\nsites: [{{ hosts: [\"*\"], routes: [{{ respond: {{ status: 200, body: here }} }}] }}]\n"
        ))
        .start();
    let world = World {
        gateway,
        address: closed,
        servers,
        clients,
    };
    wait("the listeners", || std::net::TcpStream::connect(closed).is_ok());
    for version in ALL {
        let nobody = Arc::new(world.servers.client(&[*version]));
        let mut first = connect(&nobody, open, HOST).await.expect("no certificate is asked for");
        assert!(get(&mut first, HOST, "/").await.contains("here"));
        world
            .refuses("a session of the open listener", &nobody, "missing")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_not_allowed() {
    let sans = "allowed_sans: [\"*.apps.example.com\", \"spiffe://example.com/apps/*\"]";
    let world = world(&format!("mode: required, {sans}"), |_, _| {});
    for allowed in ["a.apps.example.com", "spiffe://example.com/apps/b"] {
        world.accepts(&world.with(&client(allowed))).await;
    }
    for other in [
        "apps.example.com",
        "a.b.apps.example.com",
        "spiffe://example.com/other/b",
    ] {
        world.refuses(other, &world.with(&client(other)), "invalid").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_identity_is_there_for_filters_and_logs() {
    let site = "routes: [{ filters: [{ rate_limit: { key: \"mtls:san\", rate: 1/h, burst: 1, on_missing: deny } }], respond: { status: 200, body: here } }]";
    let world = world_of(authority(), "mode: optional", |_, _| {}, site);
    let mut params = client("spiffe://example.com/apps/one");
    params.serial_number = Some(SerialNumber::from(0x00ab_cdef));
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "One \"and\" only");
    let one = world.with(&params);
    world.accepts(&one).await;
    assert!(
        world.ask(&one).await.0.starts_with("HTTP/1.1 429"),
        "a resumed session has the same identity"
    );
    world
        .accepts(&world.with(&client("spiffe://example.com/apps/two")))
        .await;
    let nobody = Arc::new(world.servers.client(&[]));
    assert!(!world.ask(&nobody).await.0.contains("here"), "no identity");
    let log = world.gateway.access_log(4);
    let shown = &log[1]["tls"]["client"];
    assert_eq!(shown["san"], "spiffe://example.com/apps/one");
    assert_eq!(shown["serial"], "00abcdef");
    assert!(
        shown["subject"]
            .as_str()
            .is_some_and(|subject| subject.contains("One \"and\" only")),
        "{shown}"
    );
    assert_eq!(shown["fingerprint"].as_str().map(str::len), Some(64));
    assert_eq!(log[0]["tls"]["client"], *shown);
}

/// Each kind of name is a key of its own, and a key without a value is missing.
#[tokio::test(flavor = "multi_thread")]
async fn kinds_of_names_are_keys() {
    let route = |key: &str| {
        format!(
            "{{ match: {{ path: /{key} }}, filters: [{{ rate_limit: {{ key: \"mtls:{key}\", rate: 1/h, burst: 1, on_missing: deny }} }}], respond: {{ status: 200, body: here }} }}"
        )
    };
    let keys = ["dns", "uri", "spiffe"];
    let site = format!("routes: [{}]", keys.map(route).join(", "));
    let world = world_of(authority(), "mode: optional", |_, _| {}, &site);
    let with = |sans: &[&str]| {
        let mut params = client(sans[0]);
        for san in &sans[1..] {
            params.subject_alt_names.extend(client(san).subject_alt_names);
        }
        world.with(&params)
    };
    for (sans, statuses) in [
        (&["api.example.com"][..], [200, 403, 403]),
        (&["spiffe://example.com/one"], [403, 200, 200]),
        (&["https://example.com/one"], [403, 200, 403]),
        (&["spiffe://example.com/one", "two.example.com"], [200, 429, 429]),
        (
            &["spiffe://example.com/two", "spiffe://example.com/three"],
            [403, 200, 403],
        ),
    ] {
        let config = with(sans);
        for (key, status) in keys.iter().zip(statuses) {
            let mut stream = connect(&config, world.address, HOST).await.expect("a connection");
            let answer = get(&mut stream, HOST, &format!("/{key}")).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{sans:?} {key}: {answer}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_another_name_is_misdirected() {
    let world = world("mode: optional", |_, _| {});
    let named = world.with(&client("app.example.com"));
    let mut silent = world.servers.client(&[]);
    silent.enable_sni = false;
    let silent = Arc::new(silent);
    for (config, host, status) in [
        (&named, HOST, 200),
        (&named, "A.example.com:8443", 200),
        (&named, "b.example.com", 421),
        (&named, "127.0.0.1", 421),
        (&silent, HOST, 421),
        (&silent, "127.0.0.1", 200),
        (&silent, "[::1]:8443", 200),
    ] {
        let mut stream = connect(config, world.address, HOST).await.expect("a connection");
        let answer = get(&mut stream, host, "/").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
        assert_eq!(
            answer.contains("misdirected_request"),
            status == 421,
            "{host}: {answer}"
        );
    }
}
