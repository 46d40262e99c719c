//! The way of a bundle: bytes, verified, parsed, compared with floor and clock, compiled, examined. At each step it may
//! be refused, always whole and always with a stable code. What is in force is not known here.

mod refused;

use portcullis_config::control_plane::ControlPlane;
use portcullis_config::policy;

use crate::compile::{Compiled, compile};
use crate::envelope::{self, Verified};
use crate::examine::{self, Examiner};
use crate::format::{Bundle, OnMissing};
use crate::lint;
use crate::policies::{Policies, Provenance};
use crate::problem::Problem;
use crate::timestamp::Timestamp;
use crate::trust::Trust;
use crate::version::{self, Floor, Seen, Standing};

pub use refused::{Refused, RefusedReason};

/// How far `issued_at` may lie ahead of this machine's clock.
pub const CLOCK_LEEWAY_S: i64 = 300;

/// What a gateway accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Largest bundle in bytes, signatures included.
    pub max_bytes: u64,
    /// Largest step from the floor to the next version.
    pub max_version_jump: Option<u64>,
    /// Accept bundles without a signature.
    pub insecure_unsigned: bool,
    /// The names of this gateway, one of which a bundle's `audience` must have. `None`: whom a bundle is for is not asked.
    pub names: Option<Box<[Box<str>]>>,
}

impl Settings {
    /// Those of a configuration.
    pub fn of(written: &policy::Policy, control_plane: Option<&ControlPlane>) -> Self {
        let known_as = control_plane.map(|control_plane| control_plane.edge_id.as_str());
        let names = known_as.into_iter().chain(written.audience.iter().map(String::as_str));
        Self {
            max_bytes: written.max_bytes.get(),
            max_version_jump: written.max_version_jump,
            insecure_unsigned: written.insecure_unsigned,
            names: Some(names.map(Box::from).collect()),
        }
    }
}

/// Accepts or refuses bundles.
pub struct Loader {
    settings: Settings,
    trust: Trust,
    examiner: Box<dyn Examiner>,
    /// What a rule does about a missing key when it does not say.
    on_missing: OnMissing,
}

/// A bundle that may be put in force, once its floor and its bytes are on the disk.
#[derive(Debug)]
pub struct Accepted {
    /// What requests are judged by.
    pub policies: Policies,
    /// Whether it is new or the one accepted last.
    pub standing: Standing,
    /// The floor it sets.
    pub floor: Floor,
    /// What is most likely not meant in it.
    pub hints: Vec<Problem>,
    /// Why whoever signed it says that it may change more than `policy.activation` allows.
    pub activation_override: Option<Box<str>>,
}

impl Loader {
    /// A loader. The examiner is not optional: a bundle's own tests are always run.
    pub fn new(settings: Settings, trust: Trust, examiner: Box<dyn Examiner>) -> Self {
        Self {
            settings,
            trust,
            examiner,
            on_missing: OnMissing::default(),
        }
    }

    /// The same, with another default for a rule's `on_missing`.
    #[must_use]
    pub fn on_missing(mut self, default: OnMissing) -> Self {
        self.on_missing = default;
        self
    }

    /// Whether bundles without a signature are accepted.
    pub fn is_insecure(&self) -> bool {
        self.settings.insecure_unsigned
    }

