//! What others run in a cluster, in one program, written with nothing of ours: an operator of kube-rs, an admission webhook, an aggregated API
//! server. Each finds the cluster by its pod's ServiceAccount. The end to end tests run them in pods and look at what they do.

mod aggregated;
mod controller;
mod serving;
mod webhook;
mod website;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What to tell the log; nothing here is handled by kind.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// What others run in a cluster.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Defines Websites and keeps a ConfigMap and a Deployment for each.
    Operator,
    /// Admits Websites.
    Webhook(serving::Options),
    /// Serves wares.example.com.
    Apiserver(serving::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("operator: there is a TLS provider already");
        return ExitCode::FAILURE;
    }
    let result = match Arguments::parse().command {
        Command::Operator => controller::run().await,
        Command::Webhook(options) => webhook::run(&options).await,
        Command::Apiserver(options) => aggregated::run(&options).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("operator: {error}");
            ExitCode::FAILURE
        }
    }
}
