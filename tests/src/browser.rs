//! As much of a browser as logins need: a jar of cookies, redirects one at a time, and all that it ever got, so that a test can
//! look whether a secret was among it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::h1::{self, Answer};
use crate::leaks;
use crate::op::Provider;

/// The host that it asks for.
pub const HOST: &str = "app.example";
/// What it can show.
pub const PAGE: (&str, &str) = ("Accept", "text/html,*/*;q=0.8");

/// A browser.
#[derive(Clone)]
pub struct Browser {
    gateway: SocketAddr,
    /// Its cookies.
    pub jar: BTreeMap<String, String>,
    /// Header fields that it sends with every request.
    pub always: Vec<(String, String)>,
    /// Every header field and every body that it got.
    pub got: String,
}

impl Browser {
    /// A new one.
    pub fn new(gateway: SocketAddr) -> Self {
        Self {
            gateway,
            jar: BTreeMap::new(),
            always: Vec::new(),
            got: String::new(),
        }
    }

    /// Sends a request, and takes the cookies of the answer.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let cookies: Vec<String> = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let mut all: Vec<(&str, &str)> = headers.to_vec();
        all.extend(self.always.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        if !cookies.is_empty() {
            all.push(("Cookie", &cookies));
        }
        let answer = h1::request(self.gateway, method, HOST, path, &all, body);
        for (name, value) in &answer.headers {
            let _ = writeln!(self.got, "{name}: {value}");
        }
        self.got.push_str(&answer.text());
        for cookie in answer.all("set-cookie") {
            let (name, rest) = cookie.split_once('=').expect("a name");
            let value = rest.split(';').next().expect("a value");
            assert!(
                name.starts_with("__Host-") && rest.contains("; Path=/; Secure"),
                "{cookie}"
            );
            if rest.contains("Max-Age=0") {
                self.jar.remove(name);
            } else {
                leaks::used(value);
                self.jar.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// A page.
    pub fn page(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[PAGE], b"")
    }

    /// What a script of a page asks for.
    pub fn fetch(&mut self, method: &str, path: &str) -> Answer {
        let headers = [
            ("Accept", "application/json"),
            ("Sec-Fetch-Site", "same-origin"),
            ("Sec-Fetch-Mode", "cors"),
        ];
        self.send(method, path, &headers, b"")
    }

    /// Goes where the provider sends users, and gives the place it sends them back to: a path of ours.
    pub fn ask_provider(&self, provider: &Provider, url: &str) -> String {
        let target = url.strip_prefix(&provider.issuer()).expect("a URL of the provider");
        let address = provider.address.to_string();
        let answer = h1::get(provider.address, &address, target, &[]);
        let location = answer.header("location").expect("the way back").to_owned();
        let (_, path) = location.split_once(HOST).expect("our host");
        path.to_owned()
    }

    /// Asks for a page without a session: over the provider back to it. Gives the answer that leads back to the page.
    pub fn log_in(&mut self, provider: &Provider, path: &str) -> Answer {
        let answer = self.page(path);
        assert_eq!(answer.status, 302, "{}", answer.text());
        let url = answer.header("location").expect("the provider").to_owned();
        let back = self.ask_provider(provider, &url);
        self.page(&back)
    }
}
