//! Tests whose tool is not there say so, loudly: CI fails on any of these lines.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The tool's path, or `None` after the skip was reported. Installing tools is the Makefile's task.
pub fn tool(test: &str, name: &str) -> Option<PathBuf> {
    let found = std::env::var_os("PATH").and_then(|paths| {
        let usual = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
        let own = std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/bin"));
        std::env::split_paths(&paths)
            .chain(usual)
            .chain(own)
            .map(|dir| dir.join(name))
            .find(|path| path.is_file())
    });
    if found.is_none() {
        report(test, &format!("`{name}` is not installed"));
    }
    found
}

/// Reports a skipped test.
pub fn report(test: &str, reason: &str) {
    let line = format!("SKIPPED: {test}: {reason}\n");
    eprint!("{line}");
    if let Some(file) = std::env::var_os("PORTCULLIS_SKIP_FILE") {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(Path::new(&file));
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the list of skipped tests");
    }
}
