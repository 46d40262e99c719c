//! Patterns with the place of a tenant in them: of texts (`spiffe://example.com/{tenant}/*`) and of paths
//! (`/orgs/{tenant}`). Comparing what they find is not done here.

use std::borrow::Cow;

/// What stands for the tenant.
const TENANT: &str = "{tenant}";

/// A text with a tenant in it. The rest is fixed; a `*` at the end is anything.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    before: Box<str>,
    after: Box<str>,
    open: bool,
}

impl Pattern {
    /// Reads one, or says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (before, after) = text.split_once(TENANT).ok_or("it has no `{tenant}`")?;
        let (after, open) = match after.strip_suffix('*') {
            Some(after) => (after, true),
            None => (after, false),
        };
        let rest = [before, after];
        if rest.iter().any(|part| part.contains(['{', '}', '*'])) {
            return Err("it has more than one `{tenant}`, or a `*` that is not its end");
        }
        if open && after.is_empty() {
            return Err("a `*` right behind `{tenant}` would be part of the name");
        }
        Ok(Self {
            before: before.into(),
            after: after.into(),
            open,
        })
    }

    /// Whether anything may follow.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// What stands in the tenant's place, whatever it is. `None`: the text is another one.
    pub(super) fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        let rest = text.strip_prefix(&*self.before)?;
        if self.open {
            return rest.split_once(&*self.after).map(|(tenant, _)| tenant);
        }
        rest.strip_suffix(&*self.after)
    }
}

/// The beginning of a path, by segments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PathPattern(Box<[Part]>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Is(Box<str>),
    Any,
    Tenant,
}

/// A path has segments that servers may read differently.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ambiguous;

impl PathPattern {
    /// Reads one, or says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text.strip_prefix('/').ok_or("it does not begin with `/`")?;
        let mut parts = Vec::new();
        for segment in rest.split('/') {
            parts.push(match segment {
                "" | "." | ".." => return Err("it has an empty or a dotted segment"),
                "*" => Part::Any,
                TENANT => Part::Tenant,
                plain if plain.contains(['{', '}', '*', '%', ';', '\\']) => {
                    return Err("a segment is a plain text, `*` or `{tenant}`");
                }
                plain => Part::Is(plain.into()),
            });
        }
        if parts.iter().filter(|part| **part == Part::Tenant).count() != 1 {
            return Err("it needs one `{tenant}`");
        }
        Ok(Self(parts.into()))
    }

    /// The segment in the tenant's place, decoded. `None`: the path is another one, or ends before it.
    ///
    /// Whatever a server could take for this path is taken for it: names without regard to case and without parameters
    /// (`;`), `\` as `/`. What could then be read in two ways is an error.
    pub(super) fn find(&self, path: &str) -> Result<Option<String>, Ambiguous> {
        let path = decoded(path);
        let mut segments = path.split(['/', '\\']).skip(1);
        let mut found = None;
        for part in &self.0 {
            let Some(segment) = segments.next() else { break };
            let name = segment.split(';').next().unwrap_or_default();
            match part {
                Part::Is(wanted) if !name.eq_ignore_ascii_case(wanted) => return Ok(None),
                Part::Is(_) | Part::Any => {}
                Part::Tenant => found = Some(segment),
            }
        }
        let dotted = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
        match found {
            Some(_) if path.split(['/', '\\']).any(dotted) => Err(Ambiguous),
            found => Ok(found.filter(|segment| !segment.is_empty()).map(str::to_owned)),
        }
    }
}

/// Escapes decoded once. What is no escape stays as it is.
fn decoded(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let escape = tail.first_chunk::<2>().filter(|_| *first == b'%');
        let value = escape.and_then(|digits| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 16).ok()
        });
        match value {
            Some(value) => {
                bytes.push(value);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => bytes.push(*first),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let spiffe = Pattern::parse("spiffe://example.com/t/{tenant}/*").unwrap();
        assert_eq!(spiffe.find("spiffe://example.com/t/acme/api"), Some("acme"));
        assert_eq!(spiffe.find("spiffe://example.com/t/acme/api/x/y"), Some("acme"));
        assert_eq!(spiffe.find("spiffe://example.com/t/acme"), None);
        assert_eq!(spiffe.find("spiffe://evil.com/t/acme/api"), None);
        let host = Pattern::parse("{tenant}.example.com").unwrap();
        assert_eq!(host.find("acme.example.com"), Some("acme"));
        assert_eq!(host.find("a.b.example.com"), Some("a.b"));
        assert_eq!(host.find(".example.com"), Some(""));
        assert_eq!(host.find("example.com"), None);
        assert_eq!(host.find("acme.example.com.evil"), None);
        assert!(!host.is_open() && spiffe.is_open());
        for bad in [
            "",
            "x",
            "{tenant}{tenant}",
            "{tenant}*",
            "*{tenant}",
            "{tenant}/*/x",
            "{x}{tenant}",
        ] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths() {
        let pattern = PathPattern::parse("/v1/*/orgs/{tenant}").unwrap();
        let find = |path: &str| pattern.find(path);
        for (path, expected) in [
            ("/v1/x/orgs/acme", Some("acme")),
            ("/v1/x/orgs/acme/users", Some("acme")),
            ("/V1/x/ORGS/acme", Some("acme")),
            ("/v1/x/orgs;a=b/acme", Some("acme")),
            ("/v1/x/orgs/acme;v=1", Some("acme;v=1")),
            ("/v1/x/orgs/%61cme", Some("acme")),
            ("/v1/x/orgs/%2561cme", Some("%61cme")),
            ("/v1/x/orgs%5Cacme", Some("acme")),
            ("/v1/x/orgs", None),
            ("/v1/x/orgs/", None),
            ("/v1/x/users/acme", None),
            ("/", None),
        ] {
            assert_eq!(find(path).unwrap().as_deref(), expected, "{path}");
        }
        assert_eq!(find("/v1/x/orgs/acme%5C..%5Cother"), Err(Ambiguous));
        for bad in [
            "",
            "orgs/{tenant}",
            "/orgs",
            "/{tenant}/{tenant}",
            "/a//{tenant}",
            "/a/../{tenant}",
            "/a{tenant}",
            "/%61/{tenant}",
        ] {
            assert!(PathPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
