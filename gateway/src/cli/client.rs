//! How the command line talks to a running gateway: JSON over the admin listener. And plain requests, for the demo.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

/// Longest that an answer may take. A reload of a large bundle takes a while.
const PATIENCE: Duration = Duration::from_secs(60);
/// Largest answer.
const MAX_ANSWER: usize = 16 << 20;

/// Which gateway is asked.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Admin {
    /// The admin listener of the gateway.
    #[arg(
        long = "admin",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9901",
        env = "PORTCULLIS_ADMIN"
    )]
    address: SocketAddr,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON of a type.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_slice(&self.body).context("the gateway's answer is not what this version expects")
    }

    /// The answer if it is a success; else an error with what the gateway said.
    pub(crate) fn success(self) -> anyhow::Result<Self> {
        if self.status.is_success() {
            return Ok(self);
        }
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let said = problem
            .get("detail")
            .or_else(|| problem.get("reason"))
            .and_then(serde_json::Value::as_str);
        bail!("{}: {}", self.status, said.unwrap_or("the gateway gave no reason"))
    }
}

impl Admin {
    /// At this address.
    pub(crate) const fn at(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Asks. Any answer is fine; no answer is an error.
    pub(crate) fn ask(&self, method: Method, path: &str, body: Option<&serde_json::Value>) -> anyhow::Result<Answer> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asked = async { tokio::time::timeout(PATIENCE, self.exchange(method, path, body)).await };
        let answer = runtime
            .block_on(asked)
            .context("the gateway took too long to answer")
            .and_then(|answer| answer);
        answer.with_context(|| {
            format!(
                "no answer from the admin listener at {} (is the gateway running? --admin names another)",
                self.address
            )
        })
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<&serde_json::Value>) -> anyhow::Result<Answer> {
        let body = body.map(ToString::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        send(self.address, request).await
    }
}

/// Sends a request in plaintext on a connection of its own.
pub(crate) async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    connection.abort();
    let body = body
        .map_err(|error| anyhow::anyhow!("the answer could not be read: {error}"))?
        .to_bytes();
    Ok(Answer {
        status: parts.status,
        body,
    })
}
