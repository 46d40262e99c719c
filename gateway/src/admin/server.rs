//! Sockets of the admin listener: few connections, one request each, and a deadline on every step.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::control::Control;
use super::routes;

/// Connections at once. More wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 64;
/// From accept to the end of a request's header.
const HEADER: Duration = Duration::from_secs(5);
/// A whole connection. A reload of a large bundle takes a while.
const CONNECTION: Duration = Duration::from_secs(120);
/// At the end, for connections that are being served.
const GRACE: Duration = Duration::from_secs(2);
/// A request's header: fields, and bytes.
const MOST_FIELDS: usize = 64;
const MOST_HEADER: usize = 16 << 10;

/// The admin listener, bound.
pub struct Server {
    listener: TcpListener,
    control: Arc<dyn Control>,
}

impl Server {
    /// Binds the address. Nothing is answered before [`Self::serve`].
    pub async fn bind<C: Control>(address: SocketAddr, control: Arc<C>) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            control,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `end` is ready; the address is free then, and requests under way have a moment to finish.
    pub async fn serve(self, end: impl Future<Output = ()>) {
        let Self { listener, control } = self;
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let mut connections = JoinSet::new();
        let mut end = pin!(end);
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = async {
                let permit = Arc::clone(&room).acquire_owned().await;
                (permit, listener.accept().await)
            };
            tokio::select! {
                biased;
                () = &mut end => break,
                (permit, accepted) = accepted => match accepted {
                    Ok((stream, peer)) => {
                        let control = Arc::clone(&control);
                        connections.spawn(async move {
                            let _permit = permit;
                            connection(stream, peer, control).await;
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the admin listener could not accept a connection");
                        sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        }
        drop(listener);
        let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, control: Arc<dyn Control>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let control = Arc::clone(&control);
        async move { Ok::<_, Infallible>(routes::answer(&control, peer, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .keep_alive(false)
        .max_headers(MOST_FIELDS)
        .max_buf_size(MOST_HEADER);
    let served = timeout(CONNECTION, builder.serve_connection(TokioIo::new(stream), service)).await;
    if let Ok(Err(error)) = served {
        tracing::debug!(%peer, %error, "admin connection ended");
    }
}
