//! What a listener serves, and how to replace it while it serves.
//!
//! Preparing reads files and changes nothing; committing swaps and cannot fail. Sockets are bound once and never here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use portcullis_config::listener::{Listener, ProxyProtocol};

use crate::strict::Compat;

use super::connection::ListenerInfo;
use super::sources::Sources;
use super::tls::{CertificateInfo, LoadedTls, Staple, TlsError};

/// Why listeners could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// Its TLS does not load.
    #[error("listener `{listener}`: {source}")]
    Tls {
        /// The listener's name.
        listener: String,
        /// What is wrong.
        source: TlsError,
    },
    /// Addresses were added or removed. Sockets are bound at start only.
    #[error("the addresses of listeners changed{}{}; restart or upgrade the process to bind them",
        list(": new ", .added), list(", gone ", .removed))]
    Addresses {
        /// Not bound yet.
        added: Vec<SocketAddr>,
        /// Bound and no longer configured.
        removed: Vec<SocketAddr>,
    },
}

fn list(label: &str, addresses: &[SocketAddr]) -> String {
    if addresses.is_empty() {
        return String::new();
    }
    let names: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    format!("{label}{}", names.join(", "))
}

/// What a listener serves its next connection with.
#[derive(Debug)]
pub(super) struct ListenerState {
    pub info: Arc<ListenerInfo>,
    pub sources: Sources,
    pub proxy_protocol: ProxyProtocol,
    pub h2c: bool,
    pub compat: Compat,
    pub tls: Option<LoadedTls>,
}

impl ListenerState {
    /// Reads what `listener` names. `before` is what is served now, whose sessions stay good.
    fn load(index: usize, listener: &Listener, before: Option<&Self>, now: SystemTime) -> Result<Self, ListenerError> {
        let tls_before = before.and_then(|state| state.tls.as_ref());
        let load = |tls| LoadedTls::load(tls, tls_before, now);
        let tls = listener
            .tls
            .as_ref()
            .map(load)
            .transpose()
            .map_err(|source| ListenerError::Tls {
                listener: listener.name.clone(),
                source,
            })?;
        Ok(Self {
            info: Arc::new(ListenerInfo {
                index,
                name: listener.name.as_str().into(),
            }),
            sources: Sources::new(&listener.sources),
            proxy_protocol: listener.proxy_protocol,
            h2c: listener.h2c,
            compat: Compat::new(&listener.compat),
            tls,
        })
    }
}

/// One bound listener.
#[derive(Debug)]
pub(super) struct ListenerHandle {
    address: SocketAddr,
    state: ArcSwap<ListenerState>,
}

impl ListenerHandle {
    pub(super) fn state(&self) -> Arc<ListenerState> {
        self.state.load_full()
    }
}

/// All bound listeners.
#[derive(Debug)]
pub struct ListenerHandles(Vec<Arc<ListenerHandle>>);

/// New states for all listeners, loaded and checked.
#[derive(Debug)]
#[must_use = "nothing changes until it is committed"]
pub struct PreparedListeners(Vec<(Arc<ListenerHandle>, ListenerState)>);

/// A certificate and the listener that serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedCertificate {
    /// The listener.
    pub listener: Arc<ListenerInfo>,
    /// The certificate.
    pub certificate: CertificateInfo,
}

impl ListenerHandles {
    /// Loads and checks everything that `listeners` name, for [`super::Listeners::build`]. Blocks on the disk.
    pub fn open(listeners: &[Listener]) -> Result<Self, ListenerError> {
        let now = SystemTime::now();
        let handles = listeners.iter().enumerate().map(|(index, listener)| {
            let state = ListenerState::load(index, listener, None, now)?;
            Ok(Arc::new(ListenerHandle {
                address: listener.address,
                state: ArcSwap::from_pointee(state),
            }))
        });
        handles.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<ListenerHandle>> {
        self.0.iter()
    }

    /// Loads and checks what `listeners` ask for, and changes nothing. Blocks on the disk. Everything but addresses may
    /// differ from what is served.
    pub fn prepare(&self, listeners: &[Listener]) -> Result<PreparedListeners, ListenerError> {
        let bound = |address: &SocketAddr| self.0.iter().any(|handle| handle.address == *address);
        let wanted = |address: &SocketAddr| listeners.iter().any(|listener| listener.address == *address);
        let added: Vec<_> = listeners
            .iter()
            .map(|listener| listener.address)
            .filter(|it| !bound(it))
            .collect();
        let removed: Vec<_> = self
            .0
            .iter()
            .map(|handle| handle.address)
            .filter(|it| !wanted(it))
            .collect();
        if !added.is_empty() || !removed.is_empty() {
            return Err(ListenerError::Addresses { added, removed });
        }
        let now = SystemTime::now();
        let mut prepared = Vec::with_capacity(listeners.len());
        for (index, listener) in listeners.iter().enumerate() {
            let Some(handle) = self.0.iter().find(|handle| handle.address == listener.address) else {
                continue;
            };
            let state = ListenerState::load(index, listener, Some(&handle.state()), now)?;
            prepared.push((Arc::clone(handle), state));
        }
        Ok(PreparedListeners(prepared))
    }

    /// Answers about certificates that are served.
    pub fn staples(&self) -> Vec<(Arc<ListenerInfo>, Arc<Staple>)> {
        let states = self.0.iter().map(|handle| handle.state());
        let mut all = Vec::new();
        for state in states {
            let staples = state.tls.iter().flat_map(|tls| &tls.staples);
            all.extend(staples.map(|staple| (Arc::clone(&state.info), Arc::clone(staple))));
        }
        all
    }

    /// The certificates that are served.
    pub fn certificates(&self) -> Vec<ServedCertificate> {
        let mut served = Vec::new();
        for state in self.0.iter().map(|handle| handle.state()) {
            let certificates = state
                .tls
                .as_ref()
                .map(|tls| tls.certificates.as_slice())
                .unwrap_or_default();
            served.extend(certificates.iter().map(|certificate| ServedCertificate {
                listener: Arc::clone(&state.info),
                certificate: certificate.clone(),
            }));
        }
        served
    }
}

impl PreparedListeners {
    /// Serves every new connection with the new state. Open connections keep theirs.
    pub fn commit(self) {
        for (handle, state) in self.0 {
            handle.state.store(Arc::new(state));
        }
    }
}
