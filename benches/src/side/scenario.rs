//! What is asked of the proxies: the flat list of scenarios.

/// How the load comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// 64 connections that are kept, one request at a time on each.
    Keep,
    /// 64 at once, each for one request.
    OneRequest,
    /// HTTP/2: 8 connections, 16 streams on each.
    Http2,
    /// 4,000 connections that asked once and stay; three times. Memory is measured and not time.
    Idle,
}

/// What Portcullis does beside forwarding. The others forward only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Access log and metrics.
    Pass,
    /// A token that was verified before, the policy bundle, a rate limit; access log and metrics.
    Guard,
    /// Says whether a request that is described may pass (`POST /v1/decision`): one rule about the address.
    Decide,
    /// The same: five rules, three of them about claims, and loop detection.
    DecideFive,
}

impl Work {
    /// Whether requests are decided and not forwarded.
    pub fn decides(self) -> bool {
        matches!(self, Self::Decide | Self::DecideFive)
    }
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line and in the table.
    pub name: &'static str,
    /// In words.
    pub about: &'static str,
    /// The path of the body; see [`super::upstream::BODIES`].
    pub path: &'static str,
    /// How the load comes.
    pub load: Load,
    /// Over TLS 1.3?
    pub tls: bool,
    /// What Portcullis does.
    pub work: Work,
    /// Cores of the proxy, and so many threads. The load shares them when there are two.
    pub threads: u8,
}

/// The plain one, of which all others differ in something.
pub const SMALL: Scenario = Scenario {
    name: "small",
    about: "65 bytes, 64 connections; Portcullis, nginx and HAProxy write an access log",
    path: "/small",
    load: Load::Keep,
    tls: false,
    work: Work::Pass,
    threads: 1,
};

/// All of them, in the order of the table.
pub const SCENARIOS: [Scenario; 12] = [
    SMALL,
    Scenario {
        name: "guard",
        about: "the same request with a token; Portcullis verifies it (remembered), asks the policy bundle, takes from a rate limit",
        work: Work::Guard,
        ..SMALL
    },
    Scenario {
        name: "16k",
        about: "16 KiB",
        path: "/16k",
        ..SMALL
    },
    Scenario {
        name: "1m",
        about: "1 MiB",
        path: "/1m",
        ..SMALL
    },
    Scenario {
        name: "tls-h1",
        about: "65 bytes over TLS 1.3, HTTP/1.1",
        tls: true,
        ..SMALL
    },
    Scenario {
        name: "tls-h2",
        about: "65 bytes over TLS 1.3, HTTP/2: 8 connections, 16 streams each",
        tls: true,
        load: Load::Http2,
        ..SMALL
    },
    Scenario {
        name: "connect",
        about: "65 bytes, a connection for each request",
        load: Load::OneRequest,
        ..SMALL
    },
    Scenario {
        name: "tls-connect",
        about: "65 bytes, a connection with a whole TLS 1.3 handshake (P-256) for each request",
        tls: true,
        load: Load::OneRequest,
        ..SMALL
    },
    Scenario {
        name: "cores",
        about: "65 bytes, two threads on two cores, which the load shares",
        threads: 2,
        ..SMALL
    },
    Scenario {
        name: "decision",
        about: "a decision about one rule; nginx says yes without a look, nginx-lua decides in Lua",
        path: "/v1/decision",
        work: Work::Decide,
        ..SMALL
    },
    Scenario {
        name: "decision-five",
        about: "a decision about five rules with claims and loop detection; Portcullis alone verifies the token (remembered)",
        path: "/v1/decision",
        work: Work::DecideFive,
        ..SMALL
    },
    Scenario {
        name: "idle",
        about: "4,000 connections that asked once and stay, three times",
        load: Load::Idle,
        ..SMALL
    },
];
