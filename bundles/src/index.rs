//! Which policies a request is about: hosts, then a tree of path segments, then methods. Built once a bundle; what a
//! lookup costs depends on the request's path and not on the number of policies.

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_config::matcher::HostPattern;

use crate::policies::Matches;

/// A selector, ready to be indexed.
#[derive(Debug)]
pub(crate) struct Selector {
    /// Hosts; never empty.
    pub(crate) hosts: Vec<HostPattern>,
    /// The whole normalised path.
    pub(crate) exact: Option<Box<str>>,
    /// A normalised path; its whole segments are compared.
    pub(crate) prefix: Option<Box<str>>,
    /// Methods; `None`: all.
    pub(crate) methods: Option<Arc<[Box<str>]>>,
    /// Higher comes first.
    pub(crate) priority: i32,
}

/// The index. Entries are numbered in the order of evaluation.
#[derive(Debug)]
pub(crate) struct Index {
    exact: HashMap<Box<str>, u32>,
    suffix: HashMap<Box<str>, u32>,
    any: u32,
    /// Most labels of a key of `suffix`: what a lookup in it is bounded by.
    suffix_labels: usize,
    nodes: Box<[Node]>,
    entries: Box<[Entry]>,
}

/// A segment of a path under a host.
#[derive(Debug, Default)]
struct Node {
    /// By segment, sorted.
    children: Box<[(Box<str>, u32)]>,
    /// Entries about this path and everything below.
    prefix: Box<[u32]>,
    /// Entries about this path alone.
    exact: Box<[u32]>,
    /// Entries about this path alone, with a slash at its end.
    exact_slash: Box<[u32]>,
}

/// One way for a request to be about a policy.
#[derive(Debug)]
struct Entry {
    policy: u32,
    methods: Option<Arc<[Box<str>]>>,
}

impl Index {
    /// Indexes selectors, one a policy, in the order of the policies' ids.
    pub(crate) fn new(selectors: &[Selector]) -> Self {
        Builder::default().build(selectors)
    }

    /// See [`crate::policies::Policies::matching`].
    pub(crate) fn matching(&self, host: &str, path: &str, method: &str, matches: &mut Matches) {
        matches.clear();
        self.walk(self.any, path, matches);
        if let Some(root) = self.exact.get(host) {
            self.walk(*root, path, matches);
        }
        for (dot, _) in host.rmatch_indices('.').take(self.suffix_labels) {
            if let Some(root) = host.get(dot + 1..).and_then(|parent| self.suffix.get(parent)) {
                self.walk(*root, path, matches);
            }
        }
        matches.retain(|entry| self.entry(*entry).is_some_and(|entry| entry.takes(method)));
        // Of several entries of one policy only the first in order counts.
        matches.sort_unstable_by_key(|entry| (self.policy(*entry), *entry));
        matches.dedup_by_key(|entry| self.policy(*entry));
        matches.sort_unstable();
        for entry in matches.iter_mut() {
            *entry = self.policy(*entry);
        }
    }

    fn walk(&self, root: u32, path: &str, matches: &mut Matches) {
        let Some(mut node) = self.node(root) else { return };
        matches.extend_from_slice(&node.prefix);
        for segment in segments(path) {
            let child = node.children.binary_search_by(|(name, _)| name.as_ref().cmp(segment));
            let Some(next) = child
                .ok()
                .and_then(|at| node.children.get(at))
                .and_then(|(_, id)| self.node(*id))
            else {
                return;
            };
            node = next;
            matches.extend_from_slice(&node.prefix);
        }
        matches.extend_from_slice(if ends_in_slash(path) {
            &node.exact_slash
        } else {
            &node.exact
        });
    }

    fn node(&self, id: u32) -> Option<&Node> {
        self.nodes.get(usize::try_from(id).ok()?)
    }

    fn entry(&self, id: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(id).ok()?)
    }

    fn policy(&self, entry: u32) -> u32 {
        self.entry(entry).map_or(u32::MAX, |entry| entry.policy)
    }
}

impl Entry {
    fn takes(&self, method: &str) -> bool {
        self.methods
            .as_ref()
            .is_none_or(|methods| methods.iter().any(|known| known.as_ref() == method))
    }
}

/// The segments of a path. Empty ones do not count, so that `/v1` and `/v1/` are the same.
pub(crate) fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

fn ends_in_slash(path: &str) -> bool {
    path.len() > 1 && path.ends_with('/')
}

