//! The two kinds of client stream, TCP and TLS over TCP, as one.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::{GetSocketDigest, SocketDigest};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

/// A client stream, its handshake done.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(Box<Stream>),
    Tls(Box<TlsStream<Stream>>),
}

/// Calls the same method on whichever stream it is.
macro_rules! either {
    ($transport:expr, $stream:ident => $call:expr) => {
        match $transport {
            Transport::Plain($stream) => $call,
            Transport::Tls($stream) => $call,
        }
    };
}

impl Transport {
    /// What both run over.
    pub(super) fn tcp(&self) -> &Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    pub(super) fn socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.tcp().get_socket_digest()
    }

    /// How long ago the client's last bytes arrived at our system, read or not; 0 where the system does not say.
    pub(super) fn last_arrival(&self) -> Duration {
        #[cfg(target_os = "linux")]
        {
            let info = self.socket_digest().and_then(|digest| digest.tcp_info());
            info.map_or(Duration::ZERO, |info| {
                Duration::from_millis(info.tcpi_last_data_recv.into())
            })
        }
        #[cfg(not(target_os = "linux"))]
        {
            Duration::ZERO
        }
    }

    /// How many bytes the client's system has taken since the connection began; 0 where the system does not say.
    pub(super) fn acknowledged(&self) -> u64 {
        #[cfg(target_os = "linux")]
        {
            self.socket_digest()
                .and_then(|digest| digest.tcp_info())
                .map_or(0, |info| info.tcpi_bytes_acked)
        }
        #[cfg(not(target_os = "linux"))]
        {
            0
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        either!(self, stream => stream.is_write_vectored())
    }
}
