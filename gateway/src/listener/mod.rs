//! Client connections: from accept to the request phases, and the clock they live under.
//!
//! [`Listeners::build`] makes a Pingora service for each configured listener. Its app, [`Edge`], admits a connection, reads
//! its PROXY header, does the TLS handshake and hands a guarded stream to Pingora's HTTP. The guard cuts off who is too
//! slow. Request phases reach the [`Connection`] with [`Connection::begin`] and [`Connection::of`]. What happens to
//! connections is told to [`ConnectionEvents`]. Nothing here knows routes, filters or upstreams.

mod admission;
mod arrivals;
mod bodies;
mod body_end;
mod budget;
mod build;
mod connection;
mod edge;
mod events;
mod farewell;
mod frames;
mod guard;
mod handle;
mod inbox;
mod pace;
mod policy;
pub mod proxy_protocol;
mod roster;
mod scan;
mod sender;
mod serve;
mod shed;
mod sources;
mod streams;
mod timer;
mod tls;
mod transport;
mod watch;
mod windows;

#[cfg(test)]
mod tests;

pub use admission::Admission;
pub use arrivals::ArrivalRate;
pub use bodies::BodyWatch;
pub use body_end::LeftEnd;
pub use build::Listeners;
pub use connection::{Connection, ListenerInfo, Protocol, TlsFacts};
pub use edge::{Edge, EdgeShared};
pub use events::{
    Attempt, CloseReason, ConnectionEvents, Cut, EarlyReject, HandshakeFailure, Refusal, Rejected, RequestLine,
    Unobserved,
};
pub use handle::{ListenerError, ListenerHandles, PreparedListeners, ServedCertificate};
pub use policy::EdgePolicy;
pub use proxy_protocol::ProxyError;
pub use streams::Delivery;
pub use tls::{CertificateInfo, HandshakeSlots, Staple, TlsError, tend as tend_staple};
