//! Client connections, from accept to the request phases.
mod connection;
mod events;
mod frames;
mod pace;
mod policy;
pub mod proxy_protocol;
mod tls;
mod watch;

pub use connection::{Connection, ListenerInfo, Protocol, TlsFacts};
pub use events::{Attempt, CloseReason, ConnectionEvents, Cut, EarlyReject, HandshakeFailure, Refusal, Unobserved};
pub use policy::EdgePolicy;
pub use proxy_protocol::ProxyError;
pub use tls::{CertificateInfo, Fingerprint, TlsError};
