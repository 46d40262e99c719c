//! The request that is to be explained: as a client sends it, or as a command line of curl.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use http::{HeaderName, HeaderValue, Method, Version};
use pingora_http::RequestHeader;

use super::curl;

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) header: RequestHeader,
    /// Whether it came over TLS.
    pub(super) tls: bool,
}

impl Asked {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let size = fs::metadata(path).with_context(|| format!("cannot read {name}"))?.len();
        if size > MAX_BYTES {
            bail!("{name} has more than {MAX_BYTES} bytes");
        }
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        Self::of_text(&text).with_context(|| name.to_string())
    }

    fn of_text(text: &str) -> anyhow::Result<Self> {
        let mut lines = text.lines();
        let line = lines.next().context("it is empty")?;
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        let (method, target) = (words.next(), words.next());
        let (Some(method), Some(target)) = (method, target) else {
            bail!("the first line is `METHOD TARGET HTTP/1.1`");
        };
        let version = match words.next() {
            None | Some("HTTP/1.1") => Version::HTTP_11,
            Some("HTTP/1.0") => Version::HTTP_10,
            Some("HTTP/2" | "HTTP/2.0") => Version::HTTP_2,
            Some(other) => bail!("`{other}` is no version of HTTP that is known"),
        };
        let mut asked = Self::new(method, target, version)?;
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line
                .split_once(':')
                .with_context(|| format!("no header field: {line}"))?;
            asked.add(name, value.trim())?;
        }
        Ok(asked)
    }

    pub(super) fn of_curl(command: &str) -> anyhow::Result<Self> {
        let curl::Command {
            method,
            url,
            headers,
            has_body,
        } = curl::read(command)?;
        let (tls, rest) = match url.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some((scheme, _)) => bail!("`{scheme}` is neither http nor https"),
            None => (false, url.as_str()),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let target = match target.chars().next() {
            None => "/".to_owned(),
            Some('?') => format!("/{target}"),
            Some(_) => target.to_owned(),
        };
        let default = if has_body { "POST" } else { "GET" };
        let mut asked = Self::new(method.as_deref().unwrap_or(default), &target, Version::HTTP_11)?;
        asked.tls = tls;
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            asked.add("Host", authority)?;
        }
        for (name, value) in headers {
            asked.add(&name, &value)?;
        }
        Ok(asked)
    }

    fn new(method: &str, target: &str, version: Version) -> anyhow::Result<Self> {
        let method = Method::from_bytes(method.as_bytes()).with_context(|| format!("`{method}` is no method"))?;
        let mut header = RequestHeader::build(method, target.as_bytes(), None)
            .map_err(|_| anyhow::anyhow!("`{target}` is no target of a request"))?;
        header.set_version(version);
        Ok(Self { header, tls: false })
    }

    fn add(&mut self, name: &str, value: &str) -> anyhow::Result<()> {
        let name = HeaderName::from_bytes(name.trim().as_bytes()).with_context(|| format!("no field name: {name}"))?;
        let value = HeaderValue::from_str(value).with_context(|| format!("no value of {name}"))?;
        self.header
            .append_header(name, value)
            .map_err(|_| anyhow::anyhow!("there are too many header fields"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let asked = Asked::of_text("POST /v1?x=1 HTTP/1.1\r\nHost: a\r\nX-A: b\r\nX-A: c\r\n\r\nbody").unwrap();
        assert_eq!(
            (asked.header.method.as_str(), asked.header.raw_path()),
            ("POST", &b"/v1?x=1"[..])
        );
        assert_eq!(asked.header.headers.get_all("x-a").iter().count(), 2);
        let asked = Asked::of_curl("curl -sS -d x -H 'X-Key: a b' https://api.example.com:8443?q#f").unwrap();
        assert_eq!(
            (asked.header.method.as_str(), asked.header.raw_path()),
            ("POST", &b"/?q"[..])
        );
        assert_eq!(asked.header.headers["host"], "api.example.com:8443");
        assert!(asked.tls && asked.header.headers["x-key"] == "a b");
        for wrong in ["", "GET", "GET /\nx", "GET / HTTP/9"] {
            assert!(Asked::of_text(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["curl", "curl ftp://a/", "curl 'http://a"] {
            assert!(Asked::of_curl(wrong).is_err(), "{wrong:?}");
        }
    }
}
