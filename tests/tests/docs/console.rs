//! Types what a page tells to type, in a folder of its own and on ports of its own, and compares what comes.
//!
//! Blocks `console run` hold commands behind `$ ` and what they print. `...` stands for anything: alone on a line for any
//! lines, within a line for any text. A command that ends in `&` is left running and waited for until it listens. Blocks
//! with a third word, such as `yaml config portcullis.yaml`, are files of the folder.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use portcullis_config::load::load;
use portcullis_e2e::gateway::{PATIENCE, binary, signal, wait};
use portcullis_e2e::{ports, skip};
use tempfile::TempDir;

use crate::accept::copy;
use crate::page::Page;

/// How long a command is repeated until it prints what it should: files are looked at twice a second.
const SETTLES: Duration = Duration::from_secs(15);
/// What every gateway listens on unless told otherwise.
const ADMIN: &str = "127.0.0.1:9901";

/// Runs the commands of a page, in a copy of `folder`.
pub(crate) fn run(test: &str, page: &str, folder: Option<&str>) {
    if skip::tool(test, "curl").is_none() {
        return;
    }
    let page = Page::read(page);
    let mut console = Console::new();
    if let Some(folder) = folder {
        copy(&crate::page::root().join(folder), console.dir.path());
    }
    console.move_ports(&page);
    let mut ran = 0;
    for block in &page.blocks {
        match block.words().as_slice() {
            ["yaml", _, name] => console.write(name, &block.text),
            ["console", "run"] => {
                for (command, expected) in commands(&block.text) {
                    console.step(&format!("{}:{}", page.path, block.line), command, &expected);
                    ran += 1;
                }
            }
            _ => {}
        }
    }
    assert!(ran > 0, "{} has no command to run", page.path);
}

/// Commands with the lines that follow them.
fn commands(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => found.push((command, Vec::new())),
            None => found.last_mut().expect("a command comes first").1.push(line),
        }
    }
    found
}

struct Console {
    dir: TempDir,
    /// Addresses as written, and those that are used instead.
    ports: BTreeMap<String, String>,
    running: Vec<Child>,
    path: String,
}

