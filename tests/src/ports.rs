//! Ports that are free at this moment and stay so: not from the range that the system takes for outgoing connections, and
//! given to one test of one process at a time.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Mutex;

/// Where the search may begin; services of the system have the ports below.
const LOWEST: u16 = 10_240;

/// The same port of UDP, which nothing here uses: whoever holds it has the port of TCP, in all processes.
static HELD: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// A loopback address whose port nothing listens on, and that no other test is given.
pub fn free() -> SocketAddr {
    let (lowest, count) = (LOWEST, below_outgoing() - LOWEST);
    loop {
        let chance = RandomState::new().hash_one(count) % u64::from(count);
        let port = lowest + u16::try_from(chance).expect("less than the count");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let Ok(mark) = UdpSocket::bind(address) else { continue };
        if TcpListener::bind(address).is_ok() {
            HELD.lock().expect("the list of ports").push(mark);
            return address;
        }
    }
}

/// The first port that the system may take for an outgoing connection: a listener cannot have it while one does.
fn below_outgoing() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range.split_whitespace().next().and_then(|port| port.parse().ok());
    // Where the system leaves too few, the usual ones have to do.
    first.filter(|first| *first > LOWEST + 1_000).unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_and_is_not_one_of_outgoing_connections() {
        let ports: Vec<u16> = (0..200).map(|_| free().port()).collect();
        let distinct: std::collections::BTreeSet<u16> = ports.iter().copied().collect();
        assert_eq!(distinct.len(), ports.len());
        assert!(ports.iter().all(|port| (LOWEST..below_outgoing()).contains(port)));
        // A listener can have it; another process cannot be given it meanwhile.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[0]));
        assert!(TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_err());
    }
}
