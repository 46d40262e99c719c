//! The gateway: Pingora, sockets, the live snapshot, upstreams, admin, telemetry. What any one filter decides is not known here.

pub mod admin;
pub mod http_client;
pub mod identity;
pub mod listener;
pub mod telemetry;
pub mod upstream;
