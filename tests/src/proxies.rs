//! Proxies that the same cases are run against: Portcullis, Debian's nginx, and a bare Pingora proxy, each in front of one
//! origin, with a plaintext and a TLS listener, and with its defaults wherever the trial does not need another value.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tempfile::TempDir;

use crate::gateway::{self, Builder, Gateway, wait};
use crate::tls::Authority;
use crate::{ports, skip};

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The binary of this repository.
    Portcullis,
    /// The nginx that is installed.
    Nginx,
    /// `bare_pingora` of the benches.
    Pingora,
}

impl Which {
    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "portcullis" => Some(Self::Portcullis),
            "nginx" => Some(Self::Nginx),
            "pingora" => Some(Self::Pingora),
            _ => None,
        }
    }
}

/// A running proxy. Ended when dropped.
pub struct Proxy {
    /// Where it speaks HTTP/1 without TLS.
    pub plain: SocketAddr,
    secure: SocketAddr,
    client: Arc<ClientConfig>,
    /// Portcullis.
    pub gateway: Option<Gateway>,
    _children: Vec<Ended>,
    _dir: TempDir,
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Proxy {
    /// Starts one in front of `origin`. `None`: it is not installed.
    pub fn start(which: Which, origin: SocketAddr) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let authority = Authority::new();
        authority.issue(dir.path(), "a", &["a"]);
        let (mut plain, secure) = (ports::free(), ports::free());
        let mut children = Vec::new();
        let mut gateway = None;
        match which {
            Which::Portcullis => {
                let running = portcullis(dir.path(), secure, origin);
                plain = running.public;
                gateway = Some(running);
            }
            Which::Nginx => children.push(nginx(dir.path(), plain, secure, origin)?),
            Which::Pingora => {
                children.push(pingora(dir.path(), plain, origin, false));
                children.push(pingora(dir.path(), secure, origin, true));
            }
        }
        for address in [plain, secure] {
            wait("the proxy", || TcpStream::connect(address).is_ok());
        }
        let mut client = authority.client(&[]);
        client.alpn_protocols = vec![b"h2".to_vec()];
        Some(Self {
            plain,
            secure,
            client: Arc::new(client),
            gateway,
            _children: children.into_iter().map(Ended).collect(),
            _dir: dir,
        })
    }

    /// A connection with TLS that has agreed on HTTP/2. Reads give up after `patience`.
    pub fn http2(&self, patience: Duration) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let stream = TcpStream::connect(self.secure)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let name = ServerName::try_from("a").expect("a name");
        let client = ClientConnection::new(Arc::clone(&self.client), name).map_err(std::io::Error::other)?;
        Ok(StreamOwned::new(client, stream))
    }
}

/// One server and nothing that ejects it; short times for what never comes.
fn portcullis(dir: &Path, secure: SocketAddr, origin: SocketAddr) -> Gateway {
    let dir = dir.display();
    Builder::new(&format!(
        "listeners:\n- {{ name: public, address: \"{{public}}\" }}\n- {{ name: tls, address: \"{secure}\", tls: {{ certificates: [{{ certificate: \"{dir}/a.crt\", key: \"{dir}/a.key\" }}] }} }}\n\
         limits: {{ header_timeout: 1s, body_idle_timeout: 1s, new_connections_per_ip: {{ rate: 100000/s, burst: 100000 }} }}\n\
         upstreams: {{ app: {{ servers: [\"{origin}\"], passive_health: {{ failures: 0 }} }} }}\n\
         sites: [{{ hosts: [\"*\"], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n"
    ))
    .start()
}

fn nginx(dir: &Path, plain: SocketAddr, secure: SocketAddr, origin: SocketAddr) -> Option<Child> {
    let binary = skip::tool("the corpus against nginx", "nginx")?;
    let root = dir.display();
    let configuration = format!(
        "daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error.log crit;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; client_body_temp_path {root}/body;\n\
         proxy_temp_path {root}/p; fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
         client_header_timeout 1s; client_body_timeout 1s;\n\
         upstream app {{ server {origin} max_fails=0; keepalive 16; }}\n\
         server {{ listen {plain} default_server; listen {secure} ssl http2 default_server;\n\
         ssl_certificate {root}/a.crt; ssl_certificate_key {root}/a.key;\n\
         location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }} }}\n"
    );
    std::fs::write(dir.join("nginx.conf"), configuration).expect("nginx.conf");
    let mut command = Command::new(binary);
    command.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf"));
    // As root, its workers would run as nobody and could not write into the folder.
    if crate::nginx::is_root() {
        command.args(["-g", "user root;"]);
    }
    Some(quiet(command, dir))
}

fn pingora(dir: &Path, listen: SocketAddr, origin: SocketAddr, tls: bool) -> Child {
    let mut command = Command::new(bare_pingora());
    command.arg(listen.to_string()).arg(origin.to_string());
    if tls {
        command.arg("--tls").arg(dir.join("a.crt")).arg(dir.join("a.key"));
    }
    quiet(command, dir)
}

fn quiet(mut command: Command, dir: &Path) -> Child {
    let log = std::fs::File::create(dir.join("stderr.log")).expect("a log");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the proxy starts")
}

/// The bare proxy, built beside Portcullis.
fn bare_pingora() -> PathBuf {
    let path = gateway::binary().with_file_name("bare_pingora");
    if !path.exists() {
        let status = Command::new(env!("CARGO"))
            .args(["build", "-p", "portcullis-benches", "--bin", "bare_pingora"])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "the bare proxy could not be built"
        );
    }
    path
}

/// What it calls itself.
pub fn version(which: Which) -> String {
    let output = |binary: &str, argument: &str| {
        let output = Command::new(binary).arg(argument).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        Some(text.lines().next()?.trim_start_matches("nginx version: ").to_owned())
    };
    let said = match which {
        Which::Portcullis => output(&gateway::binary().display().to_string(), "version"),
        Which::Nginx => output("/usr/sbin/nginx", "-v"),
        Which::Pingora => Some("pingora 0.9.1, every default".to_owned()),
    };
    said.unwrap_or_default()
}
