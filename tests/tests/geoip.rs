//! What is known of addresses: each source of `geoip` shown to be read, files that change, files that are wrong, and bundles and
//! switches that go by what nobody knows.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::net::IpAddr;

use portcullis_e2e::bundle::Signer;
use portcullis_e2e::gateway::{Builder, Gateway, replace, wait};
use portcullis_e2e::h1;
use portcullis_e2e::mmdb::Mmdb;
use portcullis_e2e::origin::Origin;
use portcullis_e2e::policies::{bucket, bundle, policy};
use portcullis_filters::geoip::{Asns, Countries};
use serde_json::json;

const TRUSTED: &str = "trusted_proxies: [127.0.0.1]\n";

/// Each key of these has a route of its own, `/country` for `ip:country`, that refuses who has no value for it.
fn sites(keys: &[&str]) -> String {
    let route = |key: &&str| {
        format!(
            "{{ match: {{ path: /{key} }}, filters: [{{ rate_limit: {{ key: \"ip:{key}\", rate: 1/h, burst: 1, on_missing: deny }} }}], respond: {{ status: 200, body: here }} }}"
        )
    };
    let routes: Vec<_> = keys.iter().map(route).collect();
    format!("sites: [{{ hosts: [\"*\"], routes: [{}] }}]\n", routes.join(", "))
}

/// The status for a client of this address.
fn from(gateway: &Gateway, path: &str, client: &str, more: &[(&str, &str)]) -> u16 {
    let mut fields = vec![("X-Forwarded-For", client)];
    fields.extend_from_slice(more);
    h1::get(gateway.public, "a.example", path, &fields).status
}

/// Sets a kill switch; the status.
fn kill(gateway: &Gateway, key: &str, value: &str) -> u16 {
    let request = json!({ "key": key, "value": value, "ttl": "1h", "reason": "test" });
    gateway.admin("POST", "/-/kill", &request.to_string()).0
}

/// Waits until this version of the bundle is in force.
fn in_force(gateway: &Gateway, version: u32) {
    let version = format!("version=\"{version}\"");
    let is_it = |line: &str| line.starts_with("portcullis_bundle_info{") && line.contains(&version);
    gateway.wait_for("/metrics", |_, text| text.lines().any(is_it));
}

fn countries() -> Vec<u8> {
    Mmdb::countries(&[
        ("192.0.2.0/24", "DE"),
        ("198.51.100.0/24", "FR"),
        ("2001:db8::/32", "DE"),
    ])
}

#[test]
fn country_of_geoip() {
    let yaml = format!(
        "{TRUSTED}geoip: {{ country: \"{{dir}}/country.mmdb\" }}\n{}",
        sites(&["country"])
    );
    let gateway = Builder::new(&yaml).file("country.mmdb", countries()).start();
    let ask = |client| from(&gateway, "/country", client, &[]);
    assert_eq!([ask("192.0.2.1"), ask("198.51.100.1")], [200, 200]);
    assert_eq!(
        [ask("192.0.2.2"), ask("2001:db8::1"), ask("198.51.100.2")],
        [429; 3],
        "one country, one bucket"
    );
    assert_eq!(ask("203.0.113.1"), 403, "nobody knows where that is");
    let built = gateway.metric("portcullis_geoip_built_timestamp_seconds{database=\"country\"}");
    assert!((built - 1_767_225_600.0).abs() < 1.0, "{built}");
    let without = TRUSTED.to_owned() + &sites(&["country"]);
    let refusal = Builder::new(&without).start_expecting_refusal();
    assert!(
        refusal.contains("unsupported-key") && refusal.contains("ip:country"),
        "{refusal}"
    );
}

