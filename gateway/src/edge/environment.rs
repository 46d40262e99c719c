//! The environment of Fairvisor Edge's container, read as that container reads it: the same variables, the same defaults and
//! the same words when something is wrong; and the few of our own beside them. Nothing is opened here.

use std::net::SocketAddr;
use std::path::PathBuf;

use portcullis_config::address::Network;

/// What runs before requests: a decision service, or a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only decides.
    DecisionService,
    /// Enforces and forwards.
    ReverseProxy,
}

/// Where the bundle comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bundle {
    /// A file.
    File(PathBuf),
    /// A control plane; the token stays in the environment.
    Saas {
        /// Its base URL.
        url: String,
        /// Our name there.
        edge_id: String,
        /// Seconds between two questions for a bundle.
        poll_interval: u64,
        /// Seconds between two heartbeats.
        heartbeat_interval: u64,
        /// Seconds between two reports of events.
        event_flush_interval: u64,
    },
}

/// The whole environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// What it does.
    pub mode: Mode,
    /// Where its bundle comes from.
    pub bundle: Bundle,
    /// `FAIRVISOR_BACKEND_URL`, in `reverse_proxy` mode.
    pub backend: Option<Backend>,
    /// Room for counters in bytes.
    pub counter_bytes: u64,
    /// The level of the process's log, as ours are called.
    pub log_level: &'static str,
    /// Worker threads; 0: one a core.
    pub threads: u32,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Our own admin listener.
    pub admin: SocketAddr,
    /// Where versions and run-time switches are kept.
    pub state_dir: Option<PathBuf>,
    /// Whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<Network>,
    /// Files with what is known of addresses, by their key in `geoip`.
    pub geoip: Vec<(&'static str, String)>,
    /// Whether debug sessions are on; the secret stays in the environment.
    pub debug: bool,
    /// What is odd and no reason not to start.
    pub warnings: Vec<String>,
}

/// Where requests are forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Host and port.
    pub server: String,
    /// The name in its certificate, where it is spoken to over TLS.
    pub tls: Option<String>,
}

/// Reads it. `get` gives a variable's value; an empty one is none.
pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Environment, String> {
    let variables = Variables {
        get,
        warnings: Vec::new(),
    };
    variables.read()
}

struct Variables<G> {
    get: G,
    warnings: Vec<String>,
}

impl<G: Fn(&str) -> Option<String>> Variables<G> {
    fn text(&self, name: &str) -> Option<String> {
        (self.get)(name).filter(|value| !value.is_empty())
    }

    fn read(mut self) -> Result<Environment, String> {
        self.check_sources()?;
        let mode = self.mode()?;
        Ok(Environment {
            mode,
            backend: self.backend(mode)?,
            bundle: self.bundle()?,
            counter_bytes: self.size("FAIRVISOR_SHARED_DICT_SIZE", 128 << 20)?,
            log_level: self.log_level()?,
            threads: self.threads()?,
            listen: self.address("PORTCULLIS_LISTEN", "0.0.0.0:8080")?,
            admin: self.address("PORTCULLIS_ADMIN", "127.0.0.1:9901")?,
            state_dir: self.text("PORTCULLIS_STATE_DIR").map(PathBuf::from),
            trusted_proxies: self.networks("PORTCULLIS_TRUSTED_PROXIES")?,
            geoip: self.geoip(),
            debug: self.text("FAIRVISOR_DEBUG_SESSION_SECRET").is_some(),
            warnings: self.warnings,
        })
    }

    /// What that container looks at first.
    fn check_sources(&self) -> Result<(), String> {
        let has = |name| self.text(name).is_some();
        if has("FAIRVISOR_SAAS_URL") {
            for name in ["FAIRVISOR_EDGE_ID", "FAIRVISOR_EDGE_TOKEN"] {
                if !has(name) {
                    return Err(format!("{name} is required when FAIRVISOR_SAAS_URL is set"));
                }
            }
        } else if !has("FAIRVISOR_CONFIG_FILE") {
            return Err("set FAIRVISOR_SAAS_URL (SaaS mode) or FAIRVISOR_CONFIG_FILE (standalone mode)".into());
        }
        Ok(())
    }

