//! Everything that is wrong with a bundle, with lines and columns: the slow, thorough reader. It is run for authors, and
//! by the gateway only to explain a bundle that was refused.
//!
//! Every policy, switch, requirement and test is decoded by itself, so that one error hides no other.

use portcullis_config::decode::decode;
use portcullis_config::diagnostic::{Diagnostic, Diagnostics};
use portcullis_config::document::{Document, NodeId, RawNode};
use portcullis_config::span::SourceMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::algorithm;
use crate::compile::{Compiled, EMBEDDED_SECRET, compile};
use crate::digest::Digest;
use crate::format::{Bundle, Override, Policy};
use crate::policies::Provenance;
use crate::problem::Problem;
use crate::strict::{Json, Version};
use crate::timestamp::Timestamp;

/// Most values of a document that is explained: a bound on memory, not on bundles.
pub(crate) const MAX_NODES: usize = 2_000_000;

/// What is wrong with a document, and its text to show it in.
#[derive(Debug, Clone, Default)]
pub struct Explanation {
    /// What is wrong.
    pub diagnostics: Diagnostics,
    /// The text.
    pub sources: SourceMap,
}

impl Explanation {
    /// For people, with excerpts.
    pub fn render_text(&self) -> String {
        self.diagnostics.render_text(&self.sources)
    }
}

/// The top level; lists are decoded one by one. Everything optional: the error is in the diagnostics.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // named so that a misspelt one gets the right advice
struct Head {
    bundle_version: Version,
    issued_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    audience: Option<Vec<String>>,
    policies: RawNode,
    kill_switches: Option<RawNode>,
    global_shadow: Option<Override>,
    kill_switch_override: Option<Override>,
    require: Option<RawNode>,
    tests: Option<RawNode>,
    defaults: Option<Json>,
}

/// The bundle in a document with its compiled form; what is wrong is added to `out`.
pub(crate) fn read(document: &Document, out: &mut Diagnostics) -> Option<(Bundle, Compiled)> {
    let root = document.root();
    let head = decode::<Head>(document, root, &[], out);
    let whole = head.is_some();
    let mut lists = Lists { document, out, whole };
    let mut bundle = head.map_or_else(Bundle::empty, Bundle::from);
    let policies: Vec<(usize, Policy)> = lists.items("policies");
    let kill_switches = lists.items("kill_switches");
    let require = lists.items("require");
    // A test may name a policy that could not be decoded: that would be a second error for the first one.
    let policies_are_whole = lists.whole;
    let mut tests = lists.items("tests");
    if !policies_are_whole {
        tests.clear();
    }
    let whole = lists.whole & check_algorithms(document, out);
    let audience = bundle.audience.as_ref().map_or(0, Vec::len);
    let places = Places::new(&[
        ("audience", (0..audience).collect()),
        ("policies", places(&policies)),
        ("kill_switches", places(&kill_switches)),
        ("require", places(&require)),
        ("tests", places(&tests)),
    ]);
    bundle.policies = values(policies);
    bundle.kill_switches = values(kill_switches);
    bundle.require = values(require);
    bundle.tests = values(tests);
    if !whole {
        stand_in_for_algorithms(document, &places, &mut bundle);
    }
    let origin = Provenance {
        version: bundle.bundle_version.get(),
        digest: Digest::of(b""),
        signed_by: Box::default(),
    };
    match compile(&bundle, origin) {
        Ok(compiled) if whole => Some((bundle, compiled)),
        Ok(_) => None,
        Err(problems) => {
            for problem in problems.as_slice() {
                let diagnostic = place(document, &places, problem);
                // Excerpts show text, and this text must not be shown.
                if let (EMBEDDED_SECRET, Some(span)) = (problem.code, diagnostic.span) {
                    out.hide(span);
                }
                out.push(diagnostic);
            }
            None
        }
    }
}

/// The lists of the top level, item by item.
struct Lists<'a> {
    document: &'a Document,
    out: &'a mut Diagnostics,
    /// Whether everything so far could be decoded.
    whole: bool,
}

impl Lists<'_> {
    fn items<T: DeserializeOwned>(&mut self, name: &str) -> Vec<(usize, T)> {
        let Some(node) = self.document.get(self.document.root(), name) else {
            return Vec::new();
        };
        let items = self.document.items(node);
        if items.is_empty() {
            // Empty, null, or no list at all: decoding the whole says which. Only policies must not be null.
            let (document, out) = (self.document, &mut *self.out);
            self.whole &= match name {
                "policies" => decode::<Vec<Json>>(document, node, &[], out).is_some(),
                _ => decode::<Option<Vec<Json>>>(document, node, &[], out).is_some(),
            };
            return Vec::new();
        }
        let mut found = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match decode(self.document, *item, &[], self.out) {
                Some(value) => found.push((index, value)),
                None => self.whole = false,
            }
            if self.out.is_full() {
                break;
            }
        }
        found
    }
}

fn places<T>(items: &[(usize, T)]) -> Vec<usize> {
    items.iter().map(|(index, _)| *index).collect()
}

fn values<T>(items: Vec<(usize, T)>) -> Vec<T> {
    items.into_iter().map(|(_, value)| value).collect()
}

