//! HTTP/1: who is too slow is cut, who is not stays, and what no phase sees is told.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn keeps_a_connection_alive_and_counts_its_requests() {
    let running = start(long(), |_| {}).await;
    let mut stream = running.connect().await;
    for request in 1..=3 {
        let answer = get(&mut stream, "/facts").await;
        assert!(answer.contains(&format!(
            "listener=test peer=127.0.0.1:{}",
            stream.local_addr().unwrap().port()
        )));
        assert!(answer.contains(&format!(
            "local={} protocol=Http1 requests={request} tls=none",
            running.address
        )));
    }
    drop(stream);
    running.events.wait_for("closed client requests=3").await;
    assert_eq!(running.events.count("early_reject"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dripped_header_is_cut() {
    let running = start(short(), |_| {}).await;
    let mut stream = running.connect().await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Slow: ")
        .await
        .unwrap();
    drip(&mut stream, b"x").await;
    running.events.wait_for("early_reject header_timeout 127.0.0.1").await;
    running.events.wait_for("closed header_timeout requests=0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dripped_second_header_is_cut_too() {
    let running = start(
        EdgePolicy {
            keepalive_timeout: PATIENCE,
            ..short()
        },
        |_| {},
    )
    .await;
    let mut stream = running.connect().await;
    get(&mut stream, "/").await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n").await.unwrap();
    drip(&mut stream, b"X-Slow: x\r\n").await;
    running.events.wait_for("early_reject header_timeout").await;
    running.events.wait_for("closed header_timeout requests=1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_and_an_idle_connection_are_closed() {
    let running = start(short(), |_| {}).await;
    let mut silent = running.connect().await;
    assert_eq!(closed(&mut silent).await, "");
    running.events.wait_for("closed keepalive_timeout requests=0").await;

    let mut idle = running.connect().await;
    get(&mut idle, "/").await;
    assert_eq!(closed(&mut idle).await, "");
    running.events.wait_for("closed keepalive_timeout requests=1").await;
    assert_eq!(running.events.count("early_reject"), 0, "nothing was begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_is_not_the_clients_fault() {
    let running = start(
        EdgePolicy {
            body_idle_timeout: Duration::from_millis(300),
            ..long()
        },
        |_| {},
    )
    .await;
    let mut stream = running.connect().await;
    for _ in 0..2 {
        assert!(
            get(&mut stream, "/quiet").await.ends_with("thought"),
            "longer than a body may pause"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_withheld_or_dripped_is_cut() {
    let running = start(
        EdgePolicy {
            min_rate: 4096,
            ..short_bodies()
        },
        |_| {},
    )
    .await;
    let head = b"POST /body HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n";
    let mut withheld = running.connect().await;
    withheld.write_all(head).await.unwrap();
    closed(&mut withheld).await;
    running.events.wait_for("closed body_idle_timeout requests=1").await;

    let mut dripped = running.connect().await;
    dripped.write_all(head).await.unwrap();
    drip(&mut dripped, b"x").await;
    // On a machine that stalls, a drip is a pause.
    running.events.wait_for_count("closed body_", 2).await;

    let mut chunked = running.connect().await;
    chunked
        .write_all(b"POST /body HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    drip(&mut chunked, b"1\r\nx\r\n").await;
    running.events.wait_for_count("closed body_", 3).await;
    assert_eq!(running.events.count("early_reject"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_byte_withheld_is_cut() {
    let running = start(short_bodies(), |_| {}).await;
    let mut stream = running.connect().await;
    stream
        .write_all(b"POST /body HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nfour")
        .await
        .unwrap();
    closed(&mut stream).await;
    running.events.wait_for("closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_steady_body_passes_however_long_it_takes() {
    let running = start(steady(), |_| {}).await;
    let mut stream = running.connect().await;
    stream
        .write_all(b"POST /body HTTP/1.1\r\nHost: a.test\r\nContent-Length: 20000\r\n\r\n")
        .await
        .unwrap();
    for _ in 0..20 {
        stream.write_all(&[b'x'; 1000]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(read_answer(&mut stream).await.ends_with("20000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_reads_is_not_slow() {
    let running = start(
        EdgePolicy {
            min_rate: 300_000,
            ..steady()
        },
        |_| {},
    )
    .await;
    let mut stream = running.connect().await;
    stream
        .write_all(b"POST /nap HTTP/1.1\r\nHost: a.test\r\nContent-Length: 300000\r\n\r\n")
        .await
        .unwrap();
    // The piece is asked for, nobody looks, and then it comes.
    tokio::time::sleep(Duration::from_millis(200)).await;
    stream.write_all(&vec![b'x'; 300_000]).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert!(answer.ends_with("300000"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_cut_and_a_steady_one_is_not() {
    let running = start(steady(), |_| {}).await;
    let mut stuck = running.connect().await;
    stuck
        .write_all(b"GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    running.events.wait_for("closed send_").await;
    drop(stuck);

    let mut steady = running.connect().await;
    steady
        .write_all(b"GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    let mut taken = 0;
    let mut buffer = vec![0; 1 << 20];
    while taken < LARGE {
        let count = timeout(PATIENCE, steady.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(count, 0, "cut after {taken}");
        taken += count;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_tunnel_stays() {
    let running = start(
        EdgePolicy {
            body_idle_timeout: Duration::from_millis(300),
            ..long()
        },
        |_| {},
    )
    .await;
    let mut stream = running.connect().await;
    let head = ask(
        &mut stream,
        "GET /tunnel HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    for word in [b"first", b"later"] {
        tokio::time::sleep(Duration::from_millis(900)).await;
        stream.write_all(word).await.unwrap();
        let mut echo = [0; 5];
        timeout(PATIENCE, stream.read_exact(&mut echo)).await.unwrap().unwrap();
        assert_eq!(&echo, word);
    }
    drop(stream);
    running.events.wait_for("closed client requests=1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_answered_and_told() {
    let running = start(long(), |_| {}).await;
    for (bytes, status, event) in [
        (
            &b"\x16\x03\x01\x00\x05hello\r\n\r\n"[..],
            400,
            "early_reject method_malformed 127.0.0.1",
        ),
        (
            b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n",
            405,
            "early_reject method_not_allowed 127.0.0.1 CONNECT a.test:443",
        ),
        (
            b"GET /x?y HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
            400,
            "early_reject host_invalid 127.0.0.1 GET /x?y",
        ),
    ] {
        let mut stream = running.connect().await;
        stream.write_all(bytes).await.unwrap();
        let answer = closed(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}");
        assert!(!answer.to_lowercase().contains("server:"), "{answer:?}");
        assert!(answer.contains("\"request_id\":"), "{answer:?}");
        running.events.wait_for(event).await;
    }
    let mut many = running.connect().await;
    let lines = "X: y\r\n".repeat(300);
    many.write_all(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n").as_bytes())
        .await
        .unwrap();
    assert!(closed(&mut many).await.starts_with("HTTP/1.1 431 "));
    running.events.wait_for("early_reject too_many_headers").await;
    let mut huge = running.connect().await;
    let _ = huge
        .write_all(format!("GET / HTTP/1.1\r\nHost: a.test\r\nX: {}", "x".repeat(100_000)).as_bytes())
        .await;
    assert!(closed(&mut huge).await.starts_with("HTTP/1.1 431 "));
    running.events.wait_for("early_reject header_too_large").await;
    let mut leaver = running.connect().await;
    leaver.write_all(b"GET / HTT").await.unwrap();
    drop(leaver);
    running
        .events
        .wait_for("early_reject closed_in_header 127.0.0.1 GET /")
        .await;
    assert_eq!(running.events.count("early_reject"), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_second_request_is_told() {
    let running = start(long(), |_| {}).await;
    let mut stream = running.connect().await;
    get(&mut stream, "/").await;
    stream.write_all(b"\0\r\n\r\n").await.unwrap();
    assert!(closed(&mut stream).await.starts_with("HTTP/1.1 400 "));
    running.events.wait_for("early_reject method_malformed").await;
    running.events.wait_for("closed server requests=1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_read_by_who_is_still_sending() {
    let running = start(long(), |_| {}).await;
    for head in [
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4000000\r\n\r\n",
    ] {
        let mut stream = running.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        // More than the socket holds: it is only all sent when somebody takes it.
        stream.write_all(&vec![b'x'; 4_000_000]).await.unwrap();
        let answer = closed(&mut stream).await;
        assert!(
            answer.starts_with("HTTP/1.1 ") && answer.contains("lose\r\n"),
            "{head}: {answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_come_one_at_a_time_however_they_are_cut() {
    let running = start(long(), |_| {}).await;
    let both = "POST /body HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\nGET /facts HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for cut in (0..both.len()).step_by(7) {
        let mut stream = running.connect().await;
        stream.set_nodelay(true).unwrap();
        let (first, second) = both.split_at(cut);
        stream.write_all(first.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
        stream.write_all(second.as_bytes()).await.unwrap();
        let mut answers = String::new();
        while !answers.contains("requests=2") {
            answers.push_str(&read_some(&mut stream).await);
        }
        assert!(answers.contains("\r\n\r\n3HTTP/1.1 200"), "{cut}: {answers}");
    }
    assert_eq!(running.events.count("early_reject"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_begins_only_when_it_was_agreed_on() {
    let running = start(long(), |_| {}).await;
    let upgrade = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    };
    // Refused, what follows is a request.
    let mut stream = running.connect().await;
    stream
        .write_all(format!("{}GET /facts HTTP/1.1\r\nHost: a.test\r\n\r\n", upgrade("/")).as_bytes())
        .await
        .unwrap();
    let mut answers = String::new();
    while !answers.contains("requests=2") {
        answers.push_str(&read_some(&mut stream).await);
    }
    // Agreed on, it is not.
    let mut stream = running.connect().await;
    stream
        .write_all(format!("{}\0early", upgrade("/tunnel")).as_bytes())
        .await
        .unwrap();
    let mut answers = String::new();
    while !answers.ends_with("\0early") {
        answers.push_str(&read_some(&mut stream).await);
    }
    assert_eq!(running.events.count("early_reject"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn leniencies_are_granted_by_listener() {
    let lenient = |compat: &[Leniency]| {
        let compat = compat.to_vec();
        start(long(), move |listener| listener.compat = compat)
    };
    let chunks = "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3  \r\nabc\r\n0\r\n\r\n";
    for (leniency, request, reason) in [
        (Leniency::BareLf, "GET / HTTP/1.1\nHost: a\r\n\n", "line_malformed"),
        (
            Leniency::LeadingEmptyLines,
            "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "line_malformed",
        ),
        (
            Leniency::DuplicateContentLength,
            "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            "framing_ambiguous",
        ),
        (Leniency::PaddedChunkSize, chunks, "chunk_malformed"),
    ] {
        let running = lenient(&[leniency]).await;
        let mut stream = running.connect().await;
        let answer = ask(&mut stream, request).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{leniency:?}: {answer}");
        let running = lenient(&[]).await;
        let mut stream = running.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = closed(&mut stream).await;
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains(reason),
            "{leniency:?}: {answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_an_open_connection_is_answered_once_more() {
    let running = start(long(), |_| {}).await;
    let mut stream = running.connect().await;
    get(&mut stream, "/").await;
    running.stop.send(true).unwrap();
    let refused = timeout(PATIENCE, async {
        while TcpStream::connect(running.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    refused.await.expect("the listener stops listening");
    let answer = get(&mut stream, "/").await;
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    closed(&mut stream).await;
    running.events.wait_for("closed server requests=2").await;
}
