//! Hostile HTTP/1 requests, in the bytes they are sent in, each with the answers it may get. Read RFC 9110 and 9112 beside
//! it; the paths are those of [`crate::fortress`].

mod framing;
pub mod http2;
pub mod portable;

pub use framing::{framings, lines};

/// A request as it is sent.
pub struct Case {
    /// What is the matter with it.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The statuses that may answer it; 0: the connection ends without an answer.
    pub statuses: &'static [u16],
}

/// Nothing wrong with it: 200. Good, but nobody said who asks: 401.
const OK: &[u16] = &[200];
const ASKED: &[u16] = &[401];
const BAD: &[u16] = &[400];
const MISSING: &[u16] = &[404];

/// A request that must never be taken for one of its own, in the place where a body or a tunnel could be.
const SMUGGLED: &str = "GET /admin/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

fn case(name: impl Into<String>, bytes: impl AsRef<[u8]>, statuses: &'static [u16]) -> Case {
    Case {
        name: name.into(),
        bytes: bytes.as_ref().to_vec(),
        statuses,
    }
}

/// A GET of `target` with these lines after Host.
fn get(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

/// Every request of `lines` to both routes, and with a token to the protected one.
fn everywhere(name: &str, lines: &str, bearer: &str, open: &'static [u16]) -> [Case; 3] {
    let with_token = format!("Authorization: {bearer}\r\n{lines}");
    [
        case(format!("{name}, protected"), get("/admin/x", lines), ASKED),
        case(format!("{name}, with a token"), get("/admin/x", &with_token), open),
        case(format!("{name}, open"), get("/public/x", lines), open),
    ]
}

/// Upgrades, meant and malformed.
pub fn upgrades(bearer: &str) -> Vec<Case> {
    const KEY: &str = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const SETTINGS: &str = "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n";
    let handshakes = [
        (
            "websocket",
            format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{KEY}"),
        ),
        (
            "websocket in capitals",
            format!("CONNECTION: UPGRADE\r\nUPGRADE: WEBSOCKET\r\n{KEY}"),
        ),
        (
            "websocket among others",
            format!("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n{KEY}"),
        ),
        (
            "websocket without a key",
            "Connection: Upgrade\r\nUpgrade: websocket\r\n".into(),
        ),
        (
            "websocket of another version",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\n".into(),
        ),
        ("websocket without Connection", format!("Upgrade: websocket\r\n{KEY}")),
        ("Connection without Upgrade", format!("Connection: Upgrade\r\n{KEY}")),
        (
            "two protocols",
            format!("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n{KEY}{SETTINGS}"),
        ),
        (
            "two Upgrades",
            format!("Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n{KEY}"),
        ),
        (
            "an Upgrade that nominates others",
            format!("Connection: Upgrade, Authorization, X-User, Host\r\nUpgrade: websocket\r\n{KEY}"),
        ),
        (
            "an unknown protocol",
            "Connection: Upgrade\r\nUpgrade: foo/2\r\n".into(),
        ),
        ("an empty protocol", "Connection: Upgrade\r\nUpgrade:\r\n".into()),
        ("TLS", "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n".into()),
        (
            "h2c",
            format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n{SETTINGS}"),
        ),
        (
            "h2c without settings nominated",
            format!("Connection: Upgrade\r\nUpgrade: h2c\r\n{SETTINGS}"),
        ),
        ("h2c without settings", "Connection: Upgrade\r\nUpgrade: h2c\r\n".into()),
        (
            "h2c in capitals",
            format!("Connection: HTTP2-SETTINGS, UPGRADE\r\nUpgrade: H2C\r\n{SETTINGS}"),
        ),
    ];
    let mut cases: Vec<Case> = handshakes
        .iter()
        .flat_map(|(name, lines)| {
            let kept = name.starts_with("an Upgrade that nominates");
            everywhere(name, lines, bearer, if kept { BAD } else { OK })
        })
        .collect();
    let websocket = format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{KEY}");
    let h2c = format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n{SETTINGS}");
    for (name, lines) in [("websocket", websocket), ("h2c", h2c)] {
        for (target, statuses) in [("/public/x", OK), ("/admin/x", ASKED)] {
            // Something follows before anybody has agreed to leave HTTP.
            let early = format!("{}{SMUGGLED}", get(target, &lines));
            cases.push(case(
                format!("{name}, tunnel begun too early at {target}"),
                early,
                statuses,
            ));
            let body = SMUGGLED.len();
            let post = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {body}\r\n{lines}\r\n{SMUGGLED}");
            cases.push(case(format!("{name} with a body at {target}"), post, statuses));
            let chunked = format!(
                "POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{lines}\r\n{body:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"
            );
            cases.push(case(
                format!("{name} with a chunked body at {target}"),
                chunked,
                statuses,
            ));
            let old = format!("GET {target} HTTP/1.0\r\nHost: a\r\n{lines}\r\n{SMUGGLED}");
            cases.push(case(format!("{name} over HTTP/1.0 at {target}"), old, statuses));
        }
    }
    cases
}

/// Fields that Connection names.
pub fn connections(bearer: &str) -> Vec<Case> {
    /// Pingora refuses to drop what the upstream needs, and lists that are too long.
    const KEPT: &[u16] = BAD;
    let many = (0..60).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(", ");
    let fields = [
        ("authorization", "Connection: authorization\r\n".to_owned()),
        (
            "authorization in capitals",
            "Connection: AUTHORIZATION, close\r\n".into(),
        ),
        ("x-user", "Connection: x-user\r\nX-User: root\r\n".into()),
        ("x_user", "Connection: x_user\r\nX_User: root\r\n".into()),
        (
            "x-request-id",
            "Connection: x-request-id\r\nX-Request-Id: mine\r\n".into(),
        ),
        (
            "forwarded",
            "Connection: forwarded, x-forwarded-for, x-forwarded-proto, x-forwarded-host\r\n".into(),
        ),
        ("host", "Connection: host\r\n".into()),
        ("cookie", "Connection: cookie\r\nCookie: a=b\r\n".into()),
        (
            "several fields",
            "Connection: close, x-user\r\nConnection: authorization\r\n".into(),
        ),
        ("sixty names", format!("Connection: {many}\r\n")),
        ("no names", "Connection: ,,, ,\r\n".into()),
        ("connection", "Connection: connection\r\n".into()),
        ("te", "Connection: TE\r\nTE: trailers\r\n".into()),
        (
            "keep-alive",
            "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n".into(),
        ),
        (
            "proxy-connection",
            "Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\n".into(),
        ),
    ];
    let mut cases: Vec<Case> = fields
        .iter()
        .flat_map(|(name, lines)| {
            let kept = ["forwarded", "host", "sixty names"].contains(name);
            everywhere(name, lines, bearer, if kept { KEPT } else { OK })
        })
        .collect();
    let body = SMUGGLED.len();
    for (target, statuses) in [("/public/x", OK), ("/admin/x", ASKED)] {
        let post = format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {body}\r\nConnection: content-length\r\n\r\n{SMUGGLED}"
        );
        cases.push(case(format!("content-length at {target}"), post, statuses));
        let chunked = format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n\r\n{body:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"
        );
        cases.push(case(format!("transfer-encoding at {target}"), chunked, statuses));
        let refused = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {body}\r\n\r\n{SMUGGLED}");
        cases.push(case(format!("a body in the way at {target}"), refused, statuses));
    }
    cases
}

