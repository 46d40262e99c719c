//! The PROXY protocol on plaintext and on TLS listeners.

use super::*;

fn trusting() -> EdgePolicy {
    EdgePolicy::new(&Limits::default(), &["127.0.0.0/8".parse().unwrap()])
}

const V1: &str = "PROXY TCP4 203.0.113.9 198.51.100.1 4242 443\r\n";

fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0f".to_vec();
    header.extend([203, 0, 113, 9, 198, 51, 100, 1, 16, 146, 1, 187, 4, 0, 0]);
    header
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_who_the_header_says() {
    let running = start(trusting(), |listener| listener.proxy_protocol = ProxyProtocol::Any).await;
    for header in [V1.as_bytes(), &v2()] {
        let mut stream = running.connect().await;
        // In pieces, the last together with the request.
        for piece in header[..header.len() - 1].chunks(7) {
            stream.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stream.write_all(&header[header.len() - 1..]).await.unwrap();
        let answer = get(&mut stream, "/facts").await;
        assert!(answer.contains("peer=203.0.113.9:4242 tcp_peer=127.0.0.1"), "{answer}");
        assert!(
            get(&mut stream, "/facts").await.contains("requests=2"),
            "one header for the connection"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn local_and_unknown_mean_the_proxy_itself() {
    let running = start(trusting(), |listener| listener.proxy_protocol = ProxyProtocol::Any).await;
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"] {
        let mut stream = running.connect().await;
        stream.write_all(header).await.unwrap();
        let answer = get(&mut stream, "/facts").await;
        assert!(
            answer.contains(&format!("peer={}", stream.local_addr().unwrap())),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_before_tls() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path(), "a", &["a.test"]);
    let running = start(trusting(), |listener| {
        listener.proxy_protocol = ProxyProtocol::V2;
        listener.tls = Some(ListenerTls::new(vec![files.clone()]));
    })
    .await;
    let mut tcp = running.connect().await;
    tcp.write_all(&v2()).await.unwrap();
    let mut stream = tls::handshake(tcp, &tls::client(&[&files], &["http/1.1"], &[]), "a.test")
        .await
        .unwrap();
    let answer = get(&mut stream, "/facts").await;
    assert!(
        answer.contains("peer=203.0.113.9:4242") && answer.contains("sni=Some(\"a.test\")"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_header_nothing_is_spoken() {
    let running = start(
        EdgePolicy {
            handshake_timeout: Duration::from_millis(300),
            ..trusting()
        },
        |listener| {
            listener.proxy_protocol = ProxyProtocol::V1;
        },
    )
    .await;
    for (bytes, event) in [
        (&b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"[..], "refused proxy_missing"),
        (&v2(), "refused proxy_version"),
        (b"PROXY TCP4 1.2.3.4\r\n", "refused proxy_malformed"),
        (
            &[&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat(),
            "refused proxy_too_long",
        ),
        (b"PROXY TCP4 1.2", "refused proxy_timeout"),
    ] {
        let mut stream = running.connect().await;
        stream.write_all(bytes).await.unwrap();
        assert_eq!(closed(&mut stream).await, "");
        running.events.wait_for(event).await;
    }
    let mut stream = running.connect().await;
    stream.write_all(b"PROXY ").await.unwrap();
    drop(stream);
    running.events.wait_for("refused proxy_closed").await;
    assert_eq!(running.events.count("accepted"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_may_not_speak_for_others() {
    let running = start(long(), |listener| listener.proxy_protocol = ProxyProtocol::Any).await;
    let mut stream = running.connect().await;
    let _ = stream.write_all(V1.as_bytes()).await;
    assert_eq!(closed(&mut stream).await, "");
    running.events.wait_for("refused proxy_untrusted 127.0.0.1").await;
    assert_eq!(running.events.count("accepted"), 0);
}
