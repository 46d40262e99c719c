//! Numbers and addresses as text, straight into a buffer: what each request writes several times and `core::fmt` takes
//! long over. Nothing is escaped here, since nothing of it needs to be.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Appends a number.
pub(crate) fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a number with leading zeros.
pub(crate) fn padded(out: &mut Vec<u8>, value: u64, width: u32) {
    for place in (0..width).rev() {
        out.push(digit(value / 10_u64.pow(place) % 10));
    }
}

/// Appends microseconds as milliseconds with three decimal places.
pub(crate) fn milliseconds(out: &mut Vec<u8>, microseconds: u64) {
    number(out, microseconds / 1000);
    out.push(b'.');
    padded(out, microseconds % 1000, 3);
}

/// Appends a number in hexadecimal.
pub(crate) fn hexadecimal(out: &mut Vec<u8>, value: u64) {
    let digits = (64 - value.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        let nibble = (value >> (4 * place)) & 15;
        out.push(if nibble < 10 {
            digit(nibble)
        } else {
            b'a' + u8::try_from(nibble - 10).unwrap_or(0)
        });
    }
}

/// Appends an address.
pub(crate) fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            number(out, u64::from(a));
            for octet in [b, c, d] {
                out.push(b'.');
                number(out, u64::from(octet));
            }
        }
        IpAddr::V6(address) => {
            let _ = write!(out, "{address}");
        }
    }
}

/// Appends an address and its port.
pub(crate) fn socket(out: &mut Vec<u8>, socket: SocketAddr) {
    match socket {
        SocketAddr::V4(v4) => {
            address(out, IpAddr::V4(*v4.ip()));
            out.push(b':');
            number(out, u64::from(v4.port()));
        }
        SocketAddr::V6(v6) => {
            let _ = write!(out, "{v6}");
        }
    }
}

fn digit(value: u64) -> u8 {
    b'0' + u8::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn the_same_as_core_fmt(value in prop_oneof![any::<u64>(), 0_u64..20_000, Just(0), Just(u64::MAX)], octets: [u8; 4], port: u16, wide: u128) {
            prop_assert_eq!(text(|out| number(out, value)), value.to_string());
            prop_assert_eq!(text(|out| hexadecimal(out, value)), format!("{value:x}"));
            prop_assert_eq!(text(|out| padded(out, value % 1000, 3)), format!("{:03}", value % 1000));
            prop_assert_eq!(text(|out| milliseconds(out, value)), format!("{}.{:03}", value / 1000, value % 1000));
            for ip in [IpAddr::from(octets), IpAddr::V6(wide.into())] {
                prop_assert_eq!(text(|out| address(out, ip)), ip.to_string());
                let both = SocketAddr::new(ip, port);
                prop_assert_eq!(text(|out| socket(out, both)), both.to_string());
            }
        }
    }
}
