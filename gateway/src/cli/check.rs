//! `portcullis check`: everything that a start would stumble over, found without one. Reads what the gateway would read:
//! configuration, certificates, secrets, state folder, bundle. Writes nothing, binds nothing, asks nobody.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use portcullis_bundles::loader::{Accepted, Loader, Settings};
use portcullis_bundles::policies::Policies;
use portcullis_bundles::seal::Vault;
use portcullis_bundles::source::FileSource;
use portcullis_bundles::store::{LastGood, State, Store};
use portcullis_bundles::trust::Trust;
use portcullis_config::diagnostic::{Diagnostic, Diagnostics, codes};
use portcullis_config::load::{Loaded, load};
use portcullis_config::policy::Policy;
use portcullis_filters::policy::PolicyExaminer;
use portcullis_filters::zones::{Entropy, Zones};

use super::format::{Format, count, say_line, tell, tell_line};
use crate::compile::{Heritage, compile, unmet};
use crate::control_plane::check_token;
use crate::listener::ListenerHandles;
use crate::snapshot::Gateway;
use crate::state;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis check --config portcullis.yaml
  portcullis check --config portcullis.yaml --format json
  portcullis -t -c portcullis.yaml

Run it as the gateway's user: it must be able to read what the gateway reads. A bundle that comes
from a URL is not fetched; the last good one of the state folder stands for it.

Exit codes: 0 = right, 1 = not, 2 = wrong arguments.";

/// The code of a route that lacks a filter which the bundle requires.
const UNMET_REQUIREMENT: &str = "unmet-requirement";

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The configuration.
    #[arg(short, long, default_value = super::DEFAULT_CONFIG, env = "PORTCULLIS_CONFIG")]
    config: PathBuf,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What was found.
struct Found {
    /// What is wrong, for people.
    text: String,
    /// The same for tools.
    json: serde_json::Value,
    /// What is right, for people.
    summary: String,
    /// What could not be looked at.
    notes: Vec<String>,
}

impl Check {
    /// Of a configuration, for people.
    pub(crate) fn of(config: PathBuf) -> Self {
        Self {
            config,
            format: Format::Text,
        }
    }

