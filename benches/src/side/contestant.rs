//! The proxies: which there are, and how each is told to do a scenario as its operators would tell it. Logs are buffered,
//! connections to the upstream are kept, no limit on requests of a connection is in the way.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use portcullis_e2e::bundle::Signer;
use portcullis_e2e::idp::{Idp, Key};
use portcullis_e2e::tls::Authority;
use portcullis_e2e::{ports, skip};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;

use super::process::Server;
use super::scenario::{Scenario, Work};
use super::upstream::{HEAD, TEMPORARY, nginx_arguments};

/// What a contestant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Pingora with nothing around it.
    Bare,
    /// Ours.
    Portcullis,
    /// nginx of the distribution.
    Nginx,
    /// HAProxy of the distribution.
    Haproxy,
    /// nginx with a decision service in Lua, or one that says yes without a look.
    NginxLua,
}

impl Kind {
    /// Whether it can do this work.
    pub fn does(self, work: Work) -> bool {
        match self {
            Self::Portcullis | Self::Nginx => true,
            Self::Bare | Self::Haproxy => !work.decides(),
            Self::NginxLua => work.decides(),
        }
    }
}

/// A proxy that takes part.
#[derive(Debug, Clone)]
pub struct Contestant {
    /// Its name in the table.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its program.
    pub program: PathBuf,
}

impl Contestant {
    /// All that can be found; what cannot is reported. The first is the mark of the ratios.
    pub fn all(also: &[(String, PathBuf)]) -> Vec<Self> {
        let built = |name: &str, kind, variable: &str| {
            let program = std::env::var_os(variable).map_or_else(|| release(name), PathBuf::from);
            let found = program.is_file();
            if !found {
                eprintln!(
                    "!!! {name} does not take part: there is no {} (`make side-by-side` builds it; {variable} names another)",
                    program.display()
                );
            }
            found.then(|| Self {
                name: name.replace('_', "-"),
                kind,
                program,
            })
        };
        let installed = |name: &str, kind| {
            let program = skip::tool("side_by_side", name)?;
            Some(Self {
                name: name.to_owned(),
                kind,
                program,
            })
        };
        let also = also.iter().map(|(name, program)| {
            let bare = name.starts_with("bare");
            Some(Self {
                name: name.clone(),
                kind: if bare { Kind::Bare } else { Kind::Portcullis },
                program: program.clone(),
            })
        });
        [
            built("bare_pingora", Kind::Bare, "BARE_PINGORA_BINARY"),
            built("portcullis", Kind::Portcullis, "PORTCULLIS_BINARY"),
        ]
        .into_iter()
        .chain(also)
        .chain([installed("nginx", Kind::Nginx), installed("haproxy", Kind::Haproxy)])
        .chain([lua()])
        .flatten()
        .collect()
    }
}

/// nginx, where its module for Lua is there.
fn lua() -> Option<Contestant> {
    let program = skip::tool("side_by_side", "nginx")?;
    let found = Path::new(LUA_MODULES).join("ngx_http_lua_module.so").is_file();
    if !found {
        eprintln!("!!! nginx-lua does not take part: install libnginx-mod-http-lua and lua-cjson");
    }
    found.then(|| Contestant {
        name: "nginx-lua".to_owned(),
        kind: Kind::NginxLua,
        program,
    })
}

fn release(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/release")
        .join(name)
}

/// What all contestants of a scenario share: a certificate, and for those who verify it a token and its issuer.
pub struct Stage {
    dir: TempDir,
    authority: CertificateDer<'static>,
    idp: Idp,
    signer: Signer,
    /// A token that Portcullis accepts.
    pub token: String,
}

