//! Documentation is right: what it shows is accepted, what it tells to type gives what it says, and the files, functions,
//! settings, metrics and reasons that it names exist. The pages of filters are run by the filters' own tests.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice
)] // a test may

#[path = "docs/accept.rs"]
mod accept;
#[path = "docs/console.rs"]
mod console;
#[path = "docs/names.rs"]
mod names;
#[path = "docs/page.rs"]
mod page;

use page::Page;

/// Runs a check on everything and reports all that it finds.
fn all<T>(things: impl IntoIterator<Item = T>, check: impl Fn(T) -> Vec<String>) {
    let wrong: Vec<String> = things.into_iter().flat_map(check).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_configuration_and_bundle_on_a_page_is_accepted() {
    let pages = page::pages();
    assert!(pages.len() > 8, "the pages were not found");
    let blocks = pages
        .iter()
        .flat_map(|page| page.blocks.iter().map(move |block| (page, block)));
    all(blocks, |(page, block)| {
        let wrong = match block.words().as_slice() {
            ["yaml", "config", ..] => accept::configuration(&block.text),
            ["yaml", "bundle", ..] => accept::bundle(&block.text),
            _ => Ok(()),
        };
        wrong
            .err()
            .map(|wrong| format!("{}:{}: {wrong}", page.path, block.line))
            .into_iter()
            .collect()
    });
}

#[test]
fn every_example_is_accepted() {
    let files = page::files("examples", "yaml");
    assert!(
        files.iter().any(|path| path.ends_with("reverse-proxy/portcullis.yaml")),
        "{files:?}"
    );
    all(files, |path| {
        // What is included is looked at with the file that includes it.
        let wrong = match path.rsplit('/').next() {
            Some(name) if name.starts_with("policy") => accept::bundle(&page::read(&path)),
            _ if path.contains("/sites/") => Ok(()),
            _ => accept::example(&path),
        };
        wrong
            .err()
            .map(|wrong| format!("{path}: {wrong}"))
            .into_iter()
            .collect()
    });
}

#[test]
fn readme_does_what_it_says() {
    console::run("docs::readme_does_what_it_says", "README.md", None);
}

#[test]
fn the_reverse_proxy_does_what_it_says() {
    let folder = "examples/reverse-proxy";
    console::run(
        "docs::the_reverse_proxy_does_what_it_says",
        "examples/reverse-proxy/README.md",
        Some(folder),
    );
}

#[test]
fn tokens_and_policy_do_what_they_say() {
    let folder = "examples/jwt-and-policy";
    console::run(
        "docs::tokens_and_policy_do_what_they_say",
        "examples/jwt-and-policy/README.md",
        Some(folder),
    );
}

#[test]
fn the_tree_of_files_does_what_it_says() {
    let folder = "examples/gitops";
    console::run(
        "docs::the_tree_of_files_does_what_it_says",
        "examples/gitops/README.md",
        Some(folder),
    );
}

#[test]
fn every_file_and_function_on_a_page_exists() {
    all(page::pages(), |page| names::code(&page));
    let named = |page: &str| names::functions(&Page::read(page));
    assert!(
        named("docs/life-of-a-request.md") > 60
            && named("docs/life-of-a-bundle.md") > 40
            && named("docs/architecture.md") > 15
    );
}

#[test]
fn every_setting_has_its_row() {
    let page = page::read("docs/configuration.md");
    all(portcullis_config::schema::keys(), |key| {
        let is_row = |line: &str| {
            let name = line.strip_prefix("| `").and_then(|rest| rest.split('`').next());
            name.is_some_and(|name| key == name || key.ends_with(&format!(".{name}")))
        };
        if page.lines().any(is_row) {
            vec![]
        } else {
            vec![format!("docs/configuration.md has no row for `{key}`")]
        }
    });
}

#[test]
fn every_metric_is_listed_and_every_listed_metric_exists() {
    let listed = names::first_cells(&page::read("docs/operations.md"), "metric");
    let told = names::metrics_in_code();
    assert!(listed.len() > 30, "{listed:?}");
    all(told.difference(&listed), |name| {
        vec![format!("docs/operations.md does not list `{name}`")]
    });
    all(listed.difference(&told), |name| {
        vec![format!("docs/operations.md lists `{name}`, which no code writes")]
    });
}

#[test]
fn every_field_of_the_access_log_is_listed() {
    let page = page::read("docs/operations.md");
    let listed = names::first_cells(&page, "field");
    let told = names::fields_in_code();
    assert!(listed.len() > 20 && told.len() > 20, "{listed:?} {told:?}");
    all(told, |name| {
        if page.contains(&format!("`{name}`")) {
            vec![]
        } else {
            vec![format!("no `{name}` in docs/operations.md")]
        }
    });
    all(listed, |name| {
        if names::is_literal(&name) {
            vec![]
        } else {
            vec![format!("no code writes the field `{name}`")]
        }
    });
}

#[test]
fn every_reason_exists() {
    let pages = ["docs/operations.md", "docs/policy-bundles.md"].map(page::read);
    let reasons = pages
        .iter()
        .flat_map(|page| ["reason", "warning"].map(|head| names::first_cells(page, head)))
        .flatten();
    all(reasons, |reason| {
        if names::is_literal(&reason) {
            vec![]
        } else {
            vec![format!("no code gives the reason `{reason}`")]
        }
    });
}