    fn mode(&self) -> Result<Mode, String> {
        match self.text("FAIRVISOR_MODE").as_deref() {
            None | Some("decision_service") => Ok(Mode::DecisionService),
            Some("reverse_proxy") => Ok(Mode::ReverseProxy),
            Some(_) => Err("FAIRVISOR_MODE must be decision_service or reverse_proxy".into()),
        }
    }

    fn backend(&self, mode: Mode) -> Result<Option<Backend>, String> {
        match (mode, self.text("FAIRVISOR_BACKEND_URL")) {
            (Mode::DecisionService, _) => Ok(None),
            (Mode::ReverseProxy, None) => {
                Err("FAIRVISOR_BACKEND_URL is required when FAIRVISOR_MODE=reverse_proxy".into())
            }
            (Mode::ReverseProxy, Some(url)) => Backend::parse(&url).map(Some),
        }
    }

    /// Where the bundle comes from. What is said of a control plane is checked without one too.
    fn bundle(&mut self) -> Result<Bundle, String> {
        let poll_interval = self.seconds("FAIRVISOR_CONFIG_POLL_INTERVAL", 30)?;
        let heartbeat_interval = self.seconds("FAIRVISOR_HEARTBEAT_INTERVAL", 5)?;
        let event_flush_interval = self.seconds("FAIRVISOR_EVENT_FLUSH_INTERVAL", 60)?;
        let file = self.text("FAIRVISOR_CONFIG_FILE");
        let Some(url) = self.text("FAIRVISOR_SAAS_URL") else {
            return Ok(Bundle::File(file.unwrap_or_default().into()));
        };
        if file.is_some() {
            let text = "FAIRVISOR_CONFIG_FILE is not read: bundles come from FAIRVISOR_SAAS_URL";
            self.warnings.push(text.into());
        }
        Ok(Bundle::Saas {
            url,
            edge_id: self.text("FAIRVISOR_EDGE_ID").unwrap_or_default(),
            poll_interval,
            heartbeat_interval,
            event_flush_interval,
        })
    }

