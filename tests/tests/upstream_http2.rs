//! HTTP/2 to servers: what may be sent again, what cannot be asked for, and answers that are none.

#![allow(clippy::expect_used)] // helpers of tests fail by panicking, as tests do

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use portcullis_e2e::evil::{Evil, Script};
use portcullis_e2e::gateway::Gateway;
use portcullis_e2e::h1::{self, Connection};

/// What a server does with the stream of this number, counted from 0.
type Answer = fn(usize, h2::server::SendResponse<Bytes>);

/// A plaintext HTTP/2 server.
async fn server(answer: Answer) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let streams = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&streams);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else {
                    return;
                };
                // A request that is dropped before its end would be reset.
                let mut requests = Vec::new();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    requests.push(request);
                    answer(count.fetch_add(1, Ordering::SeqCst), respond);
                }
            });
        }
    });
    (address, streams)
}

fn gateway(servers: &str) -> Gateway {
    Gateway::start(&format!(
        "upstreams: {{ app: {{ servers: [{servers}], protocol: http2 }} }}\n\
         sites: [{{ hosts: [\"*\"], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n"
    ))
}

async fn post(gateway: &Gateway) -> (u16, String) {
    let address = gateway.public;
    let answer = tokio::task::spawn_blocking(move || h1::request(address, "POST", "a", "/", &[], b"once"));
    let answer = answer.await.expect("an answer");
    (answer.status, answer.reason())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_stream_was_not_acted_upon() {
    let (address, streams) = server(|number, mut respond| {
        if number == 0 {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
        } else {
            let _ = respond.send_response(http::Response::new(()), true);
        }
    })
    .await;
    let gateway = gateway(&format!("\"{address}\""));
    assert_eq!(post(&gateway).await.0, 200, "a POST is sent again");
    assert_eq!(streams.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_reset_may_come_after_the_deed() {
    let (address, streams) = server(|_, mut respond| respond.send_reset(h2::Reason::INTERNAL_ERROR)).await;
    let gateway = gateway(&format!("\"{address}\""));
    assert_eq!(post(&gateway).await.0, 502, "a POST is not sent again");
    assert_eq!(streams.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_cannot_go_there() {
    let (address, streams) = server(|_, mut respond| {
        let _ = respond.send_response(http::Response::new(()), true);
    })
    .await;
    let gateway = gateway(&format!("\"{address}\""));
    let public = gateway.public;
    let answer = tokio::task::spawn_blocking(move || {
        Connection::open(public).ask(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
    });
    let answer = answer.await.expect("it ran").expect("an answer");
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (501, "websocket_unsupported")
    );
    assert_eq!(streams.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_is_not_kept_to_looks_cut_off() {
    let (address, _) = server(|number, mut respond| {
        let length = if number == 0 { "9" } else { "2" };
        let head = http::Response::builder()
            .header("content-length", length)
            .body(())
            .expect("a head");
        if let Ok(mut body) = respond.send_response(head, false) {
            let _ = body.send_data(Bytes::from_static(b"good"), true);
        }
    })
    .await;
    let gateway = gateway(&format!("\"{address}\""));
    for case in ["too short", "too long"] {
        let public = gateway.public;
        let answer = tokio::task::spawn_blocking(move || {
            let mut client = Connection::open(public);
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            client.read(false)
        });
        let answer = answer.await.expect("it ran");
        assert!(
            answer.as_ref().is_none_or(|answer| answer.status == 502),
            "{case}: {answer:?}"
        );
    }
}

#[test]
fn a_server_that_speaks_http1_is_refused() {
    let evil = Evil::start(|_| Script::send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").close());
    let gateway = gateway(&format!("\"{}\"", evil.address));
    assert_eq!(h1::get(gateway.public, "a", "/", &[]).status, 502);
}
