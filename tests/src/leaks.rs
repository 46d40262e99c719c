//! The secrets that the tests of this process use, and the search for them in what a gateway has written and told. Every
//! gateway of the suite is searched when it ends, so every test also proves that no secret leaks in what it does.
//!
//! What upstreams are sent is not searched: passing a token on can be what was asked for.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aho_corasick::AhoCorasick;

use crate::gateway::ask_within;

/// Shorter ones are found by chance.
const LEAST: usize = 8;
/// Most that are remembered; floods of forged tokens are not worth more.
const MOST: usize = 4_096;
/// How much of a secret is looked for, in bytes.
const LONGEST: usize = 256;
/// What the admin listener tells.
const PAGES: [&str; 6] = [
    "/metrics",
    "/readyz",
    "/-/status",
    "/-/config",
    "/-/kill/status",
    "/-/rollout",
];

/// Longest wait for one of them.
const PAGE: Duration = Duration::from_secs(2);

static USED: Mutex<BTreeSet<Box<[u8]>>> = Mutex::new(BTreeSet::new());

fn all() -> MutexGuard<'static, BTreeSet<Box<[u8]>>> {
    USED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers a secret. Of a token with three parts, the signature: without it the others are of no use.
pub fn used(secret: impl AsRef<[u8]>) {
    let mut secret = secret.as_ref().trim_ascii();
    let mut parts = secret.split(|byte| *byte == b'.');
    if let (Some(header), Some(_), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        && header.starts_with(b"eyJ")
    {
        secret = signature;
    }
    // A log that tells a long one tells its beginning, and to look for kilobytes of it takes minutes.
    secret = secret.get(..LONGEST).unwrap_or(secret);
    let mut used = all();
    if secret.len() >= LEAST && used.len() < MOST {
        used.insert(secret.into());
    }
}

/// Remembers the credentials in a request of HTTP/1.
pub fn sent(request: &[u8]) {
    let head = request.get(..request.len().min(16 << 10)).unwrap_or_default();
    for line in head
        .split(|byte| *byte == b'\n')
        .take_while(|line| !line.trim_ascii().is_empty())
    {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"authorization") || name.eq_ignore_ascii_case(b"proxy-authorization") {
            used(value.rsplit(|byte| *byte == b' ').next().unwrap_or_default());
        }
    }
}

/// Remembers what a configuration refers to: `env:NAME`, `file:PATH`, and the private keys in its folder. Gives the files,
/// where a secret may be.
pub fn referenced(dir: &Path, yaml: &str, environment: &[(String, String)]) -> Vec<PathBuf> {
    let ends = |letter: char| letter.is_whitespace() || "\"',}]".contains(letter);
    let after = |mark: &str| -> Vec<String> {
        let texts = yaml.split(mark).skip(1);
        texts
            .filter_map(|text| text.split(ends).next().map(str::to_owned))
            .filter(|text| !text.is_empty())
            .collect()
    };
    for name in after("env:") {
        environment
            .iter()
            .filter(|(known, _)| *known == name)
            .for_each(|(_, value)| used(value));
    }
    let referenced: Vec<PathBuf> = after("file:").iter().map(|path| dir.join(path)).collect();
    for path in &referenced {
        keep(&std::fs::read(path).unwrap_or_default());
    }
    for path in files(dir) {
        let content = std::fs::read(path).unwrap_or_default();
        if is_private_key(&content) {
            keep(&content);
        }
    }
    referenced
}

fn is_private_key(content: &[u8]) -> bool {
    content
        .get(..content.len().min(4 << 10))
        .is_some_and(|text| String::from_utf8_lossy(text).contains("PRIVATE KEY-----"))
}

/// Remembers the content of a file: of a private key its first line, which no other text begins like (later ones can be the
/// public part); otherwise the whole.
fn keep(content: &[u8]) {
    if !is_private_key(content) {
        return used(content);
    }
    let text = String::from_utf8_lossy(content);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("-----BEGIN") && line.contains("PRIVATE KEY") {
            used(lines.next().unwrap_or_default());
        }
    }
}

/// Every file below a folder.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

/// What a running gateway tells of itself; nothing where a test has stopped it or keeps it busy.
pub fn pages(admin: SocketAddr) -> Vec<(String, Vec<u8>)> {
    let page = |path: &&str| {
        let (_, body) = ask_within(PAGE, admin, "GET", path, "").ok()?;
        Some(((*path).to_owned(), body.into_bytes()))
    };
    PAGES.iter().map_while(page).collect()
}

/// Where one of the secrets is told: in the pages, and in the files of a folder without those of `inputs`.
pub fn found(dir: &Path, inputs: &BTreeSet<PathBuf>, mut texts: Vec<(String, Vec<u8>)>) -> Vec<String> {
    let secrets: Vec<Box<[u8]>> = all().iter().cloned().collect();
    if secrets.is_empty() {
        return Vec::new();
    }
    for path in files(dir).into_iter().filter(|path| !inputs.contains(path)) {
        let content = std::fs::read(&path).unwrap_or_default();
        if !is_private_key(&content) {
            texts.push((path.display().to_string(), content));
        }
    }
    let search = AhoCorasick::new(secrets.iter()).expect("the secrets");
    let told = texts.iter().filter_map(|(place, text)| {
        let hit = search.find(text.as_slice())?;
        let before = hit.start().saturating_sub(80);
        let context = String::from_utf8_lossy(&text[before..hit.start()]).into_owned();
        Some(format!(
            "a secret of {} bytes is told in {place} after: {context}",
            hit.len()
        ))
    });
    told.collect()
}