    /// Largest bundle in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.settings.max_bytes
    }

    /// The trusted keys.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Judges a bundle that came from its source, at the moment `now` (seconds since 1970).
    ///
    /// The very text that is the floor is accepted again whatever the clock says: it was in time once, and what becomes of
    /// a bundle that expires in force is the gateway's `policy.expired`.
    pub fn accept(&self, bytes: &[u8], now: i64, seen: impl Into<Seen>) -> Result<Accepted, Refused> {
        let (verified, bundle) = self.verify(bytes)?;
        self.is_for_us(&bundle)?;
        let own = own_floor(&verified, &bundle);
        let standing =
            version::check(own, seen, self.settings.max_version_jump).map_err(|error| Refused::version(&error))?;
        if standing == Standing::New {
            in_time(&bundle, now)?;
        }
        let compiled = compile_verified(&bundle, &verified)?;
        self.examine(&compiled, now)?;
        Ok(Accepted {
            policies: compiled.policies,
            standing,
            floor: own,
            hints: lint::hints(&bundle, now),
            activation_override: verified.activation_override().map(Into::into),
        })
    }

    /// Judges the bundle that was accepted last, as found on the disk after a restart. Its signature is verified again;
    /// its tests are not run again, and its times were compared when it was accepted.
    pub fn restore(&self, bytes: &[u8], floor: Floor, now: i64) -> Result<Accepted, Refused> {
        let (verified, bundle) = self.verify(bytes)?;
        self.is_for_us(&bundle)?;
        let own = own_floor(&verified, &bundle);
        if own != floor {
            let detail = format!(
                "the state directory keeps version {} where version {} belongs",
                own.version, floor.version
            );
            return Err(Refused::new(RefusedReason::VersionNotMonotonic, detail));
        }
        let policies = compile_verified(&bundle, &verified)?.policies;
        Ok(Accepted {
            policies,
            standing: Standing::Same,
            floor,
            hints: lint::hints(&bundle, now),
            activation_override: None,
        })
    }

    fn verify<'a>(&self, bytes: &'a [u8]) -> Result<(Verified<'a>, Bundle), Refused> {
        if bytes.len() as u64 > self.settings.max_bytes {
            return Err(Refused::too_large(bytes.len() as u64, self.settings.max_bytes));
        }
        let verified = envelope::open(bytes, &self.trust, self.settings.insecure_unsigned)
            .map_err(|error| Refused::envelope(&error))?;
        let parsed = Bundle::parse_unverified(verified.payload());
        let mut bundle = parsed.map_err(|error| Refused::content(&verified, &error.to_string()))?;
        for policy in &mut bundle.policies {
            for rule in policy.spec.rules.iter_mut().chain(&mut policy.spec.fallback_limit) {
                rule.on_missing.get_or_insert(self.on_missing);
            }
        }
        Ok((verified, bundle))
    }

    fn is_for_us(&self, bundle: &Bundle) -> Result<(), Refused> {
        let (Some(audience), Some(names)) = (&bundle.audience, &self.settings.names) else {
            return Ok(());
        };
        if names.iter().any(|own| audience.iter().any(|name| name == &**own)) {
            return Ok(());
        }
        Err(Refused::audience(audience, names))
    }

    fn examine(&self, compiled: &Compiled, now: i64) -> Result<(), Refused> {
        let failures = examine::run(self.examiner.as_ref(), &compiled.policies, &compiled.tests, now);
        if failures.is_empty() {
            Ok(())
        } else {
            Err(Refused::tests(&failures, compiled.tests.len()))
        }
    }
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader")
            .field("settings", &self.settings)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

fn own_floor(verified: &Verified<'_>, bundle: &Bundle) -> Floor {
    Floor {
        version: bundle.bundle_version.get(),
        digest: verified.digest(),
    }
}

fn compile_verified(bundle: &Bundle, verified: &Verified<'_>) -> Result<Compiled, Refused> {
    let origin = Provenance {
        version: bundle.bundle_version.get(),
        digest: verified.digest(),
        signed_by: verified.signed_by().into(),
    };
    compile(bundle, origin).map_err(|problems| {
        let first = problems.as_slice().first().map(ToString::to_string).unwrap_or_default();
        Refused::content(verified, &first)
    })
}

/// Compares the bundle's times with the clock.
fn in_time(bundle: &Bundle, now: i64) -> Result<(), Refused> {
    let ahead = |at: &Timestamp| at.unix() > now.saturating_add(CLOCK_LEEWAY_S);
    let clock = Timestamp::from_unix(now);
    if let Some(at) = bundle.issued_at.filter(ahead) {
        let detail = format!("issued_at is {at}, and it is {clock} here");
        return Err(Refused::new(RefusedReason::IssuedInFuture, detail));
    }
    if let Some(at) = bundle.not_before.filter(|at| at.unix() > now) {
        let detail = format!("not_before is {at}, and it is {clock} here");
        return Err(Refused::new(RefusedReason::NotYetValid, detail));
    }
    if let Some(at) = bundle.expires_at.filter(|at| at.unix() <= now) {
        let detail = format!("expires_at is {at}, and it is {clock} here");
        return Err(Refused::new(RefusedReason::BundleExpired, detail));
    }
    let overrides = [
        ("global_shadow", &bundle.global_shadow),
        ("kill_switch_override", &bundle.kill_switch_override),
    ];
    for (name, written) in overrides {
        let until = written
            .as_ref()
            .filter(|written| written.enabled)
            .and_then(|written| written.expires_at);
        if let Some(until) = until.filter(|until| until.unix() <= now) {
            let detail = format!("{name}_invalid: expired ({until}, and it is {clock} here)");
            return Err(Refused::new(RefusedReason::OverrideExpired, detail));
        }
    }
    Ok(())
}
