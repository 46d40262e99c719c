//! What Pingora asks of a stream besides bytes: which HTTP it speaks, and what is known of it. No byte is judged here.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt};

use super::super::frames::{Http2Watch, PREFACE};
use super::super::watch::Timing;
use super::{Guarded, Watch};

#[async_trait]
impl Peek for Guarded {
    /// Pingora asks for this to tell HTTP/2 with prior knowledge from HTTP/1. Waits only as long as the bytes could
    /// still become HTTP/2's preface, so a short HTTP/1 request is not held up.
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        let mut seen = 0;
        self.peeking = true;
        while seen < buf.len() && buf.iter().zip(PREFACE).take(seen).all(|(a, b)| a == b) {
            match self.read(buf.get_mut(seen..).unwrap_or_default()).await? {
                0 => break,
                count => seen += count,
            }
        }
        self.peeking = false;
        self.inbox.push(buf.get(..seen).unwrap_or_default());
        if let Some(unseen) = buf.get_mut(seen..) {
            unseen.fill(0);
        }
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if buf == PREFACE {
            let policy = self.connection.policy();
            let mut watch = Http2Watch::new(Timing::from(policy), policy.h2, self.opened);
            watch.arrived(PREFACE, Instant::now()).map_err(|cut| self.cut(cut))?;
            self.watch = Watch::Http2(Box::new(watch));
            self.connection.set_http2();
        }
        Ok(true)
    }
}

#[async_trait]
impl Shutdown for Guarded {
    async fn shutdown(&mut self) {
        // There is nobody to tell, and the stream is dropped next.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Guarded {
    fn id(&self) -> UniqueIDType {
        self.transport.tcp().id()
    }
}

impl Ssl for Guarded {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.ssl.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match self.connection.tls()?.alpn? {
            "h2" => Some(ALPN::H2),
            _ => Some(ALPN::H1),
        }
    }
}

impl GetTimingDigest for Guarded {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.transport.tcp().get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.transport.tcp().get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.transport.tcp().get_write_pending_time()
    }
}

impl GetProxyDigest for Guarded {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

impl GetSocketDigest for Guarded {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.transport.socket_digest()
    }
}

impl std::fmt::Debug for Guarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guarded")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}
