//! Bundles as authors write them, YAML or JSON, on the way to being signed: read with every error told, and written in
//! the one JSON form that is signed. The gateway reads only that.

use portcullis_config::diagnostic::{Diagnostic, Diagnostics};
use portcullis_config::document::Document;
use portcullis_config::span::SourceMap;

use crate::compile::Compiled;
use crate::explain::{self, Explanation};
use crate::format::Bundle;
use crate::problem::Problem;

pub use portcullis_config::document::Format;

/// A bundle that was read without an error.
#[derive(Debug)]
pub struct Authored {
    /// As written.
    pub bundle: Bundle,
    /// Compiled, with the tests it brought along, which were not run.
    pub compiled: Compiled,
    document: Document,
    sources: SourceMap,
}

/// The format of a file by its name: `.yaml` and `.yml` are YAML, the rest is JSON.
pub fn format_of(name: &str) -> Format {
    let ending = name.rsplit('.').next().unwrap_or("");
    if ["yaml", "yml"].iter().any(|yaml| ending.eq_ignore_ascii_case(yaml)) {
        Format::Yaml
    } else {
        Format::Json
    }
}

/// Reads and compiles an author's text. `name` is for messages.
pub fn read(name: &str, text: &str, format: Format) -> Result<Authored, Explanation> {
    let ((bundle, compiled), document, sources) = read_as(name, text, format, explain::read)?;
    Ok(Authored {
        bundle,
        compiled,
        document,
        sources,
    })
}

/// Reads an author's text as what `read` makes of it, or tells every error in it.
pub(crate) fn read_as<T>(
    name: &str,
    text: &str,
    format: Format,
    read: impl FnOnce(&Document, &mut Diagnostics) -> Option<T>,
) -> Result<(T, Document, SourceMap), Explanation> {
    let mut sources = SourceMap::default();
    let file = sources.add(name, text);
    let mut out = Diagnostics::default();
    let document = match format {
        Format::Yaml => Document::parse_yaml_into(&sources, file, &mut out),
        Format::Json => Document::parse_json_into(&sources, file, explain::MAX_NODES, &mut out),
    };
    match document.and_then(|document| Some((read(&document, &mut out)?, document))) {
        Some((made, document)) if out.is_empty() => Ok((made, document, sources)),
        _ => {
            out.sort();
            Err(Explanation {
                diagnostics: out,
                sources,
            })
        }
    }
}

impl Authored {
    /// The JSON that is signed: fields in the order of the format, nothing that is a default by absence, two spaces.
    pub fn canonical_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        canonical_json(&self.bundle)
    }

    /// Problems and hints found later, at their places in the text.
    pub fn explain(&self, problems: &[Problem]) -> Explanation {
        let mut out = Diagnostics::default();
        out.extend(problems.iter().map(|problem| self.place(problem)));
        Explanation {
            diagnostics: out,
            sources: self.sources.clone(),
        }
    }

    fn place(&self, problem: &Problem) -> Diagnostic {
        explain::place_whole(&self.document, problem)
    }
}

/// See [`Authored::canonical_json`].
pub fn canonical_json(bundle: &Bundle) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = serde_json::to_vec_pretty(bundle)?;
    text.push(b'\n');
    Ok(text)
}
