//! Traffic through the gateway to real nginx: HTTP/1.1, HTTP/2 over TLS, a gigabyte each way in constant memory; and what
//! HTTP/1.1 promises beside that: HEAD, ranges, pipelining, early answers, `Expect`, `OPTIONS *`.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::Bytes;
use http::Request;
use portcullis_e2e::gateway::{Builder, Gateway, PATIENCE, wait};
use portcullis_e2e::h1::{self, Connection};
use portcullis_e2e::nginx::Nginx;
use portcullis_e2e::origin::Origin;
use portcullis_e2e::ports;
use portcullis_e2e::tls::Authority;

const GIB: u64 = 1 << 30;
/// More than this of growth is not constant memory: it is 3 % of what goes through.
const ROOM_KIB: u64 = 32 << 10;

fn proxy(upstream: std::net::SocketAddr) -> String {
    format!(
        "upstreams: {{ app: {{ servers: [\"{upstream}\"] }} }}\nlimits: {{ request_body_bytes: 2GiB }}\nsites:\n- hosts: [\"*\"]\n  routes:\n  - proxy: {{ upstream: app }}\n"
    )
}

#[test]
fn nginx_over_http1() {
    let Some(nginx) = Nginx::start("dataplane::nginx_over_http1", "") else {
        return;
    };
    let gateway = Gateway::start(&proxy(nginx.address));
    let mut connection = Connection::open(gateway.public);
    for _ in 0..3 {
        let answer = connection.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello from nginx\n"));
        assert!(
            answer
                .header("server")
                .is_some_and(|server| server.starts_with("nginx"))
        );
    }
    let head = connection.ask("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").expect("an answer");
    assert_eq!((head.status, head.header("content-length")), (200, Some("17")));
    let range = connection
        .ask("GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=0-4\r\n\r\n")
        .expect("an answer");
    assert_eq!((range.status, range.text().as_str()), (206, "hello"));
    let etag = head.header("etag").expect("an entity tag").to_owned();
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: {etag}\r\n\r\n");
    assert_eq!(connection.ask(request).expect("an answer").status, 304);
    assert_eq!(
        connection
            .ask("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
            .expect("an answer")
            .status,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_over_http2_with_tls_and_sni() {
    let Some(nginx) = Nginx::start("dataplane::nginx_over_http2_with_tls_and_sni", "") else {
        return;
    };
    let authority = Authority::new();
    let secure = ports::free();
    let yaml = format!(
        "listeners:\n- name: https\n  address: \"{secure}\"\n  tls:\n    certificates:\n    - {{ certificate: \"{{dir}}/a.crt\", key: \"{{dir}}/a.key\" }}\n    - {{ certificate: \"{{dir}}/b.crt\", key: \"{{dir}}/b.key\" }}\n- {{ name: public, address: \"{{public}}\" }}\n{}",
        proxy(nginx.address)
    );
    let builder = Builder::new(&yaml);
    authority.issue(builder.dir(), "a", &["a.example.com"]);
    authority.issue(builder.dir(), "b", &["*.b.example.com"]);
    let gateway = builder.start();
    for host in ["a.example.com", "x.b.example.com"] {
        let tls = authority.connect(secure, host, &["h2", "http/1.1"]).await.expect("TLS");
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (client, connection) = h2::client::handshake(tls).await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut client = client.ready().await.expect("ready");
        let mut answers = Vec::new();
        for _ in 0..20 {
            let request = Request::get(format!("https://{host}/")).body(()).expect("a request");
            answers.push(client.send_request(request, true).expect("sent").0);
        }
        for answer in answers {
            let answer = answer.await.expect("an answer");
            assert_eq!(answer.status(), 200);
            let body = read_all(answer.into_body()).await;
            assert_eq!(body, b"hello from nginx\n");
        }
    }
    let logged = gateway.access_log(40);
    assert!(
        logged
            .iter()
            .all(|line| line["protocol"] == "HTTP/2.0" && line["tls"]["version"] == "TLSv1.3"),
        "{:?}",
        logged[0]
    );
    assert!(
        authority.connect(secure, "a.example.com", &["nothing"]).await.is_err(),
        "no common protocol is an error (RFC 7301)"
    );
}

async fn read_all(mut body: h2::RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk: Bytes = chunk.expect("a piece of the body");
        body.flow_control().release_capacity(chunk.len()).expect("capacity");
        all.extend_from_slice(&chunk);
    }
    all
}

#[test]
fn a_gigabyte_down_in_constant_memory() {
    let Some(nginx) = Nginx::start("dataplane::a_gigabyte_down_in_constant_memory", "") else {
        return;
    };
    let big = std::fs::File::create(nginx.dir.path().join("html/big")).expect("a file");
    big.set_len(GIB).expect("a sparse gigabyte");
    let gateway = Gateway::start(&proxy(nginx.address));
    assert_eq!(h1::get(gateway.public, "a", "/", &[]).status, 200);
    let before = gateway.resident_kib();
    let mut stream = TcpStream::connect(gateway.public).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
        .write_all(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let (mut total, mut most, mut chunk) = (0u64, 0, vec![0; 1 << 20]);
    let mut since = 0;
    loop {
        let count = stream.read(&mut chunk).expect("more");
        if count == 0 {
            break;
        }
        total += count as u64;
        since += count;
        if since > 64 << 20 {
            since = 0;
            most = most.max(gateway.resident_kib());
        }
    }
    assert!(total > GIB && total < GIB + 4096, "{total}");
    assert!(most < before + ROOM_KIB, "from {before} to {most} KiB");
    println!("1 GiB down: {before} KiB before, at most {most} KiB meanwhile");
}

#[test]
fn a_gigabyte_up_in_constant_memory() {
    // nginx reads the whole body before it answers, and keeps none of it.
    let server =
        "location /sink { proxy_request_buffering off; proxy_http_version 1.1; proxy_pass http://unix:{SOCKET}; }";
    let (received, socket) = sink();
    let server = server.replace("{SOCKET}", &socket.path().join("sink").display().to_string());
    let Some(nginx) = Nginx::start("dataplane::a_gigabyte_up_in_constant_memory", &server) else {
        return;
    };
    let gateway = Gateway::start(&proxy(nginx.address));
    assert_eq!(h1::get(gateway.public, "a", "/", &[]).status, 200);
    let before = gateway.resident_kib();
    let mut connection = Connection::open(gateway.public);
    connection.send(format!(
        "POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: {GIB}\r\n\r\n"
    ));
    let (chunk, mut most) = (vec![7; 1 << 20], 0);
    for sent in 0..1024 {
        connection.stream().write_all(&chunk).expect("sent");
        if sent % 64 == 0 {
            most = most.max(gateway.resident_kib());
        }
    }
    let answer = connection.read(false).expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(received.recv().expect("what came"), GIB);
    assert!(most < before + ROOM_KIB, "from {before} to {most} KiB");
    println!("1 GiB up: {before} KiB before, at most {most} KiB meanwhile");
}

/// A server behind nginx that counts a body and then answers.
fn sink() -> (std::sync::mpsc::Receiver<u64>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let listener = std::os::unix::net::UnixListener::bind(dir.path().join("sink")).expect("a socket");
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut total, mut head, mut chunk) = (0u64, Vec::new(), vec![0; 1 << 16]);
            let header = loop {
                let count = stream.read(&mut chunk).expect("more");
                head.extend_from_slice(&chunk[..count]);
                if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                    break end + 4;
                }
            };
            total += (head.len() - header) as u64;
            while total < GIB {
                let count = stream.read(&mut chunk).expect("more");
                if count == 0 {
                    break;
                }
                total += count as u64;
            }
            let _ = sender.send(total);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    (receiver, dir)
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let origin = Origin::start("ok");
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nlimits: {{ request_body_bytes: 1KiB }}\nsites:\n- hosts: [\"*\"]\n  routes:\n  - proxy: {{ upstream: app }}\n",
        origin.address
    ));
    assert_eq!(
        h1::request(gateway.public, "POST", "a", "/", &[], &[b'x'; 1024]).status,
        200
    );
    let answer = h1::request(gateway.public, "POST", "a", "/", &[], &[b'x'; 1025]);
    assert_eq!((answer.status, answer.reason().as_str()), (413, "body_too_large"));
    let mut connection = Connection::open(gateway.public);
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    connection.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n"
    ));
    assert_eq!(connection.read(false).expect("an answer").status, 413);
    assert_eq!(origin.seen().len(), 1, "nothing too large got through");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::with(|seen| {
        let body = seen.target().to_owned();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    });
    let gateway = Gateway::start(&proxy(origin.address));
    let mut connection = Connection::open(gateway.public);
    let requests: Vec<String> = (0..10)
        .map(|place| format!("GET /{place} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .collect();
    connection.send(requests.concat());
    for place in 0..10 {
        assert_eq!(connection.read(false).expect("an answer").text(), format!("/{place}"));
    }
}

#[test]
fn expectations_and_early_answers() {
    let origin = Origin::start("ok");
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites:\n- hosts: [\"*\"]\n  routes:\n  - proxy: {{ upstream: app }}\n  - match: {{ path: /early }}\n    respond: {{ status: 403, body: no }}\n",
        origin.address
    ));
    let mut connection = Connection::open(gateway.public);
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(connection.read_head().expect("go on").status, 100);
    connection.send("hi");
    assert_eq!(connection.read(false).expect("an answer").status, 200);
    assert_eq!(origin.seen()[0].body, b"hi");
    let mut connection = Connection::open(gateway.public);
    connection.send("POST /early HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n");
    assert_eq!(
        connection.read_head().expect("an answer").status,
        403,
        "no body is asked for that nobody wants"
    );
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn options_star_is_ours() {
    let origin = Origin::start("ok");
    let gateway = Gateway::start(&proxy(origin.address));
    let answer = Connection::open(gateway.public)
        .ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("an answer");
    assert_eq!(answer.status, 204);
    assert!(answer.header("allow").is_some_and(|allow| allow.contains("GET")));
    assert!(origin.seen().is_empty());
}

#[test]
fn an_upstream_that_fails_is_a_bad_gateway() {
    let nobody = ports::free();
    let broken = Origin::with(|_| b"not http at all\r\n\r\n".to_vec());
    let slow = Origin::with(|_| {
        std::thread::sleep(std::time::Duration::from_secs(5));
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let gateway = Gateway::start(&format!(
        "upstreams:\n  nobody: {{ servers: [\"{nobody}\"] }}\n  broken: {{ servers: [\"{}\"] }}\n  slow: {{ servers: [\"{}\"], timeouts: {{ read: 200ms }}, retry: {{ attempts: 1 }} }}\nsites:\n- hosts: [\"*\"]\n  routes:\n  - {{ match: {{ path: /nobody }}, proxy: {{ upstream: nobody }} }}\n  - {{ match: {{ path: /broken }}, proxy: {{ upstream: broken }} }}\n  - {{ match: {{ path: /slow }}, proxy: {{ upstream: slow }} }}\n",
        broken.address, slow.address
    ));
    for (path, status, reason) in [
        ("/nobody", 502, "upstream_connect_error"),
        ("/broken", 502, "upstream_status_line"),
        ("/slow", 504, "upstream_timeout"),
    ] {
        let answer = h1::get(gateway.public, "a", path, &[]);
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{path}");
    }
}

#[test]
fn a_request_that_was_sent_is_only_repeated_when_that_is_safe() {
    let first = Origin::with(|_| Vec::new());
    let second = Origin::start("second");
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ servers: [\"{}\", \"{}\"], passive_health: {{ failures: 0 }} }} }}\nsites:\n- hosts: [\"*\"]\n  routes:\n  - proxy: {{ upstream: app }}\n",
        first.address, second.address
    ));
    for _ in 0..10 {
        let answer = h1::get(gateway.public, "a", "/", &[]);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "second"),
            "a GET is repeated on the other server"
        );
    }
    let refused = (0..10)
        .filter(|_| h1::request(gateway.public, "POST", "a", "/", &[], b"once").status == 502)
        .count();
    let (to_first, to_second) = (posts(&first), posts(&second));
    assert_eq!(to_first + to_second, 10, "every POST was sent once, never twice");
    assert_eq!(
        to_first, refused,
        "and those that the first server dropped were told as lost"
    );
    wait("some of both", || to_first > 0 && to_second > 0);
}

fn posts(origin: &Origin) -> usize {
    origin
        .seen()
        .iter()
        .filter(|seen| seen.head.starts_with("POST"))
        .count()
}
