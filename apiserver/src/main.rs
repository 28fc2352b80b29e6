//! The kube-apiserver binary.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    component_base::run::main_with(&apiserver::config::flags::COMMAND, |start| {
        apiserver::run(start.flags, start.stop)
    })
}
