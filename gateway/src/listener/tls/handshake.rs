//! The TLS handshake with one client. Its public-key work is done by so many at a time and no more: whoever floods us with
//! handshakes fills a queue, and not the workers that requests wait for.
//!
//! Only that work is bounded, and it never waits for a client: one that is silent in its handshake holds nobody up. How long
//! a handshake may take in all is the caller's to say.

use std::sync::Arc;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::{LoadedTls, facts, failure, reason};
use crate::listener::connection::TlsFacts;
use crate::listener::events::HandshakeFailure;

/// A fatal alert `unrecognized_name` (RFC 6066, section 3) as a record (RFC 8446, sections 5.1 and 6).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Room for handshakes. Clones are the same.
#[derive(Debug, Clone)]
pub struct HandshakeSlots {
    most: u32,
    free: Arc<Semaphore>,
}

impl HandshakeSlots {
    /// For so many at once.
    pub fn new(most: u32) -> Self {
        let free = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .clamp(1, Semaphore::MAX_PERMITS);
        Self {
            most,
            free: Arc::new(Semaphore::new(free)),
        }
    }

    /// Waits for one.
    pub(in crate::listener) async fn take(&self) -> Option<SemaphorePermit<'_>> {
        self.free.acquire().await.ok()
    }
}

impl PartialEq for HandshakeSlots {
    fn eq(&self, other: &Self) -> bool {
        self.most == other.most
    }
}

impl Eq for HandshakeSlots {}

impl LoadedTls {
    /// Does the handshake.
    pub(in crate::listener) async fn accept<S>(
        &self,
        tcp: S,
        slots: &HandshakeSlots,
        deadline: Instant,
    ) -> Result<(Box<TlsStream<S>>, TlsFacts), HandshakeFailure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = timeout_at(deadline, LazyConfigAcceptor::new(Acceptor::default(), tcp));
        let mut start = in_time(hello.await)?;
        if !self.serves(start.client_hello().server_name()) {
            let alert = async {
                start.io.write_all(&UNRECOGNIZED_NAME).await?;
                start.io.shutdown().await
            };
            let _ = timeout_at(deadline, alert).await;
            return Err(HandshakeFailure::UnknownName);
        }
        let Ok(slot) = timeout_at(deadline, slots.take()).await else {
            return Err(HandshakeFailure::Busy);
        };
        // Signs and computes the shared secret here and now; what is left is the client's turn.
        let accepting = start.into_stream(Arc::clone(&self.config));
        drop(slot);
        let stream = in_time(timeout_at(deadline, accepting).await)?;
        let session = stream.get_ref().1;
        if let Some(trust) = &self.trust {
            trust.verify_again(session).map_err(|error| reason(&error))?;
        }
        let facts = facts(session, self.trust.as_ref());
        Ok((Box::new(stream), facts))
    }
}

fn in_time<T>(result: Result<std::io::Result<T>, tokio::time::error::Elapsed>) -> Result<T, HandshakeFailure> {
    match result {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(failure(&error)),
        Err(_) => Err(HandshakeFailure::Timeout),
    }
}
