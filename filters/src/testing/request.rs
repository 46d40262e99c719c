//! A request with everything settable.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis_bundles::policies::Policies;
use portcullis_bundles::switches::{AllSwitches, Switches};
use serde_json::Value;

use super::START;
use crate::claims::Claims;
use crate::client::{Client, ClientCertificate, Now};
use crate::facts::{Body, Facts};
use crate::geoip::GeoIp;
use crate::policy::Trial;
use crate::request::{Bundle, Head, PolicyView, Request};
use crate::tenant::TenantId;

/// A request that can be put before a filter or a chain, any number of times.
#[derive(Clone)]
pub struct RequestBuilder {
    method: Method,
    host: String,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    client: Client,
    now: Now,
    claims: Option<Arc<Claims>>,
    bundle: Policy,
    trial: Option<Arc<Trial>>,
    switches: AllSwitches,
    body: Bytes,
    route: Option<String>,
    geoip: Option<Arc<GeoIp>>,
    certificate: Option<Arc<ClientCertificate>>,
    tenant: Option<TenantId>,
}

#[derive(Clone)]
enum Policy {
    Unconfigured,
    Missing(&'static str),
    Loaded(Arc<Policies>),
}

impl RequestBuilder {
    /// A request for `path?query` on `example.com`, from 192.0.2.1, at [`START`].
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(path, query)| (path, Some(query)));
        let address = IpAddr::from([192, 0, 2, 1]);
        Self {
            method: Method::from_bytes(method.as_bytes()).expect("a method"),
            host: "example.com".to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            headers: HeaderMap::new(),
            client: Client {
                address,
                peer: address,
                peer_is_trusted: false,
                tls: false,
            },
            now: START,
            claims: None,
            bundle: Policy::Unconfigured,
            trial: None,
            switches: AllSwitches::default(),
            body: Bytes::new(),
            route: None,
            geoip: None,
            certificate: None,
            tenant: None,
        }
    }

    /// A GET.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// Sets the host.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        self.headers
            .append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
        self
    }

    /// Sets the client's address, and the connection's.
    #[must_use]
    pub fn ip(mut self, address: &str) -> Self {
        self.client.address = address.parse().expect("an address");
        self.client.peer = self.client.address;
        self
    }

    /// Puts a trusted proxy between the client and us.
    #[must_use]
    pub fn via(mut self, peer: &str) -> Self {
        self.client.peer = peer.parse().expect("an address");
        self.client.peer_is_trusted = true;
        self
    }

    /// The client speaks TLS.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.client.tls = true;
        self
    }

    /// Sets the time.
    #[must_use]
    pub fn at(mut self, now: Now) -> Self {
        self.now = now;
        self
    }

    /// Gives it verified claims (a JSON object), as an identity filter would.
    #[must_use]
    pub fn claims(mut self, claims: Value) -> Self {
        let Value::Object(values) = claims else {
            panic!("claims are an object")
        };
        self.claims = Some(Arc::new(Claims::new("test", i64::MAX, values)));
        self
    }

    /// Puts a bundle in force, with its kill switches.
    #[must_use]
    pub fn policies(mut self, policies: Arc<Policies>) -> Self {
        self.switches = AllSwitches::new([Arc::clone(policies.switches())]);
        self.bundle = Policy::Loaded(policies);
        self
    }

    /// Tries a bundle beside the one in force.
    #[must_use]
    pub fn trial(mut self, trial: &Arc<Trial>) -> Self {
        self.trial = Some(Arc::clone(trial));
        self
    }

    /// There should be a bundle, and is none.
    #[must_use]
    pub fn bundle_missing(mut self, reason: &'static str) -> Self {
        self.bundle = Policy::Missing(reason);
        self
    }

    /// Puts kill switches in force.
    #[must_use]
    pub fn switches(mut self, switches: Switches) -> Self {
        self.switches = AllSwitches::new([Arc::new(switches)]);
        self
    }

    /// It took the route of this name.
    #[must_use]
    pub fn route(mut self, name: &str) -> Self {
        self.route = Some(name.to_owned());
        self
    }

    /// Looks its address up here.
    #[must_use]
    pub fn geoip(mut self, geoip: Arc<GeoIp>) -> Self {
        self.geoip = Some(geoip);
        self
    }

    /// Its client showed a certificate, and it was verified.
    #[must_use]
    pub fn certificate(mut self, certificate: ClientCertificate) -> Self {
        self.certificate = Some(Arc::new(certificate));
        self
    }

    /// It is known to be this tenant's.
    #[must_use]
    pub fn tenant(mut self, name: &str) -> Self {
        self.tenant = Some(TenantId::new(name).expect("the name of a tenant"));
        self
    }

    /// Gives it a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Its body, held back as the gateway does: at most `most` bytes.
    pub fn held(&self, most: usize) -> Body {
        if self.body.len() <= most {
            Body::whole(self.body.clone())
        } else {
            Body::TooLarge
        }
    }

    /// What a filter would find out before the one that is tested.
    pub fn facts(&self) -> Facts {
        Facts {
            claims: self.claims.clone(),
            certificate: self.certificate.clone(),
            tenant: self.tenant.clone(),
            ..Facts::default()
        }
    }

    /// The time.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Calls `look` with what came in.
    pub fn with_head<R>(&self, look: impl FnOnce(&Head<'_>) -> R) -> R {
        look(&Head {
            method: &self.method,
            host: &self.host,
            authority: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
            client: &self.client,
            route: self.route.as_deref(),
            geoip: self.geoip.as_deref(),
            now: self.now,
        })
    }

    /// Calls `look` with the request.
    pub fn with<R>(&self, facts: &mut Facts, look: impl FnOnce(&mut Request<'_>) -> R) -> R {
        let bundle = match &self.bundle {
            Policy::Unconfigured => Bundle::Unconfigured,
            Policy::Missing(reason) => Bundle::Missing(reason),
            Policy::Loaded(policies) => Bundle::Loaded(policies),
        };
        let policy = PolicyView {
            bundle,
            trial: self.trial.as_deref(),
            switches: &self.switches,
        };
        self.with_head(|head| look(&mut Request { head, facts, policy }))
    }
}
