//! HTTP/2: over TLS and with prior knowledge, beside HTTP/1 on one port, and who is cut.

use h2::client::SendRequest;

use super::*;

async fn open(io: impl Io + 'static) -> SendRequest<Bytes> {
    let (send, connection) = timeout(PATIENCE, h2::client::handshake(io)).await.unwrap().unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    send
}

async fn fetch(send: &SendRequest<Bytes>, path: &str) -> String {
    let request = http::Request::get(format!("http://a.test{path}")).body(()).unwrap();
    let mut ready = timeout(PATIENCE, send.clone().ready()).await.unwrap().unwrap();
    let (response, _) = ready.send_request(request, true).unwrap();
    let mut body = timeout(PATIENCE, response).await.unwrap().unwrap().into_body();
    let mut text = Vec::new();
    while let Some(chunk) = timeout(PATIENCE, body.data()).await.unwrap() {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        text.extend(chunk);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn agreed_on_by_alpn() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path(), "a", &["a.test"]);
    let running = start(long(), |listener| {
        listener.tls = Some(ListenerTls::new(vec![files.clone()]));
    })
    .await;
    let config = tls::client(&[&files], &["h2", "http/1.1"], &[]);
    let send = open(
        tls::handshake(running.connect().await, &config, "a.test")
            .await
            .unwrap(),
    )
    .await;
    for request in 1..=3 {
        let answer = fetch(&send, "/facts").await;
        let facts = format!("protocol=Http2 requests={request} tls=TLSv1.3");
        assert!(
            answer.contains(&facts) && answer.contains("alpn=Some(\"h2\")"),
            "{answer}"
        );
    }
    let all = futures_util::future::join_all((0..20).map(|_| fetch(&send, "/"))).await;
    assert!(all.iter().all(|body| body == "ok"));
    drop(send);
    running.events.wait_for("closed ").await;
    assert_eq!(running.events.latest.lock().unwrap().as_ref().unwrap().requests(), 23);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_prior_knowledge_beside_http1_on_one_port() {
    let running = start(long(), |listener| listener.h2c = true).await;
    let send = open(running.connect().await).await;
    assert!(
        fetch(&send, "/facts")
            .await
            .contains("protocol=Http2 requests=1 tls=none")
    );
    let mut stream = running.connect().await;
    assert!(get(&mut stream, "/facts").await.contains("protocol=Http1"));
    assert!(get(&mut stream, "/facts").await.contains("requests=2"));
    // Shorter than HTTP/2's preface, and ones that begin like it.
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "PRI / HTTP/1.0\r\n\r\n",
        "PRI * HTTP/1.0\r\n\r\n",
    ] {
        let mut short = running.connect().await;
        short.write_all(request.as_bytes()).await.unwrap();
        let answer = closed(&mut short).await;
        assert!(answer.starts_with("HTTP/1."), "{request:?}: {answer:?}");
    }
    // In pieces.
    let mut pieces = running.connect().await;
    for piece in frames::PREFACE.chunks(5) {
        pieces.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    pieces.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let mut settings = [0; 9];
    timeout(PATIENCE, pieces.read_exact(&mut settings))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(settings[3], 4, "the server's SETTINGS");
}

#[tokio::test(flavor = "multi_thread")]
async fn not_without_being_asked_for() {
    let running = start(long(), |_| {}).await;
    let mut stream = running.connect().await;
    stream.write_all(frames::PREFACE).await.unwrap();
    let answer = closed(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 505"), "{answer}");
    running.events.wait_for("early_reject http_version_unsupported").await;
}

/// A connection that has sent its preface and `frames`.
async fn raw(running: &Running, frames: &[u8]) -> TcpStream {
    let mut stream = running.connect().await;
    stream.write_all(&[frames::PREFACE, frames].concat()).await.unwrap();
    stream
}

const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_begun_must_be_ended() {
    let running = start(
        EdgePolicy {
            keepalive_timeout: PATIENCE * 2,
            ..short()
        },
        |it| it.h2c = true,
    )
    .await;
    let headers_without_end = [0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82];
    let half_headers = [0, 0, 40, 1, 5, 0, 0, 0, 1, 0x82];
    for (name, frames) in [
        ("only the preface", vec![]),
        ("half a frame head", SETTINGS[..5].to_vec()),
        ("half a header block", [&SETTINGS[..], &headers_without_end].concat()),
        ("half a HEADERS frame", [&SETTINGS[..], &half_headers].concat()),
        ("half a frame head later", [&SETTINGS[..], &SETTINGS[..2]].concat()),
    ] {
        let mut stream = raw(&running, &frames).await;
        closed(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(running.events.count("closed header_timeout requests=0") > 0, "{name}");
    }
    let mut dripped = raw(&running, &[&SETTINGS[..], &half_headers].concat()).await;
    drip(&mut dripped, b"x").await;
    let mut half = running.connect().await;
    half.write_all(&frames::PREFACE[..20]).await.unwrap();
    closed(&mut half).await;
    running.events.wait_for("early_reject header_timeout").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_and_pings_do_not_help() {
    let running = start(short(), |it| it.h2c = true).await;
    let mut idle = raw(&running, &SETTINGS).await;
    closed(&mut idle).await;
    let mut pinging = raw(&running, &SETTINGS).await;
    drip(&mut pinging, &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]).await;
    running.events.wait_for("closed").await;
    assert_eq!(running.events.count("early_reject"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_stream_stays() {
    let running = start(
        EdgePolicy {
            body_idle_timeout: Duration::from_millis(300),
            ..long()
        },
        |it| it.h2c = true,
    )
    .await;
    let send = open(running.connect().await).await;
    assert_eq!(fetch(&send, "/quiet").await, "thought", "longer than a body may pause");
    // A request whose body is open and silent, as in gRPC with streams both ways: not the connection's business.
    let request = http::Request::post("http://a.test/quiet").body(()).unwrap();
    let (response, mut body) = send
        .clone()
        .ready()
        .await
        .unwrap()
        .send_request(request, false)
        .unwrap();
    let response = timeout(PATIENCE, response).await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    let _ = body.send_data(Bytes::from_static(b"late"), true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_withheld_or_dripped_is_cut() {
    let running = start(short_bodies(), |it| it.h2c = true).await;
    let post = || http::Request::post("http://a.test/body").body(()).unwrap();

    let send = open(running.connect().await).await;
    let (response, _body) = send.clone().ready().await.unwrap().send_request(post(), false).unwrap();
    assert!(timeout(PATIENCE, response).await.unwrap().is_err());
    running.events.wait_for("closed body_idle_timeout requests=1").await;

    let send = open(running.connect().await).await;
    let (response, mut body) = send.clone().ready().await.unwrap().send_request(post(), false).unwrap();
    let dripping = async {
        while body.send_data(Bytes::from_static(b"x"), false).is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answered = async {
        tokio::select! { response = response => response.is_ok(), () = dripping => false }
    };
    assert!(!timeout(PATIENCE, answered).await.unwrap());
    // On a machine that stalls, a drip is a pause.
    running.events.wait_for_count("closed body_", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_steady_body_passes_and_a_silent_grpc_call_stays() {
    let running = start(steady(), |it| it.h2c = true).await;
    let send = open(running.connect().await).await;
    let grpc = http::Request::post("http://a.test/body").header("content-type", "application/grpc+proto");
    let (call, mut talk) = send
        .clone()
        .ready()
        .await
        .unwrap()
        .send_request(grpc.body(()).unwrap(), false)
        .unwrap();
    let post = http::Request::post("http://a.test/body").body(()).unwrap();
    let (response, mut body) = send.clone().ready().await.unwrap().send_request(post, false).unwrap();
    for piece in 0..20 {
        body.send_data(Bytes::from(vec![b'x'; 1000]), piece == 19).unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(timeout(PATIENCE, response).await.unwrap().unwrap().status(), 200);
    talk.send_data(Bytes::from_static(b"after a long silence"), true)
        .unwrap();
    assert_eq!(timeout(PATIENCE, call).await.unwrap().unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_never_opened_ends_the_stream() {
    let running = start(short(), |it| it.h2c = true).await;
    let send = open(running.connect().await).await;
    let request = http::Request::get("http://a.test/large").body(()).unwrap();
    let (response, _) = send.clone().ready().await.unwrap().send_request(request, true).unwrap();
    let mut body = timeout(PATIENCE, response).await.unwrap().unwrap().into_body();
    // Takes what fits the first window and never gives it back.
    let ended = timeout(PATIENCE, async { while let Some(Ok(_)) = body.data().await {} }).await;
    assert!(ended.is_ok(), "the stream is reset");
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_is_told() {
    let running = start(long(), |it| it.h2c = true).await;
    let send = open(running.connect().await).await;
    let request = http::Request::connect("a.test:443").body(()).unwrap();
    let (response, _) = send.clone().ready().await.unwrap().send_request(request, true).unwrap();
    assert_eq!(timeout(PATIENCE, response).await.unwrap().unwrap().status(), 405);
    running.events.wait_for("early_reject method_not_allowed").await;
}
