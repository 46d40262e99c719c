//! Pages and the fenced blocks on them. What a block must do is decided elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

/// A page.
pub(crate) struct Page {
    /// Relative to the repository.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) blocks: Vec<Block>,
}

/// A fenced block.
pub(crate) struct Block {
    /// Of its first line of text.
    pub(crate) line: usize,
    /// What stands behind the fence.
    pub(crate) info: String,
    pub(crate) text: String,
}

impl Block {
    pub(crate) fn words(&self) -> Vec<&str> {
        self.info.split_whitespace().collect()
    }
}

impl Page {
    pub(crate) fn read(path: &str) -> Self {
        let text = read(path);
        Self {
            path: path.to_owned(),
            blocks: blocks(&text),
            text,
        }
    }
}

fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                open = Some(Block {
                    line: number + 1,
                    info: info.trim().to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the repository")
        .to_path_buf()
}

/// A file of the repository.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every page but those of filters.
pub(crate) fn pages() -> Vec<Page> {
    let mut paths = vec![
        "README.md".to_owned(),
        "CONTRIBUTING.md".to_owned(),
        "SECURITY.md".to_owned(),
    ];
    paths.extend(files("docs", "md"));
    paths.extend(files("examples", "md"));
    paths.iter().map(|path| Page::read(path)).collect()
}

/// Files below a folder, by their ending.
pub(crate) fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    collect(&root().join(folder), folder, ending, &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, name: &str, ending: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{name}: {error}"))
        .map(|entry| entry.expect("an entry"))
    {
        let path = format!("{name}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&entry.path(), &path, ending, found);
        } else if path.ends_with(&format!(".{ending}")) {
            found.push(path);
        }
    }
}
