//! The kubelet's entry point.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    component_base::run::main_with(&kubelet::config::flags::COMMAND, kubelet::app::run)
}