#[test]
fn asn_and_types_of_geoip() {
    let geoip = "geoip: { asn: \"{dir}/asn.mmdb\", asn_types: \"{dir}/types.map\" }\n";
    let yaml = format!("{TRUSTED}{geoip}{}", sites(&["asn", "type"]));
    let systems = [
        ("192.0.2.0/24", 72),
        ("198.51.100.0/24", 62),
        ("203.0.113.0/24", 4_200_000_000),
    ];
    let gateway = Builder::new(&yaml)
        .file("asn.mmdb", Mmdb::asns(&systems))
        .file("types.map", "default unknown;\n72 business;\n62 hosting;\n")
        .start();
    let asn = |client| from(&gateway, "/asn", client, &[]);
    assert_eq!([asn("192.0.2.1"), asn("198.51.100.1"), asn("203.0.113.1")], [200; 3]);
    assert_eq!([asn("192.0.2.2"), asn("203.0.113.9"), asn("10.0.0.1")], [429, 429, 403]);
    let kind = |client| from(&gateway, "/type", client, &[]);
    assert_eq!([kind("192.0.2.1"), kind("198.51.100.1"), kind("203.0.113.1")], [200; 3]);
    assert_eq!(kind("10.0.0.1"), 429, "what nobody knows shares a bucket");
    // Other kinds of the same systems, without a restart.
    let types = gateway.path("types.map");
    replace(&types, b"72 business\n62 business\n");
    wait("the new list", || from(&gateway, "/type", "198.51.100.2", &[]) == 429);
}

#[test]
fn tor_exits_of_geoip() {
    let yaml = format!(
        "{TRUSTED}geoip: {{ tor_exits: \"{{dir}}/exits.txt\" }}\n{}",
        sites(&["tor"])
    );
    let gateway = Builder::new(&yaml)
        .file("exits.txt", "# exits\n192.0.2.9\n2001:db8::/64\n")
        .start();
    let ask = |client| from(&gateway, "/tor", client, &[]);
    assert_eq!([ask("192.0.2.9"), ask("192.0.2.10")], [200, 200]);
    assert_eq!([ask("2001:db8::5"), ask("192.0.2.11")], [429, 429]);
}

#[test]
fn trusted_headers_of_geoip() {
    let keys = ["country", "asn", "type", "tor"];
    let yaml = |geoip: &str| format!("{TRUSTED}geoip: {{ {geoip} }}\n{}", sites(&keys));
    let gateway = Builder::new(&yaml("trusted_headers: true")).start();
    for (key, field, one, other) in [
        ("country", "X-Country-Code", "DE", "FR"),
        ("asn", "X-ASN", "72", "62"),
        ("type", "X-ASN-Type", "isp", "hosting"),
        ("tor", "X-Tor-Exit", "1", "0"),
    ] {
        let ask = |value| from(&gateway, &format!("/{key}"), "192.0.2.1", &[(field, value)]);
        assert_eq!(
            [ask(one), ask(other), ask(one), ask(other)],
            [200, 200, 429, 429],
            "{field}"
        );
    }
    let all = "country: \"{dir}/c\", asn: \"{dir}/a\", asn_types: \"{dir}/k\", tor_exits: \"{dir}/t\"";
    let deaf = Builder::new(&yaml(all))
        .file("c", countries())
        .file("a", Mmdb::asns(&[("192.0.2.0/24", 72)]))
        .file("k", "")
        .file("t", "")
        .start();
    let told = [("X-Country-Code", "FR"), ("X-ASN", "62"), ("X-Tor-Exit", "1")];
    for key in keys {
        let ask = |more: &[_]| from(&deaf, &format!("/{key}"), "192.0.2.1", more);
        assert_eq!([ask(&[]), ask(&told)], [200, 429], "{key}");
    }
}

#[test]
fn a_file_that_is_wrong_is_told_and_the_last_good_one_serves() {
    let yaml = format!(
        "{TRUSTED}geoip: {{ country: \"{{dir}}/country.mmdb\" }}\n{}",
        sites(&["country"])
    );
    for (content, why) in [
        (&b"no database"[..], "MaxMind's format"),
        (&Mmdb::asns(&[("192.0.2.0/24", 72)]), "nothing in it tells a country"),
        (&countries()[..60], "MaxMind's format"),
    ] {
        let refusal = Builder::new(&yaml)
            .file("country.mmdb", content)
            .start_expecting_refusal();
        assert!(
            refusal.contains("unusable-file") && refusal.contains("geoip.country"),
            "{refusal}"
        );
        assert!(refusal.contains(why), "{why}: {refusal}");
    }
    let refusal = Builder::new(&yaml).start_expecting_refusal();
    assert!(
        refusal.contains("unusable-file") && refusal.contains("country.mmdb"),
        "{refusal}"
    );
    let gateway = Builder::new(&yaml).file("country.mmdb", countries()).start();
    assert_eq!(from(&gateway, "/country", "192.0.2.1", &[]), 200);
    let file = gateway.path("country.mmdb");
    replace(&file, b"no database");
    let told = |text: &str| text.contains("geoip.country");
    wait("the refusal", || told(&gateway.log()));
    assert_eq!(from(&gateway, "/country", "192.0.2.2", &[]), 429, "as before");
    replace(
        &file,
        &Mmdb::countries(&[("192.0.2.0/25", "DE"), ("192.0.2.128/25", "AT")]),
    );
    wait("the new file", || from(&gateway, "/country", "192.0.2.200", &[]) == 200);
    assert_eq!(
        from(&gateway, "/country", "192.0.2.3", &[]),
        429,
        "counters outlive files"
    );
}

