//! `portcullis edge` as a child process, with nothing but an environment.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::gateway::{binary, wait};
use crate::h1::{self, Answer};
use crate::{leaks, ports};

/// A running one. Killed when dropped.
pub struct Edge {
    /// Its folder: `policy.json`, `state`, `stderr.log`.
    pub dir: TempDir,
    /// Its one port.
    pub address: SocketAddr,
    child: Child,
}

impl Edge {
    /// Starts one with this bundle as its file, and these variables, and waits until it is live.
    pub fn start(bundle: &str, environment: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("policy.json"), bundle).expect("a bundle");
        let file = dir.path().join("policy.json").display().to_string();
        let mut variables = vec![("FAIRVISOR_CONFIG_FILE", file.as_str())];
        variables.extend_from_slice(environment);
        Self::spawn(dir, &variables)
    }

    /// Starts one with these variables alone.
    pub fn bare(environment: &[(&str, &str)]) -> Self {
        Self::spawn(tempfile::tempdir().expect("a temporary folder"), environment)
    }

    fn spawn(dir: TempDir, environment: &[(&str, &str)]) -> Self {
        let secret =
            |(name, _): &&(&str, &str)| name.contains("TOKEN") || name.contains("SECRET") || name.contains("KEY");
        environment
            .iter()
            .filter(secret)
            .for_each(|(_, value)| leaks::used(value));
        let address = ports::free();
        let child = command(&dir, address, environment).spawn().expect("the binary starts");
        let edge = Self { dir, address, child };
        wait("the port of edge", || TcpStream::connect(address).is_ok());
        wait("/livez of edge", || edge.get("/livez").status == 200);
        edge
    }

    /// Starts one that does not stay; its exit code and what it said.
    pub fn refused(environment: &[(&str, &str)]) -> (Option<i32>, String) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut child = command(&dir, ports::free(), environment)
            .spawn()
            .expect("the binary starts");
        let mut code = None;
        wait("its end", || {
            code = child.try_wait().expect("the process");
            code.is_some()
        });
        let said = std::fs::read_to_string(dir.path().join("stderr.log")).unwrap_or_default();
        (code.and_then(|code| code.code()), said)
    }

    /// GET.
    pub fn get(&self, path: &str) -> Answer {
        h1::get(self.address, "edge", path, &[])
    }

    /// A request with these fields.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        h1::request(self.address, method, "edge", path, headers, b"")
    }

    /// `POST /v1/decision` about a GET of `uri`.
    pub fn decide(&self, uri: &str, headers: &[(&str, &str)]) -> Answer {
        let mut fields = vec![("X-Original-Method", "GET"), ("X-Original-URI", uri)];
        fields.extend_from_slice(headers);
        self.ask("POST", "/v1/decision", &fields)
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard error and standard output.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("stderr.log")).unwrap_or_default()
    }
}

fn command(dir: &TempDir, address: SocketAddr, environment: &[(&str, &str)]) -> Command {
    let log = std::fs::File::create(dir.path().join("stderr.log")).expect("stderr.log");
    let mut command = Command::new(binary());
    command
        .arg("edge")
        .env_clear()
        .env("PORTCULLIS_LISTEN", address.to_string())
        .env("PORTCULLIS_ADMIN", ports::free().to_string())
        .env("PORTCULLIS_STATE_DIR", dir.path().join("state"))
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("stderr.log"))
        .stderr(log);
    command
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the log of edge:\n{}", self.log());
            return;
        }
        let inputs = [self.path("policy.json")].into();
        let found = leaks::found(self.dir.path(), &inputs, Vec::new());
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
