//! Listeners over real sockets: a service with a small proxy behind it, raw clients in front, short deadlines.
//!
//! Nothing asserts how long something took; waits are generous and only fail when what is waited for never comes.

mod http1;
mod http2;
mod limits;
mod proxy;
mod reload;
mod tls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::Service as _;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::{ProxyHttp, Session};
use portcullis_config::gateway::Limits;
use portcullis_config::listener::{Alpn, CertificateFiles, Leniency, Listener, ListenerTls, ProxyProtocol, TlsVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;

/// Longer than any of these tests needs, on any machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes down what it is told.
#[derive(Default)]
struct Recorder {
    lines: Mutex<Vec<String>>,
    latest: Mutex<Option<Arc<Connection>>>,
}

impl Recorder {
    fn note(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }

    fn count(&self, start: &str) -> usize {
        self.lines
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.starts_with(start))
            .count()
    }

    /// Waits for so many lines that begin with `start`.
    async fn wait_for_count(&self, start: &str, count: usize) {
        let seen = timeout(PATIENCE, async {
            while self.count(start) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(
            seen.await.is_ok(),
            "no {count} events {start:?} among {:?}",
            self.lines.lock().unwrap()
        );
    }

    /// Waits for a line that begins with `start`.
    async fn wait_for(&self, start: &str) {
        self.wait_for_any(&[start]).await;
    }

    async fn wait_for_any(&self, starts: &[&str]) {
        let seen = timeout(PATIENCE, async {
            while starts.iter().all(|start| self.count(start) == 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(
            seen.await.is_ok(),
            "no event {starts:?} among {:?}",
            self.lines.lock().unwrap()
        );
    }
}

impl ConnectionEvents for Recorder {
    fn accepted(&self, connection: &Arc<Connection>) {
        *self.latest.lock().unwrap() = Some(Arc::clone(connection));
        self.note(format!("accepted {}", connection.peer().ip()));
    }
    fn refused(&self, attempt: &Attempt, reason: Refusal) {
        self.note(format!("refused {} {}", reason.as_str(), attempt.peer.ip()));
    }
    fn handshake_failed(&self, _: &Attempt, reason: HandshakeFailure) {
        self.note(format!("handshake_failed {}", reason.as_str()));
    }
    fn early_reject(&self, connection: &Connection, rejected: &Rejected<'_>) {
        let (reason, line) = (rejected.reason.as_str(), rejected.line);
        let target = line.target.escape_ascii();
        self.note(format!(
            "early_reject {reason} {} {} {target}",
            connection.peer().ip(),
            line.method
        ));
    }
    fn closed(&self, connection: &Connection, reason: CloseReason) {
        self.note(format!("closed {} requests={}", reason.as_str(), connection.requests()));
    }
}

/// Answers by path, without an upstream.
struct Answers;

#[async_trait]
impl ProxyHttp for Answers {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn early_request_filter(&self, session: &mut Session, (): &mut ()) -> Result<()> {
        Connection::begin(session).expect("every session has a connection");
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> Result<bool> {
        let path = session.req_header().uri.path().to_owned();
        match path.split('/').nth(1).unwrap_or_default() {
            "facts" => {
                let facts = facts(Connection::of(session).unwrap());
                answer(session, &facts).await?;
            }
            "body" => {
                let watch = Connection::shared(session).unwrap().watch_body(session);
                let mut length = 0;
                while let Some(chunk) = session.read_request_body().await? {
                    length += chunk.len();
                    if let Some(watch) = &watch {
                        watch.received(chunk.len());
                    }
                }
                answer(session, &length.to_string()).await?;
            }
            "nap" => {
                // Like an upstream that takes nothing for a while, just when the next piece is asked for.
                let nap = Duration::from_secs(3);
                let early = timeout(Duration::from_millis(20), session.read_request_body()).await;
                tokio::time::sleep(nap).await;
                let mut length = early.map_or(Ok(None), |early| early)?.map_or(0, |chunk| chunk.len());
                while let Some(chunk) = session.read_request_body().await? {
                    length += chunk.len();
                }
                answer(session, &length.to_string()).await?;
            }
            "quiet" => {
                // Like an upstream that thinks, while Pingora watches whether the client is still there.
                let thinking = tokio::time::sleep(Duration::from_millis(1500));
                tokio::select! {
                    () = thinking => answer(session, "thought").await?,
                    gone = session.read_body_or_idle(true) => return gone.map(|_| true),
                }
            }
            "large" => large(session).await?,
            "tunnel" => tunnel(session).await?,
            _ => answer(session, "ok").await?,
        }
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Error::e_explain(ErrorType::InternalError, "there is no upstream")
    }
}

fn facts(connection: &Connection) -> String {
    let tls = connection.tls().map_or("none".to_owned(), |tls| {
        format!(
            "{} {} sni={:?} alpn={:?}",
            tls.version, tls.cipher, tls.server_name, tls.alpn
        )
    });
    format!(
        "listener={} peer={} tcp_peer={} local={} protocol={:?} requests={} tls={tls}",
        connection.listener().name,
        connection.peer(),
        connection.tcp_peer().ip(),
        connection.local(),
        connection.protocol(),
        connection.requests(),
    )
}

async fn answer(session: &mut Session, body: &str) -> Result<()> {
    let mut response = ResponseHeader::build(200, Some(1))?;
    response.insert_header("Content-Length", body.len().to_string())?;
    session.write_response_header(Box::new(response), false).await?;
    session
        .write_response_body(Some(Bytes::copy_from_slice(body.as_bytes())), true)
        .await
}

/// More than all buffers on the way hold.
const LARGE: usize = 32 << 20;

async fn large(session: &mut Session) -> Result<()> {
    let mut response = ResponseHeader::build(200, Some(1))?;
    response.insert_header("Content-Length", LARGE.to_string())?;
    session.write_response_header(Box::new(response), false).await?;
    let piece = Bytes::from(vec![b'x'; 64 << 10]);
    for sent in (0..LARGE).step_by(piece.len()) {
        let last = sent + piece.len() >= LARGE;
        session.write_response_body(Some(piece.clone()), last).await?;
    }
    Ok(())
}

/// Switches protocols and says everything back.
async fn tunnel(session: &mut Session) -> Result<()> {
    let mut response = ResponseHeader::build(101, Some(2))?;
    response.insert_header("Upgrade", "websocket")?;
    response.insert_header("Connection", "Upgrade")?;
    session.write_response_header(Box::new(response), false).await?;
    while let Some(chunk) = session.read_request_body().await? {
        session.write_response_body(Some(chunk), false).await?;
    }
    Ok(())
}

/// A running listener.
struct Running {
    address: SocketAddr,
    listener: Listener,
    events: Arc<Recorder>,
    handles: Arc<ListenerHandles>,
    shared: Arc<EdgeShared>,
    stop: tokio::sync::watch::Sender<bool>,
}

/// Starts a listener for as long as the test runs.
async fn start(policy: EdgePolicy, edit: impl FnOnce(&mut Listener)) -> Running {
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut listener = Listener {
        mode: portcullis_config::listener::ListenerMode::default(),
        name: "test".to_owned(),
        address,
        h2c: false,
        sources: portcullis_config::listener::Sources::default(),
        proxy_protocol: ProxyProtocol::Off,
        tls: None,
        compat: Vec::new(),
    };
    edit(&mut listener);
    let events = Arc::new(Recorder::default());
    let shared = Arc::new(EdgeShared::new(Arc::new(ArcSwap::from_pointee(policy)), events.clone()));
    let conf = Arc::new(ServerConf::default());
    let handles = Arc::new(ListenerHandles::open(std::slice::from_ref(&listener)).unwrap());
    let listeners = Listeners::build(&conf, Answers, std::slice::from_ref(&listener), &handles, &shared);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    for mut service in listeners.services {
        let stopped = stopped.clone();
        tokio::spawn(async move { service.start_service(None, stopped, 1).await });
    }
    let up = timeout(PATIENCE, async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    up.await.expect("the listener comes up");
    // That connection should not be taken for one of the test's.
    events.wait_for_any(&["closed ", "handshake_failed ", "refused "]).await;
    events.lines.lock().unwrap().clear();
    Running {
        address,
        listener,
        events,
        handles,
        shared,
        stop,
    }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// Limits short enough to wait for.
fn short() -> EdgePolicy {
    EdgePolicy {
        handshake_timeout: Duration::from_millis(1100),
        header_timeout: Duration::from_millis(1100),
        body_idle_timeout: Duration::from_millis(900),
        min_rate: 256,
        keepalive_timeout: Duration::from_millis(1300),
        ..EdgePolicy::new(&Limits::default(), &[])
    }
}

/// Limits that only bodies reach.
fn short_bodies() -> EdgePolicy {
    EdgePolicy {
        header_timeout: PATIENCE * 2,
        keepalive_timeout: PATIENCE * 2,
        ..short()
    }
}

/// Limits for clients that are to pass: a machine that stalls for a moment must not fail them.
fn steady() -> EdgePolicy {
    EdgePolicy {
        body_idle_timeout: Duration::from_secs(4),
        min_rate: 256,
        ..long()
    }
}

/// Limits that no test reaches.
fn long() -> EdgePolicy {
    EdgePolicy::new(&Limits::default(), &[])
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Sends a request and reads its answer's head and body.
async fn ask(stream: &mut impl Io, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    read_answer(stream).await
}

async fn get(stream: &mut impl Io, path: &str) -> String {
    ask(stream, &format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")).await
}

async fn read_answer(stream: &mut impl Io) -> String {
    let answer = timeout(PATIENCE, async {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("content-length")
                        .then(|| value.parse::<usize>().unwrap())
                });
                if body.len() >= length.unwrap_or(0) {
                    return text;
                }
            }
            assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "closed after {text:?}");
        }
    });
    answer.await.expect("an answer")
}

/// The next bytes, which must come.
async fn read_some(stream: &mut impl Io) -> String {
    let mut bytes = Vec::new();
    let count = timeout(PATIENCE, stream.read_buf(&mut bytes)).await.unwrap().unwrap();
    assert_ne!(count, 0, "closed");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits until the server has closed the stream, and gives what came before.
async fn closed(stream: &mut impl Io) -> String {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, async {
        while matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {}
    });
    read.await.expect("the server closes the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends `piece` every few milliseconds until the server hangs up.
async fn drip(stream: &mut TcpStream, piece: &[u8]) {
    let (mut read, mut write) = stream.split();
    let dripping = async {
        while write.write_all(piece).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let hung_up = async {
        let mut bytes = Vec::new();
        while matches!(read.read_buf(&mut bytes).await, Ok(1..)) {}
    };
    let end = async {
        tokio::select! { () = dripping => {}, () = hung_up => {} }
    };
    timeout(PATIENCE, end).await.expect("the server hangs up on a drip");
}

/// Makes a certificate for `names` in `folder` and gives the files.
fn certificate(folder: &Path, file: &str, names: &[&str]) -> CertificateFiles {
    let issued = rcgen::generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    let path = |extension: &str| -> PathBuf { folder.join(file).with_extension(extension) };
    let files = CertificateFiles {
        certificate: path("crt"),
        key: path("key"),
        ocsp: None,
    };
    std::fs::write(&files.certificate, issued.cert.pem()).unwrap();
    std::fs::write(&files.key, issued.signing_key.serialize_pem()).unwrap();
    files
}
