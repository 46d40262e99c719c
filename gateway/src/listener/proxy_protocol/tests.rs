//! The PROXY parser against what the specification says and against bytes that nobody meant.

use proptest::prelude::*;

use super::*;

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n";

fn client(source: &str, destination: &str) -> Origin {
    Origin::Client {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = v2::SIGNATURE.to_vec();
    header.extend([0x20 | command, family]);
    header.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    header.extend(payload);
    header
}

fn complete(input: &[u8], length: usize, origin: Origin) {
    assert_eq!(
        parse(input, ProxyProtocol::Any),
        Ok(Parsed::Complete { length, origin })
    );
}

#[test]
fn v1_addresses() {
    complete(V1, V1.len(), client("192.0.2.1:56324", "198.51.100.7:443"));
    let six = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\nGET /";
    complete(six, six.len() - 5, client("[2001:db8::1]:1", "[2001:db8::2]:65535"));
    let mapped = b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 0 0\r\n";
    complete(mapped, mapped.len(), client("192.0.2.1:0", "192.0.2.2:0"));
}

#[test]
fn v1_unknown_keeps_the_connection() {
    for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff:f...f 65535 x\r\n"] {
        complete(line.as_bytes(), line.len(), Origin::Connection);
    }
}

#[test]
fn v1_is_strict() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
        "PROXY TCP4\t1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n\r\n",
    ] {
        let result = parse(line.as_bytes(), ProxyProtocol::Any);
        assert!(matches!(result, Err(ProxyError::Malformed(_))), "{line:?}: {result:?}");
    }
    assert_eq!(
        parse(b"PROXY TCP4 \xff\r\n", ProxyProtocol::Any),
        Err(ProxyError::Malformed("not ASCII"))
    );
}

#[test]
fn v1_ends_within_107_bytes() {
    let mut line = b"PROXY UNKNOWN ".to_vec();
    line.resize(105, b'x');
    assert_eq!(parse(&line, ProxyProtocol::Any), Ok(Parsed::Incomplete));
    line.extend(b"\r\n");
    complete(&line, 107, Origin::Connection);
    line.insert(20, b'x');
    assert_eq!(parse(&line, ProxyProtocol::Any), Err(ProxyError::TooLong));
}

#[test]
fn v2_addresses_and_extensions() {
    let four = [192, 0, 2, 1, 198, 51, 100, 7, 0, 80, 1, 187];
    let header = v2(1, 0x11, &four);
    complete(&header, header.len(), client("192.0.2.1:80", "198.51.100.7:443"));

    let mut six = [0; 36];
    six[15] = 1;
    six[31] = 2;
    six[33] = 9;
    let mut extended = six.to_vec();
    extended.extend([0x04, 0, 2, 0xaa, 0xbb, 0xe0, 0, 0]);
    let mut header = v2(1, 0x21, &extended);
    let length = header.len();
    header.extend(b"\x16\x03\x01");
    complete(&header, length, client("[::1]:9", "[::2]:0"));
}

#[test]
fn v2_without_a_client() {
    let local = v2(0, 0x11, &[0xff; 5]);
    complete(&local, local.len(), Origin::Connection);
    let unspec = v2(1, 0x00, &[0x04, 0, 0]);
    complete(&unspec, unspec.len(), Origin::Connection);
    let unix = v2(1, 0x31, &[0; 216]);
    complete(&unix, unix.len(), Origin::Connection);
}

#[test]
fn v2_is_strict() {
    let four = [0; 12];
    for header in [
        v2(2, 0x11, &four),
        v2(1, 0x12, &four),
        v2(1, 0x22, &[0; 36]),
        v2(1, 0x41, &four),
        v2(1, 0x11, &four[..11]),
        v2(1, 0x21, &four),
        v2(1, 0x31, &[0; 215]),
        v2(1, 0x11, &[&four[..], &[4, 0, 1]].concat()),
        v2(1, 0x11, &[&four[..], &[4, 0]].concat()),
        [v2::SIGNATURE, &[0x11, 0x11, 0, 0]].concat(),
    ] {
        let result = parse(&header, ProxyProtocol::Any);
        assert!(
            matches!(result, Err(ProxyError::Malformed(_))),
            "{header:02x?}: {result:?}"
        );
    }
    let long = [v2::SIGNATURE, &[0x21, 0x11, 0x10, 0x00]].concat();
    assert_eq!(parse(&long, ProxyProtocol::Any), Err(ProxyError::TooLong));
}

#[test]
fn only_the_accepted_versions() {
    let two = v2(0, 0, &[]);
    for (input, accepted, error) in [
        (V1, ProxyProtocol::V2, ProxyError::Version),
        (&two, ProxyProtocol::V1, ProxyError::Version),
        (V1, ProxyProtocol::Off, ProxyError::Version),
        (&two, ProxyProtocol::Off, ProxyError::Version),
        (b"GET / HTTP/1.1\r\n", ProxyProtocol::Any, ProxyError::Missing),
        (b"\x16\x03\x01", ProxyProtocol::Any, ProxyError::Missing),
        (b"P\r\n", ProxyProtocol::Any, ProxyError::Missing),
        (b"\r\n\r\n\0\r\nQUIT\r", ProxyProtocol::Any, ProxyError::Missing),
    ] {
        assert_eq!(parse(input, accepted), Err(error), "{input:?} with {accepted:?}");
    }
}

proptest! {
    /// Any bytes give an answer, and more bytes never change a complete one.
    #[test]
    fn total_and_stable(start in 0..3usize, tail in proptest::collection::vec(any::<u8>(), 0..300), more in any::<[u8; 4]>()) {
        let mut input = [b"".as_slice(), b"PROXY ", v2::SIGNATURE][start].to_vec();
        input.extend(&tail);
        let first = parse(&input, ProxyProtocol::Any);
        if let Ok(Parsed::Complete { length, .. }) = first {
            prop_assert!(length <= input.len());
            input.extend(more);
            prop_assert_eq!(parse(&input, ProxyProtocol::Any), first);
        }
    }

    /// Every proper prefix of a good header is incomplete, never an error.
    #[test]
    fn prefixes_wait(source in any::<([u8; 4], u16)>(), six in any::<[u8; 16]>(), cut in any::<prop::sample::Index>()) {
        let (address, port) = (std::net::Ipv4Addr::from(source.0), source.1);
        let line = format!("PROXY TCP4 {address} 127.0.0.1 {port} 80\r\n").into_bytes();
        let binary = v2(1, 0x21, &[&six[..], &[1; 20]].concat());
        for header in [line, binary] {
            let at = cut.index(header.len() - 1) + 1;
            prop_assert_eq!(parse(&header[..at.min(header.len() - 1)], ProxyProtocol::Any), Ok(Parsed::Incomplete));
            let complete = matches!(parse(&header, ProxyProtocol::Any), Ok(Parsed::Complete { length, .. }) if length == header.len());
            prop_assert!(complete);
        }
    }

    /// What a version 1 line says is what comes out.
    #[test]
    fn v1_round_trip(source in any::<std::net::SocketAddrV4>(), destination in any::<std::net::SocketAddrV4>()) {
        let line = format!("PROXY TCP4 {} {} {} {}\r\n", source.ip(), destination.ip(), source.port(), destination.port());
        let origin = Origin::Client { source: source.into(), destination: destination.into() };
        prop_assert_eq!(parse(line.as_bytes(), ProxyProtocol::Any), Ok(Parsed::Complete { length: line.len(), origin }));
    }
}
