//! Version 2: a binary header. Its extensions (TLVs) are checked for their shape and skipped.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{MAX_HEADER, Origin, Parsed, ProxyError};

/// The bytes every header begins with.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and protocol, length of the rest.
const FIXED: usize = 16;

pub(super) fn parse(input: &[u8]) -> Result<Parsed, ProxyError> {
    let Some((&[version_command, family, high, low], rest)) =
        input.get(SIGNATURE.len()..).and_then(<[u8]>::split_first_chunk::<4>)
    else {
        return Ok(Parsed::Incomplete);
    };
    if version_command >> 4 != 2 {
        return Err(ProxyError::Malformed("not version 2"));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if FIXED + length > MAX_HEADER {
        return Err(ProxyError::TooLong);
    }
    let Some(payload) = rest.get(..length) else {
        return Ok(Parsed::Incomplete);
    };
    let origin = match version_command & 0x0f {
        // LOCAL: the proxy speaks for itself, and what follows means nothing.
        0 => Origin::Connection,
        1 => client(family, payload)?,
        _ => return Err(ProxyError::Malformed("unknown command")),
    };
    Ok(Parsed::Complete {
        length: FIXED + length,
        origin,
    })
}

fn client(family: u8, payload: &[u8]) -> Result<Origin, ProxyError> {
    let (origin, extensions) = match family {
        // UNSPEC, and a client on a Unix socket: no address that would mean anything to us.
        0x00 => (Origin::Connection, payload),
        0x31 => (
            Origin::Connection,
            payload
                .get(216..)
                .ok_or(ProxyError::Malformed("too short for its family"))?,
        ),
        0x11 => {
            let (source, rest) = split::<4>(payload)?;
            let (destination, rest) = split::<4>(rest)?;
            let (ports, rest) = split::<4>(rest)?;
            (
                between(Ipv4Addr::from(*source), Ipv4Addr::from(*destination), *ports),
                rest,
            )
        }
        0x21 => {
            let (source, rest) = split::<16>(payload)?;
            let (destination, rest) = split::<16>(rest)?;
            let (ports, rest) = split::<4>(rest)?;
            (
                between(Ipv6Addr::from(*source), Ipv6Addr::from(*destination), *ports),
                rest,
            )
        }
        _ => return Err(ProxyError::Malformed("not a TCP connection")),
    };
    check_extensions(extensions)?;
    Ok(origin)
}

fn split<const N: usize>(payload: &[u8]) -> Result<(&[u8; N], &[u8]), ProxyError> {
    payload
        .split_first_chunk()
        .ok_or(ProxyError::Malformed("too short for its family"))
}

fn between(
    source: impl Into<std::net::IpAddr>,
    destination: impl Into<std::net::IpAddr>,
    [a, b, c, d]: [u8; 4],
) -> Origin {
    Origin::Client {
        source: SocketAddr::new(source.into().to_canonical(), u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination.into().to_canonical(), u16::from_be_bytes([c, d])),
    }
}

/// Each is a type, a length of two bytes and so many bytes; the last one ends where the header does.
fn check_extensions(mut rest: &[u8]) -> Result<(), ProxyError> {
    while !rest.is_empty() {
        rest = rest
            .split_first_chunk::<3>()
            .and_then(|(&[_, high, low], rest)| rest.get(usize::from(u16::from_be_bytes([high, low]))..))
            .ok_or(ProxyError::Malformed("an extension reaches past the end"))?;
    }
    Ok(())
}