/// The bundle of the scenario with work: two policies about the request, one rule each, and one that is not about it.
const BUNDLE: &str = "
bundle_version: 1
policies:
- id: api
  spec:
    selector: { pathPrefix: / }
    rules:
    - { name: per-user, limit_keys: [\"jwt:sub\"], algorithm: token_bucket, algorithm_config: { tokens_per_second: 1000000, burst: 1000000 } }
- id: all
  spec:
    selector: { pathPrefix: / }
    rules:
    - { name: everyone, limit_keys: [], algorithm: token_bucket, algorithm_config: { tokens_per_second: 1000000, burst: 1000000 } }
- id: other
  spec: { selector: { pathPrefix: /v2, hosts: [other.example.com] }, rules: [] }
kill_switches:
- { scope_key: ip:address, scope_value: 203.0.113.66, reason: none }
";

/// One rule.
const ONE_RULE: &str = include_str!("../../bundles/one-rule.yaml");
/// Five rules and loop detection.
const FIVE_RULES: &str = include_str!("../../bundles/five-rules.yaml");

/// What makes wrk post.
const POST: &str = "wrk.method = \"POST\"\n";

impl Stage {
    /// A new one.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let authority = Authority::new();
        authority.issue(dir.path(), "server", &["localhost"]);
        let authority = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM");
        let read = |name| fs::read_to_string(dir.path().join(name)).expect("PEM");
        let both = read("server.crt") + &read("server.key");
        fs::write(dir.path().join("both.pem"), both).expect("PEM for HAProxy");
        fs::write(dir.path().join("post.lua"), POST).expect("a script for wrk");
        let key = Key::ed25519("k1");
        Self {
            dir,
            authority,
            idp: Idp::start(&[&key]),
            signer: Signer::new("security"),
            token: key.token(&Idp::claims("alice")),
        }
    }

    /// The certificate of the authority behind the server's.
    pub fn authority(&self) -> CertificateDer<'static> {
        self.authority.clone()
    }

    /// The script with which wrk posts.
    pub fn post(&self) -> String {
        self.file("post.lua")
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

/// A contestant that runs.
pub struct Running {
    /// Its place in the list of contestants.
    pub number: usize,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its processes.
    pub server: Server,
    /// Its folder.
    pub dir: TempDir,
}

/// Starts a contestant for a scenario, in front of `upstream`, on `cores`.
pub fn start(
    number: usize,
    contestant: &Contestant,
    scenario: &Scenario,
    stage: &Stage,
    upstream: SocketAddr,
    cores: &str,
) -> Running {
    start_under(number, contestant, scenario, stage, upstream, cores, None)
}

/// The same under another program with arguments of its own, such as valgrind.
pub fn start_under(
    number: usize,
    contestant: &Contestant,
    scenario: &Scenario,
    stage: &Stage,
    upstream: SocketAddr,
    cores: &str,
    under: Option<&(PathBuf, Vec<String>)>,
) -> Running {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let address = ports::free();
    let plan = Plan {
        scenario,
        stage,
        upstream,
        address,
        dir: dir.path(),
    };
    let arguments = match contestant.kind {
        Kind::Bare => plan.bare(),
        Kind::Portcullis => plan.portcullis(),
        Kind::Nginx if scenario.work.decides() => plan.nginx_decides("", "location = /v1/decision { return 200; }"),
        Kind::Nginx => plan.nginx(),
        Kind::NginxLua => plan.nginx_lua(),
        Kind::Haproxy => plan.haproxy(),
    };
    let (program, arguments) = match under {
        None => (contestant.program.clone(), arguments),
        Some((program, first)) => {
            let own = [contestant.program.display().to_string()];
            (
                program.clone(),
                first.iter().cloned().chain(own).chain(arguments).collect(),
            )
        }
    };
    let mut server = Server::start(&contestant.name, cores, dir.path(), &program, &arguments);
    server.wait_for(address);
    Running {
        number,
        address,
        server,
        dir,
    }
}

struct Plan<'a> {
    scenario: &'a Scenario,
    stage: &'a Stage,
    upstream: SocketAddr,
    address: SocketAddr,
    dir: &'a Path,
}

impl Plan<'_> {
    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.dir.join(name);
        fs::write(&path, content).expect("a file of a contestant");
        path.display().to_string()
    }

    fn bare(&self) -> Vec<String> {
        let threads = self.scenario.threads;
        let mut arguments = vec![
            self.address.to_string(),
            self.upstream.to_string(),
            format!("--threads={threads}"),
        ];
        if self.scenario.tls {
            let files = [self.stage.file("server.crt"), self.stage.file("server.key")];
            arguments.push("--tls".to_owned());
            arguments.extend(files);
        }
        arguments
    }

    fn portcullis(&self) -> Vec<String> {
        let (address, upstream, threads) = (self.address, self.upstream, self.scenario.threads);
        let (certificate, key) = (self.stage.file("server.crt"), self.stage.file("server.key"));
        let tls = if self.scenario.tls {
            format!(", tls: {{ min_version: \"1.3\", certificates: [{{ certificate: {certificate}, key: {key} }}] }}")
        } else {
            String::new()
        };
        let work = self.scenario.work;
        let (sections, filters) = match work {
            Work::Pass => (String::new(), ""),
            Work::Guard => (self.stage.idp.identity("") + &self.policy(BUNDLE), GUARDS),
            Work::Decide => (self.policy(ONE_RULE), "filters: [{ policy: {} }]"),
            Work::DecideFive => {
                let filters = "filters: [{ jwt: { issuer: main } }, { policy: {} }]";
                (self.stage.idp.identity("") + &self.policy(FIVE_RULES), filters)
            }
        };
        let (mode, served) = if work.decides() {
            (", mode: decision", "trusted_proxies: [127.0.0.1]\n".to_owned())
        } else {
            ("", format!("upstreams: {{ app: {{ servers: [\"{upstream}\"] }} }}\n"))
        };
        let to = if work.decides() { "" } else { "proxy: { upstream: app }" };
        let text = format!(
            "listeners: [{{ name: public, address: \"{address}\"{tls}{mode} }}]\n\
             {served}{sections}\
             sites: [{{ hosts: [\"*\"], routes: [{{ {filters} {to} }}] }}]\n\
             limits: {{ connections_per_ip: 20000, keepalive_requests: 100000000 }}\n\
             telemetry: {{ access_log: {{ file: access.log }} }}\n\
             runtime: {{ threads: {threads}, drain_delay: 0s, grace_period: 0s }}\n\
             admin: {{ address: \"{}\" }}\n",
            ports::free()
        );
        let path = self.write("portcullis.yaml", text);
        vec!["run".to_owned(), "--config".to_owned(), path]
    }

    /// Puts a bundle where the section `policy` that it gives finds it.
    fn policy(&self, bundle: &str) -> String {
        self.write("policy.bundle", self.stage.signer.sign(bundle));
        let dir = self.dir.display().to_string();
        self.stage.signer.policy().replace("{dir}", &dir)
    }

    fn nginx_lua(&self) -> Vec<String> {
        self.write("decision.lua", include_str!("decision.lua"));
        let modules =
            format!("load_module {LUA_MODULES}/ndk_http_module.so; load_module {LUA_MODULES}/ngx_http_lua_module.so;");
        let five = u8::from(self.scenario.work == Work::DecideFive);
        let location = format!(
            "location = /v1/decision {{ set $five {five}; content_by_lua_file {}/decision.lua; }}",
            self.dir.display()
        );
        self.nginx_decides(&format!("{modules}\n"), &location)
    }

    /// nginx that answers by itself.
    fn nginx_decides(&self, modules: &str, location: &str) -> Vec<String> {
        let (address, threads) = (self.address, self.scenario.threads);
        let shared = if modules.is_empty() {
            ""
        } else {
            "lua_shared_dict counters 64m;"
        };
        let text = format!(
            "{modules}{HEAD} worker_processes {threads}; pid pid; error_log error.log crit;\n\
             events {{ worker_connections 16384; }}\n\
             http {{ {TEMPORARY} {shared} access_log access.log combined buffer=64k flush=1s;\n\
             keepalive_requests 100000000; keepalive_timeout 600; tcp_nodelay on;\n\
             server {{ listen {address} backlog=8192; {location} }} }}\n"
        );
        self.write("nginx.conf", text);
        nginx_arguments(self.dir)
    }

    fn nginx(&self) -> Vec<String> {
        let (address, upstream, threads) = (self.address, self.upstream, self.scenario.threads);
        let (certificate, key) = (self.stage.file("server.crt"), self.stage.file("server.key"));
        let tls = if self.scenario.tls {
            format!(
                "ssl_protocols TLSv1.3; ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_session_cache shared:s:10m;"
            )
        } else {
            String::new()
        };
        let ssl = if self.scenario.tls { "ssl http2" } else { "" };
        let text = format!(
            "{HEAD} worker_processes {threads}; pid pid; error_log error.log crit;\n\
             events {{ worker_connections 16384; }}\n\
             http {{ {TEMPORARY} access_log access.log combined buffer=64k flush=1s;\n\
             keepalive_requests 100000000; keepalive_timeout 600; tcp_nodelay on;\n\
             upstream app {{ server {upstream}; keepalive 256; keepalive_requests 100000000; }}\n\
             server {{ listen {address} backlog=8192 {ssl}; {tls}\n\
             location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
             proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme; }} }} }}\n"
        );
        self.write("nginx.conf", text);
        nginx_arguments(self.dir)
    }

    fn haproxy(&self) -> Vec<String> {
        let (address, upstream, threads) = (self.address, self.upstream, self.scenario.threads);
        let tls = if self.scenario.tls {
            format!(
                "ssl crt {} alpn h2,http/1.1 ssl-min-ver TLSv1.3",
                self.stage.file("both.pem")
            )
        } else {
            String::new()
        };
        let text = format!(
            "global\n  nbthread {threads}\n  maxconn 9000\n  log stdout format raw local0\n\
             defaults\n  mode http\n  log global\n  option httplog\n  option forwardfor\n  timeout connect 5s\n  timeout client 600s\n  timeout server 600s\n\
             \x20 timeout http-keep-alive 600s\n  http-reuse always\n\
             frontend public\n  bind {address} backlog 8192 {tls}\n  default_backend app\n\
             backend app\n  server one {upstream} pool-max-conn 256\n"
        );
        let path = self.write("haproxy.cfg", text);
        vec!["-db".to_owned(), "-f".to_owned(), path]
    }
}

const GUARDS: &str = "filters: [{ jwt: { issuer: main } }, { policy: {} }, { rate_limit: { key: ip:address, rate: 1000000/s, burst: 1000000 } }],";

/// Where Debian puts the modules of nginx.
const LUA_MODULES: &str = "/usr/lib/nginx/modules";