    /// A number of seconds. What is no number is the default, as it always was; but it is said.
    fn seconds(&mut self, name: &str, default: u64) -> Result<u64, String> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        match text.trim().parse::<f64>() {
            Ok(seconds) if seconds > 0.0 && seconds.is_finite() => {
                // At least a second and at most a day: nobody asks more or less often.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let whole = seconds.clamp(1.0, 86_400.0).round() as u64;
                Ok(whole)
            }
            Ok(number) if !number.is_nan() => Err(format!("{name} must be a positive number")),
            _ => {
                self.warnings.push(format!("{name} is no number; {default} it is"));
                Ok(default)
            }
        }
    }

    /// A size as nginx writes it.
    fn size(&self, name: &str, default: u64) -> Result<u64, String> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let unit = match text.strip_prefix(digits).unwrap_or_default() {
            "" => 1,
            "k" | "K" => 1 << 10,
            "m" | "M" => 1 << 20,
            "g" | "G" => 1 << 30,
            _ => 0,
        };
        let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        bytes
            .filter(|bytes| *bytes > 0)
            .ok_or_else(|| format!("{name} must be a size such as 128m"))
    }

    fn log_level(&self) -> Result<&'static str, String> {
        match self.text("FAIRVISOR_LOG_LEVEL").as_deref() {
            Some("debug") => Ok("debug"),
            None | Some("info" | "notice") => Ok("info"),
            Some("warn") => Ok("warn"),
            Some("error" | "crit" | "alert" | "emerg") => Ok("error"),
            Some(_) => Err("FAIRVISOR_LOG_LEVEL must be debug, info, notice, warn, error, crit, alert or emerg".into()),
        }
    }

    fn threads(&self) -> Result<u32, String> {
        match self.text("FAIRVISOR_WORKER_PROCESSES").as_deref() {
            None | Some("auto") => Ok(0),
            Some(text) => {
                let number = text.parse().ok().filter(|number| (1..=1024).contains(number));
                number.ok_or_else(|| "FAIRVISOR_WORKER_PROCESSES must be auto or a number from 1 to 1024".into())
            }
        }
    }

    fn address(&self, name: &str, default: &str) -> Result<SocketAddr, String> {
        let text = self.text(name).unwrap_or_else(|| default.to_owned());
        text.parse()
            .map_err(|_| format!("{name} must be an address and port such as {default}"))
    }

    fn geoip(&self) -> Vec<(&'static str, String)> {
        let files = [
            ("country", "PORTCULLIS_GEOIP_COUNTRY"),
            ("asn", "PORTCULLIS_GEOIP_ASN"),
            ("asn_types", "PORTCULLIS_ASN_TYPES"),
            ("tor_exits", "PORTCULLIS_TOR_EXITS"),
        ];
        let named = files.into_iter().map(|(key, name)| (key, self.text(name)));
        named.filter_map(|(key, file)| Some((key, file?))).collect()
    }

    fn networks(&self, name: &str) -> Result<Vec<Network>, String> {
        let text = self.text(name).unwrap_or_default();
        let networks = text.split(',').map(str::trim).filter(|network| !network.is_empty());
        networks
            .map(|network| {
                network
                    .parse()
                    .map_err(|_| format!("{name}: `{network}` is not a network"))
            })
            .collect()
    }
}

