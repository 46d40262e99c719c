//! Everything that the demo is made of: folder, files, upstream, identity provider, and a gateway that is loaded as any
//! other is.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::files::{self, Addresses, CONFIG};
use super::folder::Folder;
use super::local::{Provider, start_upstream};
use crate::admin::control::Control as _;
use crate::admin::wire::ReadyStatus;
use crate::live::Live;

/// Longest that the gateway may take to be there.
const PATIENCE: Duration = Duration::from_secs(30);

/// The demo's world.
pub(super) struct World {
    /// Its files.
    pub(super) folder: Folder,
    /// Who listens where.
    pub(super) addresses: Addresses,
    /// The identity provider.
    pub(super) provider: Arc<Provider>,
    /// The gateway.
    pub(super) live: Arc<Live>,
}

impl World {
    /// Starts upstream and provider on `runtime`, and loads the gateway, which serves nothing yet.
    pub(super) fn new(runtime: &Runtime, port: u16, log: &str) -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let upstream = runtime.block_on(start_upstream())?;
        let (provider, provider_address) = runtime.block_on(Provider::start())?;
        let (public, admin) = free(port)?;
        let addresses = Addresses {
            public,
            admin,
            upstream,
            provider: provider_address,
        };
        files::write(&folder, &addresses, log)?;
        let live = Live::start(&folder.path(CONFIG))?;
        Ok(Self {
            folder,
            addresses,
            provider,
            live,
        })
    }

    /// Waits until the gateway serves and its policy is in force.
    pub(super) async fn ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let readiness = self.live.readiness();
            let listening = |address| async move { TcpStream::connect(address).await.is_ok() };
            let listens = listening(self.addresses.public).await && listening(self.addresses.admin).await;
            if listens && readiness.status == ReadyStatus::Ready {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "the gateway is not ready after {PATIENCE:?}: {}",
                    readiness.reasons.join(", ")
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Two loopback addresses that nothing listens on; the first with this port, if it is not 0.
fn free(port: u16) -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let public =
        bind(port).with_context(|| format!("127.0.0.1:{port} cannot be listened on; choose another --port"))?;
    let admin = bind(0).context("no free port on 127.0.0.1")?;
    Ok((public.local_addr()?, admin.local_addr()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_said_to_be() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(free(port).unwrap_err().to_string().contains("choose another --port"));
        let (public, admin) = free(0).unwrap();
        assert_ne!(public, admin);
    }
}
