//! Against servers that behave as none should.

use std::time::{Duration, Instant};

use super::stub::{Reply, Stub, answer, json};
use super::*;

const TYPES: &[&str] = &["application/json"];

fn client() -> Client {
    Client {
        ca: None,
        connect_timeout: Duration::from_secs(10),
        timeout: Duration::from_secs(10),
        max_bytes: 1024,
    }
}

async fn fetch(stub: &Stub) -> Result<Fetched, FetchError> {
    get(&client(), &Url::parse(&stub.url("/keys?a=b")).unwrap(), TYPES, None).await
}

async fn fetch_bytes(bytes: Vec<u8>) -> Result<Fetched, FetchError> {
    let stub = Stub::start(move |_, _| Reply::Bytes(bytes.clone())).await;
    fetch(&stub).await
}

#[tokio::test]
async fn a_document_and_then_not_modified() {
    let stub = Stub::start(|_, head| {
        let fields = "Content-Type: Application/JSON; charset=utf-8\r\nETag: \"v1\"\r\nCache-Control: max-age=60\r\n";
        let same = head.to_lowercase().contains("if-none-match: \"v1\"\r\n");
        Reply::Bytes(if same {
            b"HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=61\r\n\r\n".to_vec()
        } else {
            answer("200 OK", fields, b"{}")
        })
    })
    .await;
    let Fetched::Document(document) = fetch(&stub).await.unwrap() else {
        panic!("not a document")
    };
    assert_eq!(&document.body[..], b"{}");
    assert_eq!(document.fresh_for, Some(Duration::from_secs(60)));
    let url = Url::parse(&stub.url("/keys")).unwrap();
    let again = get(&client(), &url, TYPES, document.validator.as_ref()).await.unwrap();
    assert_eq!(
        again,
        Fetched::NotModified {
            fresh_for: Some(Duration::from_secs(61))
        }
    );
    let requests = stub.requests();
    assert!(requests[0].starts_with("GET /keys?a=b HTTP/1.1\r\n"), "{}", requests[0]);
    let first = requests[0].to_lowercase();
    for field in [
        format!("host: {}\r\n", stub.address),
        "accept: application/json\r\n".into(),
        format!("user-agent: {USER_AGENT}\r\n"),
        "connection: close\r\n".into(),
    ] {
        assert!(first.contains(&field), "{field} in {first}");
    }
    assert!(!first.contains("accept-encoding"));
}

#[tokio::test]
async fn answers_that_are_not_taken() {
    let json_type = "Content-Type: application/json\r\n";
    let html = answer("200 OK", "Content-Type: text/html\r\n", b"<html>");
    assert_eq!(
        fetch_bytes(html).await,
        Err(FetchError::ContentType("text/html".into()))
    );
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
    ] {
        let moved = answer(status, "Location: http://127.0.0.1:1/\r\n", b"");
        assert!(
            matches!(fetch_bytes(moved).await, Err(FetchError::Redirect(_))),
            "{status}"
        );
    }
    for status in [
        "304 Not Modified",
        "201 Created",
        "206 Partial",
        "404 Not Found",
        "500 Oops",
    ] {
        let other = answer(status, json_type, b"");
        assert!(
            matches!(fetch_bytes(other).await, Err(FetchError::Status(_))),
            "{status}"
        );
    }
    let coded = answer(
        "200 OK",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
        b"{}",
    );
    assert_eq!(fetch_bytes(coded).await, Err(FetchError::ContentEncoding));
    let large = answer("200 OK", json_type, &[b' '; 1025]);
    assert_eq!(fetch_bytes(large).await, Err(FetchError::TooLarge(1024)));
    assert!(fetch_bytes(answer("200 OK", json_type, &[b' '; 1024])).await.is_ok());
    assert!(fetch_bytes(answer("200 OK", "", b"{}")).await.is_ok());
    for broken in [
        &b""[..],
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"<html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let got = fetch_bytes(broken.to_vec()).await;
        assert!(matches!(got, Err(FetchError::Protocol(_))), "{got:?}");
    }
}

