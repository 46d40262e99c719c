//! `portcullis edge`: a stand-in for the container of Fairvisor Edge, started from the same environment. It has the names, the
//! endpoints and the trust of that container on its one port; everything else is as everywhere: strict bundles, one form of a
//! path, versions that only go up, charges all or none.

pub mod claims;
pub mod config;
pub mod control;
pub mod environment;
pub mod metrics;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use self::environment::{Environment, Mode};
use self::metrics::Metrics;

/// Where state is kept unless the environment says otherwise.
const STATE_DIR: &str = "/var/lib/portcullis/edge";
/// The variable with the secret that opens debug sessions.
const SECRET: &str = "FAIRVISOR_DEBUG_SESSION_SECRET";
/// The cookie of a debug session.
pub const COOKIE: &str = "fv_dbg";

/// What is different in this process because it stands in for another.
pub struct EdgeMode {
    /// Whether it forwards what is no question.
    mode: Mode,
    /// Opens debug sessions. `None`: there are none.
    secret: Option<zeroize::Zeroizing<String>>,
    /// The families of metrics under their known names.
    pub metrics: Metrics,
}

/// A configuration that was made from the environment, and what goes with it.
pub struct Start {
    /// The configuration.
    pub text: String,
    /// What is different.
    pub edge: EdgeMode,
    /// What is to be said once there is a log.
    pub warnings: Vec<String>,
}

/// Reads the environment of this process.
pub fn start() -> Result<Start, String> {
    let mut environment = environment::read(|name| std::env::var(name).ok())?;
    let state_dir = state_dir(&mut environment).map_err(|error| format!("{error:#}"))?;
    let secret = environment.debug.then(|| std::env::var(SECRET).ok()).flatten();
    Ok(Start {
        text: config::text(&environment, &state_dir),
        edge: EdgeMode {
            mode: environment.mode,
            secret: secret.map(zeroize::Zeroizing::new),
            metrics: Metrics::default(),
        },
        warnings: environment.warnings,
    })
}

/// The folder for state. Where nobody named one and the usual one cannot be had, one that does not outlive the container.
fn state_dir(environment: &mut Environment) -> anyhow::Result<PathBuf> {
    if let Some(named) = &environment.state_dir {
        return Ok(named.clone());
    }
    let usual = Path::new(STATE_DIR);
    if std::fs::create_dir_all(usual).is_ok() && is_writable(usual) {
        return Ok(usual.to_owned());
    }
    let folder = std::env::temp_dir().join(format!("portcullis-edge-{}", std::process::id()));
    let text = format!(
        "{STATE_DIR} cannot be written: the highest bundle version is forgotten when the container ends; mount a volume there or set PORTCULLIS_STATE_DIR"
    );
    environment.warnings.push(text);
    std::fs::create_dir_all(&folder).with_context(|| format!("no folder for state: {}", folder.display()))?;
    Ok(folder)
}

fn is_writable(folder: &Path) -> bool {
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    let written = std::fs::write(&probe, b"").is_ok();
    let _ = std::fs::remove_file(probe);
    written
}
