//! What stays open: WebSocket, server-sent events, gRPC with trailers.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Request, Response};
use portcullis_e2e::gateway::{Builder, Gateway, PATIENCE};
use portcullis_e2e::h1::Connection;
use portcullis_e2e::ports;
use portcullis_e2e::tls::Authority;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_goes_through_and_stays() {
    let origin = websocket_echo().await;
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ servers: [\"{origin}\"], timeouts: {{ read: 1s, tunnel: 60s }} }} }}\nsites:\n- hosts: [\"*\"]\n  routes:\n  - match: {{ path: /ws }}\n    filters: [{{ rate_limit: {{ key: \"ip:address\", rate: 1/d, burst: 1 }} }}]\n    proxy: {{ upstream: app }}\n"
    ));
    let url = format!("ws://{}/ws", gateway.public);
    let (mut socket, answer) = tokio_tungstenite::connect_async(&url).await.expect("a WebSocket");
    assert_eq!(answer.status(), 101);
    for round in 0..3 {
        socket
            .send(Message::text(format!("hello {round}")))
            .await
            .expect("sent");
        let echo = socket.next().await.expect("an echo").expect("a message");
        assert_eq!(echo.to_text().expect("text"), format!("hello {round}"));
        // Longer than the upstream's read timeout, which is for answers.
        tokio::time::sleep(Duration::from_millis(1200)).await;
    }
    let big = vec![5u8; 1 << 20];
    socket.send(Message::binary(big.clone())).await.expect("sent");
    assert_eq!(
        socket.next().await.expect("an echo").expect("a message").into_data(),
        big
    );
    assert!(
        tokio_tungstenite::connect_async(&url).await.is_err(),
        "the filters of the route ran for the first, and refuse the second"
    );
    socket.close(None).await.expect("closed");
}

async fn websocket_echo() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
                    return;
                };
                while let Some(Ok(message)) = socket.next().await {
                    if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn server_sent_events_are_not_held_back() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let origin = listener.local_addr().expect("its address");
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut chunk = [0; 4096];
        let _ = stream.read(&mut chunk);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("sent");
        for event in 0..3 {
            let event = format!("data: {event}\n\n");
            stream
                .write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())
                .expect("sent");
            // The next event is sent only once this one has arrived.
            wait.recv().expect("the client has it");
        }
        stream.write_all(b"0\r\n\r\n").expect("sent");
    });
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ servers: [\"{origin}\"] }} }}\nsites:\n- hosts: [\"*\"]\n  routes:\n  - proxy: {{ upstream: app }}\n"
    ));
    let mut connection = Connection::open(gateway.public);
    connection.send("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
    assert_eq!(connection.read_head().expect("a header").status, 200);
    let mut text = String::new();
    for event in 0..3 {
        while !text.contains(&format!("data: {event}\n\n")) {
            text.push_str(&String::from_utf8_lossy(&connection.next_bytes().expect("an event")));
        }
        go_on.send(()).expect("the origin listens");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_with_trailers_both_ways() {
    let origin = grpc_echo().await;
    let authority = Authority::new();
    let secure = ports::free();
    let builder = Builder::new(&format!(
        "listeners:\n- name: https\n  address: \"{secure}\"\n  tls: {{ certificates: [{{ certificate: \"{{dir}}/a.crt\", key: \"{{dir}}/a.key\" }}] }}\n- {{ name: public, address: \"{{public}}\" }}\nupstreams: {{ app: {{ servers: [\"{origin}\"], protocol: http2 }} }}\nsites:\n- hosts: [\"*\"]\n  routes:\n  - proxy: {{ upstream: app }}\n  - match: {{ path_prefix: /denied }}\n    filters: [{{ ip_access: {{ deny: [\"127.0.0.0/8\"] }} }}]\n    proxy: {{ upstream: app }}\n"
    ));
    authority.issue(builder.dir(), "a", &["a.example.com"]);
    let _gateway = builder.start();
    let tls = authority.connect(secure, "a.example.com", &["h2"]).await.expect("TLS");
    let (client, connection) = h2::client::handshake(tls).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut client = client.ready().await.expect("ready");
    let call = |path: &str| {
        let request = Request::post(format!("https://a.example.com{path}"));
        request
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request")
    };
    let (answer, mut body) = client.send_request(call("/echo.Echo/Stream"), false).expect("sent");
    for round in 0..3u8 {
        body.send_data(Bytes::from(vec![0, 0, 0, 0, 1, round]), false)
            .expect("sent");
    }
    body.send_data(Bytes::new(), true).expect("sent");
    let answer = tokio::time::timeout(PATIENCE, answer)
        .await
        .expect("in time")
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    let mut stream = answer.into_body();
    let mut all = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk.expect("a message");
        stream.flow_control().release_capacity(chunk.len()).expect("capacity");
        all.extend_from_slice(&chunk);
    }
    assert_eq!(
        all,
        [[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 2]].concat()
    );
    let trailers = stream.trailers().await.expect("trailers").expect("some");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["x-te"], "trailers", "te goes to the origin");

    let mut client = client.ready().await.expect("ready");
    let (answer, _) = client.send_request(call("/denied/x"), true).expect("sent");
    let answer = answer.await.expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["grpc-status"]),
        (200, &"7".parse().expect("a value"))
    );
    assert_eq!(answer.headers()["grpc-message"], "ip_denied");
}

/// An HTTP/2 server (prior knowledge) that echoes messages and ends with trailers.
async fn grpc_echo() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    tokio::spawn(async move {
                        let te = request.headers().get("te").cloned();
                        let head = Response::builder()
                            .header("content-type", "application/grpc")
                            .body(())
                            .expect("a head");
                        let mut answer = respond.send_response(head, false).expect("sent");
                        let mut body = request.into_body();
                        while let Some(Ok(chunk)) = body.data().await {
                            let _ = body.flow_control().release_capacity(chunk.len());
                            answer.send_data(chunk, false).expect("sent");
                        }
                        let mut trailers = HeaderMap::new();
                        trailers.insert("grpc-status", "0".parse().expect("a value"));
                        if let Some(te) = te {
                            trailers.insert("x-te", te);
                        }
                        answer.send_trailers(trailers).expect("sent");
                    });
                }
            });
        }
    });
    address
}
