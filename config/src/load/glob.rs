//! File patterns: `*` in the last part of a path stands for any characters of a file name.

use std::path::{Path, PathBuf};

/// Why a pattern gives no files.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum GlobError {
    /// A `*` stands in a folder's name.
    StarInFolder,
    /// There is no file name.
    NoFileName,
    /// The folder cannot be listed.
    Unreadable(String),
    /// More files match than [`MOST`].
    TooMany,
}

/// Most files of one pattern.
pub(super) const MOST: usize = 1000;

/// What a pattern gives.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The files, by name.
    pub(super) files: Vec<PathBuf>,
    /// The folder that was listed.
    pub(super) folder: Option<PathBuf>,
}

/// The files that a pattern stands for, relative to a folder. Hidden files (`.name`) match only a pattern that begins with
/// a dot, so that the `..data` folders of Kubernetes and the leftovers of editors are passed over.
pub(super) fn expand(pattern: &str, base: &Path) -> Result<Found, GlobError> {
    let path = base.join(pattern);
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or(GlobError::NoFileName)?;
    if pattern.ends_with('/') {
        return Err(GlobError::NoFileName);
    }
    let folder = path.parent().unwrap_or(base);
    let star = |part: &Path| part.to_str().is_some_and(|part| part.contains('*'));
    if Path::new(pattern).parent().is_some_and(star) {
        return Err(GlobError::StarInFolder);
    }
    if !name.contains('*') {
        return Ok(Found {
            files: vec![path],
            folder: None,
        });
    }
    let mut files = Vec::new();
    let listing = std::fs::read_dir(folder).map_err(|error| GlobError::Unreadable(error.to_string()))?;
    for entry in listing {
        let entry = entry.map_err(|error| GlobError::Unreadable(error.to_string()))?;
        let candidate = entry.file_name();
        let Some(candidate) = candidate.to_str() else { continue };
        let shown = !candidate.starts_with('.') || name.starts_with('.');
        // Follows symbolic links: a ConfigMap's files are links.
        if shown && matches(name, candidate) && entry.path().is_file() {
            files.push(entry.path());
        }
        if files.len() > MOST {
            return Err(GlobError::TooMany);
        }
    }
    files.sort();
    Ok(Found {
        files,
        folder: Some(folder.to_owned()),
    })
}

/// Whether a pattern covers a whole name. Takes time linear in the name for each `*`.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_any_characters() {
        for (pattern, name, fits) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", ".yaml", true),
            ("*.yaml", "a.yaml.bak", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("**", "x", true),
            ("x", "x", true),
            ("x", "xy", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