#[tokio::test]
async fn a_body_without_end_is_cut_at_the_limit() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n",
    ] {
        let stub = Stub::start(move |_, _| Reply::Endless(head.as_bytes().to_vec())).await;
        assert_eq!(fetch(&stub).await, Err(FetchError::TooLarge(1024)));
    }
    let stub = Stub::start(|_, _| Reply::Endless(b"HTTP/1.1 200 OK\r\nX: ".to_vec())).await;
    assert!(matches!(fetch(&stub).await, Err(FetchError::Protocol(_))));
}

#[tokio::test]
async fn slow_servers_are_left_in_time() {
    let pause = Duration::from_millis(20);
    let whole = answer("200 OK", "Content-Type: application/json\r\n", &[b' '; 500]);
    for reply in [Reply::Silent, Reply::Drip(whole, pause)] {
        let reply = std::sync::Mutex::new(Some(reply));
        let stub = Stub::start(move |_, _| reply.lock().unwrap().take().unwrap()).await;
        let started = Instant::now();
        let client = Client {
            timeout: Duration::from_millis(300),
            ..client()
        };
        let url = Url::parse(&stub.url("/")).unwrap();
        let got = get(&client, &url, TYPES, None).await;
        assert_eq!(got, Err(FetchError::Timeout));
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn nobody_there() {
    let address = Stub::start(|_, _| json("{}")).await.address;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let url = Url::parse(&format!("http://{address}/")).unwrap();
    assert!(matches!(
        get(&client(), &url, TYPES, None).await,
        Err(FetchError::Connect(_))
    ));
    let url = Url::parse("https://no-such-host.invalid/").unwrap();
    assert!(matches!(
        get(&client(), &url, TYPES, None).await,
        Err(FetchError::Resolve(_) | FetchError::Timeout)
    ));
}

#[tokio::test]
async fn localhost_is_tried_at_each_of_its_addresses() {
    let stub = Stub::start(|_, _| json("{}")).await;
    let url = Url::parse(&format!("http://localhost:{}/", stub.address.port())).unwrap();
    assert!(get(&client(), &url, TYPES, None).await.is_ok());
}

mod over_tls {
    use std::sync::Arc;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    async fn serve(name: &str) -> (u16, String) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream
                    .write_all(&answer("200 OK", "Content-Type: application/json\r\n", b"{}"))
                    .await;
                let _ = stream.shutdown().await;
            }
        });
        (port, cert.pem())
    }

    #[tokio::test]
    async fn only_with_a_certificate_that_is_trusted_and_names_the_host() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let mut client = Client {
            ca: Some(ca.clone()),
            timeout: Duration::from_secs(5),
            ..client()
        };
        let (port, pem) = serve("localhost").await;
        let url = Url::parse(&format!("https://localhost:{port}/keys")).unwrap();
        assert!(
            matches!(get(&client, &url, TYPES, None).await, Err(FetchError::Ca(_))),
            "no file"
        );
        std::fs::write(&ca, "nothing").unwrap();
        assert!(
            matches!(get(&client, &url, TYPES, None).await, Err(FetchError::Ca(_))),
            "no certificate"
        );
        std::fs::write(&ca, vec![b'\n'; (1 << 20) + 1]).unwrap();
        assert!(
            matches!(get(&client, &url, TYPES, None).await, Err(FetchError::Ca(_))),
            "too large"
        );
        std::fs::write(&ca, &pem).unwrap();
        assert!(get(&client, &url, TYPES, None).await.is_ok());
        let other = Url::parse(&format!("https://127.0.0.1:{port}/keys")).unwrap();
        assert!(
            matches!(get(&client, &other, TYPES, None).await, Err(FetchError::Tls(_))),
            "another name"
        );
        client.ca = None;
        assert!(
            matches!(get(&client, &url, TYPES, None).await, Err(FetchError::Tls(_))),
            "not a public CA"
        );
    }

    #[tokio::test]
    async fn not_with_a_server_that_speaks_plaintext() {
        let stub = Stub::start(|_, _| json("{}")).await;
        let url = Url::parse(&format!("https://{}/", stub.address)).unwrap();
        let client = Client {
            timeout: Duration::from_secs(2),
            ..client()
        };
        let got = get(&client, &url, TYPES, None).await;
        assert!(
            matches!(
                got,
                Err(FetchError::Tls(_) | FetchError::Timeout | FetchError::ConnectTimeout)
            ),
            "{got:?}"
        );
        assert_eq!(stub.count(), 0);
    }
}
