//! From the environment to a configuration, in the language that every configuration is written in: what is checked, compiled
//! and shown is that text. Nothing is opened here.

use std::fmt::Write as _;
use std::path::Path;

use super::environment::{Bundle, Environment, Mode};

/// What a counter takes of the room for counters, roughly.
const BYTES_A_KEY: u64 = 96;

/// The configuration.
pub fn text(environment: &Environment, state_dir: &Path) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "listeners: [{{ name: edge, address: {}, h2c: true }}]",
        quoted(&environment.listen.to_string())
    );
    let _ = writeln!(out, "admin: {{ address: {} }}", quoted(&environment.admin.to_string()));
    let trusted: Vec<_> = environment
        .trusted_proxies
        .iter()
        .map(|it| quoted(&it.to_string()))
        .collect();
    let _ = writeln!(out, "trusted_proxies: [{}]", trusted.join(", "));
    let _ = writeln!(out, "geoip:\n  trusted_headers: true");
    for (key, file) in &environment.geoip {
        let _ = writeln!(out, "  {key}: {}", quoted(file));
    }
    let _ = writeln!(out, "runtime: {{ threads: {} }}", environment.threads);
    let _ = writeln!(out, "telemetry: {{ log: {{ level: {} }} }}", environment.log_level);
    if let Some(backend) = &environment.backend {
        let tls = backend
            .tls
            .as_ref()
            .map(|name| format!(", tls: {{ server_name: {} }}", quoted(name)));
        let _ = writeln!(
            out,
            "upstreams: {{ backend: {{ servers: [{}], host: server{} }} }}",
            quoted(&backend.server),
            tls.unwrap_or_default()
        );
    }
    let bundle = match &environment.bundle {
        Bundle::File(path) => format!("file: {}", quoted(&path.display().to_string())),
        Bundle::Saas { .. } => "control_plane: true".to_owned(),
    };
    let _ = writeln!(
        out,
        "policy: {{ bundle: {{ {bundle} }}, insecure_unsigned: true, retry_jitter: public, state_dir: {} }}",
        quoted(&state_dir.display().to_string())
    );
    if let Bundle::Saas {
        url,
        edge_id,
        poll_interval,
        heartbeat_interval,
        event_flush_interval,
    } = &environment.bundle
    {
        let _ = writeln!(
            out,
            "control_plane: {{ url: {}, edge_id: {}, token: {{ current: \"env:FAIRVISOR_EDGE_TOKEN\" }}, poll_interval: {poll_interval}s, heartbeat_interval: {heartbeat_interval}s, event_flush_interval: {event_flush_interval}s }}",
            quoted(url),
            quoted(edge_id),
        );
    }
    let keys = (environment.counter_bytes / BYTES_A_KEY).clamp(1024, 1 << 24);
    let action = match environment.mode {
        // Never reached: what is no question is answered before any route.
        Mode::DecisionService => "respond: { status: 404 }",
        Mode::ReverseProxy => "proxy: { upstream: backend }",
    };
    let _ = writeln!(
        out,
        "sites: [{{ hosts: [\"*\"], filters: [{{ policy: {{ max_keys: {keys} }} }}], routes: [{{ name: edge, {action} }}] }}]"
    );
    out
}