#[test]
fn lists_that_are_wrong_name_their_line() {
    let yaml = |key: &str| {
        format!(
            "{TRUSTED}geoip: {{ {key}, trusted_headers: true }}\n{}",
            sites(&["type"])
        )
    };
    for (key, content, why) in [
        (
            "asn_types",
            "72 business\n62 pirates\n",
            "line 2: `pirates` is no kind of network",
        ),
        (
            "tor_exits",
            "192.0.2.1\nexit.example\n",
            "line 2: `exit.example` is neither",
        ),
    ] {
        let config = yaml(&format!("{key}: \"{{dir}}/list\""));
        let refusal = Builder::new(&config).file("list", content).start_expecting_refusal();
        assert!(refusal.contains("unusable-file") && refusal.contains(why), "{refusal}");
    }
}

/// A bundle that goes by what nobody tells is refused, and so is a configuration that would take away what it goes by.
#[test]
fn bundles_and_switches_go_by_what_the_configuration_knows() {
    let signer = Signer::new("k1");
    let site =
        "sites: [{ hosts: [\"*\"], filters: [{ policy: {} }], routes: [{ respond: { status: 200, body: here } }] }]\n";
    let plain = format!("{TRUSTED}{}{site}", signer.policy());
    let knows = format!(
        "{TRUSTED}geoip: {{ country: \"{{dir}}/country.mmdb\" }}\n{}{site}",
        signer.policy()
    );
    let version = |number: u32, rule: String| {
        let text = bundle(&[policy("p", "", &[rule])]);
        signer.sign(&text.replace("bundle_version: 1", &format!("bundle_version: {number}")))
    };
    let free = bucket("r", "", 1000, "");
    let french = bucket("r", "", 1, ", match: { \"ip:country\": FR }");
    let gateway = Builder::new(&plain)
        .file("country.mmdb", countries())
        .file("policy.bundle", version(1, free.clone()))
        .start();
    replace(&gateway.path("policy.bundle"), &version(2, french.clone()));
    gateway.wait_for("/readyz", |_, body| {
        body.contains("unsupported") && body.contains("ip:country")
    });
    assert_eq!(kill(&gateway, "ip:country", "FR"), 422);
    gateway.write_config(&knows);
    in_force(&gateway, 2);
    assert_eq!([1, 2].map(|_| from(&gateway, "/", "198.51.100.1", &[])), [200, 429]);
    assert_eq!([1, 2].map(|_| from(&gateway, "/", "192.0.2.1", &[])), [200, 200]);
    gateway.write_config(&plain);
    let (status, body) = gateway.reload();
    assert!(status >= 400 && body.contains("ip:country"), "{status} {body}");
    gateway.write_config(&knows);
    assert_eq!(gateway.reload().0, 200);
    // A switch at run time, too.
    assert_eq!(kill(&gateway, "ip:country", "DE"), 201);
    let killed = |client| from(&gateway, "/", client, &[]) == 429;
    assert!(killed("192.0.2.1") && killed("2001:db8::1"));
    assert!(!killed("203.0.113.1"));
    replace(&gateway.path("policy.bundle"), &version(3, free));
    in_force(&gateway, 3);
    gateway.write_config(&plain);
    let (status, body) = gateway.reload();
    assert!(status >= 400 && body.contains("kill switch"), "{status} {body}");
    assert!(killed("192.0.2.1"), "it stays in force");
}

