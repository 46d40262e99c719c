//! From a URL to a stream: look up, try every address (RFC 8305, simplified), handshake.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use super::{FetchError, Url, tls};

/// A head start for each address before the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);
/// Most addresses of a name that are tried.
const MOST_ADDRESSES: usize = 32;

/// A stream to the server.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects, with TLS where the URL says so.
pub(super) async fn connect(url: &Url, ca: Option<&Path>) -> Result<Box<dyn Stream>, FetchError> {
    let addresses = resolve(url).await?;
    let stream = first(addresses)
        .await
        .map_err(|error| FetchError::Connect(error.to_string()))?;
    // A small request and one answer: nothing to coalesce. A socket that refuses the option still works.
    let _ = stream.set_nodelay(true);
    if !url.tls {
        return Ok(Box::new(stream));
    }
    let connector = TlsConnector::from(tls::config(ca).await?);
    let name = ServerName::try_from(url.host.clone()).map_err(|_| FetchError::Url("its host is no name"))?;
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(|error| FetchError::Tls(error.to_string()))?;
    Ok(Box::new(stream))
}

/// The addresses of the host, the families by turns.
async fn resolve(url: &Url) -> Result<Vec<SocketAddr>, FetchError> {
    let found = lookup_host((url.host.as_str(), url.port)).await;
    let found = found.map_err(|error| FetchError::Resolve(error.to_string()))?;
    let (six, four): (Vec<_>, Vec<_>) = found
        .filter(|address| !url.loopback_only || address.ip().is_loopback())
        .take(MOST_ADDRESSES)
        .partition(SocketAddr::is_ipv6);
    let mut addresses = Vec::with_capacity(six.len() + four.len());
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    loop {
        let before = addresses.len();
        addresses.extend(six.next());
        addresses.extend(four.next());
        if addresses.len() == before {
            break;
        }
    }
    if addresses.is_empty() {
        return Err(FetchError::Resolve("no address that may be used".into()));
    }
    Ok(addresses)
}

/// The first address that takes the connection. Each has a head start; a failure starts the next at once.
async fn first(addresses: Vec<SocketAddr>) -> std::io::Result<TcpStream> {
    let mut waiting = addresses.into_iter().peekable();
    let mut trying = FuturesUnordered::new();
    let mut failure = std::io::Error::other("no address");
    loop {
        if let Some(address) = waiting.next() {
            trying.push(TcpStream::connect(address));
        }
        if trying.is_empty() {
            return Err(failure);
        }
        let more = waiting.peek().is_some();
        tokio::select! {
            Some(tried) = trying.next() => match tried {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            },
            () = tokio::time::sleep(STAGGER), if more => {}
            else => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_address_does_not_hide_a_live_one() {
        let live = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = live.local_addr().unwrap();
        let dead = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        // 192.0.2.0/24 (RFC 5737) goes nowhere: refused at once or silent, depending on the machine.
        let silent: SocketAddr = "192.0.2.1:9".parse().unwrap();
        let started = std::time::Instant::now();
        let stream = first(vec![dead, silent, dead, live]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), live);
        assert!(started.elapsed() < Duration::from_secs(2));
        assert!(first(vec![dead, dead]).await.is_err());
    }
}
