//! The `portcullis` binary: arguments in, exit code out.

use std::process::ExitCode;

/// Gives memory back after a burst; see `.cargo/config.toml` for its decay.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    portcullis::cli::main()
}
