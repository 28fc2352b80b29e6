//! Sends the same requests to two API servers and compares what they answer: codes, headers, bodies, watch events.
//!
//! - [`case`]: what a case is, how its templates are filled in.
//! - [`topics`]: where cases come from: the files below `cases/`, some of them applied to every built-in resource.
//! - [`connection`]: one request to one server.
//! - [`normalise`]: replaces what may differ (uids, revisions, times, allocated addresses) by placeholders.
//! - [`diff`]: two normalised answers, field by field.
//! - [`run`]: a case against both servers, step by step.
//! - [`report`]: differences by cause, those accepted in `expected.yaml` apart.

#![forbid(unsafe_code)]

mod case;
mod connection;
mod diff;
mod normalise;
mod report;
mod run;
mod settle;
mod topics;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use futures::StreamExt as _;

use case::Case;
use connection::Server;
use report::{Expected, Report};
use run::Outcome;

/// Why the program could not compare at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("reading {path}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {reason}")]
    Cases { path: PathBuf, reason: String },
    #[error("kubeconfig {path}: {reason}")]
    Kubeconfig { path: PathBuf, reason: String },
    #[error("writing the report")]
    Write(#[source] std::io::Error),
}

/// Compares two API servers.
#[derive(Debug, Parser)]
struct Arguments {
    /// Kubeconfig of the reference.
    #[arg(long)]
    left: PathBuf,
    /// Kubeconfig of the server that is to answer like it.
    #[arg(long)]
    right: PathBuf,
    /// Only cases whose names begin so, e.g. `rest/pods` or `invalid/`.
    #[arg(long, default_value = "")]
    only: String,
    /// Folder for the report: groups.txt, differences.txt.
    #[arg(long)]
    out: PathBuf,
    /// How many cases run at the same time.
    #[arg(long, default_value_t = 6)]
    parallel: usize,
    /// Also the resources that are off by default.
    #[arg(long)]
    all_resources: bool,
    /// Folder with the cases and the table of accepted differences.
    #[arg(long, default_value = env!("CARGO_MANIFEST_DIR"))]
    data: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match compare(&arguments).await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            eprintln!("differential: {error}{}", cause.unwrap_or_default());
            ExitCode::from(70)
        }
    }
}

/// Returns how many requests differ without being expected to.
async fn compare(arguments: &Arguments) -> Result<usize, Error> {
    let servers = [
        Server::from_kubeconfig(&arguments.left)?,
        Server::from_kubeconfig(&arguments.right)?,
    ];
    let expected = Expected::read(&arguments.data.join("expected.yaml"))?;
    let cases = topics::load(&arguments.data.join("cases"), arguments.all_resources)?;
    let cases: Vec<Case> = cases
        .into_iter()
        .filter(|case| case.name.starts_with(&arguments.only))
        .collect();

    let mut report = Report::new(expected);
    // What a new cluster has is compared before anything is added to it, one case after the other.
    for first in cases.iter().filter(|case| case.first) {
        report.add(run::run(&servers, first).await);
    }
    for namespace in run::namespaces(&cases) {
        report.add(run::run(&servers, &namespace).await);
    }
    let mut outcomes: Vec<Outcome> = futures::stream::iter(cases.iter().filter(|case| !case.first))
        .map(|case| run::run(&servers, case))
        .buffer_unordered(arguments.parallel)
        .collect()
        .await;
    outcomes.sort_by(|one, other| one.case.cmp(&other.case));
    for outcome in outcomes {
        report.add(outcome);
    }
    report
        .write(&arguments.out, !arguments.only.is_empty())
        .map_err(Error::Write)
}
