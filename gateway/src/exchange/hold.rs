//! The request's body, held back until the chain has decided. Pingora reads it and forgets it; it is put back where
//! Pingora sends the first piece of it up. Only for requests of which a filter asks for the body.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::header;
use pingora_core::protocols::http::ServerSession;
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_proxy::Session;
use portcullis_filters::facts::Body;

use crate::listener::{BodyWatch, Connection, LeftEnd};
use crate::overload::Room;

/// What Pingora keeps of a body that it has read.
const REPLAYED: usize = 64 * 1024;

/// A body that was held back, on its way up.
#[derive(Debug)]
pub struct Held {
    bytes: Bytes,
    /// So many bytes of it are sent up by Pingora as well.
    replayed: usize,
    /// It has gone up in this attempt.
    sent: bool,
    /// Its share of the room for held bodies.
    _room: Room,
}

impl Held {
    /// Whether there is nothing to be put back.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether it has gone up: there is an answer, so that it will not go up again.
    pub fn is_sent(&self) -> bool {
        self.sent
    }

    /// Another attempt begins.
    pub fn again(&mut self) {
        self.sent = false;
    }

    /// The first piece that Pingora sends up becomes the held body and what comes behind it.
    pub fn put_back(&mut self, chunk: &mut Option<Bytes>) {
        if std::mem::replace(&mut self.sent, true) {
            return;
        }
        let behind = chunk.take().and_then(|chunk| {
            let behind = self.replayed.min(chunk.len());
            Some(chunk.slice(behind..)).filter(|behind| !behind.is_empty())
        });
        *chunk = Some(match behind {
            None => self.bytes.clone(),
            Some(behind) => {
                let mut all = BytesMut::with_capacity(self.bytes.len() + behind.len());
                all.extend_from_slice(&self.bytes);
                all.extend_from_slice(&behind);
                all.freeze()
            }
        });
    }
}

/// Reads the body, at most `most` bytes and what came with the last of them, as long as there is `room`.
///
/// Pingora sends up what is still to be read, or what it has kept: so the last piece must be kept. Where nobody knows
/// which piece is the last (chunks over HTTP/1), the body's end is left unread.
pub async fn hold(
    session: &mut Session,
    most: usize,
    connection: Option<&Arc<Connection>>,
    mut room: Room,
) -> Result<(Held, Body)> {
    let watch = connection.and_then(|connection| connection.watch_body(session));
    let length = content_length(session);
    let over_http1 = session.as_http1().is_some();
    let end = connection.filter(|_| over_http1 && length.is_none());
    let end = end.map(Connection::leave_body_end);
    let mut held = BytesMut::new();
    let (mut whole, mut fits) = (false, true);
    while held.len() <= most && fits {
        whole = session.as_mut().is_body_done();
        if whole {
            break;
        }
        let rest = length.map(|length| length.saturating_sub(held.len()));
        if !over_http1 || rest.is_none_or(|rest| rest <= REPLAYED) {
            session.as_mut().enable_retry_buffering();
        }
        let piece = read(session, over_http1 || held.is_empty(), end.as_ref()).await;
        let Some(piece) = piece.map_err(Error::into_down)? else {
            whole = true;
            break;
        };
        watch.as_ref().inspect(|watch| BodyWatch::received(watch, piece.len()));
        fits = room.take(piece.len());
        held.extend_from_slice(&piece);
    }
    let bytes = held.freeze();
    let replayed = session.as_ref().get_retry_buffer().map_or(0, |kept| kept.len());
    if session.as_mut().is_body_done() && replayed == 0 && !bytes.is_empty() {
        // It could not go up any more.
        return Error::e_explain(ErrorType::InternalError, "the body was read and not kept");
    }
    let body = match (whole && bytes.len() <= most, fits) {
        (true, true) => Body::whole(bytes.clone()),
        (_, false) => Body::NoRoom,
        (false, true) => Body::TooLarge,
    };
    let held = Held {
        bytes,
        replayed,
        sent: false,
        _room: room,
    };
    Ok((held, body))
}

/// The next piece. `None`: there is no more, or nothing but the end. Over HTTP/2 only the first is kept by Pingora.
async fn read(session: &mut Session, kept: bool, end: Option<&LeftEnd>) -> Result<Option<Bytes>> {
    if let ServerSession::H2(stream) = session.as_mut()
        && !kept
    {
        let piece = poll_fn(|context| stream.poll_read_body_bytes(context)).await;
        let piece = piece.transpose();
        return piece.or_err(ErrorType::ReadError, "the body of the request");
    }
    let mut piece = pin!(session.as_mut().read_request_body());
    poll_fn(|context| match piece.as_mut().poll(context) {
        Poll::Pending if end.is_some_and(LeftEnd::is_here) => Poll::Ready(Ok(None)),
        polled => polled,
    })
    .await
}

fn content_length(session: &Session) -> Option<usize> {
    let headers = &session.req_header().headers;
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overload::HeldBodies;

    fn held(bytes: &'static str, replayed: usize) -> Held {
        Held {
            bytes: Bytes::from_static(bytes.as_bytes()),
            replayed,
            sent: false,
            _room: Arc::new(HeldBodies::default()).room(),
        }
    }

    fn put(held: &mut Held, chunk: Option<&'static str>) -> Option<Bytes> {
        let mut chunk = chunk.map(|chunk| Bytes::from_static(chunk.as_bytes()));
        held.put_back(&mut chunk);
        chunk
    }

    #[test]
    fn it_goes_up_once_an_attempt_and_nothing_twice() {
        let mut whole = held("abcdef", 2);
        assert_eq!(put(&mut whole, Some("ef")).unwrap(), "abcdef");
        assert_eq!(put(&mut whole, Some("gh")).unwrap(), "gh", "what follows passes");
        whole.again();
        assert_eq!(
            put(&mut whole, Some("efgh")).unwrap(),
            "abcdefgh",
            "what was read since is kept too"
        );
        let mut part = held("abc", 0);
        assert_eq!(put(&mut part, Some("def")).unwrap(), "abcdef");
        part.again();
        assert_eq!(put(&mut part, None).unwrap(), "abc");
    }
}
