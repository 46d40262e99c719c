//! A real browser logs in at a real provider, uses the application, refreshes, is revoked and is refused. What it holds is
//! looked through: no token is among it (VX-16, FF-14, RFC 9700). The provider is a process of its own, from the npm registry.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_e2e::chromium::Chromium;
use portcullis_e2e::gateway::{Builder, Gateway, binary, wait};
use portcullis_e2e::h1;
use portcullis_e2e::origin::Origin;
use portcullis_e2e::tls::Authority;
use portcullis_e2e::{ports, skip};
use serde_json::Value;

const SECRET: &str = "our-secret-at-the-provider";

/// The provider's process, and the refresh tokens that it gave out.
struct Provider {
    child: Child,
    issuer: String,
    refresh_tokens: Arc<Mutex<Vec<String>>>,
}

impl Provider {
    fn start(node: &Path, modules: &Path, redirect: &str, bye: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("provider/provider.mjs");
        let mut child = Command::new(node)
            .arg(script)
            .args([redirect, bye])
            .env("PROVIDER_MODULES", modules)
            .env("PROVIDER_SECRET", SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the provider starts");
        let output = child.stdout.take().expect("its output");
        let lines = Arc::new(Mutex::new((None, Vec::new())));
        let (shared, tokens) = (Arc::clone(&lines), Arc::new(Mutex::new(Vec::new())));
        let given = Arc::clone(&tokens);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(token) = line.strip_prefix("refresh ") {
                    given.lock().expect("the list").push(token.to_owned());
                } else if line.starts_with("http://") {
                    shared.lock().expect("the lines").0 = Some(line);
                } else {
                    shared.lock().expect("the lines").1.push(line);
                }
            }
        });
        let mut issuer = String::new();
        wait("the provider to listen", || {
            if let Some(line) = &lines.lock().expect("the lines").0 {
                line.clone_into(&mut issuer);
            }
            !issuer.is_empty()
        });
        Self {
            child,
            issuer,
            refresh_tokens: tokens,
        }
    }

    fn refresh_tokens(&self) -> Vec<String> {
        self.refresh_tokens.lock().expect("the list").clone()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where `.ci/need provider` installs the provider: the target folder of this build.
fn modules() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let mut places = own.ancestors().map(|folder| folder.join("provider/node_modules"));
    places.find(|folder| folder.join("oidc-provider/package.json").is_file())
}

