//! Ports that are free at this moment.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Mutex;

static HELD: Mutex<Vec<u16>> = Mutex::new(Vec::new());

/// A loopback address whose port nothing listens on, and that no other test of this process was given.
pub fn free() -> SocketAddr {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let address = listener.local_addr().expect("its address");
        let mut held = HELD.lock().expect("the list of ports");
        if !held.contains(&address.port()) {
            held.push(address.port());
            return address;
        }
    }
}
