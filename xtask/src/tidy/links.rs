//! Links in pages: a relative link leads to a file of this repository, and its anchor to a heading of it. Addresses on the
//! web are not visited.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use crate::tree::{Finding, Tree};

/// Follows every relative link of every page.
pub(crate) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let mut pages = HashMap::new();
    for path in tree.ending(".md") {
        pages.insert(path, Page::read(&tree.read(path)?));
    }
    let mut findings = Vec::new();
    for path in tree.ending(".md") {
        let Some(page) = pages.get(path) else { continue };
        for (line, target) in &page.links {
            if let Some(problem) = follow(tree, &pages, path, target) {
                findings.push(Finding::at(path, *line, format!("the link `{target}` {problem}")));
            }
        }
    }
    Ok(findings)
}

/// What is wrong with a link, if anything is.
fn follow(tree: &Tree, pages: &HashMap<&str, Page>, from: &str, target: &str) -> Option<String> {
    if is_elsewhere(target) {
        return None;
    }
    if target.starts_with('/') {
        return Some("is absolute: write it relative to the page".into());
    }
    let (file, anchor) = match target.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (target, None),
    };
    let Some(path) = resolve(from, file) else {
        return Some("leaves the repository".into());
    };
    if !tree.has(&path) && !tree.has_folder(&path) {
        return Some(format!("leads nowhere: there is no {path}"));
    }
    let anchors = &pages.get(path.as_str())?.anchors;
    let anchor = anchor.filter(|anchor| !anchors.contains(*anchor))?;
    Some(format!("leads nowhere: {path} has no heading for #{anchor}"))
}

/// `https:`, `mailto:` and their like.
fn is_elsewhere(target: &str) -> bool {
    let scheme = target.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

/// The path that a link of a page means. An empty link is the page itself.
fn resolve(from: &str, file: &str) -> Option<String> {
    if file.is_empty() {
        return Some(from.to_owned());
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// What a page links to and what can be linked in it.
#[derive(Debug, Default)]
struct Page {
    links: Vec<(usize, String)>,
    anchors: BTreeSet<String>,
}

impl Page {
    fn read(text: &str) -> Self {
        let mut page = Self::default();
        let mut heading: Option<String> = None;
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (event, range) in
            Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES).into_offset_iter()
        {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    let before = text.get(..range.start).unwrap_or_default();
                    page.links
                        .push((before.matches('\n').count() + 1, dest_url.into_string()));
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(piece) | Event::Code(piece) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&piece);
                    }
                }
                Event::End(TagEnd::Heading(
                    HeadingLevel::H1
                    | HeadingLevel::H2
                    | HeadingLevel::H3
                    | HeadingLevel::H4
                    | HeadingLevel::H5
                    | HeadingLevel::H6,
                )) => {
                    page.add(&heading.take().unwrap_or_default(), &mut seen);
                }
                Event::Html(html) | Event::InlineHtml(html) => page.anchors.extend(html_anchors(&html)),
                _ => {}
            }
        }
        page
    }

    /// Anchors as code forges make them: the second of two equal headings gets `-1`.
    fn add(&mut self, heading: &str, seen: &mut HashMap<String, usize>) {
        let slug: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || matches!(c, '-' | '_') => Some(c),
                _ => None,
            })
            .collect();
        let count = seen.entry(slug.clone()).or_default();
        self.anchors
            .insert(if *count == 0 { slug } else { format!("{slug}-{count}") });
        *count += 1;
    }
}

/// `id` and `name` attributes in raw HTML.
fn html_anchors(html: &str) -> Vec<String> {
    let after = |attribute: &str| {
        let pieces: Vec<String> = html
            .split(attribute)
            .skip(1)
            .filter_map(|rest| rest.split('"').next().map(ToOwned::to_owned))
            .collect();
        pieces
    };
    [after(" id=\""), after(" name=\"")].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::planted;

    #[test]
    fn good_links_pass() {
        let page = "# The first page\n\n[a](b.md) [b](../README.md#what-it-is) [c](https://example.org/x) [d](#the-first-page)\n\
                    [e](../src) [f](../src/a.rs#L10) ![g](b.md) [h](mailto:a@example.org) [ref][r]\n\n[r]: b.md#again-1\n";
        let (_folder, tree) = planted::tree(&[
            ("docs/a.md", page),
            ("docs/b.md", "# Again\n# Again\n"),
            ("README.md", "## What *it* `is`?\n"),
            ("src/a.rs", ""),
        ]);
        assert_eq!(check(&tree).unwrap(), []);
    }

    #[test]
    fn dead_links_are_reported_with_their_line() {
        let page =
            "# A\n\n[x](gone.md)\n[x](b.md#gone)\n[x](../../etc)\n[x](/b.md)\n\n[r]: c.md\n\n[by reference][r]\n";
        let (_folder, tree) = planted::tree(&[("docs/a.md", page), ("docs/b.md", "# B\n")]);
        assert_eq!(
            planted::lines(&check(&tree).unwrap()),
            [
                "docs/a.md:3: the link `gone.md` leads nowhere: there is no docs/gone.md",
                "docs/a.md:4: the link `b.md#gone` leads nowhere: docs/b.md has no heading for #gone",
                "docs/a.md:5: the link `../../etc` leaves the repository",
                "docs/a.md:6: the link `/b.md` is absolute: write it relative to the page",
                "docs/a.md:10: the link `c.md` leads nowhere: there is no docs/c.md",
            ]
        );
    }

    #[test]
    fn links_in_code_are_no_links_and_html_anchors_count() {
        let page = "`[x](gone.md)`\n\n```\n[x](gone.md)\n```\n\n<a id=\"here\"></a>\n\n[x](#here)\n";
        let (_folder, tree) = planted::tree(&[("a.md", page)]);
        assert_eq!(check(&tree).unwrap(), []);
    }
}