/// An entry before it has its number. The order of the fields is the order of evaluation.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Draft<'a> {
    priority: std::cmp::Reverse<i32>,
    host: std::cmp::Reverse<usize>,
    path: std::cmp::Reverse<usize>,
    any_method: bool,
    policy: u32,
    under: &'a HostPattern,
    pattern: Pattern<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pattern<'a> {
    Exact(&'a str),
    Prefix(&'a str),
}

#[derive(Default)]
struct Builder<'a> {
    exact: HashMap<Box<str>, u32>,
    suffix: HashMap<Box<str>, u32>,
    nodes: Vec<Growing>,
    children: HashMap<(u32, &'a str), u32>,
}

#[derive(Default)]
struct Growing {
    prefix: Vec<u32>,
    exact: Vec<u32>,
    exact_slash: Vec<u32>,
}

impl<'a> Builder<'a> {
    fn build(mut self, selectors: &'a [Selector]) -> Index {
        let mut drafts: Vec<Draft<'a>> = (0..)
            .zip(selectors)
            .flat_map(|(policy, one)| drafts(policy, one))
            .collect();
        drafts.sort_unstable();
        drafts.dedup();
        let any = self.new_node();
        let mut entries = Vec::with_capacity(drafts.len());
        for (number, draft) in (0..).zip(&drafts) {
            let root = self.root(draft.under, any);
            self.place(root, draft.pattern, number);
            let selector = usize::try_from(draft.policy)
                .ok()
                .and_then(|policy| selectors.get(policy));
            entries.push(Entry {
                policy: draft.policy,
                methods: selector.and_then(|one| one.methods.clone()),
            });
        }
        self.finish(any, entries)
    }

    fn root(&mut self, host: &HostPattern, any: u32) -> u32 {
        let (is_exact, name) = match host {
            HostPattern::Any => return any,
            HostPattern::Exact(name) => (true, name),
            HostPattern::Suffix(name) => (false, name),
        };
        let known = if is_exact { &self.exact } else { &self.suffix };
        if let Some(root) = known.get(name) {
            return *root;
        }
        let root = self.new_node();
        let known = if is_exact { &mut self.exact } else { &mut self.suffix };
        known.insert(name.clone(), root);
        root
    }

    fn new_node(&mut self) -> u32 {
        self.nodes.push(Growing::default());
        u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
    }

    fn place(&mut self, root: u32, pattern: Pattern<'a>, number: u32) {
        let (Pattern::Exact(path) | Pattern::Prefix(path)) = pattern;
        let mut node = root;
        for segment in segments(path) {
            node = if let Some(child) = self.children.get(&(node, segment)) {
                *child
            } else {
                let child = self.new_node();
                self.children.insert((node, segment), child);
                child
            };
        }
        let Some(place) = usize::try_from(node).ok().and_then(|node| self.nodes.get_mut(node)) else {
            return;
        };
        match pattern {
            Pattern::Prefix(_) => place.prefix.push(number),
            Pattern::Exact(path) if ends_in_slash(path) => place.exact_slash.push(number),
            Pattern::Exact(_) => place.exact.push(number),
        }
    }

    fn finish(self, any: u32, entries: Vec<Entry>) -> Index {
        let mut nodes: Vec<Node> = self.nodes.into_iter().map(Node::from).collect();
        let mut edges: Vec<_> = self.children.into_iter().collect();
        edges.sort_unstable();
        for group in edges.chunk_by(|((a, _), _), ((b, _), _)| a == b) {
            let parent = group.first().and_then(|((parent, _), _)| usize::try_from(*parent).ok());
            if let Some(node) = parent.and_then(|parent| nodes.get_mut(parent)) {
                node.children = group
                    .iter()
                    .map(|((_, segment), child)| (Box::from(*segment), *child))
                    .collect();
            }
        }
        let suffix_labels = self.suffix.keys().map(|name| labels(name)).max().unwrap_or(0);
        Index {
            exact: self.exact,
            suffix: self.suffix,
            any,
            suffix_labels,
            nodes: nodes.into_boxed_slice(),
            entries: entries.into_boxed_slice(),
        }
    }
}

impl From<Growing> for Node {
    fn from(node: Growing) -> Self {
        Self {
            children: Box::default(),
            prefix: node.prefix.into_boxed_slice(),
            exact: node.exact.into_boxed_slice(),
            exact_slash: node.exact_slash.into_boxed_slice(),
        }
    }
}

fn labels(host: &str) -> usize {
    host.split('.').count()
}

fn drafts(policy: u32, selector: &Selector) -> impl Iterator<Item = Draft<'_>> {
    let exact = selector.exact.as_deref().map(Pattern::Exact);
    let prefix = selector.prefix.as_deref().map(Pattern::Prefix);
    selector.hosts.iter().flat_map(move |under| {
        [exact, prefix].into_iter().flatten().map(move |pattern| Draft {
            priority: std::cmp::Reverse(selector.priority),
            host: std::cmp::Reverse(match under {
                HostPattern::Any => 0,
                HostPattern::Suffix(name) => labels(name),
                HostPattern::Exact(_) => usize::MAX,
            }),
            path: std::cmp::Reverse(match pattern {
                Pattern::Exact(_) => usize::MAX,
                Pattern::Prefix(path) => segments(path).count(),
            }),
            any_method: selector.methods.is_none(),
            policy,
            under,
            pattern,
        })
    })
}