/// A document of kill switches is held against what the configuration knows, as a bundle is.
#[test]
fn a_document_of_switches_goes_by_what_the_configuration_knows() {
    let signer = Signer::new("k1");
    let yaml = |geoip: &str| {
        let site = "sites: [{ hosts: [\"*\"], routes: [{ respond: { status: 200, body: here } }] }]\n";
        let document = "document: { file: \"{dir}/kill.signed\" }";
        let trust = signer.policy();
        let trust = trust
            .lines()
            .find(|line| line.trim_start().starts_with("trust:"))
            .expect("trust");
        let switches = format!("  kill_switches: {{ {document}, {} }}\n", trust.trim());
        format!("{TRUSTED}{geoip}{}{switches}{site}", signer.policy())
    };
    let list = "version: 1\nkill_switches: [{ scope_key: ip:tor, scope_value: \"true\" }]\n";
    let start = |geoip: &str| {
        Builder::new(&yaml(geoip))
            .file("exits", "192.0.2.9\n")
            .file("kill.signed", signer.sign_kill(list))
            .file("policy.bundle", signer.sign("bundle_version: 1\npolicies: []\n"))
            .start()
    };
    let ask = |gateway: &Gateway, client| from(gateway, "/", client, &[]);
    let knows = start("geoip: { tor_exits: \"{dir}/exits\" }\n");
    assert_eq!([ask(&knows, "192.0.2.9"), ask(&knows, "192.0.2.1")], [429, 200]);
    let does_not = start("");
    let told = |body: &str| body.contains("\"unsupported\"") && body.contains("ip:tor");
    does_not.wait_for("/-/kill/status", |_, body| told(body));
    assert_eq!(ask(&does_not, "192.0.2.9"), 200);
}

#[test]
fn an_upstream_gets_what_trusted_proxies_say_and_nothing_of_strangers() {
    let fields = [
        ("X-ASN", "72"),
        ("X-ASN-Type", "isp"),
        ("X-Country-Code", "DE"),
        ("X-Tor-Exit", "0"),
        ("X_Tor-Exit", "0"),
        ("X-ASN-Kept", "yes"),
    ];
    for (trusted, passed) in [("", 0), (TRUSTED, 4)] {
        let origin = Origin::start("ok");
        let gateway = Gateway::start(&format!(
            "{trusted}upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n",
            origin.address
        ));
        assert_eq!(h1::get(gateway.public, "a.example", "/", &fields).status, 200);
        let seen = &origin.seen()[0];
        let there = fields[..4].iter().filter(|(name, _)| !seen.all(name).is_empty());
        assert_eq!(there.count(), passed, "{}", seen.head);
        assert!(trusted == TRUSTED || seen.all("x_tor-exit").is_empty(), "{}", seen.head);
        assert_eq!(seen.all("x-asn-kept"), ["yes"]);
    }
}

/// Whatever stands in a file, asking it ends: with an answer, or with none.
#[test]
fn a_broken_database_breaks_nothing() {
    let addresses: Vec<IpAddr> = [
        "192.0.2.1",
        "198.51.100.9",
        "203.0.113.1",
        "2001:db8::1",
        "::",
        "255.255.255.255",
    ]
    .map(|address| address.parse().expect("an address"))
    .to_vec();
    let whole = countries();
    let systems = Mmdb::asns(&[("192.0.2.0/24", 72), ("2001:db8::/32", 62)]);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 16).expect("64 bits") % below
    };
    let mut read = 0;
    for round in 0..4000 {
        let mut bytes = if round % 2 == 0 { whole.clone() } else { systems.clone() };
        for _ in 0..=next(4) {
            let place = next(bytes.len());
            bytes[place] = u8::try_from(next(256)).expect("a byte");
        }
        if next(8) == 0 {
            bytes.truncate(next(bytes.len()));
        }
        if let Ok(countries) = Countries::read(bytes.clone()) {
            read += 1;
            for address in &addresses {
                let _ = countries.code(*address);
            }
        }
        if let Ok(asns) = Asns::read(bytes) {
            read += 1;
            for address in &addresses {
                let _ = asns.number(*address);
            }
        }
    }
    assert!(read > 500, "most changes leave it readable: {read}");
}