fn gateway(provider_issuer: &str, origin: &Origin, port: u16) -> Gateway {
    let yaml = format!(
        "listeners: [{{ name: public, address: \"{{public}}\" }}, {{ name: tls, address: \"127.0.0.1:{port}\", tls: {{ certificates: [{{ certificate: \"{{dir}}/a.crt\", key: \"{{dir}}/a.key\" }}] }} }}]
identity:
  issuers:
    op: {{ issuer: \"{provider_issuer}\", jwks_url: \"{provider_issuer}/jwks\", algorithms: [RS256], audiences: [api] }}
upstreams: {{ app: {{ servers: [\"{}\"] }} }}
sites:
  - hosts: [\"*\"]
    filters:
      - session:
          issuer: op
          client_id: app
          client_secret: \"file:{{dir}}/secret\"
          redirect_url: \"https://localhost:{port}/-/session/callback\"
          post_logout_url: \"https://localhost:{port}/bye\"
          key: \"file:{{dir}}/key\"
          scopes: [profile]
          access_token_header: authorization
          claims_to_headers: {{ x-user: sub, x-name: name }}
          device_headers: [user-agent]
      - csrf: {{ token: {{ key: \"file:{{dir}}/csrf\" }} }}
    routes: [{{ proxy: {{ upstream: app }} }}]
",
        origin.address
    );
    let builder = Builder::new(&yaml)
        .file("key", "a key of tests that is long enough for HMAC")
        .file("csrf", "another key of tests, long enough for HMAC too")
        .file("secret", SECRET);
    Authority::new().issue(builder.dir(), "a", &["localhost"]);
    builder.start()
}

/// Everything that scripts of the page can read, and every cookie of the browser.
fn held(browser: &mut Chromium) -> String {
    let own = browser.evaluate("JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, document.documentElement.outerHTML])");
    let cookies: Vec<String> = browser.cookies().iter().map(Value::to_string).collect();
    format!("{own} {}", cookies.join(" "))
}

fn session_cookie(browser: &mut Chromium) -> Option<Value> {
    let mut cookies = browser.cookies().into_iter();
    cookies.find(|cookie| cookie["name"] == "__Host-session")
}

/// Status and reason of what a script of the page gets.
fn fetch(browser: &mut Chromium, method: &str, path: &str) -> String {
    let text = browser.evaluate(&format!(
        "fetch('{path}', {{ method: '{method}', headers: {{ 'X-CSRF-Token': (document.cookie.match(/__Host-csrf=([^;]*)/) || [])[1] || '' }} }})
            .then(async (answer) => answer.status + ' ' + ((await answer.json().catch(() => ({{}}))).reason || ''))"
    ));
    text.as_str().unwrap_or_default().trim().to_owned()
}

/// The user types a name in at the provider, and agrees.
fn log_in_at_provider(browser: &mut Chromium, user: &str) {
    browser.until("document.querySelector('input[name=login]') !== null");
    browser.evaluate(&format!(
        "document.querySelector('input[name=login]').value = '{user}';
         document.querySelector('input[name=password]').value = 'anything';
         document.querySelector('form').submit()"
    ));
    browser.until("document.querySelector('form') !== null && document.querySelector('input[name=login]') === null");
    browser.evaluate("document.querySelector('form').submit()");
}

fn origin() -> Origin {
    Origin::with(|seen| {
        let (kind, body) = if seen.target() == "/data" || seen.target() == "/change" {
            ("application/json", "{}")
        } else {
            (
                "text/html",
                "<!doctype html><title>app</title><body>the application</body>",
            )
        };
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    })
}

#[test]
fn a_browser_logs_in_and_holds_no_token() {
    const NAME: &str = "a_browser_logs_in_and_holds_no_token";
    let (Some(chromium), Some(node)) = (skip::tool(NAME, "chromium"), skip::tool(NAME, "node")) else {
        return;
    };
    let Some(modules) = modules() else {
        return skip::report(NAME, "the provider is not installed: run `.ci/need provider`");
    };
    let port = ports::free().port();
    let at = |path: &str| format!("https://localhost:{port}{path}");
    let provider = Provider::start(&node, &modules, &at("/-/session/callback"), &at("/bye"));
    let origin = origin();
    let gateway = gateway(&provider.issuer, &origin, port);
    let mut browser = Chromium::start(&chromium);

    // Log in, and come back to the page that was asked for.
    browser.go(&at("/report?month=5"));
    log_in_at_provider(&mut browser, "alice");
    browser.until(&format!(
        "location.href === '{}' && document.title === 'app'",
        at("/report?month=5")
    ));
    let cookie = session_cookie(&mut browser).expect("a session");
    assert_eq!(
        (&cookie["httpOnly"], &cookie["secure"], cookie["sameSite"].as_str()),
        (&true.into(), &true.into(), Some("Lax"))
    );

    // Use the application: it learns who it is, and gets the token that the browser never sees.
    assert_eq!(fetch(&mut browser, "GET", "/data"), "200");
    assert_eq!(fetch(&mut browser, "POST", "/change"), "200", "with the token of csrf");
    let seen = origin.seen().pop().expect("the request");
    assert_eq!(
        (seen.all("x-user"), seen.all("x-name")),
        (vec!["alice"], vec!["Name of alice"])
    );
    let access = seen.all("authorization").concat();
    let access = access.strip_prefix("Bearer ").expect("a token").to_owned();
    assert!(
        seen.all("cookie")
            .iter()
            .all(|cookies| !cookies.contains("__Host-session")),
        "{}",
        seen.head
    );

    // Refresh: another id, other tokens.
    assert_eq!(fetch(&mut browser, "POST", "/-/session/refresh"), "200");
    let next = session_cookie(&mut browser).expect("a session");
    assert_ne!(next["value"], cookie["value"]);
    assert_eq!(fetch(&mut browser, "GET", "/data"), "200");
    let renewed = origin.seen().pop().expect("the request").all("authorization").concat();
    assert_ne!(renewed, format!("Bearer {access}"));

    let everything = held(&mut browser);
    let tokens = provider.refresh_tokens();
    assert!(tokens.len() >= 2, "{tokens:?}");
    for secret in tokens.iter().chain([&access, &renewed.replace("Bearer ", "")]) {
        assert!(!everything.contains(secret.as_str()), "a token is in the browser");
        assert!(!gateway.log().contains(secret.as_str()), "a token is in the log");
    }
    assert!(!everything.contains("eyJ"), "something like a JWT is in the browser");
    assert_eq!(browser.evaluate("localStorage.length + sessionStorage.length"), 0);
    let readable = browser.evaluate("document.cookie");
    assert!(
        readable.as_str().is_some_and(|cookies| !cookies.contains("session")),
        "{readable}"
    );

    // Revoked: refused at the next request.
    let admin = gateway.admin.to_string();
    let revoke = ["session", "revoke", "--user", "alice", "--admin", &admin];
    let output = Command::new(binary()).args(revoke).output().expect("the command");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "revoked: 1\n");
    assert_eq!(fetch(&mut browser, "GET", "/data"), "401 session_invalid");
    assert_eq!(
        fetch(&mut browser, "GET", "/data"),
        "401 session_required",
        "the browser let the cookie go"
    );

    // The provider still knows the user, so that a page leads through it and back.
    browser.go(&at("/again"));
    browser.until(&format!(
        "location.href === '{}' && document.title === 'app'",
        at("/again")
    ));
    assert_eq!(fetch(&mut browser, "POST", "/-/session/refresh"), "200");

    // Somebody has a copy of a refresh token that was used already: all of its family end, and the session with them.
    let tokens = provider.refresh_tokens();
    let stolen = &tokens[tokens.len() - 2];
    let address = provider.issuer.strip_prefix("http://").expect("an address").to_owned();
    let form = format!("grant_type=refresh_token&refresh_token={stolen}");
    let shown = format!("Basic {}", STANDARD.encode(format!("app:{SECRET}")));
    let kind = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Authorization", shown.as_str()),
    ];
    let answer = h1::request(
        address.parse().expect("an address"),
        "POST",
        &address,
        "/token",
        &kind,
        form.as_bytes(),
    );
    assert!(
        answer.text().contains("invalid_grant"),
        "{} {}",
        answer.status,
        answer.text()
    );
    assert_eq!(fetch(&mut browser, "POST", "/-/session/refresh"), "401 session_invalid");
    assert_eq!(fetch(&mut browser, "GET", "/data"), "401 session_required");
}