    /// Checks and prints.
    pub(crate) fn run(self) -> ExitCode {
        // TLS settings are built on the process's provider, as at a start.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let found = check(&self.config);
        let good = found.text.is_empty();
        match self.format {
            Format::Json => say_line(format_args!("{:#}", found.json)),
            Format::Text => {
                tell(found.text);
                for note in &found.notes {
                    tell_line(format_args!("note: {note}"));
                }
                if good {
                    say_line(format_args!("{}: ok ({})", self.config.display(), found.summary));
                }
            }
        }
        if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn check(path: &Path) -> Found {
    match load(path) {
        Ok(loaded) => Checking::of(loaded).found(),
        Err(failed) => Found {
            text: failed.render_text(),
            json: told(failed.render_json(), false),
            summary: String::new(),
            notes: Vec::new(),
        },
    }
}

/// A configuration that was loaded, and what was found out about it so far.
struct Checking {
    loaded: Loaded,
    out: Diagnostics,
    notes: Vec<String>,
    /// What is wrong in the bundle itself: text and JSON.
    bundle_errors: Option<(String, serde_json::Value)>,
    version: Option<u64>,
    /// What the state folder is read through, if it can be.
    vault: Option<Arc<Vault>>,
}

impl Checking {
    fn of(loaded: Loaded) -> Self {
        let mut checking = Self {
            loaded,
            out: Diagnostics::default(),
            notes: Vec::new(),
            bundle_errors: None,
            version: None,
            vault: None,
        };
        checking.listeners();
        checking.telemetry();
        checking.control_plane();
        checking.state_folder();
        let gateway = checking.gateway();
        let policies = checking
            .loaded
            .config
            .policy
            .clone()
            .and_then(|policy| checking.policy(&policy));
        checking.version = policies.as_ref().map(Policies::version);
        if let (Some(gateway), Some(policies)) = (gateway, policies) {
            checking.requirements(&gateway, &policies);
        }
        checking.out.sort();
        checking
    }

    fn wrong(&mut self, code: &'static str, path: &str, message: impl Into<String>) {
        let diagnostic = Diagnostic::new(code, message).at_path(&self.loaded.document, path);
        self.out.push(diagnostic);
    }

    /// Chains, routes, upstreams.
    fn gateway(&mut self) -> Option<Gateway> {
        // Nothing is counted and nothing is hashed: any key will do.
        let zones = Zones::new(Entropy {
            hash_key: [0; 16],
            jitter_salt: [0; 16],
        });
        let heritage = Heritage {
            zones: &zones,
            upstreams: None,
            metrics: &Metrics::new(),
            geoip: None,
        };
        match compile(&self.loaded, &heritage) {
            Ok(gateway) => Some(gateway),
            Err(diagnostics) => {
                self.out.append(diagnostics);
                None
            }
        }
    }

    /// Certificates and keys.
    fn listeners(&mut self) {
        for (index, listener) in self.loaded.config.listeners.clone().iter().enumerate() {
            if let Err(error) = ListenerHandles::open(std::slice::from_ref(listener)) {
                self.wrong(
                    codes::UNUSABLE_FILE,
                    &format!("listeners[{index}].tls"),
                    error.to_string(),
                );
            }
        }
    }

    /// Where the access log and the traces go.
    fn telemetry(&mut self) {
        let telemetry = self.loaded.config.telemetry.clone();
        if let Some(Err(error)) = telemetry.traces.as_ref().map(Traces::check) {
            self.wrong(codes::INVALID_VALUE, "telemetry.traces", error.to_string());
        }
        if let Some(Err(error)) = telemetry.access_log.file.as_deref().map(writable) {
            self.wrong(codes::UNUSABLE_FILE, "telemetry.access_log.file", error);
        }
    }

    /// The token for the control plane, which is not asked.
    fn control_plane(&mut self) {
        let written = self.loaded.config.control_plane.as_ref();
        if let Some(Err(error)) = written.map(|written| check_token(&written.token)) {
            self.wrong(codes::UNUSABLE_FILE, "control_plane.token", error.to_string());
        }
    }

    /// The state folder and its key.
    fn state_folder(&mut self) {
        let config = &self.loaded.config;
        let Some(directory) = config.state_dir() else { return };
        if config.state.key.is_none() {
            let folder = directory.display();
            self.notes
                .push(format!("state in {folder} is in the clear: `state.key` is not set"));
        }
        let keys = state::keys(&config.state).map_err(|error| error.to_string());
        let vault = keys.and_then(|keys| Vault::look(directory, keys.as_ref()).map_err(|error| error.to_string()));
        match vault {
            Ok(vault) => self.vault = Some(Arc::new(vault)),
            Err(error) => self.wrong(codes::UNUSABLE_FILE, "state.key", error),
        }
    }

    /// Trust, state folder and bundle. Gives the bundle that a start would put in force.
    fn policy(&mut self, policy: &Policy) -> Option<Policies> {
        let trust = match Trust::resolve(&policy.trust) {
            Ok(trust) => Some(trust),
            Err(errors) => {
                for error in errors {
                    self.wrong(codes::UNUSABLE_FILE, "policy.trust", error.to_string());
                }
                None
            }
        };
        let last_good = self.state(policy)?.last_good;
        let loader = Loader::new(
            Settings::of(policy, self.loaded.config.control_plane.as_ref()),
            trust?,
            Box::new(PolicyExaminer),
        );
        let Some(file) = &policy.bundle.file else {
            let place = match &policy.bundle.url {
                Some(_) => "the bundle at policy.bundle.url",
                None => "the bundle of the control plane",
            };
            return self.restored(&loader, last_good, place);
        };
        let bytes = match FileSource::new(file).read(loader.max_bytes()) {
            Ok((bytes, _)) => bytes,
            Err(error) => {
                self.wrong(codes::UNUSABLE_FILE, "policy.bundle.file", error.to_string());
                return None;
            }
        };
        let floor = last_good.map(|last| last.floor);
        match loader.accept(&bytes, crate::live::now().unix(), floor) {
            Ok(accepted) => self.usable(accepted),
            Err(refused) => {
                self.wrong(
                    codes::UNUSABLE_FILE,
                    "policy.bundle.file",
                    format!("the bundle is refused: {refused}"),
                );
                let explanation = refused.explanation;
                if !explanation.diagnostics.is_empty() {
                    let json = explanation.diagnostics.render_json(&explanation.sources);
                    self.bundle_errors = Some((explanation.render_text(), json));
                }
                None
            }
        }
    }

    /// What the state folder keeps. `None`: it cannot be used. It is not made here.
    fn state(&mut self, policy: &Policy) -> Option<State> {
        let directory = self.loaded.config.state_dir()?.to_owned();
        let vault = self.vault.clone()?;
        if !directory.exists() {
            let folder = directory.display();
            self.notes
                .push(format!("{folder} is not there yet: no bundle was accepted so far"));
            return Some(State::default());
        }
        let loaded = Store::open(&directory).and_then(|store| store.with_vault(vault).load());
        let place = if policy.state_dir.is_some() {
            "policy.state_dir"
        } else {
            "state.dir"
        };
        loaded
            .map_err(|error| self.wrong(codes::UNUSABLE_FILE, place, error.to_string()))
            .ok()
    }

    /// The last good bundle, for a source that is not asked.
    fn restored(&mut self, loader: &Loader, last_good: Option<LastGood>, place: &str) -> Option<Policies> {
        let Some(LastGood { floor, bytes }) = last_good else {
            self.notes
                .push(format!("{place} was not fetched, and none is kept: it was not checked"));
            return None;
        };
        self.notes
            .push(format!("{place} was not fetched: the last good one stands for it"));
        match loader.restore(&bytes, floor, crate::live::now().unix()) {
            Ok(accepted) => self.usable(accepted),
            Err(refused) => {
                self.wrong(
                    codes::UNUSABLE_FILE,
                    "policy",
                    format!("the last good bundle is refused: {refused}"),
                );
                None
            }
        }
    }

    /// The policies of an accepted bundle, unless it limits by keys that never have a value.
    fn usable(&mut self, accepted: Accepted) -> Option<Policies> {
        let unsupported =
            portcullis_filters::policy::unsupported(&accepted.policies, self.loaded.config.geoip.as_ref());
        for key in &unsupported {
            self.wrong(
                codes::UNUSABLE_FILE,
                "policy.bundle",
                format!("the bundle is refused: {key}"),
            );
        }
        unsupported.is_empty().then_some(accepted.policies)
    }

    /// Whether the configuration meets what the bundle requires of it.
    fn requirements(&mut self, gateway: &Gateway, policies: &Policies) {
        let mut unmet = unmet(gateway, policies);
        unmet.sort_by(|a, b| (&a.route, &a.filter).cmp(&(&b.route, &b.filter)));
        unmet.dedup();
        // Routes are compiled in the order in which they are written.
        let mut places = Vec::new();
        for (site, written) in self.loaded.config.sites.iter().enumerate() {
            places.extend((0..written.routes.len()).map(|route| format!("sites[{site}].routes[{route}]")));
        }
        for unmet in unmet {
            let at = gateway.routes.iter().position(|route| route.name == unmet.route);
            let path = at.and_then(|at| places.get(at)).cloned().unwrap_or_default();
            self.wrong(UNMET_REQUIREMENT, &path, unmet.to_string());
        }
    }

    fn found(self) -> Found {
        let good = self.out.is_empty();
        let sites = &self.loaded.config.sites;
        let routes: usize = sites.iter().map(|site| site.routes.len()).sum();
        let mut json = told(self.out.render_json(&self.loaded.sources), good);
        let mut text = self.out.render_text(&self.loaded.sources);
        if let Some(json) = json.as_object_mut() {
            json.insert("sites".into(), sites.len().into());
            json.insert("routes".into(), routes.into());
            json.insert("bundle_version".into(), self.version.into());
            json.insert("notes".into(), self.notes.clone().into());
        }
        if let Some((errors, errors_json)) = self.bundle_errors {
            text.push('\n');
            text.push_str(&errors);
            if let (Some(json), Some(errors)) = (json.as_object_mut(), errors_json.get("errors")) {
                json.insert("bundle_errors".into(), errors.clone());
            }
        }
        let bundle = match (self.version, &self.loaded.config.policy) {
            (Some(version), _) => format!("bundle version {version}"),
            (None, Some(_)) => "bundle not checked".to_owned(),
            (None, None) => "no policy bundle".to_owned(),
        };
        let parts = [
            count(sites.len(), "site", "sites"),
            count(routes, "route", "routes"),
            bundle,
        ];
        Found {
            text,
            json,
            summary: parts.join(", "),
            notes: self.notes,
        }
    }
}

/// The JSON form: diagnostics, and whether there are none.
fn told(mut json: serde_json::Value, good: bool) -> serde_json::Value {
    if let Some(json) = json.as_object_mut() {
        json.insert("ok".into(), good.into());
    }
    json
}

/// Whether a log file can be opened, without making it.
fn writable(path: &Path) -> Result<(), String> {
    if path.exists() {
        let opened = OpenOptions::new().append(true).open(path);
        return opened
            .map(|_| ())
            .map_err(|error| format!("{} cannot be written: {error}", path.display()));
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if folder.is_dir() {
        Ok(())
    } else {
        Err(format!("{} is no folder", folder.display()))
    }
}
