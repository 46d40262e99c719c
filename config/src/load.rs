//! From files to a checked configuration: read, parse, merge the includes, decode, validate. Reads configuration files and
//! nothing else: certificates, secrets and bundles are opened by those who use them.

mod glob;
mod include;

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::decode::{Rules, decode_or_trouble};
use crate::diagnostic::{Diagnostic, Diagnostics, codes};
use crate::document::{Document, MAX_YAML_BYTES};
use crate::gateway::Config;
use crate::span::{FileId, SourceMap, Span};
use crate::validate;

/// A configuration without a known mistake, and where each part of it was written.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The tree it was decoded from, includes merged in. Filters decode their settings from it.
    pub document: Arc<Document>,
    /// The texts.
    pub sources: Arc<SourceMap>,
    /// Every file that was read and every folder that was searched: what to watch.
    pub files: Vec<PathBuf>,
    /// SHA-256 over the texts, in the order they were merged.
    pub digest: [u8; 32],
}

impl Loaded {
    /// The digest in hexadecimal.
    pub fn digest_hex(&self) -> String {
        let mut text = String::with_capacity(2 * self.digest.len());
        for byte in self.digest {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

/// Why there is no configuration.
#[derive(Debug, Clone)]
pub struct Failed {
    /// What is wrong: everything that could be found, in the order of the text.
    pub diagnostics: Diagnostics,
    /// The texts.
    pub sources: Arc<SourceMap>,
    /// Every file that was read or would have been, and every folder that was searched: what to watch.
    pub files: Vec<PathBuf>,
}

impl Failed {
    /// As text for people.
    pub fn render_text(&self) -> String {
        self.diagnostics.render_text(&self.sources)
    }

    /// As JSON for tools.
    pub fn render_json(&self) -> serde_json::Value {
        self.diagnostics.render_json(&self.sources)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render_text())
    }
}

impl std::error::Error for Failed {}

/// Loads `portcullis.yaml` and what it includes.
pub fn load(path: &Path) -> Result<Loaded, Failed> {
    let mut reading = Reading::default();
    let file = reading.file(path, None);
    reading.finish(file, path.parent())
}

/// Loads a text. `include` is refused in it.
pub fn load_str(name: &str, text: &str) -> Result<Loaded, Failed> {
    let mut reading = Reading::default();
    let file = reading.sources.add(name, text);
    reading.finish(Some(file), None)
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    sources: SourceMap,
    files: Vec<PathBuf>,
    read: Vec<FileId>,
    out: Diagnostics,
}

impl Reading {
    /// Reads a file. `asked` is where another file asks for it.
    fn file(&mut self, path: &Path, asked: Option<Span>) -> Option<FileId> {
        self.files.push(path.to_owned());
        let diagnostic = match read(path) {
            Ok(text) => return Some(self.sources.add(path.display().to_string(), text)),
            Err(diagnostic) => diagnostic,
        };
        self.out.push(match asked {
            Some(span) => diagnostic.at(span),
            None => diagnostic,
        });
        None
    }

    fn finish(mut self, main: Option<FileId>, folder: Option<&Path>) -> Result<Loaded, Failed> {
        let loaded = main.and_then(|main| self.build(main, folder));
        self.out.sort();
        let sources = Arc::new(self.sources);
        match loaded {
            Some((config, document)) if self.out.is_empty() => {
                let digest = digest(&sources, &self.read);
                Ok(Loaded {
                    config,
                    document: Arc::new(document),
                    sources,
                    files: self.files,
                    digest,
                })
            }
            _ => Err(Failed {
                diagnostics: self.out,
                sources,
                files: self.files,
            }),
        }
    }

    fn build(&mut self, main: FileId, folder: Option<&Path>) -> Option<(Config, Document)> {
        self.read.push(main);
        let mut document = Document::parse_yaml_into(&self.sources, main, &mut self.out)?;
        let whole = include::merge(self, &mut document, folder);
        let root = document.root();
        let mut shape = Diagnostics::default();
        let decoded = decode_or_trouble::<Config>(&document, root, Rules::default(), &mut shape);
        if !whole {
            // What the top level lacks may stand in the file that could not be read.
            shape.retain(|diagnostic| diagnostic.code != codes::MISSING_KEY || !diagnostic.path.is_empty());
        }
        self.out.append(shape);
        match decoded {
            Ok(config) if whole => {
                validate::validate(&config, &document, &mut self.out);
                Some((config, document))
            }
            Err(trouble) if whole && !self.out.is_full() => {
                validate::validate_rest(&document, &trouble, &mut self.out);
                None
            }
            _ => None,
        }
    }
}

/// Reads a text file within the bound of a document.
fn read(path: &Path) -> Result<String, Diagnostic> {
    use std::io::Read as _;

    let unreadable = |error| {
        Diagnostic::new(
            codes::UNREADABLE_FILE,
            format!("cannot read {}: {error}", path.display()),
        )
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_YAML_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| {
        let bytes = error.as_bytes();
        if bytes.len() > MAX_YAML_BYTES {
            let message = format!("{} has more than {MAX_YAML_BYTES} bytes", path.display());
            return Diagnostic::new(codes::TOO_LARGE, message);
        }
        let valid = bytes.get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = valid.split(|byte| *byte == b'\n').count();
        Diagnostic::new(
            codes::NOT_UTF8,
            format!("{} is not UTF-8 text: line {line}", path.display()),
        )
        .help("save the file as UTF-8")
    })
}

/// SHA-256 over the texts, each preceded by its length.
fn digest(sources: &SourceMap, files: &[FileId]) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for file in files {
        let text = sources.text(*file);
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    bytes
}
