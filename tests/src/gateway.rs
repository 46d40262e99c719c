//! The real binary as a child process, with a configuration in a folder of its own.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use crate::{leaks, ports};

/// Longest that anything is waited for. Tests never assert how long something took.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test: `PORTCULLIS_BINARY`, or the one that `cargo test --workspace` has just built. When it is older
/// than its sources (after `cargo test -p portcullis-e2e`, for example) it is built first.
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(find_binary).clone()
}

fn find_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("PORTCULLIS_BINARY") {
        return path.into();
    }
    // tests run from target/PROFILE/deps
    let mut path = std::env::current_exe().expect("the test's own path");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    let path = path.join("portcullis");
    let built = path.metadata().and_then(|metadata| metadata.modified()).ok();
    if built.is_none_or(|built| newest_source() > built) {
        let status = Command::new(env!("CARGO"))
            .args(["build", "-p", "portcullis", "--bin", "portcullis"])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "the binary could not be built"
        );
    }
    path
}

fn newest_source() -> SystemTime {
    fn newest(dir: &Path) -> SystemTime {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let times = entries.map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => newest(&entry.path()),
            _ => entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH),
        });
        times.max().unwrap_or(SystemTime::UNIX_EPOCH)
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let crates = ["config/src", "bundles/src", "filters/src", "gateway/src"].map(|dir| newest(&root.join(dir)));
    crates.into_iter().max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A gateway that is being set up.
pub struct Builder {
    dir: TempDir,
    public: SocketAddr,
    admin: SocketAddr,
    yaml: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// A running gateway. Killed when dropped.
pub struct Gateway {
    /// Its folder: `portcullis.yaml`, `access.log`, `stderr.log`, and what the test puts there.
    pub dir: TempDir,
    /// Its first listener, named `public`.
    pub public: SocketAddr,
    /// Its admin listener.
    pub admin: SocketAddr,
    child: Child,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// What the test had put into the folder before it started, and what the configurations refer to.
    inputs: Mutex<BTreeSet<PathBuf>>,
}

impl Builder {
    /// With a plaintext listener `public`, an admin listener, and a JSON access log at `access.log`. `yaml` adds the
    /// rest: at least `sites`. `{dir}` in it is the gateway's folder.
    pub fn new(yaml: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self {
            dir,
            public: ports::free(),
            admin: ports::free(),
            yaml: yaml.into(),
            arguments: vec![],
            environment: vec![],
        }
    }

    /// Replaces what was given to [`Self::new`].
    #[must_use]
    pub fn with_yaml(mut self, yaml: &str) -> Self {
        self.yaml = yaml.into();
        self
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The address of its `public` listener.
    pub fn public(&self) -> SocketAddr {
        self.public
    }

    /// Puts a file into its folder.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.dir.path().join(name), content).expect("a file of the test");
        self
    }

    /// Adds an argument to `portcullis run`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The whole configuration. When `yaml` has `listeners:` or `admin:` itself, they are not added.
    pub fn configuration(&self, yaml: &str) -> String {
        let mut text = String::new();
        let has = |key: &str| yaml.lines().any(|line| line.starts_with(key));
        if !has("listeners:") {
            let _ = writeln!(text, "listeners: [{{ name: public, address: \"{}\" }}]", self.public);
        }
        if !has("admin:") {
            let _ = writeln!(text, "admin: {{ address: \"{}\" }}", self.admin);
        }
        if !has("telemetry:") {
            let _ = writeln!(text, "telemetry: {{ access_log: {{ file: \"{{dir}}/access.log\" }} }}");
        }
        text.push_str(yaml);
        let dir = self.dir.path().display().to_string();
        text.replace("{dir}", &dir)
            .replace("{public}", &self.public.to_string())
            .replace("{admin}", &self.admin.to_string())
    }

    /// Starts it and waits until it is live.
    pub fn start(self) -> Gateway {
        let gateway = self.start_without_waiting();
        gateway.wait_for("/livez", |status, _| status == 200);
        gateway.wait_for("/readyz", |_, _| TcpStream::connect(gateway.public).is_ok());
        gateway
    }

    /// Starts it and waits until it has refused to; gives what it said.
    pub fn start_expecting_refusal(self) -> String {
        let mut gateway = self.start_without_waiting();
        assert!(!gateway.wait_for_exit(), "it started");
        gateway.log()
    }

    /// Starts it.
    pub fn start_without_waiting(self) -> Gateway {
        let text = self.configuration(&self.yaml);
        std::fs::write(self.dir.path().join("portcullis.yaml"), &text).expect("the configuration");
        let referenced = leaks::referenced(self.dir.path(), &text, &self.environment);
        let inputs = Mutex::new(leaks::files(self.dir.path()).into_iter().chain(referenced).collect());
        let child = spawn(self.dir.path(), &self.arguments, &self.environment);
        let Self {
            dir,
            public,
            admin,
            arguments,
            environment,
            ..
        } = self;
        Gateway {
            dir,
            public,
            admin,
            child,
            arguments,
            environment,
            inputs,
        }
    }
}

fn spawn(dir: &Path, arguments: &[String], environment: &[(String, String)]) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("stderr.log"))
        .expect("stderr.log");
    Command::new(binary())
        .args(["run", "--config"])
        .arg(dir.join("portcullis.yaml"))
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("stderr.log"))
        .stderr(log)
        .spawn()
        .expect("the binary starts")
}

