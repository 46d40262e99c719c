//! The source tree as the checks see it: the files that belong to the project, and what a check found in one of them.
//! It knows no rule.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Hidden folders that hold sources of ours; every other hidden folder belongs to a tool.
const HIDDEN_BUT_OURS: &[&str] = &[".cargo", ".ci", ".github"];
/// Folders that tools fill.
const FILLED_BY_TOOLS: &[&str] = &["target", "corpus", "artifacts", "node_modules"];

/// The files of the project.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    files: Vec<String>,
}

impl Tree {
    /// Lists the files below `root`, without what tools made.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        walk(root, "", &mut files)?;
        files.sort();
        Ok(Self {
            root: root.to_path_buf(),
            files,
        })
    }

    /// The folder of the workspace.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Every file whose path, written with `/` and relative to the root, ends in `suffix`.
    pub(crate) fn ending<'a>(&'a self, suffix: &'a str) -> impl Iterator<Item = &'a str> {
        self.files
            .iter()
            .map(String::as_str)
            .filter(move |path| path.ends_with(suffix))
    }

    /// Every file.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// Whether this is one of the files.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.files.binary_search_by(|file| file.as_str().cmp(path)).is_ok()
    }

    /// Whether this is a folder with files in it. The root is `""`.
    pub(crate) fn has_folder(&self, path: &str) -> bool {
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        self.files.iter().any(|file| file.starts_with(&prefix))
    }

    /// The text of a file that may hold anything; what is no UTF-8 is replaced.
    pub(crate) fn read_lossy(&self, path: &str) -> Result<String> {
        let bytes = std::fs::read(self.root.join(path)).with_context(|| format!("cannot read {path}"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The text of a file.
    pub(crate) fn read(&self, path: &str) -> Result<String> {
        std::fs::read_to_string(self.root.join(path)).with_context(|| format!("cannot read {path}"))
    }
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<String>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}/{name}")
        };
        let kind = entry.file_type()?;
        if kind.is_file() {
            files.push(path);
        } else if kind.is_dir() && is_ours(&name, &entry.path()) {
            walk(&entry.path(), &path, files)?;
        }
    }
    Ok(())
}

fn is_ours(name: &str, folder: &Path) -> bool {
    let hidden = name.starts_with('.') && !HIDDEN_BUT_OURS.contains(&name);
    !hidden && !FILLED_BY_TOOLS.contains(&name) && !folder.join("CACHEDIR.TAG").exists()
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The file, relative to the root.
    pub(crate) path: String,
    /// The line, from 1. 0 when the whole file is meant.
    pub(crate) line: usize,
    /// What is wrong and what to do.
    pub(crate) text: String,
}

impl Finding {
    /// About a line.
    pub(crate) fn at(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            text: text.into(),
        }
    }

    /// About a whole file.
    pub(crate) fn file(path: &str, text: impl Into<String>) -> Self {
        Self::at(path, 0, text)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(out, "{}: {}", self.path, self.text)
        } else {
            write!(out, "{}:{}: {}", self.path, self.line, self.text)
        }
    }
}

#[cfg(test)]
pub(crate) mod planted {
    //! Small trees in temporary folders for the checks' own tests.

    use super::{Finding, Tree};

    /// Writes these files and opens the tree. Keep the folder alive while the tree is used.
    pub(crate) fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let tree = Tree::open(folder.path()).unwrap();
        (folder, tree)
    }

    /// The findings as lines.
    pub(crate) fn lines(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::planted;

    #[test]
    fn folders_of_tools_are_left_out() {
        let (_folder, tree) = planted::tree(&[
            ("a.rs", ""),
            (".ci/run", ""),
            (".git/config", ""),
            ("target/b.rs", ""),
            ("build/CACHEDIR.TAG", ""),
            ("build/c.rs", ""),
        ]);
        assert_eq!(tree.files().collect::<Vec<_>>(), [".ci/run", "a.rs"]);
        assert!(tree.has("a.rs") && !tree.has("target/b.rs"));
        assert!(tree.has_folder(".ci") && tree.has_folder("") && !tree.has_folder("a"));
    }
}
