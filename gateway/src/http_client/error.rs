//! Why a document could not be had.

/// Why a document could not be had. The texts hold nothing of the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Not a URL that can be fetched.
    #[error("not a URL that can be fetched: {0}")]
    Url(&'static str),
    /// `http` to somewhere else than loopback.
    #[error("http is only allowed to a loopback address; use https")]
    Plaintext,
    /// The CA file.
    #[error("the CA file cannot be used: {0}")]
    Ca(String),
    /// The name has no address, or none that is allowed.
    #[error("the host name could not be resolved: {0}")]
    Resolve(String),
    /// No address took the connection.
    #[error("no connection: {0}")]
    Connect(String),
    /// The handshake, or the certificate.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// No connection in time.
    #[error("no connection in time")]
    ConnectTimeout,
    /// No complete answer in time.
    #[error("no complete answer in time")]
    Timeout,
    /// Not HTTP/1.1, or cut short.
    #[error("broken answer: {0}")]
    Protocol(String),
    /// A redirect. None is followed: whoever controls it would choose the keys.
    #[error("answered with a redirect (status {0}), which is never followed")]
    Redirect(u16),
    /// Another status than 200 (or 304 where asked for).
    #[error("answered with status {0}")]
    Status(u16),
    /// Another media type than asked for.
    #[error("answered with the media type {0:?}")]
    ContentType(String),
    /// Compressed although nothing allowed that.
    #[error("answered with a content coding that was not asked for")]
    ContentEncoding,
    /// Larger than the limit.
    #[error("larger than {0} bytes")]
    TooLarge(u64),
}

impl FetchError {
    /// Every value that [`Self::code`] gives.
    pub const CODES: &'static [&'static str] = &[
        "url",
        "plaintext",
        "ca",
        "resolve",
        "connect",
        "tls",
        "connect_timeout",
        "timeout",
        "protocol",
        "redirect",
        "status",
        "content_type",
        "content_encoding",
        "too_large",
    ];

    /// A stable name, for logs and metric labels.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Url(_) => "url",
            Self::Plaintext => "plaintext",
            Self::Ca(_) => "ca",
            Self::Resolve(_) => "resolve",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::ConnectTimeout => "connect_timeout",
            Self::Timeout => "timeout",
            Self::Protocol(_) => "protocol",
            Self::Redirect(_) => "redirect",
            Self::Status(_) => "status",
            Self::ContentType(_) => "content_type",
            Self::ContentEncoding => "content_encoding",
            Self::TooLarge(_) => "too_large",
        }
    }
}
