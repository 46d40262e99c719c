//! A headless Chromium, driven by its DevTools protocol over two pipes: no port, no library. As much of the protocol as logging
//! in and looking into storage needs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest that anything of the browser is waited for: it shares its cores with all other tests.
const PATIENCE: Duration = Duration::from_secs(180);

/// Standard input and output become the descriptors that Chromium reads from and writes to.
const PIPES: &str = "exec \"$@\" 3<&0 4>&1 0</dev/null 1>&2";

/// A running browser with one page. Killed when dropped.
pub struct Chromium {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    number: u64,
    page: String,
    _profile: TempDir,
}

impl Chromium {
    /// Starts one that reaches nothing but this machine, and takes the certificates of tests.
    pub fn start(program: &Path) -> Self {
        let profile = tempfile::tempdir().expect("a temporary folder");
        let log = std::fs::File::create(profile.path().join("log")).expect("a log");
        let mut child = Command::new("sh")
            .args(["-c", PIPES, "sh"])
            .arg(program)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                "--ignore-certificate-errors",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the browser starts");
        let input = child.stdin.take().expect("its input");
        let output = child.stdout.take().expect("its output");
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                let message: Value = serde_json::from_slice(&message).expect("JSON of the browser");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            child,
            input,
            messages,
            number: 0,
            page: String::new(),
            _profile: profile,
        };
        let created = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attached = browser.call(
            "Target.attachToTarget",
            &json!({ "targetId": created["targetId"], "flatten": true }),
        );
        attached["sessionId"]
            .as_str()
            .expect("a session")
            .clone_into(&mut browser.page);
        browser
    }

    /// Calls a method, and gives its result.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": parameters });
        if !self.page.is_empty() {
            message["sessionId"] = json!(self.page);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.input.write_all(&bytes).expect("the browser's pipe");
        self.input.flush().expect("the browser's pipe");
        loop {
            let message = self.messages.recv_timeout(PATIENCE).expect("an answer of the browser");
            if message["id"] == self.number {
                return if message["error"].is_null() {
                    message["result"].clone()
                } else {
                    json!({ "error": message["error"] })
                };
            }
        }
    }

    /// Goes to a page. Where that leads is seen by [`Self::until`].
    pub fn go(&mut self, url: &str) {
        self.call("Page.navigate", &json!({ "url": url }));
    }

    /// What an expression is in the page; a promise is waited for. `Null` while there is no page to ask, or when it throws.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        self.call("Runtime.evaluate", &parameters)["result"]["value"].clone()
    }

    /// Waits until an expression is true in the page.
    pub fn until(&mut self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.evaluate(expression) != true {
            if Instant::now() > deadline {
                let seen = self.evaluate("location.href + ' ' + document.documentElement.outerHTML.slice(0, 2000)");
                panic!("waited in vain for {expression}: {seen}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Every cookie of the browser.
    pub fn cookies(&mut self) -> Vec<Value> {
        let page = std::mem::take(&mut self.page);
        let all = self.call("Storage.getCookies", &json!({}));
        self.page = page;
        all["cookies"].as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
