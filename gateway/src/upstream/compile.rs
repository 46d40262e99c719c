//! From upstreams as written to upstreams that can be chosen from. Reads the TLS files that are named and nothing else;
//! changes nothing that serves: the state of servers is shared with the previous snapshot, not touched.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::upstream::{Balance, Upstream as Written, UpstreamProtocol};

use super::address::{AddressError, Target};
use super::balance::{Member, Strategy, Tier};
use super::clock::Clock;
use super::endpoint::HealthKinds;
use super::health::Check;
use super::peer::PeerTemplate;
use super::ring;
use super::server::{Group, GroupState, Server, ServerState};
use super::tls::{SystemRoots, Tls};
use super::{Retired, Upstream, Upstreams};

/// The most servers of one upstream.
const MAX_SERVERS: usize = 1024;

/// Why an upstream cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("upstream `{upstream}`: {problem}")]
pub struct CompileError {
    /// Its name.
    pub upstream: String,
    /// What is wrong and how to mend it.
    pub problem: Problem,
}

/// What is wrong with an upstream, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The texts say it.
pub enum Problem {
    #[error("it has no server: name at least one under `servers`")]
    NoServer,
    #[error("it has {count} servers: {MAX_SERVERS} is the most")]
    TooManyServers { count: usize },
    #[error("server `{server}`: {error}")]
    Address { server: String, error: AddressError },
    #[error("server `{server}` is listed twice: give it a greater `weight` instead")]
    ListedTwice { server: String },
    #[error("server `{server}` has weight 0: remove it, or give it 1 or more")]
    NoWeight { server: String },
    #[error(
        "the weights sum up to {sum}, and consistent hashing allows {}: divide them by a common factor",
        ring::MAX_WEIGHT
    )]
    TooHeavy { sum: u64 },
    #[error("`protocol: auto` chooses by ALPN and needs `tls`: add it, or write `http1` or `http2`")]
    AutoNeedsTls,
    #[error("`health.path` `{path}` cannot be requested: write a path such as `/healthz`")]
    CheckPath { path: String },
    #[error("`health.host` `{host}` cannot be sent: write a host name, with a port or without")]
    CheckHost { host: String },
    #[error("`health.interval` must be {least:?} or longer")]
    CheckInterval { least: Duration },
    #[error("`health.timeout` must be longer than nothing")]
    CheckTimeout,
    #[error("`health.statuses` is empty, so no server could ever be healthy: name at least one, such as 200")]
    NoCheckStatus,
    #[error("`tls.server_name` `{name}` is no DNS name and no IP address: write the name in the servers' certificate")]
    ServerName { name: String },
    #[error("`tls.certificate` and `tls.key` belong together: name both or neither")]
    HalfAClientCertificate,
    #[error("`{}` cannot be read: {error}; check that it exists and that the gateway's user may read it", path.display())]
    Read { path: PathBuf, error: String },
    #[error("`{}` is no list of PEM certificates: {error}", path.display())]
    Certificate { path: PathBuf, error: String },
    #[error("`{}` is no PEM private key (PKCS#8, PKCS#1 or SEC1): {error}", path.display())]
    Key { path: PathBuf, error: String },
    #[error("`{}` does not fit the key `{}`: {error}", certificate.display(), key.display())]
    KeyPair {
        certificate: PathBuf,
        key: PathBuf,
        error: String,
    },
    #[error(
        "the system's trust store cannot be used: {0}; install `ca-certificates`, set SSL_CERT_FILE, or name `tls.ca`"
    )]
    SystemRoots(String),
    #[error("the TLS library refuses its own settings: {0}")]
    Provider(String),
}

/// What all upstreams of one compilation share.
struct Compiler<'a> {
    previous: Option<&'a Upstreams>,
    clock: Clock,
    system: SystemRoots,
}

