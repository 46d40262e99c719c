//! One request and its whole answer on a connection of its own, within time and size.

use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HOST, USER_AGENT as USER_AGENT_NAME};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connect::connect;
use super::{FetchError, Url};

/// What it calls itself.
pub const USER_AGENT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));

/// Bytes of an answer's header.
const MOST_HEADER: usize = 64 << 10;
/// Fields of an answer's header.
const MOST_FIELDS: usize = 100;

/// How exchanges are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Certificates to trust instead of the public roots (PEM file).
    pub ca: Option<PathBuf>,
    /// Look-up, connection and handshake together.
    pub connect_timeout: Duration,
    /// The whole exchange.
    pub timeout: Duration,
    /// Largest body of an answer.
    pub max_bytes: u64,
}

impl Client {
    /// Sends a request and reads its whole answer, whatever its status. `Host`, `User-Agent` and `Connection` are added.
    pub async fn send(&self, url: &Url, request: Request<Bytes>) -> Result<Response<Bytes>, FetchError> {
        let exchange = self.exchange(url, request);
        timeout(self.timeout, exchange).await.map_err(|_| FetchError::Timeout)?
    }

    async fn exchange(&self, url: &Url, mut request: Request<Bytes>) -> Result<Response<Bytes>, FetchError> {
        let connecting = timeout(self.connect_timeout, connect(url, self.ca.as_deref()));
        let stream = connecting.await.map_err(|_| FetchError::ConnectTimeout)??;
        *request.uri_mut() = url.path.clone().into();
        let host = HeaderValue::from_str(url.authority.as_str()).map_err(|_| FetchError::Url("its host is no name"))?;
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        headers.insert(USER_AGENT_NAME, HeaderValue::from_static(USER_AGENT));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));

        let mut builder = http1::Builder::new();
        builder.max_headers(MOST_FIELDS).max_buf_size(MOST_HEADER);
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
        // Dropped with this future, and the connection with it.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let answer = sender
            .send_request(request.map(Full::new))
            .await
            .map_err(|e| broken(&e))?;
        let (parts, body) = answer.into_parts();
        let body = self.read(body).await?;
        Ok(Response::from_parts(parts, body))
    }

    async fn read(&self, mut body: Incoming) -> Result<Bytes, FetchError> {
        if body.size_hint().lower() > self.max_bytes {
            return Err(FetchError::TooLarge(self.max_bytes));
        }
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|e| broken(&e))?.into_data() else {
                continue;
            };
            if (whole.len() + data.len()) as u64 > self.max_bytes {
                return Err(FetchError::TooLarge(self.max_bytes));
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }
}

fn broken(error: &hyper::Error) -> FetchError {
    FetchError::Protocol(error.to_string())
}
