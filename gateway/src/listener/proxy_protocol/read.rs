//! Reads a PROXY header off a fresh connection and leaves every byte after it where it is.

use std::io;

use pingora_core::protocols::l4::stream::Stream;
use portcullis_config::listener::ProxyProtocol;
use tokio::io::AsyncReadExt;

use super::{MAX_HEADER, Origin, Parsed, ProxyError, parse};

/// Why no header was read.
#[derive(Debug, thiserror::Error)]
pub(in crate::listener) enum ReadError {
    #[error(transparent)]
    Header(#[from] ProxyError),
    #[error("closed in the PROXY header")]
    Closed,
    #[error("while reading the PROXY header: {0}")]
    Io(#[from] io::Error),
}

/// Reads one header. The caller bounds the time.
pub(in crate::listener) async fn read(stream: &mut Stream, accepted: ProxyProtocol) -> Result<Origin, ReadError> {
    let mut buffer = [0; MAX_HEADER];
    let mut filled = 0;
    loop {
        let free = buffer.get_mut(filled..).unwrap_or_default();
        if free.is_empty() {
            return Err(ProxyError::TooLong.into());
        }
        match stream.read(free).await? {
            0 => return Err(ReadError::Closed),
            n => filled += n,
        }
        let input = buffer.get(..filled).unwrap_or_default();
        if let Parsed::Complete { length, origin } = parse(input, accepted)? {
            stream.rewind(input.get(length..).unwrap_or_default());
            return Ok(origin);
        }
    }
}
