//! The inputs that a fuzzer begins with: this repository's own examples and golden files, read where they stand, so that
//! there is no second copy of them to keep fresh.

use std::path::{Path, PathBuf};

/// Larger files teach a fuzzer little and slow it down.
const MAX_BYTES: u64 = 32 << 10;
/// Levels of folders that are searched.
const DEPTH: usize = 4;

/// An input to begin with.
#[derive(Debug, Clone)]
pub struct Seed {
    /// Where it comes from.
    pub name: String,
    /// The input.
    pub bytes: Vec<u8>,
}

impl Seed {
    /// A seed.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            bytes: bytes.into(),
        }
    }
}

/// The top of the repository.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files under these folders of the repository whose names end like this.
///
/// # Panics
///
/// When a folder cannot be read: without seeds a run finds nothing and looks clean.
pub fn files(folders: &[&str], endings: &[&str]) -> Vec<Seed> {
    let mut found = Vec::new();
    for folder in folders {
        let path = top().join(folder);
        // Git keeps no empty folders; that there are enough seeds in all is tested.
        if path.exists() {
            collect(&path, folder, endings, DEPTH, &mut found);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn collect(folder: &Path, name: &str, endings: &[&str], depth: usize, found: &mut Vec<Seed>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry of a folder").path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{name}/{file}");
        if path.is_dir() {
            if depth > 0 {
                collect(&path, &name, endings, depth - 1, found);
            }
        } else if endings.iter().any(|ending| file.ends_with(ending)) {
            let size = path.metadata().map_or(0, |metadata| metadata.len());
            if size <= MAX_BYTES {
                found.push(Seed::new(name, std::fs::read(&path).expect("a readable file")));
            }
        }
    }
}

/// The fenced blocks of Markdown files that begin with one of these lines.
pub fn blocks(files: &[Seed], fences: &[&str]) -> Vec<Seed> {
    let mut found = Vec::new();
    for file in files {
        let text = String::from_utf8_lossy(&file.bytes);
        let mut open: Option<String> = None;
        for (number, line) in text.lines().enumerate() {
            match (&mut open, line.starts_with("```")) {
                (None, true) => open = fences.contains(&line).then(String::new),
                (Some(_), true) => {
                    let block = open.take().unwrap_or_default();
                    found.push(Seed::new(format!("{}:{number}", file.name), block));
                }
                (Some(block), false) => {
                    block.push_str(line);
                    block.push('\n');
                }
                (None, false) => {}
            }
        }
    }
    found
}

/// Puts the seeds into the target's corpus, where they are not there yet. `cargo fuzz run` reads them from there.
///
/// # Panics
///
/// When they cannot be written.
pub fn plant(target: &str, seeds: &[Seed]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    std::fs::create_dir_all(&folder).expect("a folder for the corpus");
    for seed in seeds {
        let name: String = seed
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let path = folder.join(format!("seed-{name}"));
        if !path.exists() {
            std::fs::write(path, &seed.bytes).expect("a writable corpus");
        }
    }
}
