//! The two small servers behind the demo: an upstream that says who asked, and an identity provider that gives tokens to
//! whoever asks. On loopback, for a demo, and for nothing else.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::tokens::{Keys, Subject};

/// Most connections of one server at once.
const MOST_CONNECTIONS: usize = 512;
/// How long a key signs before the next one does.
pub(super) const ROUND: Duration = Duration::from_secs(30);
/// Whom the demo's tokens are for.
pub(super) const AUDIENCE: &str = "demo";
/// The header field in which the upstream hears who asks.
pub(super) const USER_FIELD: &str = "x-user";

/// The identity provider.
pub(super) struct Provider {
    keys: Mutex<Keys>,
    rotated: Mutex<SystemTime>,
}

/// What the live view shows of the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rotation {
    /// The key that signs.
    pub(super) current: String,
    /// Every key that is published.
    pub(super) published: Vec<String>,
    /// Time until the next one signs.
    pub(super) next_in: Duration,
}

/// Starts the upstream; gives its address.
pub(super) async fn start_upstream() -> anyhow::Result<SocketAddr> {
    let (listener, address) = bind().await?;
    tokio::spawn(serve(listener, |request: &Request<Incoming>| {
        let user = request.headers().get(USER_FIELD).and_then(|value| value.to_str().ok());
        let text = format!(
            "hello {}, this is the upstream: {} {}\n",
            user.unwrap_or("stranger"),
            request.method(),
            request.uri().path()
        );
        plain(StatusCode::OK, text)
    }));
    Ok(address)
}

impl Provider {
    /// Starts the provider, whose keys rotate from now on; gives its address too.
    pub(super) async fn start() -> anyhow::Result<(Arc<Self>, SocketAddr)> {
        let (listener, address) = bind().await?;
        let keys = Keys::new(issuer(address), AUDIENCE, ROUND.as_secs())?;
        let provider = Arc::new(Self {
            keys: Mutex::new(keys),
            rotated: Mutex::new(SystemTime::now()),
        });
        let answering = Arc::clone(&provider);
        tokio::spawn(serve(listener, move |request: &Request<Incoming>| {
            answering.answer(request.uri().path())
        }));
        let rotating = Arc::clone(&provider);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(ROUND).await;
                // Without a new key the old one goes on signing.
                let _ = rotating.keys().rotate();
                *rotating.rotated.lock().unwrap_or_else(PoisonError::into_inner) = SystemTime::now();
            }
        });
        Ok((provider, address))
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `/jwks.json`, `/token/TENANT/USER`, `/forged/TENANT/USER`.
    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let keys = self.keys();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let token = match parts.as_slice() {
            ["jwks.json"] => {
                let mut response = plain(StatusCode::OK, keys.key_set().to_string());
                let json = HeaderValue::from_static("application/jwk-set+json");
                response.headers_mut().insert(header::CONTENT_TYPE, json);
                return response;
            }
            ["token", tenant, user] => keys.token(Subject { user, tenant }, now),
            ["forged", tenant, user] => keys.forged(Subject { user, tenant }, now),
            _ => {
                return plain(
                    StatusCode::NOT_FOUND,
                    "ask for /jwks.json or /token/TENANT/USER\n".into(),
                );
            }
        };
        match token {
            Some(token) => plain(StatusCode::OK, token),
            None => plain(StatusCode::INTERNAL_SERVER_ERROR, "no token could be signed\n".into()),
        }
    }

    /// Where its rotation stands.
    pub(super) fn rotation(&self) -> Rotation {
        let since = self
            .rotated
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
            .unwrap_or_default();
        let keys = self.keys();
        Rotation {
            current: keys.current().to_owned(),
            published: keys.published().into_iter().map(str::to_owned).collect(),
            next_in: ROUND.saturating_sub(since),
        }
    }
}

/// The `iss` of the provider at an address.
pub(super) fn issuer(address: SocketAddr) -> String {
    format!("http://{address}/")
}

async fn bind() -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("no free port on 127.0.0.1")?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Answers every request with what `answer` makes of its head.
async fn serve<A>(listener: TcpListener, answer: A)
where
    A: Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static,
{
    let (answer, room) = (Arc::new(answer), Arc::new(Semaphore::new(MOST_CONNECTIONS)));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: some will be free again.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let answer = Arc::clone(&answer);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&request);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new());
            // A client that goes away in the middle is nobody's concern here.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            drop(permit);
        });
    }
}
