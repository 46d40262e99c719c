//! The `ip_access` filter: denied, then allowed.

use std::collections::BTreeSet;

use http::StatusCode;
use ipnet::IpNet;
use portcullis_config::diagnostic::{Diagnostic, codes};

use super::config::{IpAccessConfig, Source};
use super::networks::Networks;
use crate::filter::{Filter, Phases};
use crate::request::Request;
use crate::verdict::{CONTINUE, Denial, Outcome, Reason};
use crate::zones::BuildEnv;

/// Most networks of a list.
const MAX_NETWORKS: usize = 100_000;
const IP_DENIED: Reason = Reason("ip_denied");

/// Lets requests pass by the address they come from.
#[derive(Debug)]
pub struct IpAccess {
    allow: Networks,
    deny: Networks,
    source: Source,
}

impl Filter for IpAccess {
    const KIND: &'static str = "ip_access";
    const PHASES: Phases = Phases::REQUEST;
    type Config = IpAccessConfig;
    type State = ();

    fn build(config: IpAccessConfig, env: &mut BuildEnv<'_>) -> Result<Self, Diagnostic> {
        if config.allow.is_empty() && config.deny.is_empty() {
            let message = "`ip_access` has neither `allow` nor `deny`, so that it would do nothing";
            return Err(env.wrong(codes::MISSING_KEY, "", message));
        }
        for (key, list) in [("allow", &config.allow), ("deny", &config.deny)] {
            if list.len() > MAX_NETWORKS {
                return Err(env.wrong(codes::OUT_OF_RANGE, key, format!("more than {MAX_NETWORKS} networks")));
            }
        }
        let allowed: BTreeSet<IpNet> = config.allow.iter().map(|network| network.0).collect();
        if let Some(both) = config.deny.iter().find(|network| allowed.contains(&network.0)) {
            let message = format!("`{both}` is both allowed and denied");
            return Err(env
                .wrong(codes::CONFLICTING_KEYS, "deny", message)
                .help("`deny` wins: take it out of one list"));
        }
        Ok(Self {
            allow: Networks::new(config.allow.into_iter().map(|network| network.0)),
            deny: Networks::new(config.deny.into_iter().map(|network| network.0)),
            source: config.source,
        })
    }

    fn on_request(&self, (): &mut (), request: &mut Request<'_>) -> Outcome {
        let address = match self.source {
            Source::Client => request.head.client.address,
            Source::Peer => request.head.client.peer,
        };
        let allowed = self.allow.is_empty() || self.allow.has(address);
        if allowed && !self.deny.has(address) {
            return CONTINUE;
        }
        Ok(Denial::new(StatusCode::FORBIDDEN, IP_DENIED).into())
    }
}