impl Backend {
    /// `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    fn parse(url: &str) -> Result<Self, String> {
        let wrong = || "FAIRVISOR_BACKEND_URL must be http://HOST[:PORT] or https://HOST[:PORT]".to_owned();
        let (tls, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(wrong()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let host = crate::strict::target::host(authority).ok_or_else(wrong)?;
        let port = authority.strip_prefix(host).and_then(|port| port.strip_prefix(':'));
        let port = port.unwrap_or(if tls { "443" } else { "80" });
        Ok(Self {
            server: format!("{host}:{port}"),
            tls: tls.then(|| host.trim_matches(['[', ']']).to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Environment, String> {
        read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_is_wrong_is_said_in_the_containers_words() {
        let saas = ("FAIRVISOR_SAAS_URL", "https://saas.example");
        let file = ("FAIRVISOR_CONFIG_FILE", "/p.json");
        for (variables, message) in [
            (
                &[][..],
                "set FAIRVISOR_SAAS_URL (SaaS mode) or FAIRVISOR_CONFIG_FILE (standalone mode)",
            ),
            (&[saas], "FAIRVISOR_EDGE_ID is required when FAIRVISOR_SAAS_URL is set"),
            (
                &[saas, ("FAIRVISOR_EDGE_ID", "e")],
                "FAIRVISOR_EDGE_TOKEN is required when FAIRVISOR_SAAS_URL is set",
            ),
            (
                &[file, ("FAIRVISOR_MODE", "proxy")],
                "FAIRVISOR_MODE must be decision_service or reverse_proxy",
            ),
            (
                &[file, ("FAIRVISOR_MODE", "reverse_proxy")],
                "FAIRVISOR_BACKEND_URL is required when FAIRVISOR_MODE=reverse_proxy",
            ),
            (
                &[file, ("FAIRVISOR_HEARTBEAT_INTERVAL", "-1")],
                "FAIRVISOR_HEARTBEAT_INTERVAL must be a positive number",
            ),
            (
                &[file, ("FAIRVISOR_CONFIG_POLL_INTERVAL", "0")],
                "FAIRVISOR_CONFIG_POLL_INTERVAL must be a positive number",
            ),
            (
                &[file, ("FAIRVISOR_EVENT_FLUSH_INTERVAL", "0")],
                "FAIRVISOR_EVENT_FLUSH_INTERVAL must be a positive number",
            ),
            (
                &[file, ("FAIRVISOR_SHARED_DICT_SIZE", "4 tons")],
                "FAIRVISOR_SHARED_DICT_SIZE must be a size such as 128m",
            ),
            (
                &[file, ("PORTCULLIS_LISTEN", "8080")],
                "PORTCULLIS_LISTEN must be an address and port such as 0.0.0.0:8080",
            ),
        ] {
            assert_eq!(of(variables).unwrap_err(), message);
        }
    }

    #[test]
    fn defaults() {
        let read = of(&[("FAIRVISOR_CONFIG_FILE", "/p.json"), ("FAIRVISOR_MODE", "")]).unwrap();
        assert_eq!(read.mode, Mode::DecisionService);
        assert_eq!(read.bundle, Bundle::File("/p.json".into()));
        assert_eq!(read.counter_bytes, 128 << 20);
        assert_eq!((read.log_level, read.threads), ("info", 0));
        assert_eq!(read.listen, "0.0.0.0:8080".parse().unwrap());
        assert!(read.backend.is_none() && !read.debug && read.warnings.is_empty());
    }

    #[test]
    fn everything_else() {
        let read = of(&[
            ("FAIRVISOR_SAAS_URL", "https://saas.example"),
            ("FAIRVISOR_CONFIG_FILE", "/p.json"),
            ("FAIRVISOR_EDGE_ID", "e"),
            ("FAIRVISOR_EDGE_TOKEN", "t"),
            ("FAIRVISOR_MODE", "reverse_proxy"),
            ("FAIRVISOR_BACKEND_URL", "https://app.example/"),
            ("FAIRVISOR_CONFIG_POLL_INTERVAL", "soon"),
            ("FAIRVISOR_HEARTBEAT_INTERVAL", "7.6"),
            ("FAIRVISOR_SHARED_DICT_SIZE", "4m"),
            ("FAIRVISOR_LOG_LEVEL", "crit"),
            ("FAIRVISOR_WORKER_PROCESSES", "3"),
            ("FAIRVISOR_DEBUG_SESSION_SECRET", "s"),
            ("PORTCULLIS_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.1"),
            ("PORTCULLIS_ASN_TYPES", "/asn_type.map"),
            ("PORTCULLIS_TOR_EXITS", ""),
        ])
        .unwrap();
        let Bundle::Saas {
            poll_interval,
            heartbeat_interval,
            ..
        } = read.bundle
        else {
            panic!("{:?}", read.bundle)
        };
        assert_eq!((poll_interval, heartbeat_interval), (30, 8));
        assert_eq!(read.warnings.len(), 2, "{:?}", read.warnings);
        let backend = read.backend.unwrap();
        assert_eq!(
            (&*backend.server, backend.tls.as_deref()),
            ("app.example:443", Some("app.example"))
        );
        assert_eq!(
            (read.counter_bytes, read.log_level, read.threads, read.debug),
            (4 << 20, "error", 3, true)
        );
        assert_eq!(read.trusted_proxies.len(), 2);
        assert_eq!(read.geoip, [("asn_types", "/asn_type.map".to_owned())]);
    }

    #[test]
    fn backends() {
        for (url, expected) in [
            ("http://127.0.0.1:8081", Some("127.0.0.1:8081")),
            ("http://backend", Some("backend:80")),
            ("https://[::1]:8443", Some("[::1]:8443")),
            ("http://backend/path", None),
            ("ftp://backend", None),
            ("backend:80", None),
            ("http://u@backend", None),
            ("http://", None),
        ] {
            let parsed = Backend::parse(url).ok().map(|backend| backend.server);
            assert_eq!(parsed.as_deref(), expected, "{url}");
        }
    }
}
