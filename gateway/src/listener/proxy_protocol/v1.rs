//! Version 1: one line of text. Takes exactly what the specification allows; a line that a lenient parser might read
//! in another way is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Origin, Parsed, ProxyError};

/// What every line begins with.
pub(super) const PREFIX: &[u8] = b"PROXY ";

/// The longest line that the specification allows, with its CRLF.
const MAX_LINE: usize = 107;

pub(super) fn parse(input: &[u8]) -> Result<Parsed, ProxyError> {
    let window = input.get(..MAX_LINE).unwrap_or(input);
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if input.len() >= MAX_LINE {
            Err(ProxyError::TooLong)
        } else {
            Ok(Parsed::Incomplete)
        };
    };
    let line = window.get(PREFIX.len()..end).unwrap_or_default();
    Ok(Parsed::Complete {
        length: end + 2,
        origin: origin(line)?,
    })
}

fn origin(line: &[u8]) -> Result<Origin, ProxyError> {
    let line = std::str::from_utf8(line).map_err(|_| ProxyError::Malformed("not ASCII"))?;
    let mut words = line.split(' ');
    match words.next() {
        // Whatever follows UNKNOWN is to be ignored.
        Some("UNKNOWN") => Ok(Origin::Connection),
        Some("TCP4") => addresses::<Ipv4Addr>(words),
        Some("TCP6") => addresses::<Ipv6Addr>(words),
        _ => Err(ProxyError::Malformed("unknown protocol")),
    }
}

fn addresses<'a, A>(mut words: impl Iterator<Item = &'a str>) -> Result<Origin, ProxyError>
where
    A: std::str::FromStr + Into<IpAddr>,
{
    let mut word = || words.next().ok_or(ProxyError::Malformed("a field is missing"));
    let source = address::<A>(word()?)?;
    let destination = address::<A>(word()?)?;
    let source_port = port(word()?)?;
    let destination_port = port(word()?)?;
    if words.next().is_some() {
        return Err(ProxyError::Malformed("too many fields"));
    }
    Ok(Origin::Client {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

fn address<A: std::str::FromStr + Into<IpAddr>>(word: &str) -> Result<IpAddr, ProxyError> {
    let address: A = word
        .parse()
        .map_err(|_| ProxyError::Malformed("not an address of its family"))?;
    Ok(address.into().to_canonical())
}

fn port(word: &str) -> Result<u16, ProxyError> {
    // `parse` alone would take a sign and leading zeros.
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word.len() == 1 || !word.starts_with('0'));
    if !plain {
        return Err(ProxyError::Malformed("not a port"));
    }
    word.parse().map_err(|_| ProxyError::Malformed("not a port"))
}
