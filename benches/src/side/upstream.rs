//! What stands behind every proxy: nginx with bodies of fixed sizes, on the core of the load. It is never measured.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use portcullis_e2e::ports;
use tempfile::TempDir;

use super::process::Server;

/// The bodies by path.
pub const BODIES: [(&str, usize); 3] = [("/small", 65), ("/16k", 16 * 1024), ("/1m", 1024 * 1024)];

/// A running upstream.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    _server: Server,
    _dir: TempDir,
}

impl Upstream {
    /// Starts it on `cores`.
    pub fn start(nginx: &Path, cores: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let address = ports::free();
        fs::create_dir(dir.path().join("html")).expect("its files");
        for (path, size) in BODIES {
            fs::write(html(&dir, path), "x".repeat(size)).expect("a body");
        }
        let root = dir.path().display();
        let text = format!(
            "{HEAD} pid {root}/pid; error_log {root}/error.log crit;\n\
             events {{ worker_connections 16384; }}\n\
             http {{ {TEMPORARY} access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; keepalive_timeout 600;\n\
             open_file_cache max=16; default_type application/octet-stream;\n\
             server {{ listen {address} backlog=8192; root {root}/html; }} }}\n"
        );
        fs::write(dir.path().join("nginx.conf"), text).expect("its configuration");
        let mut server = Server::start("upstream", cores, dir.path(), nginx, &nginx_arguments(dir.path()));
        server.wait_for(address);
        Self {
            address,
            _server: server,
            _dir: dir,
        }
    }
}

/// How an nginx of ours begins: in the foreground, its workers as whoever runs it, so that they can read its folder.
pub const HEAD: &str = "daemon off; worker_rlimit_nofile 20000;";

/// Folders that nginx wants though nothing is put there, relative to its own.
pub const TEMPORARY: &str = "client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s; client_max_body_size 0;";

/// Runs nginx in `dir` with `dir/nginx.conf`.
pub fn nginx_arguments(dir: &Path) -> Vec<String> {
    let mut arguments = vec![
        "-p".to_owned(),
        dir.display().to_string(),
        "-c".to_owned(),
        dir.join("nginx.conf").display().to_string(),
    ];
    if rustix::process::geteuid().is_root() {
        arguments.extend(["-g".to_owned(), "user root;".to_owned()]);
    }
    arguments
}

fn html(dir: &TempDir, path: &str) -> PathBuf {
    dir.path().join("html").join(path.trim_start_matches('/'))
}
