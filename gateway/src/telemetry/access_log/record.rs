//! What a line of the access log is made of. It borrows everything from the exchange that has just ended.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portcullis_filters::client::ClientCertificate;
use portcullis_filters::receipt::Receipt;
use portcullis_filters::record::{Decision, LogRecord};

use crate::telemetry::stamp::Stamp;

/// An exchange that has ended. Bytes are as the client sent them; the log makes them harmless.
#[derive(Debug, Clone, Default)]
pub struct AccessRecord<'a> {
    /// When the request's header was complete.
    pub time: Stamp,
    /// Names the request.
    pub request_id: &'a str,
    /// The trace it is part of, if any.
    pub trace_id: Option<[u8; 16]>,
    /// Who sent it, as trusted proxies tell.
    pub client: Option<IpAddr>,
    /// The connection's peer.
    pub peer: Option<SocketAddr>,
    /// The listener.
    pub listener: &'a str,
    /// TLS, if it was spoken.
    pub tls: Option<TlsRecord<'a>>,
    /// The method.
    pub method: &'a str,
    /// The host that was asked for.
    pub host: &'a [u8],
    /// The normalised path, or the path as sent when it was refused for its form.
    pub path: &'a [u8],
    /// The query without its question mark.
    pub query: Option<Cow<'a, [u8]>>,
    /// `HTTP/1.1`, `HTTP/2.0`.
    pub protocol: &'a str,
    /// The status of the answer. `None` when there was none.
    pub status: Option<u16>,
    /// The reason code of the refusal, if it was one.
    pub reason: Option<&'a str>,
    /// From the request's header to the end of the answer.
    pub duration: Duration,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
    /// The way to the upstream, if it was gone.
    pub upstream: Option<UpstreamRecord<'a>>,
    /// Whose request it is, where that is known.
    pub tenant: Option<&'a str>,
    /// The route that matched.
    pub route: Option<&'a str>,
    /// The links that ran.
    pub receipt: Receipt,
    /// Mandatory links that did not run.
    pub missing: Receipt,
    /// Identifies configuration and bundle.
    pub snapshot: &'a str,
    /// The bundle's version, if one is in force.
    pub bundle_version: Option<u64>,
    /// What links decided.
    pub decisions: &'a [Decision],
    /// `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
    /// `Referer`.
    pub referer: Option<&'a [u8]>,
    /// Fields that filters added.
    pub fields: Option<&'a LogRecord>,
}

/// TLS of a connection.
#[derive(Debug, Clone, Copy)]
pub struct TlsRecord<'a> {
    /// `TLSv1_2` or `TLSv1_3`.
    pub version: &'a str,
    /// The name that the client asked for.
    pub server_name: Option<&'a str>,
    /// The client's certificate.
    pub client: Option<&'a ClientCertificate>,
}

/// The way to an upstream.
#[derive(Debug, Clone, Copy, Default)]
pub struct UpstreamRecord<'a> {
    /// The upstream's name.
    pub name: &'a str,
    /// The server that was tried last.
    pub server: Option<&'a str>,
    /// Attempts.
    pub attempts: u32,
    /// The status that it answered.
    pub status: Option<u16>,
    /// From the request's header to the begin of the last attempt.
    pub since: Option<Duration>,
    /// How long the last attempt took to get its connection.
    pub connect: Option<Duration>,
    /// From the last attempt's begin to the answer's header.
    pub first_byte: Option<Duration>,
}
