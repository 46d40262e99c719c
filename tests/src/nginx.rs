//! Debian's nginx as an upstream, in the foreground, in a folder of its own.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::gateway::wait;
use crate::{ports, skip};

/// A running nginx. Killed when dropped.
pub struct Nginx {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its folder; `html` is what it serves.
    pub dir: TempDir,
    child: Child,
}

impl Nginx {
    /// Starts one that serves `html`. `server` is added to its server block. `None`: nginx is not installed, and the skip
    /// of `test` was reported.
    pub fn start(test: &str, server: &str) -> Option<Self> {
        let binary = skip::tool(test, "nginx")?;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let address = ports::free();
        std::fs::create_dir(dir.path().join("html")).expect("html");
        std::fs::write(dir.path().join("html/index.html"), "hello from nginx\n").expect("index.html");
        let root = dir.path().display();
        let configuration = format!(
            "daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error.log warn;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; client_max_body_size 0; client_body_temp_path {root}/body;\n\
             proxy_temp_path {root}/p; fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
             keepalive_requests 1000000;\n\
             server {{ listen {address}; root {root}/html; {server} }} }}\n"
        );
        std::fs::write(dir.path().join("nginx.conf"), configuration).expect("nginx.conf");
        // As root, its workers would run as nobody and could not read the folder.
        let user = if is_root() { "user root;" } else { "" };
        let child = Command::new(binary)
            .arg("-p")
            .arg(dir.path())
            .arg("-c")
            .arg(dir.path().join("nginx.conf"))
            .arg("-g")
            .arg(user)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts");
        let nginx = Self { address, dir, child };
        wait("nginx", || TcpStream::connect(address).is_ok());
        Some(nginx)
    }
}

pub(crate) fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t"))
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}