impl Gateway {
    /// Starts one; see [`Builder::new`].
    pub fn start(yaml: &str) -> Self {
        Builder::new(yaml).start()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `HUP`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Replaces the configuration file, as GitOps tools do: a new file renamed over the old. Does not reload.
    pub fn write_config(&self, yaml: &str) {
        let mut text = String::new();
        let has = |key: &str| yaml.lines().any(|line| line.starts_with(key));
        if !has("listeners:") {
            let _ = writeln!(text, "listeners: [{{ name: public, address: \"{}\" }}]", self.public);
        }
        if !has("admin:") {
            let _ = writeln!(text, "admin: {{ address: \"{}\" }}", self.admin);
        }
        if !has("telemetry:") {
            let _ = writeln!(text, "telemetry: {{ access_log: {{ file: \"{{dir}}/access.log\" }} }}");
        }
        text.push_str(yaml);
        let text = text.replace("{dir}", &self.dir.path().display().to_string());
        let referenced = leaks::referenced(self.dir.path(), &text, &self.environment);
        self.inputs.lock().expect("the inputs").extend(referenced);
        replace(&self.dir.path().join("portcullis.yaml"), text.as_bytes());
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Asks the admin listener: status and body.
    pub fn admin(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        ask(self.admin, method, path, body).expect("the admin listener answers")
    }

    /// `POST /-/reload`: status and body.
    pub fn reload(&self) -> (u16, String) {
        self.admin("POST", "/-/reload", "")
    }

    /// The value of a metric's line that begins with `series`; 0 when it is not there.
    pub fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.admin("GET", "/metrics", "");
        let line = text
            .lines()
            .find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or(0.0)
    }

    /// Asks the admin listener until `done` holds.
    pub fn wait_for(&self, path: &str, done: impl Fn(u16, &str) -> bool) -> String {
        let mut last = String::new();
        wait(&format!("{path} of the admin listener\n{}", self.log()), || {
            match ask(self.admin, "GET", path, "") {
                Ok((status, body)) => {
                    last.clone_from(&body);
                    done(status, &body)
                }
                Err(_) => false,
            }
        });
        last
    }

    /// Lines of the access log, once there are at least `count`.
    pub fn access_log(&self, count: usize) -> Vec<serde_json::Value> {
        let mut lines = Vec::new();
        wait("lines of the access log", || {
            let text = std::fs::read_to_string(self.path("access.log")).unwrap_or_default();
            lines = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            lines.len() >= count
        });
        lines
    }

    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("stderr.log")).unwrap_or_default()
    }

    /// `kill -9`.
    pub fn crash(&mut self) {
        self.child.kill().expect("kill -9");
        self.child.wait().expect("the killed process");
    }

    /// `kill -9`, then the same start again.
    pub fn crash_and_restart(&mut self) {
        self.crash();
        self.restart();
    }

    /// Starts the same binary again after it has ended, and waits until it has refused to run; gives what it said.
    pub fn restart_expecting_refusal(&mut self) -> String {
        let before = self.log().len();
        self.child = spawn(self.dir.path(), &self.arguments, &self.environment);
        assert!(!self.wait_for_exit(), "it started");
        self.log().split_off(before)
    }

    /// Starts the same binary again after it has ended.
    pub fn restart(&mut self) {
        self.child = spawn(self.dir.path(), &self.arguments, &self.environment);
        self.wait_for("/livez", |status, _| status == 200);
        wait("the public listener", || TcpStream::connect(self.public).is_ok());
    }

    /// Starts a second process of the same configuration with `--upgrade`, hands over with SIGQUIT, and stands for the
    /// new process afterwards. The old one is returned.
    pub fn upgrade(&mut self) -> Child {
        let mut arguments = self.arguments.clone();
        arguments.push("--upgrade".into());
        let new = spawn(self.dir.path(), &arguments, &self.environment);
        // The new process first waits for the sockets; it must be there to take them.
        std::thread::sleep(Duration::from_secs(1));
        signal(self.pid(), "QUIT");
        std::mem::replace(&mut self.child, new)
    }

    /// Waits until the process has ended; whether it ended well.
    pub fn wait_for_exit(&mut self) -> bool {
        let mut status = None;
        wait("the process's end", || {
            status = self.child.try_wait().expect("the process");
            status.is_some()
        });
        status.is_some_and(|status| status.success())
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or(0)
    }
}

impl Drop for Gateway {
    /// Ends it. No secret may be in what it has written and told.
    fn drop(&mut self) {
        let pages = match self.child.try_wait() {
            Ok(None) if !std::thread::panicking() => leaks::pages(self.admin),
            _ => Vec::new(),
        };
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the gateway's log:\n{}", self.log());
            return;
        }
        let inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        let found = leaks::found(self.dir.path(), &inputs, pages);
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

/// Sends a signal to a process.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {pid}");
}

/// Replaces a file at once: a new file renamed over it.
pub fn replace(path: &Path, content: &[u8]) {
    let new = path.with_extension("new");
    let mut file = std::fs::File::create(&new).expect("a new file");
    file.write_all(content).expect("its content");
    drop(file);
    std::fs::rename(&new, path).expect("renamed over the old");
}

/// Waits until `done` holds.
pub fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A request with `Connection: close`, and the answer's status and body.
pub fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
    ask_within(PATIENCE, address, method, path, body)
}

/// The same with another patience.
pub fn ask_within(
    patience: Duration,
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(patience))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = crate::h1::parse(&answer).ok_or(std::io::ErrorKind::InvalidData)?;
    Ok((answer.status, answer.text()))
}
