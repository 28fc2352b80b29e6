//! Parses, runs, exits. Everything else is in the library.

use std::process::ExitCode;

use scheduler::{app, config};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    component_base::run::main_with(&config::flags::COMMAND, app::run)
}
