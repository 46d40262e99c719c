//! The mark that Portcullis is measured against: the smallest proxy that Pingora makes, every default left alone. One
//! upstream, no filter, no log line. Built with the same profile; with `--features jemalloc` on the same allocator too.

use std::path::PathBuf;

use async_trait::async_trait;
use clap::Parser;
use pingora_core::Result;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Forwards everything to one upstream.
#[derive(Parser)]
struct Options {
    /// Where to listen: 127.0.0.1:8080.
    listen: String,
    /// The upstream, spoken to in HTTP/1.1 without TLS.
    upstream: String,
    /// Certificate and key in PEM: listen with TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    #[arg(long, num_args = 2, value_names = ["CERTIFICATE", "KEY"])]
    tls: Vec<PathBuf>,
    /// Threads that serve.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

struct Bare(String);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0.as_str(), false, String::new())))
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let configuration = ServerConf {
        threads: options.threads,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare(options.upstream));
    if let [certificate, key] = options.tls.as_slice() {
        let mut tls = TlsSettings::intermediate(&certificate.to_string_lossy(), &key.to_string_lossy())?;
        tls.enable_h2();
        service.add_tls_with_settings(&options.listen, None, tls);
    } else {
        service.add_tcp(&options.listen);
    }
    server.add_service(service);
    server.run_forever()
}