/// Where the items of the partial bundle stand in the document.
struct Places {
    lists: Vec<(&'static str, Vec<usize>)>,
}

impl Places {
    fn new(lists: &[(&'static str, Vec<usize>)]) -> Self {
        Self { lists: lists.to_vec() }
    }

    fn original(&self, list: &str, index: usize) -> Option<usize> {
        let (_, indexes) = self.lists.iter().find(|(name, _)| *name == list)?;
        indexes.get(index).copied()
    }
}

/// The rules of a policy's node, the fallback included.
fn rule_nodes(document: &Document, policy: NodeId) -> Vec<NodeId> {
    let Some(spec) = document.get(policy, "spec") else {
        return Vec::new();
    };
    let listed = document
        .get(spec, "rules")
        .map(|rules| document.items(rules).to_vec())
        .unwrap_or_default();
    listed.into_iter().chain(document.get(spec, "fallback_limit")).collect()
}

/// A rule's algorithm and the node of its numbers.
fn numbers(document: &Document, rule: NodeId) -> Option<(&str, NodeId)> {
    let algorithm = document.string(document.get(rule, "algorithm")?)?;
    Some((algorithm, document.get(rule, "algorithm_config")?))
}

/// Decodes the algorithms' numbers, which a rule holds in their raw form. False: something is wrong.
fn check_algorithms(document: &Document, out: &mut Diagnostics) -> bool {
    let policies = document
        .get(document.root(), "policies")
        .map(|node| document.items(node))
        .unwrap_or_default();
    let rules = policies.iter().flat_map(|policy| rule_nodes(document, *policy));
    let mut whole = true;
    for (name, node) in rules.filter_map(|rule| numbers(document, rule)) {
        whole &= algorithm::is_shaped(name, document, node, out);
        if out.is_full() {
            return false;
        }
    }
    whole
}

/// Puts good numbers in place of those that were found wrong, so that they are not reported again.
fn stand_in_for_algorithms(document: &Document, places: &Places, bundle: &mut Bundle) {
    let policies = document
        .get(document.root(), "policies")
        .map(|node| document.items(node))
        .unwrap_or_default();
    for (index, policy) in bundle.policies.iter_mut().enumerate() {
        let Some(node) = places.original("policies", index).and_then(|at| policies.get(at)) else {
            continue;
        };
        let rules = policy.spec.rules.iter_mut().chain(policy.spec.fallback_limit.as_mut());
        for (rule, node) in rules.zip(rule_nodes(document, *node)) {
            let Some((name, config)) = numbers(document, node) else {
                continue;
            };
            if !algorithm::is_shaped(name, document, config, &mut Diagnostics::default()) {
                rule.algorithm_config = algorithm::stand_in(name);
            }
        }
    }
}

/// A problem of a bundle that was decoded whole, at its node.
pub(crate) fn place_whole(document: &Document, problem: &Problem) -> Diagnostic {
    locate(document, problem, |_, index| Some(index))
}

/// A problem of the partial bundle at its node.
fn place(document: &Document, places: &Places, problem: &Problem) -> Diagnostic {
    locate(document, problem, |list, index| places.original(list, index))
}

/// A problem at its node, or at the nearest one that is there. `original` knows where an item of a list stands.
fn locate(document: &Document, problem: &Problem, original: impl Fn(&str, usize) -> Option<usize>) -> Diagnostic {
    let mut node = document.root();
    let mut list = String::new();
    for (depth, step) in problem.pointer.split('/').skip(1).enumerate() {
        let step = step.replace("~1", "/").replace("~0", "~");
        let next = match step.parse::<usize>() {
            Ok(index) if depth == 1 => original(&list, index).and_then(|index| document.item(node, index)),
            Ok(index) if !document.items(node).is_empty() => document.item(node, index),
            _ => document.get(node, &step),
        };
        let Some(next) = next else { break };
        node = next;
        list = step;
    }
    let diagnostic = Diagnostic::new(problem.code, problem.message.clone()).on(document, node);
    match &problem.help {
        Some(help) => diagnostic.help(help.clone()),
        None => diagnostic,
    }
}

impl From<Head> for Bundle {
    fn from(head: Head) -> Self {
        Self {
            bundle_version: head.bundle_version,
            issued_at: head.issued_at,
            not_before: head.not_before,
            expires_at: head.expires_at,
            audience: head.audience,
            global_shadow: head.global_shadow,
            kill_switch_override: head.kill_switch_override,
            defaults: head.defaults,
            ..Self::empty()
        }
    }
}

impl Bundle {
    fn empty() -> Self {
        Self {
            bundle_version: Version::FIRST,
            issued_at: None,
            not_before: None,
            expires_at: None,
            audience: None,
            policies: Vec::new(),
            kill_switches: Vec::new(),
            global_shadow: None,
            kill_switch_override: None,
            require: Vec::new(),
            tests: Vec::new(),
            defaults: None,
        }
    }
}

/// What is wrong with JSON that the fast reader has refused because of `error`.
pub(crate) fn json(name: &str, payload: &[u8], error: &str) -> Explanation {
    let mut out = Diagnostics::default();
    let mut sources = SourceMap::default();
    match std::str::from_utf8(payload) {
        Err(wrong) => {
            let message = format!("the text is not UTF-8 (byte {})", wrong.valid_up_to());
            out.push(Diagnostic::new("not-utf8", message));
        }
        Ok(text) => {
            let file = sources.add(name, text);
            if let Some(document) = Document::parse_json_into(&sources, file, MAX_NODES, &mut out) {
                read(&document, &mut out);
            }
        }
    }
    if out.is_empty() {
        // The two readers differ; what the fast one says stands.
        out.push(Diagnostic::new("invalid-bundle", error));
    }
    out.sort();
    Explanation {
        diagnostics: out,
        sources,
    }
}