/// Hosts: repeated, missing, broken, spelt differently.
pub fn hosts() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, lines) in [
        ("the same twice", "Host: a\r\nHost: a\r\n"),
        ("two", "Host: a\r\nHost: private.test\r\n"),
        ("two the other way round", "Host: private.test\r\nHost: a\r\n"),
        ("two in two cases", "host: a\r\nHOST: b\r\n"),
        ("none", "X-Host: a\r\n"),
        ("empty", "Host:\r\n"),
        ("a list", "Host: a, private.test\r\n"),
        ("a path", "Host: a/admin\r\n"),
        ("a user", "Host: private.test@a\r\n"),
        ("a fragment", "Host: a#b\r\n"),
        ("a query", "Host: a?b\r\n"),
        ("a space", "Host: a b\r\n"),
        ("a backslash", "Host: a\\b\r\n"),
        ("a percent", "Host: %61\r\n"),
        ("no port behind the colon", "Host: a:\r\n"),
        ("a large port", "Host: a:99999\r\n"),
        ("a word for a port", "Host: a:http\r\n"),
        ("two ports", "Host: a:80:81\r\n"),
        ("half an IPv6 address", "Host: [::1\r\n"),
        ("no IPv6 address", "Host: [a]\r\n"),
        ("an empty label", "Host: a..b\r\n"),
        ("only a dot", "Host: .\r\n"),
        ("a scheme", "Host: http://a\r\n"),
        ("letters beyond ASCII", "Host: \u{e4}.test\r\n"),
        ("a space before the colon", "Host : a\r\n"),
        ("folded", "Host: a\r\n b\r\n"),
        ("folded before its value", "Host:\r\n a\r\n"),
        ("a space before its name", " Host: a\r\n"),
        ("a tab inside", "Host: a\tb\r\n"),
    ] {
        for target in ["/public/x", "/admin/x"] {
            let bytes = format!("GET {target} HTTP/1.1\r\n{lines}\r\n");
            cases.push(case(format!("Host: {name}, {target}"), bytes, BAD));
        }
    }
    for host in [
        "private.test",
        "PRIVATE.TEST",
        "private.test.",
        "private.test:80",
        "Private.Test.:8443",
        " private.test ",
    ] {
        for target in ["/public/x", "/", "/anything"] {
            let bytes = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            cases.push(case(format!("{host} for {target}"), bytes, ASKED));
        }
    }
    for host in [
        "a",
        "A",
        "a.",
        "a:1",
        "[::1]",
        "[::1]:80",
        "127.0.0.1",
        "xn--4ca.test",
        "a_b",
    ] {
        cases.push(case(
            format!("{host}, open"),
            format!("GET /public/x HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            OK,
        ));
        cases.push(case(
            format!("{host}, protected"),
            format!("GET /admin/x HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            ASKED,
        ));
    }
    cases
}

/// Paths that are `/admin` to one reader and something else to another.
pub fn paths() -> Vec<Case> {
    let targets = path_targets();
    let cases = targets.map(|(statuses, target)| case(target.escape_default().to_string(), get(&target, ""), statuses));
    let mut cases: Vec<Case> = cases.collect();
    // Bytes that no text can have.
    for path in [
        &b"/public/\x80"[..],
        b"/public/\xc0\xae\xc0\xae/admin",
        b"/public/\xff?x",
    ] {
        let bytes = [b"GET ", path, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        cases.push(case(path.escape_ascii().to_string(), bytes, BAD));
    }
    cases
}

/// The same paths, for whoever sends them otherwise.
fn path_targets() -> impl Iterator<Item = (&'static [u16], String)> {
    /// Pingora escapes what it should refuse, before anything of ours sees it.
    const ESCAPED: &[u16] = &[200, 400];
    let lists = [
        (
            ASKED,
            "/admin /admin/ //admin /./admin ///admin//x /%61dmin /%61%64%6d%69%6e/x /admin/. /admin/./x /public/../admin \
             /public/../admin/x /public/./../admin /public//../admin /public/%2e%2e/admin /public/%2E%2e/admin \
             /public/.%2e/admin /public/%2e./admin /public/%2e/%2e%2e/admin /%2e/admin /../admin /../../../admin /..//admin \
             /public/x/../../admin /admin?x=/public /admin/..%252f /admin// /admin/%61 /admin/%2e%2e/admin \
             /public/..//..//admin/x /admin/;x /admin/%3b /admin/%5c..%5cpublic",
        ),
        (
            OK,
            "/public /public/ //public /public//x /admin/../public /admin/..//public/x /public?/../admin /public/x?a=/admin \
             /public/%252e%252e/admin /public/%252fadmin /public/..%252fadmin /public/%3f/x /public/%23x \
             /public;x=1/x/../../public /public/x;y/../z /public/..admin /public/... /public/%ef%bc%8e%ef%bc%8e/admin \
             /public/\u{ff0e}\u{ff0e}/admin /public/\\..\\admin /public/%5c..%5cadmin /public/{x} /public/\"x\" \
             /public/%7E%41 /public/x?a=%00 /public/x?%2e%2e/%2f /public/x??a /public/x? /public/%3a%40",
        ),
        (
            MISSING,
            "/ /ADMIN /Admin /%41dmin /admin;x=1 /admin%3bx /administrator /admin.json /public/.. /public/%2e%2e /public/../x \
             /private.test/x //private.test/x /publicity /public%3f/../x /admin/.. /admin%20 /admin%09 /%20/admin /\\admin \
             /%5cadmin /public\\..\\admin /http://private.test/ /admin,/x /public\u{2215}..",
        ),
        (
            BAD,
            "/public/..;/admin /public/.;/admin /public/..;x=y/admin /public/%2e%2e;/admin /public/%2e.;/../admin /;/..;/admin \
             /public%2f..%2fadmin /public/..%2Fadmin /%2fadmin /admin%2f /public/%2f /admin%00 /public/%00 /public/%00/../admin \
             /public% /public/%4 /public/%zz /public/%u002e /public/%c0%ae%c0%ae/admin /public/%ff /public/%e0%80%af \
             /public/..%c0%af /public#x /public#/../admin /public/x?a#b /public/x?#",
        ),
        (ESCAPED, "/public/\u{7f} /public/\u{1} /public/x?a=\u{1} /public/<x>"),
    ];
    lists
        .into_iter()
        .flat_map(|(statuses, targets)| targets.split(' ').map(move |target| (statuses, target.to_owned())))
}

/// Request targets in other forms than a path (RFC 9112, 3.2).
pub fn targets() -> Vec<Case> {
    let mut cases = Vec::new();
    for (statuses, targets) in [
        (
            ASKED,
            "http://a/admin http://a/admin/x?y https://a/admin http://a//admin http://a/public/../admin http://a/%61dmin \
             http://a/./admin",
        ),
        (OK, "http://a/public/x http://a/public?x http://a/admin/../public"),
        // Several slashes are one: `//` has a path, and nothing serves it.
        (MISSING, "http://a http://a/ //"),
        (
            BAD,
            "http://private.test/x http://private.test/public/x http://b/public/x http://a@private.test/x \
             http://private.test@a/public http://a:80/public http:///public/x http:/public/x http:public ftp://a/public \
             file:///public javascript://a/public http:// http://? http://a?/admin a:80 a public public/x * ?x #x \
             http://a\\private.test/public http://a#/public http://a:x/public http://[a]/public HTTP://A/admin HTTPS://A/public",
        ),
    ] {
        cases.extend(
            targets
                .split(' ')
                .map(|target| case(format!("target {target}"), get(target, ""), statuses)),
        );
    }
    for target in ["", "http://a b/public"] {
        cases.push(case(format!("target {target:?}"), get(target, ""), BAD));
    }
    for (name, bytes, statuses) in [
        (
            "absolute form without Host",
            "GET http://a/public/x HTTP/1.1\r\n\r\n",
            BAD,
        ),
        (
            "absolute form with two Hosts",
            "GET http://a/public/x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            BAD,
        ),
        (
            "absolute form that names the protected host",
            "GET http://private.test/x HTTP/1.1\r\nHost: private.test\r\n\r\n",
            ASKED,
        ),
        (
            "absolute form and a Host that names it",
            "GET http://a/public/x HTTP/1.1\r\nHost: private.test\r\n\r\n",
            BAD,
        ),
        (
            "absolute form over HTTP/1.0",
            "GET http://private.test/x HTTP/1.0\r\n\r\n",
            ASKED,
        ),
        ("OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &[204]),
        (
            "OPTIONS of a host",
            "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n",
            &[204],
        ),
        (
            "OPTIONS of the protected host",
            "OPTIONS /x HTTP/1.1\r\nHost: private.test\r\n\r\n",
            ASKED,
        ),
        (
            "OPTIONS of a protected path",
            "OPTIONS /admin/x HTTP/1.1\r\nHost: a\r\n\r\n",
            ASKED,
        ),
        (
            "a preflight to a protected path",
            "OPTIONS /admin/x HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\nAccess-Control-Request-Method: GET\r\n\r\n",
            ASKED,
        ),
        ("POST *", "POST * HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", BAD),
        (
            "CONNECT with an authority",
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
            &[400, 405, 501],
        ),
        (
            "CONNECT with a path",
            "CONNECT /public/x HTTP/1.1\r\nHost: a\r\n\r\n",
            &[400, 405, 501],
        ),
        (
            "CONNECT with a protected path",
            "CONNECT /admin/x HTTP/1.1\r\nHost: a\r\n\r\n",
            &[400, 405, 501],
        ),
        (
            "CONNECT with an absolute form",
            "CONNECT http://a/public HTTP/1.1\r\nHost: a\r\n\r\n",
            &[400, 405, 501],
        ),
        ("TRACE", "TRACE /public/x HTTP/1.1\r\nHost: a\r\n\r\n", &[405]),
        (
            "TRACE of a protected path",
            "TRACE /admin/x HTTP/1.1\r\nHost: a\r\n\r\n",
            &[405],
        ),
        (
            "HEAD of a protected path",
            "HEAD /admin/x HTTP/1.1\r\nHost: a\r\n\r\n",
            ASKED,
        ),
        ("HEAD", "HEAD /public/x HTTP/1.1\r\nHost: a\r\n\r\n", OK),
        (
            "a method in small letters",
            "get /public/x HTTP/1.1\r\nHost: a\r\n\r\n",
            OK,
        ),
        (
            "a method in small letters, protected",
            "get /admin/x HTTP/1.1\r\nHost: a\r\n\r\n",
            ASKED,
        ),
        ("a method nobody knows", "FOO /public/x HTTP/1.1\r\nHost: a\r\n\r\n", OK),
        (
            "a method nobody knows, protected",
            "FOO /admin/x HTTP/1.1\r\nHost: a\r\n\r\n",
            ASKED,
        ),
        ("PURGE, protected", "PURGE /admin/x HTTP/1.1\r\nHost: a\r\n\r\n", ASKED),
        (
            "the preface of HTTP/2 in the middle",
            "PRI * HTTP/2.0\r\nHost: a\r\n\r\nSM\r\n\r\n",
            &[0, 400, 505],
        ),
    ] {
        cases.push(case(name, bytes, statuses));
    }
    cases
}
