//! Leases as Pingora uses them, over real sockets: which connections are kept, and what is written when.

use std::net::SocketAddr as Address;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::connectors::L4Connect;
use pingora_core::protocols::TcpKeepalive;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::response::Expect;
use super::*;

const IDLE: Duration = Duration::from_secs(60);

fn line(address: Address) -> Arc<Line> {
    let keepalive = TcpKeepalive {
        idle: IDLE,
        interval: IDLE,
        count: 3,
        #[cfg(target_os = "linux")]
        user_timeout: Duration::ZERO,
    };
    Arc::new(Line::new(Arc::new(Dialer::new(None, keepalive)), address))
}

async fn lease(line: &Arc<Line>, expect: Expect) -> (Stream, bool) {
    let call = Call::new(Arc::clone(line), expect, IDLE);
    let nowhere = SocketAddr::Inet(Address::from(([0, 0, 0, 0], 0)));
    let stream = call.connect(&nowhere).await.expect("a connection");
    (stream, call.is_reused())
}

/// One exchange; then what Pingora does with a connection that it would keep.
async fn exchange(stream: &mut Stream, server: &mut TcpStream, answer: &str) {
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    server.read_exact(&mut [0; 18]).await.unwrap();
    server.write_all(answer.as_bytes()).await.unwrap();
    let mut seen = vec![0; answer.len()];
    stream.read_exact(&mut seen).await.unwrap();
    assert_eq!(
        stream.read(&mut [0; 1]).await.unwrap(),
        0,
        "it is not Pingora's to keep"
    );
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";

#[tokio::test]
async fn a_connection_is_kept_while_it_is_quiet() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let line = line(listener.local_addr().unwrap());
    let (mut stream, reused) = lease(&line, Expect::default()).await;
    let (mut server, _) = listener.accept().await.unwrap();
    assert!(!reused);
    exchange(&mut stream, &mut server, ANSWER).await;
    drop(stream);
    assert_eq!(line.idle_connections(), 1);

    let (mut stream, reused) = lease(&line, Expect::default()).await;
    assert!(reused && line.idle_connections() == 0);
    exchange(&mut stream, &mut server, ANSWER).await;
    drop(stream);

    // Something comes although nothing was asked: it is closed, not used.
    server.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
    server.readable().await.ok();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (_stream, reused) = lease(&line, Expect::default()).await;
    assert!(!reused && line.idle_connections() == 0);
}

#[tokio::test]
async fn a_sweep_closes_what_the_server_has_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let line = line(listener.local_addr().unwrap());
    let mut servers = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..2 {
        streams.push(lease(&line, Expect::default()).await.0);
        servers.push(listener.accept().await.unwrap().0);
    }
    for (stream, server) in streams.iter_mut().zip(&mut servers) {
        exchange(stream, server, ANSWER).await;
    }
    drop(streams);
    line.sweep();
    assert_eq!(line.idle_connections(), 2);
    drop(servers.pop());
    tokio::time::sleep(Duration::from_millis(50)).await;
    line.sweep();
    assert_eq!(line.idle_connections(), 1);
}

#[tokio::test]
async fn what_was_not_released_is_not_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let line = line(listener.local_addr().unwrap());
    let (mut stream, _) = lease(&line, Expect::default()).await;
    let (mut server, _) = listener.accept().await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    server.write_all(ANSWER.as_bytes()).await.unwrap();
    let mut seen = vec![0; ANSWER.len()];
    stream.read_exact(&mut seen).await.unwrap();
    drop(stream);
    assert_eq!(
        line.idle_connections(),
        0,
        "Pingora did not say that it may be used again"
    );

    // Half an answer, and a question whether it may be kept: it is a read like any other.
    let (mut stream, _) = lease(&line, Expect::default()).await;
    let (mut server, _) = listener.accept().await.unwrap();
    server
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab")
        .await
        .unwrap();
    let mut seen = vec![0; 39];
    stream.read_exact(&mut seen).await.unwrap();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 1);
    drop(stream);
    assert_eq!(line.idle_connections(), 0);
}

#[tokio::test]
async fn a_chunk_goes_out_at_once_and_nothing_is_held_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let line = line(listener.local_addr().unwrap());
    let chunked = Expect {
        chunked: true,
        ..Expect::default()
    };
    for (expect, sizes) in [(chunked, [3, 1400, 100_000]), (Expect::default(), [3, 1400, 100_000])] {
        let (mut stream, _) = lease(&line, expect).await;
        let (mut server, _) = listener.accept().await.unwrap();
        for size in sizes {
            let data = vec![b'x'; size];
            let chunk = [format!("{size:X}\r\n").into_bytes(), data, b"\r\n".to_vec()];
            let whole = chunk.concat();
            let reader = tokio::spawn(async move {
                let mut seen = vec![0; whole.len()];
                server.read_exact(&mut seen).await.unwrap();
                (server, seen == whole)
            });
            for part in &chunk {
                stream.write_all(part).await.unwrap();
            }
            stream.flush().await.unwrap();
            let (back, same) = reader.await.unwrap();
            server = back;
            assert!(same, "{size} bytes as they were written");
        }
    }
}
