//! One GET over HTTP/2 (prior knowledge, or after ALPN chose it), of which only the status matters.

use http::uri::PathAndQuery;
use http::{Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite};

use super::MAX_HEADER;

/// Sends the GET and returns the status.
pub(super) async fn get<S>(stream: S, scheme: &str, host: &str, path: &PathAndQuery) -> Result<u16, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let wrong = |error: h2::Error| format!("HTTP/2: {error}");
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(host)
        .path_and_query(path.clone())
        .build();
    let agent = concat!("portcullis-health/", env!("CARGO_PKG_VERSION"));
    let request = Request::get(uri.map_err(|error| error.to_string())?)
        .header(http::header::USER_AGENT, agent)
        .body(())
        .map_err(|error| error.to_string())?;
    let (mut client, connection) = h2::client::Builder::new()
        .enable_push(false)
        .max_header_list_size(u32::try_from(MAX_HEADER).unwrap_or(u32::MAX))
        .handshake::<_, bytes::Bytes>(stream)
        .await
        .map_err(wrong)?;
    let exchange = async move {
        std::future::poll_fn(|context| client.poll_ready(context)).await?;
        let (response, _) = client.send_request(request, true)?;
        Ok::<_, h2::Error>(response.await?.status().as_u16())
    };
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        status = &mut exchange => status,
        // Its end lets the exchange end, with a status or an error.
        _ = connection => exchange.await,
    }
    .map_err(wrong)
}