impl Console {
    fn new() -> Self {
        let folder = binary().parent().map(Path::to_path_buf).unwrap_or_default();
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
        Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
            ports: BTreeMap::new(),
            running: Vec::new(),
            path,
        }
    }

    /// Gives every loopback address of the page and its files a free port, so that pages can run side by side.
    fn move_ports(&mut self, page: &Page) {
        let files = files_below(self.dir.path());
        let mut texts: Vec<String> = files
            .iter()
            .map(|path| fs::read_to_string(path).expect("text"))
            .collect();
        texts.extend([page.text.clone(), ADMIN.to_owned()]);
        for text in &texts {
            for rest in text.split("127.0.0.1:").skip(1) {
                let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                if !port.is_empty() {
                    self.ports
                        .entry(format!("127.0.0.1:{port}"))
                        .or_insert_with(|| ports::free().to_string());
                }
            }
        }
        for (path, text) in files.iter().zip(&texts) {
            if path.extension().is_some_and(|ending| ending == "yaml") {
                fs::write(path, self.moved(&Self::with_admin(text))).expect("a file with other ports");
            }
        }
    }

    /// A whole configuration that says nothing of its admin listener gets the usual one in writing.
    fn with_admin(text: &str) -> String {
        let has = |key: &str| text.lines().any(|line| line.starts_with(key));
        if has("listeners:") && !has("admin:") {
            format!("{text}admin: {{ address: \"{ADMIN}\" }}\n")
        } else {
            text.to_owned()
        }
    }

    fn moved(&self, text: &str) -> String {
        // The longest first, so that no port is taken for the beginning of another.
        let mut ports: Vec<_> = self.ports.iter().collect();
        ports.sort_by_key(|(written, _)| std::cmp::Reverse(written.len()));
        let marked = ports
            .iter()
            .enumerate()
            .fold(text.to_owned(), |text, (n, (written, _))| {
                text.replace(*written, &format!("<{n}>"))
            });
        ports
            .iter()
            .enumerate()
            .fold(marked, |text, (n, (_, used))| text.replace(&format!("<{n}>"), used))
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), self.moved(&Self::with_admin(text))).expect("a file of the page");
    }

    /// One command.
    fn step(&mut self, place: &str, command: &str, expected: &[&str]) {
        let moved = self.moved(command);
        if let Some(started) = moved.strip_suffix('&') {
            self.start(started.trim_end());
            return;
        }
        let expected: Vec<String> = expected.iter().map(|line| self.moved(line)).collect();
        let started = Instant::now();
        // What changes nothing may be asked again until the gateway has noticed a change.
        let asks = ["curl", "portcullis status"]
            .iter()
            .any(|begin| command.starts_with(begin))
            && !command.contains("-X");
        loop {
            let output = self.output(&moved);
            let lines: Vec<&str> = output.lines().map(str::trim_end).collect();
            if fits(&expected, &lines) {
                return;
            }
            if !asks || started.elapsed() > SETTLES {
                let logs = self.logs();
                panic!(
                    "{place}: $ {moved}\nshould print\n{}\nprints\n{output}\n{logs}",
                    expected.join("\n")
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn shell(&self, command: &str) -> Command {
        let mut shell = Command::new("sh");
        let admin = self.ports.get(ADMIN).map_or(ADMIN, String::as_str);
        shell
            .args(["-c", command])
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        shell
            .env("PATH", &self.path)
            .env("PORTCULLIS_ADMIN", admin)
            .env_remove("RUST_BACKTRACE");
        shell
    }

    fn output(&self, command: &str) -> String {
        let output = self.shell(&format!("{{ {command}\n}} 2>&1")).output().expect("a shell");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Leaves a command running, and waits until everything that its configuration names is listened on.
    fn start(&mut self, command: &str) {
        let config = command
            .split("--config ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .expect("--config FILE");
        let loaded = load(&self.dir.path().join(config)).unwrap_or_else(|failed| panic!("{}", failed.render_text()));
        let listeners = loaded.config.listeners.iter().map(|listener| listener.address);
        let addresses: Vec<SocketAddr> = listeners.chain([loaded.config.admin.address]).collect();
        let child = self.shell(&format!("exec {command}")).spawn().expect("a shell");
        self.running.push(child);
        let logs = self.logs();
        wait(
            &format!("`{command}` to listen on {addresses:?} for {PATIENCE:?}\n{logs}"),
            || addresses.iter().all(|address| TcpStream::connect(address).is_ok()),
        );
    }

    /// The ends of all logs.
    fn logs(&self) -> String {
        let is_log = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "log");
        let end = |path: PathBuf| {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(5)..].join("\n");
            format!("--- {}\n{last}\n", path.display())
        };
        files_below(self.dir.path())
            .into_iter()
            .filter(is_log)
            .map(end)
            .collect()
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        for child in &mut self.running {
            if let Ok(None) = child.try_wait() {
                signal(child.id(), "INT");
            }
            let _ = child.wait();
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry"))
    {
        match entry.path() {
            path if path.is_dir() => found.extend(files_below(&path)),
            path => found.push(path),
        }
    }
    found
}

/// Whether lines are those that were expected.
fn fits(expected: &[String], lines: &[&str]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first.trim() == "..." => (0..=lines.len()).any(|skip| fits(rest, &lines[skip..])),
        Some((first, rest)) => lines
            .split_first()
            .is_some_and(|(line, more)| fits_line(first.trim_end(), line) && fits(rest, more)),
    }
}

fn fits_line(expected: &str, line: &str) -> bool {
    let Some((begin, rest)) = expected.split_once("...") else {
        return expected == line;
    };
    let Some(line) = line.strip_prefix(begin) else {
        return false;
    };
    (0..=line.len())
        .filter(|at| line.is_char_boundary(*at))
        .any(|at| fits_line(rest, &line[at..]))
}
