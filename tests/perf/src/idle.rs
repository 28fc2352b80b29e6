//! `perf idle`: memory and CPU of processes that are left alone for a while.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::meter::{Meter, Subjects};
use crate::process::Process;
use crate::record::{Record, Recorder};
use crate::{Error, Result};

#[derive(Args)]
pub(crate) struct Options {
    /// A process to look at, and what to call it. May be repeated.
    #[arg(long = "process", value_name = "NAME=PID", value_parser = named_process, required = true)]
    processes: Vec<(String, Process)>,
    /// For how long.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// What the report calls this run.
    #[arg(long, value_name = "LABEL", default_value = "cluster")]
    name: String,
    /// Folder of results.jsonl.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

fn named_process(text: &str) -> Result<(String, Process), Error> {
    let (name, pid) = text.split_once('=').ok_or("not NAME=PID")?;
    Ok((name.to_owned(), Process::new(pid.parse()?)?))
}

pub(crate) async fn run(options: &Options) -> Result<()> {
    let mut recorder = Recorder::open(&options.out, &options.name)?;
    let mut meters = Vec::new();
    for (name, process) in &options.processes {
        let subjects = Subjects {
            server: process.clone(),
            etcd: None,
        };
        meters.push((name, Meter::start(&subjects)?));
    }
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    for (name, meter) in meters {
        let record = Record::of_idle(&format!("idle {name}"), &meter.stop()?);
        recorder.write(record)?;
    }
    Ok(())
}
