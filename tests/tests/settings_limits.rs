//! Every key of `limits`, with two values each: what the one refuses or cuts, the other lets pass. That slow clients are
//! treated fairly in every case is shown beside the listener's code and not here.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::thread::sleep;
use std::time::Duration;

use portcullis_e2e::chat::{OPENAI, Setup};
use portcullis_e2e::gateway::{Gateway, wait};
use portcullis_e2e::h1::{self, Connection};
use portcullis_e2e::origin::Origin;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/// Longer than every short limit of these tests, shorter than every long one.
const PAUSE: Duration = Duration::from_millis(1500);

fn start(origin: &Origin, limits: &str) -> Gateway {
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nlimits: {{ {limits} }}\nsites: [{{ hosts: [\"*\"], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n",
        origin.address
    ));
    // The connection that looked whether anybody listens is over.
    wait("an idle listener", || {
        gateway.metric("portcullis_connections_accepted_total{listener=\"public\"}") >= 1.0
            && gateway.metric("portcullis_connections{listener=\"public\"}") < 1.0
    });
    gateway
}

fn cut(gateway: &Gateway, counter: &str, reason: &str) {
    let series = format!("portcullis_{counter}_total{{listener=\"public\",reason=\"{reason}\"}}");
    wait(&series, || gateway.metric(&series) >= 1.0);
}

#[test]
fn request_header_bytes() {
    let origin = Origin::start("ok");
    let padding = "x".repeat(3 << 10);
    for (limit, status) in [("2KiB", 431), ("8KiB", 200)] {
        let gateway = start(&origin, &format!("request_header_bytes: {limit}"));
        let answer = h1::get(gateway.public, "a", "/", &[("X-Padding", &padding)]);
        assert_eq!(answer.status, status, "{limit}");
    }
}

#[test]
fn request_headers() {
    let origin = Origin::start("ok");
    let fields: Vec<String> = (0..20).map(|number| format!("X-Field-{number}")).collect();
    let fields: Vec<(&str, &str)> = fields.iter().map(|name| (name.as_str(), "1")).collect();
    for (limit, status, reason) in [(20, 431, "too_many_headers"), (21, 200, "")] {
        let gateway = start(&origin, &format!("request_headers: {limit}"));
        let answer = h1::get(gateway.public, "a", "/", &fields);
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (status, reason),
            "{limit}: 20 fields and Host"
        );
    }
}

#[test]
fn request_body_bytes() {
    let origin = Origin::start("ok");
    for (limit, status) in [("1KiB", 413), ("4KiB", 200)] {
        let gateway = start(&origin, &format!("request_body_bytes: {limit}"));
        let answer = h1::request(gateway.public, "POST", "a", "/", &[], &[b'x'; 2 << 10]);
        assert_eq!(answer.status, status, "{limit}");
    }
}

#[test]
fn held_body_bytes() {
    for (limit, status) in [("100KiB", 503), ("1MiB", 200)] {
        let limits = format!("limits: {{ held_body_bytes: {limit} }}\n");
        let config = "tokens_per_minute: 1, burst_tokens: 1000000";
        let setup = Setup::with(config, "enforce", "", &limits);
        let held = || setup.gateway.metric("portcullis_held_body_bytes");
        let body = vec![b'x'; 80_000];
        // One comes slowly: most of it is there.
        let mut slow = Connection::open(setup.gateway.public);
        slow.send(format!(
            "POST {OPENAI} HTTP/1.1\r\nHost: a\r\nX-Key: slow\r\nContent-Length: 90000\r\n\r\n"
        ));
        slow.send(&body);
        wait("a body that is held", || held() >= 80_000.0);
        let other = setup.ask(OPENAI, &[], &body);
        assert_eq!(other.status, status, "{limit}");
        if status == 503 {
            assert_eq!(other.json()["error"]["code"], "held_bodies_full");
            assert_eq!(other.header("retry-after"), Some("2"), "one, spread");
            assert!(setup.gateway.metric("portcullis_held_bodies_refused_total") >= 1.0);
            assert_eq!(setup.ask(OPENAI, &[], &[b'x'; 1000]).status, 200, "a smaller one fits");
        }
        slow.send(vec![b'x'; 10_000]);
        assert_eq!(slow.read(false).map(|answer| answer.status), Some(200));
        wait("room", || held() < 1.0);
        assert_eq!(setup.ask(OPENAI, &[], &body).status, 200, "{limit}");
    }
}

#[test]
fn handshake_timeout() {
    for (limit, answered) in [("300ms", false), ("60s", true)] {
        let gateway = Gateway::start(&format!(
            "listeners: [{{ name: public, address: \"{{public}}\", proxy_protocol: v1 }}]\ntrusted_proxies: [127.0.0.0/8]\nlimits: {{ handshake_timeout: {limit} }}\nsites: [{{ hosts: [\"*\"], routes: [{{ respond: {{ status: 200 }} }}] }}]\n"
        ));
        let mut connection = Connection::open(gateway.public);
        sleep(PAUSE);
        connection.send("PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n");
        assert_eq!(connection.ask(GET).is_some(), answered, "{limit}");
        if !answered {
            cut(&gateway, "connections_refused", "proxy_timeout");
        }
    }
}

#[test]
fn header_timeout() {
    let origin = Origin::start("ok");
    for (limit, status) in [("300ms", 408), ("60s", 200)] {
        let gateway = start(&origin, &format!("header_timeout: {limit}"));
        let mut connection = Connection::open(gateway.public);
        connection.send("GET / HTTP/1.1\r\n");
        sleep(PAUSE);
        let answer = connection.ask("Host: a\r\n\r\n");
        assert_eq!(answer.map_or(408, |answer| answer.status), status, "{limit}");
        if status == 408 {
            cut(&gateway, "early_rejects", "header_timeout");
        }
    }
}

#[test]
fn body_idle_timeout() {
    let origin = Origin::start("ok");
    for (limit, answered) in [("300ms", false), ("60s", true)] {
        let gateway = start(&origin, &format!("body_idle_timeout: {limit}, min_rate: 0"));
        let mut connection = Connection::open(gateway.public);
        connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf");
        sleep(PAUSE);
        let answer = connection.ask("half");
        assert_eq!(answer.is_some_and(|answer| answer.status == 200), answered, "{limit}");
        if !answered {
            cut(&gateway, "connections_closed", "body_idle_timeout");
        }
    }
}

#[test]
fn min_rate() {
    let origin = Origin::start("ok");
    for (limit, answered) in [(4096, false), (0, true)] {
        let gateway = start(&origin, &format!("min_rate: {limit}, body_idle_timeout: 2s"));
        let mut connection = Connection::open(gateway.public);
        connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n");
        // Longer than the two windows of `body_idle_timeout` that may pass until it is known to be slow.
        for _ in 0..50 {
            connection.send("x");
            sleep(Duration::from_millis(100));
        }
        let answer = connection.read(false);
        assert_eq!(answer.is_some_and(|answer| answer.status == 200), answered, "{limit}");
        if !answered {
            cut(&gateway, "connections_closed", "body_min_rate");
        }
    }
}

#[test]
fn keepalive_timeout() {
    let origin = Origin::start("ok");
    for (limit, kept) in [("1s", false), ("60s", true)] {
        let gateway = start(&origin, &format!("keepalive_timeout: {limit}"));
        let mut connection = Connection::open(gateway.public);
        assert_eq!(connection.ask(GET).expect("an answer").status, 200);
        sleep(2 * PAUSE);
        assert_eq!(connection.ask(GET).is_some(), kept, "{limit}");
    }
}

#[test]
fn keepalive_requests() {
    let origin = Origin::start("ok");
    for limit in [2, 5] {
        let gateway = start(&origin, &format!("keepalive_requests: {limit}"));
        let mut connection = Connection::open(gateway.public);
        let answered = (0..10).take_while(|_| connection.ask(GET).is_some()).count();
        assert_eq!(answered, limit);
    }
}

#[test]
fn connections() {
    let origin = Origin::start("ok");
    for limit in [2, 4] {
        let gateway = start(&origin, &format!("connections: {limit}"));
        assert_eq!(open_at_once(&gateway), limit);
        cut(&gateway, "connections_refused", "connections");
    }
}

#[test]
fn connections_per_ip() {
    let origin = Origin::start("ok");
    for limit in [1, 3] {
        let gateway = start(&origin, &format!("connections_per_ip: {limit}"));
        assert_eq!(open_at_once(&gateway), limit);
        cut(&gateway, "connections_refused", "connections_per_ip");
    }
}

/// A gateway behind a proxy that names clients as it likes.
fn behind_a_proxy(limits: &str) -> Gateway {
    Gateway::start(&format!(
        "listeners: [{{ name: public, address: \"{{public}}\", proxy_protocol: v1 }}]\ntrusted_proxies: [127.0.0.0/8]\nlimits: {{ {limits} }}\nsites: [{{ hosts: [\"*\"], routes: [{{ respond: {{ status: 200 }} }}] }}]\n"
    ))
}

/// A connection of a client that is answered.
fn answered(gateway: &Gateway, client: &str) -> Option<Connection> {
    let mut connection = Connection::open(gateway.public);
    let family = if client.contains(':') { "TCP6" } else { "TCP4" };
    connection.send(format!("PROXY {family} {client} {client} 1000 80\r\n"));
    connection.ask(GET).map(|_| connection)
}

#[test]
fn connections_per_prefix() {
    for (limit, held) in [
        ("", 6),
        (", connections_per_prefix: 2", 2),
        (", connections_per_prefix: 4", 4),
    ] {
        let gateway = behind_a_proxy(&format!("connections_per_ip: 2{limit}"));
        for (network, other) in [("192.0.2.", "192.0.3.1"), ("2001:db8:0:", "2001:db8:1::1")] {
            let clients = (1..=6).map(|number| match network {
                "192.0.2." => format!("{network}{number}"),
                _ => format!("{network}{number}::1"),
            });
            let open: Vec<_> = clients.filter_map(|client| answered(&gateway, &client)).collect();
            assert_eq!(open.len(), held, "{network} {limit}");
            assert!(answered(&gateway, other).is_some(), "another network");
        }
        if held < 6 {
            cut(&gateway, "connections_refused", "connections_per_prefix");
        }
    }
}

#[test]
fn new_connections_per_ip() {
    for (limit, burst) in [
        ("{ rate: 1/h, burst: 2 }", 2),
        ("{ rate: 1/h, burst: 4 }", 4),
        ("{ rate: 1000/s, burst: 1 }", 6),
    ] {
        let gateway = behind_a_proxy(&format!("new_connections_per_ip: {limit}"));
        let come = |client: &str| {
            // Long enough for a fast rate to have filled its bucket again.
            sleep(Duration::from_millis(20));
            answered(&gateway, client).is_some()
        };
        assert_eq!((0..6).filter(|_| come("192.0.2.1")).count(), burst, "{limit}");
        assert!(come("192.0.2.2"), "another client");
        if burst < 6 {
            cut(&gateway, "connections_refused", "new_connections_per_ip");
        }
    }
}

/// How many connections are answered while all of them stay open.
fn open_at_once(gateway: &Gateway) -> usize {
    let mut open = Vec::new();
    for _ in 0..8 {
        let mut connection = Connection::open(gateway.public);
        if connection.ask(GET).is_none() {
            break;
        }
        open.push(connection);
    }
    open.len()
}