impl Upstreams {
    /// Builds all upstreams, or says everything that is wrong with them. Servers that `previous` already has (same upstream
    /// name, same address) keep their health, their addresses and their requests in flight.
    pub fn compile(config: &BTreeMap<String, Written>, previous: Option<&Self>) -> Result<Self, Vec<CompileError>> {
        let clock = previous.map_or_else(Clock::real, |previous| previous.clock.clone());
        let mut compiler = Compiler {
            previous,
            clock: clock.clone(),
            system: SystemRoots::default(),
        };
        let mut errors = Vec::new();
        let mut list = Vec::with_capacity(config.len());
        for (name, written) in config {
            match compiler.upstream(name, written) {
                Ok(upstream) => list.push(Arc::new(upstream)),
                Err(problems) => errors.extend(problems.into_iter().map(|problem| CompileError {
                    upstream: name.clone(),
                    problem,
                })),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let retired = retire(previous, &list);
        Ok(Self {
            list: list.into(),
            retired,
            clock,
        })
    }
}

impl Compiler<'_> {
    fn upstream(&mut self, name: &str, written: &Written) -> Result<Upstream, Vec<Problem>> {
        let mut problems = Vec::new();
        let targets = targets(written, &mut problems);
        let tls = self.tls(written).unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        let check = Check::compile(written, tls.as_ref()).unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        let template = Arc::new(PeerTemplate::new(name, written, tls.as_ref()));
        let states: Box<[_]> = written
            .servers
            .iter()
            .zip(&targets)
            .map(|(server, target)| self.state(name, &server.address, target))
            .collect();
        let group = Arc::new(Group {
            name: name.into(),
            kinds: HealthKinds {
                active: check.is_some(),
                passive: written.passive_health.failures > 0,
            },
            passive: written.passive_health.clone(),
            clock: self.clock.clone(),
            members: states.clone(),
            shared: self.group_state(name),
        });
        let servers: Box<[Arc<Server>]> = written
            .servers
            .iter()
            .zip(targets)
            .zip(states)
            .map(|((server, target), state)| {
                Arc::new(Server::new(
                    server,
                    target,
                    state,
                    Arc::clone(&group),
                    Arc::clone(&template),
                ))
            })
            .collect();
        let tls13_only = tls.is_some_and(|tls| tls.tls13_only);
        Ok(Upstream {
            tls13_only,
            ..assemble(name, written, servers, group, check)
        })
    }

    fn tls(&mut self, written: &Written) -> Result<Option<Tls>, Problem> {
        match &written.tls {
            None if written.protocol == UpstreamProtocol::Auto => Err(Problem::AutoNeedsTls),
            None => Ok(None),
            Some(tls) => Tls::load(tls, written.protocol, &mut self.system).map(Some),
        }
    }

    fn state(&self, upstream: &str, address: &str, target: &Target) -> Arc<ServerState> {
        self.previous
            .and_then(|previous| previous.state(upstream, address))
            .unwrap_or_else(|| Arc::new(ServerState::for_target(target)))
    }

    fn group_state(&self, upstream: &str) -> Arc<GroupState> {
        let previous = self
            .previous
            .and_then(|previous| previous.get(previous.index_of(upstream)?));
        previous
            .map(|upstream| Arc::clone(&upstream.group.shared))
            .unwrap_or_default()
    }
}

fn targets(written: &Written, problems: &mut Vec<Problem>) -> Vec<Target> {
    let count = written.servers.len();
    if count == 0 {
        problems.push(Problem::NoServer);
    }
    if count > MAX_SERVERS {
        problems.push(Problem::TooManyServers { count });
    }
    let sum = written.servers.iter().map(|server| u64::from(server.weight)).sum();
    if strategy(&written.balance) == Strategy::ConsistentHash && sum > ring::MAX_WEIGHT {
        problems.push(Problem::TooHeavy { sum });
    }
    let mut seen = HashSet::new();
    let mut targets = Vec::with_capacity(count);
    for server in &written.servers {
        let name = || server.address.clone();
        if !seen.insert(server.address.as_str()) {
            problems.push(Problem::ListedTwice { server: name() });
        }
        if server.weight == 0 {
            problems.push(Problem::NoWeight { server: name() });
        }
        match Target::parse(&server.address) {
            Ok(target) => targets.push(target),
            Err(error) => problems.push(Problem::Address { server: name(), error }),
        }
    }
    targets
}

fn strategy(balance: &Balance) -> Strategy {
    match balance {
        Balance::RoundRobin => Strategy::RoundRobin,
        Balance::LeastConnections => Strategy::LeastConnections,
        Balance::RandomTwo => Strategy::RandomTwo,
        Balance::ConsistentHash(_) => Strategy::ConsistentHash,
    }
}

fn assemble(
    name: &str,
    written: &Written,
    servers: Box<[Arc<Server>]>,
    group: Arc<Group>,
    check: Option<Check>,
) -> Upstream {
    let strategy = strategy(&written.balance);
    let members = || {
        servers.iter().enumerate().map(|(index, server)| Member {
            index,
            server: Arc::clone(server),
        })
    };
    let (backups, primaries): (Vec<_>, Vec<_>) = members().partition(|member| member.server.is_backup());
    let hash_key = match &written.balance {
        Balance::ConsistentHash(hash) => Some(hash.key.clone()),
        _ => None,
    };
    Upstream {
        name: name.into(),
        strategy,
        primaries: Tier::new(primaries, strategy),
        backups: Tier::new(backups, strategy),
        servers,
        group,
        check: check.map(Arc::new),
        retry: written.retry.clone(),
        host: written.host.clone(),
        protocol: written.protocol,
        hash_key,
        concurrency: written.concurrency.minimum..=written.concurrency.maximum,
        tls13_only: false,
    }
}

// Servers that are gone but still have requests in flight are remembered, so that they are counted if they come back.
fn retire(previous: Option<&Upstreams>, list: &[Arc<Upstream>]) -> Box<[Retired]> {
    let Some(previous) = previous else {
        return Box::default();
    };
    let servers = list.iter().flat_map(|upstream| &upstream.servers);
    let kept: HashSet<_> = servers.map(|server| Arc::as_ptr(&server.state)).collect();
    previous
        .states()
        .filter(|gone| gone.is_busy() && !kept.contains(&Arc::as_ptr(&gone.state)))
        .collect()
}
