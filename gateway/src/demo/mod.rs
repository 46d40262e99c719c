//! `portcullis demo`: Portcullis at work on this machine, with an upstream, an identity provider and a signed policy of its
//! own. The gateway is the real one, started from a configuration file; only its surroundings are made up.

mod files;
mod folder;
mod local;
mod once;
mod screen;
mod script;
mod tail;
mod tokens;
mod view;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::format::{say, say_line, tell_line};
use crate::server;

use self::files::CONFIG;
use self::script::{Script, Step};
use self::world::World;

/// What `demo --help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  portcullis demo                commands to try in another terminal, and a live view
  portcullis demo --port 8080    on a port of your choice
  portcullis demo --plain        no live view: a line for each decision
  portcullis demo --once         run the commands, check what comes of them, and leave

Everything is on 127.0.0.1 and in a private folder that is removed at the end.";

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// The port that the gateway serves on. 0: any that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Print a line for each decision instead of a live view.
    #[arg(long)]
    plain: bool,
    /// Run the printed commands, check what comes of them, and leave: exit code 0 if all is as promised.
    #[arg(long, conflicts_with = "plain")]
    once: bool,
}

/// What is done while the gateway serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    View,
    Lines,
    Once,
}

impl Demo {
    /// Runs it until Ctrl-C, or once.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let show = match (self.once, self.plain || !screen::is_drawable()) {
            (true, _) => Show::Once,
            (false, true) => Show::Lines,
            (false, false) => Show::View,
        };
        // A log line in the middle of the view would tear it; there, only errors may.
        let log = if show == Show::Lines { "warn" } else { "error" };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let world = Arc::new(World::new(&runtime, self.port, log)?);
        let beside = Arc::clone(&world);
        let beside = std::thread::Builder::new()
            .name("demo".to_owned())
            .spawn(move || {
                let code = guide(&runtime, &beside, show);
                beside.folder.remove();
                screen::flush();
                // The gateway's threads go on until the process ends.
                std::process::exit(i32::from(code));
            })
            .context("no thread for the demo")?;
        server::serve(&world.live, false)?;
        // The gateway heard the signal first; the demo ends the process.
        let _ = beside.join();
        Ok(ExitCode::SUCCESS)
    }
}

/// Everything beside the gateway, until a signal or the end of the script. Gives the exit code.
fn guide(runtime: &Runtime, world: &World, show: Show) -> u8 {
    let done = runtime.block_on(async {
        tokio::select! {
            done = present(world, show) => done,
            () = told_to_end() => Ok(true),
        }
    });
    if show == Show::View {
        screen::leave();
    }
    match done {
        Ok(good) => u8::from(!good),
        Err(error) => {
            tell_line(format_args!("portcullis: {error:#}"));
            1
        }
    }
}

async fn present(world: &World, show: Show) -> anyhow::Result<bool> {
    world.ready().await?;
    let program = program();
    let script = Script {
        addresses: &world.addresses,
        folder: &world.folder,
        program: &program,
    };
    let steps = script.steps();
    match show {
        Show::Once => return Ok(once::run(world, &steps).await),
        Show::Lines | Show::View => introduce(world, &steps),
    }
    match show {
        Show::View => screen::draw(world).await,
        Show::Lines | Show::Once => screen::print(world).await,
    }
}

fn introduce(world: &World, steps: &[Step]) {
    let (public, config) = (world.addresses.public, world.folder.path(CONFIG));
    say_line(format_args!(
        "Portcullis serves http://{public} as {} says.",
        config.display()
    ));
    say_line("Try these in another terminal; behind each stands what comes of it.\n");
    say(script::print(steps));
}

/// Ctrl-C, SIGTERM, or a terminal that is closed.
async fn told_to_end() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// How a shell calls this program: by name if that finds it, else by its path.
fn program() -> PathBuf {
    let Ok(own) = std::env::current_exe() else {
        return PathBuf::from("portcullis");
    };
    let found = std::env::var_os("PATH").and_then(|paths| {
        std::env::split_paths(&paths)
            .map(|folder| folder.join("portcullis"))
            .find(|path| path.is_file())
    });
    if found.and_then(|path| path.canonicalize().ok()).as_deref() == Some(own.as_path()) {
        return PathBuf::from("portcullis");
    }
    let here = std::env::current_dir().ok();
    match here.as_deref().and_then(|here| own.strip_prefix(here).ok()) {
        Some(below) if below != Path::new("") => Path::new(".").join(below),
        _ => own,
    }
}
