//! Measures API servers and clusters: upstream's and ours, by the same requests. README.md describes workloads and fields.
//!
//! [`apiserver`] loads an API server over connections of its own ([`connection`]) and times its start, [`pods`] times pods from
//! creation to Running, [`idle`] looks at processes that have nothing to do. All three read what a process uses from /proc ([`meter`], [`process`]) and
//! write one line of JSON per workload ([`record`]), which [`report`] turns into tables and plots.

mod apiserver;
mod connection;
mod counters;
mod idle;
mod meter;
mod namespace;
mod pods;
mod process;
mod record;
mod report;
mod statistics;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What to tell the person at the terminal; nothing here is handled by kind.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Error> = std::result::Result<T, E>;

/// Measures API servers and clusters.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Loads the API server of a kubeconfig, one workload after the other.
    Apiserver(Box<apiserver::Options>),
    /// Starts an API server on an etcd full of pods, and says when it works and what it holds.
    Start(apiserver::start::Options),
    /// Times pods of a whole cluster from creation to Running and Ready.
    Pods(pods::Options),
    /// Memory and CPU of processes that are left alone.
    Idle(idle::Options),
    /// Tables and plots of one or more runs.
    Report(report::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("perf: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    // One thread: the load never takes more than one core from the server, and a row in which it took all of one core shows that.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match command {
        Command::Apiserver(options) => runtime.block_on(apiserver::run(&options)),
        Command::Start(options) => runtime.block_on(apiserver::start::run(&options)),
        Command::Pods(options) => runtime.block_on(pods::run(&options)),
        Command::Idle(options) => runtime.block_on(idle::run(&options)),
        Command::Report(options) => report::run(&options),
    }
}
