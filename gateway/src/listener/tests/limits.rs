//! Limits on connections, and that a reload changes them for new connections.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_capped_and_come_free_again() {
    let running = start(long(), |_| {}).await;
    running.shared.policy.store(Arc::new(EdgePolicy {
        connections: 2,
        ..long()
    }));
    let mut first = running.connect().await;
    get(&mut first, "/").await;
    let mut second = running.connect().await;
    get(&mut second, "/").await;
    assert_eq!(running.shared.admission.open(), 2);
    let mut third = running.connect().await;
    assert_eq!(closed(&mut third).await, "");
    running.events.wait_for("refused connections 127.0.0.1").await;
    get(&mut first, "/").await;
    drop(second);
    running.events.wait_for("closed client requests=1").await;
    let mut fourth = running.connect().await;
    get(&mut fourth, "/").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_one_client_are_capped_but_not_those_of_a_trusted_proxy() {
    let running = start(
        EdgePolicy {
            connections_per_ip: 1,
            ..long()
        },
        |_| {},
    )
    .await;
    let mut first = running.connect().await;
    get(&mut first, "/").await;
    let mut second = running.connect().await;
    assert_eq!(closed(&mut second).await, "");
    running.events.wait_for("refused connections_per_ip 127.0.0.1").await;

    let trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    running.shared.policy.store(Arc::new(EdgePolicy {
        connections_per_ip: 1,
        trusted_proxies,
        ..long()
    }));
    let mut others = Vec::new();
    for _ in 0..3 {
        let mut stream = running.connect().await;
        get(&mut stream, "/").await;
        others.push(stream);
    }
    get(&mut first, "/").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_behind_a_proxy_are_counted_apart() {
    let trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    let policy = EdgePolicy {
        connections_per_ip: 1,
        trusted_proxies,
        ..long()
    };
    let running = start(policy, |listener| listener.proxy_protocol = ProxyProtocol::V1).await;
    let mut streams = Vec::new();
    for client in ["192.0.2.1", "192.0.2.2"] {
        let mut stream = running.connect().await;
        stream
            .write_all(format!("PROXY TCP4 {client} 127.0.0.1 1 2\r\n").as_bytes())
            .await
            .unwrap();
        get(&mut stream, "/").await;
        streams.push(stream);
    }
    let mut again = running.connect().await;
    again
        .write_all(b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n")
        .await
        .unwrap();
    assert_eq!(closed(&mut again).await, "");
    running.events.wait_for("refused connections_per_ip 192.0.2.1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_on_one_connection_are_capped() {
    let running = start(
        EdgePolicy {
            keepalive_requests: 2,
            ..long()
        },
        |_| {},
    )
    .await;
    let mut stream = running.connect().await;
    get(&mut stream, "/").await;
    let mut rest = String::new();
    for _ in 0..2 {
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    }
    rest.push_str(&closed(&mut stream).await);
    assert!(rest.to_lowercase().contains("connection: close"), "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_can_be_cut_from_outside() {
    let running = start(long(), |_| {}).await;
    let mut stream = running.connect().await;
    let head = "GET /tunnel HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    ask(&mut stream, head).await;
    let connection = running.events.latest.lock().unwrap().take().unwrap();
    assert!(connection.is_tunnel());
    connection.cut();
    closed(&mut stream).await;
    running.events.wait_for("closed requested requests=1").await;
}
