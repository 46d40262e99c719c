//! Loading from disk: includes, digests, what there is to watch.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)] // a test may

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis_config::load::{load, load_str};
use tempfile::TempDir;

const MAIN: &str = "include: [sites/*.yaml]\nlisteners: [{ name: http, address: \"127.0.0.1:8080\" }]\nsites: []\n";
const SITE: &str = "sites: [{ hosts: [HOST], routes: [{ respond: { status: 200 } }] }]\n";

fn tree(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn names(files: &[PathBuf], folder: &Path) -> Vec<String> {
    files
        .iter()
        .map(|path| path.strip_prefix(folder).unwrap().display().to_string())
        .collect()
}

#[test]
fn includes_are_merged_in_the_order_of_their_names() {
    let folder = tree(&[
        ("portcullis.yaml", MAIN),
        ("sites/b.yaml", &SITE.replace("HOST", "b.example")),
        ("sites/a.yaml", &SITE.replace("HOST", "a.example")),
        ("sites/.hidden.yaml", "not: [yaml"),
        ("sites/readme.md", "not: [yaml"),
    ]);
    let loaded = load(&folder.path().join("portcullis.yaml")).unwrap();
    let hosts: Vec<_> = loaded
        .config
        .sites
        .iter()
        .map(|site| site.hosts[0].to_string())
        .collect();
    assert_eq!(hosts, ["a.example", "b.example"]);
    let files = names(&loaded.files, folder.path());
    assert_eq!(files, ["portcullis.yaml", "sites", "sites/a.yaml", "sites/b.yaml"]);
    let node = loaded.document.at("sites[1].hosts[0]").unwrap();
    let place = loaded.sources.locate(loaded.document.span(node));
    assert!(
        place.file.ends_with("sites/b.yaml") && (place.line, place.column) == (1, 19),
        "{place:?}"
    );
}

#[test]
fn the_digest_is_that_of_the_content() {
    let files = [("portcullis.yaml", MAIN), ("sites/a.yaml", "# none\n")];
    let (one, two) = (tree(&files), tree(&files));
    let digest = |folder: &TempDir| load(&folder.path().join("portcullis.yaml")).unwrap().digest_hex();
    assert_eq!(digest(&one), digest(&two));
    assert_eq!(digest(&one).len(), 64);
    fs::write(two.path().join("sites/a.yaml"), "# none \n").unwrap();
    assert_ne!(digest(&one), digest(&two));
    // The border between two files counts.
    fs::write(two.path().join("sites/a.yaml"), "# no\n").unwrap();
    fs::write(two.path().join("sites/b.yaml"), "ne\n").unwrap();
    assert!(load(&two.path().join("portcullis.yaml")).is_err());
}

#[test]
fn a_pattern_with_a_star_may_match_nothing() {
    let folder = tree(&[("portcullis.yaml", MAIN), ("sites/readme.md", "")]);
    let loaded = load(&folder.path().join("portcullis.yaml")).unwrap();
    assert_eq!(names(&loaded.files, folder.path()), ["portcullis.yaml", "sites"]);
}

#[test]
fn what_failed_is_watched_too() {
    let folder = tree(&[("portcullis.yaml", &MAIN.replace("sites/*.yaml", "sites/a.yaml"))]);
    let failed = load(&folder.path().join("portcullis.yaml")).unwrap_err();
    assert_eq!(names(&failed.files, folder.path()), ["portcullis.yaml", "sites/a.yaml"]);
    let failed = load(&folder.path().join("missing.yaml")).unwrap_err();
    assert_eq!(names(&failed.files, folder.path()), ["missing.yaml"]);
    assert!(failed.to_string().starts_with("error[unreadable-file]: cannot read "));
}

#[test]
fn what_the_top_level_lacks_may_be_in_a_file_that_cannot_be_read() {
    let text = "include: [gone.yaml]\nlisteners: [{ name: http, adress: \"127.0.0.1:8080\" }]\n";
    let folder = tree(&[("portcullis.yaml", text)]);
    let failed = load(&folder.path().join("portcullis.yaml")).unwrap_err();
    let codes: Vec<_> = failed.diagnostics.iter().map(|error| error.code).collect();
    assert_eq!(codes, ["unreadable-file", "unknown-key"]);
}

/// How Kubernetes mounts a ConfigMap: links into `..data`, which is a link to the folder of one version.
#[cfg(unix)]
#[test]
fn a_config_map_is_read_through_its_links() {
    use std::os::unix::fs::symlink;

    let folder = tree(&[
        ("portcullis.yaml", MAIN),
        ("sites/..2026_01/a.yaml", &SITE.replace("HOST", "a.example")),
        ("sites/..2026_02/a.yaml", &SITE.replace("HOST", "b.example")),
    ]);
    let sites = folder.path().join("sites");
    symlink("..2026_01", sites.join("..data")).unwrap();
    symlink("..data/a.yaml", sites.join("a.yaml")).unwrap();
    let host = || load(&folder.path().join("portcullis.yaml")).unwrap().config.sites[0].hosts[0].to_string();
    assert_eq!(host(), "a.example");
    symlink("..2026_02", sites.join("..data_tmp")).unwrap();
    fs::rename(sites.join("..data_tmp"), sites.join("..data")).unwrap();
    assert_eq!(host(), "b.example");
}

#[test]
fn a_file_may_be_too_large() {
    let folder = tree(&[("portcullis.yaml", &"#".repeat((4 << 20) + 1))]);
    let failed = load(&folder.path().join("portcullis.yaml")).unwrap_err();
    assert_eq!(failed.diagnostics.iter().next().unwrap().code, "too-large");
}

#[test]
fn ten_thousand_routes_load_soon() {
    let mut text = MAIN.replace("include: [sites/*.yaml]\n", "").replace("sites: []\n", "");
    text += "upstreams: { app: { servers: [\"127.0.0.1:9000\"] } }\nsites:\n  - hosts: [\"*\"]\n    routes:\n";
    for i in 0..10_000 {
        let _ = write!(
            text,
            "      - match: {{ path_prefix: /v{i}, methods: [GET] }}\n        proxy: {{ upstream: app }}\n"
        );
    }
    let began = std::time::Instant::now();
    assert_eq!(
        load_str("big.yaml", &text).unwrap().config.sites[0].routes.len(),
        10_000
    );
    // Without optimisation, beside other tests, on a busy machine. It is a tenth of a second where it counts.
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}
