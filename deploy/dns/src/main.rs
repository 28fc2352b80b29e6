//! Runs the cluster's DNS server: see the library.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use cluster_dns::{Config, run};
use component_base::logs;

/// DNS for Services and pods of a Kubernetes cluster.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The cluster's domain.
    #[arg(long, default_value = "cluster.local")]
    zone: String,
    /// Address to answer on, by UDP and TCP.
    #[arg(long, default_value = "0.0.0.0")]
    bind_address: std::net::IpAddr,
    #[arg(long, default_value_t = 53)]
    port: u16,
    /// Where /metrics is served (plain HTTP).
    #[arg(long, default_value = "0.0.0.0:9153")]
    metrics_bind_address: SocketAddr,
    /// Where /health and /ready are served (plain HTTP).
    #[arg(long, default_value = "0.0.0.0:8080")]
    health_bind_address: SocketAddr,
    /// Path of a kubeconfig; without it the pod's service account is used.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Names outside the zone are asked of the name servers in this file.
    #[arg(long, default_value = "/etc/resolv.conf")]
    resolv_conf: PathBuf,
    /// Log level: 0 to 10.
    #[arg(short, long = "v", default_value_t = 0)]
    verbosity: u32,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = start(arguments);
    if let Err(error) = result {
        tracing::error!(%error, "cluster-dns cannot run");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn start(arguments: Arguments) -> Result<(), component_base::Error> {
    logs::init(&logs::Options::new("text", arguments.verbosity, "")?);
    component_base::run::install_crypto_provider();
    let config = Config {
        zone: arguments.zone,
        address: SocketAddr::new(arguments.bind_address, arguments.port),
        metrics_address: arguments.metrics_bind_address,
        health_address: arguments.health_bind_address,
        kubeconfig: arguments.kubeconfig,
        resolv_conf: arguments.resolv_conf,
    };
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(async {
            let stop = component_base::shutdown::on_signals()?;
            run(config, stop).await
        })
}
