//! `cargo run -p fuzz -- --seconds 600 [TARGET...]`: runs targets longer than the tests do.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use fuzz::run::{Bound, replay, run};
use fuzz::targets::TARGETS;
use fuzz::{Case, Target};

/// Runs decoders and parsers on hostile input.
#[derive(Parser)]
struct Arguments {
    /// Names of targets, or the beginnings of names; all without any.
    targets: Vec<String>,
    /// Seconds in all, shared by the targets.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Number of the first batch of inputs; the same batches are the same inputs. Tests begin with 0.
    #[arg(long, default_value_t = 1_000_000)]
    batch: u64,
    /// Tries this one file, kept by a run that failed.
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Where failures are kept.
    #[arg(long, default_value = "target/fuzz")]
    out: PathBuf,
    /// Lists the targets.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match work(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fuzz: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether nothing failed.
fn work(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    let chosen: Vec<&Target> = TARGETS
        .iter()
        .filter(|target| {
            let named = |name: &String| match TARGETS.iter().any(|other| other.name == name) {
                true => target.name == name,
                false => target.name.starts_with(name.as_str()),
            };
            arguments.targets.is_empty() || arguments.targets.iter().any(named)
        })
        .collect();
    if chosen.is_empty() {
        return Err("no target has such a name; --list shows them".into());
    }
    if arguments.list {
        for target in chosen {
            writeln!(out, "{:24} {}", target.name, target.promise)?;
        }
        return Ok(true);
    }
    if let Some(path) = &arguments.replay {
        let [target] = chosen[..] else {
            return Err("--replay needs the name of one target".into());
        };
        let file = std::fs::read(path)?;
        let case = Case::from_file(&file).ok_or("the file has no number in its first line")?;
        return match replay(target, case, &arguments.out) {
            Ok(verdict) => {
                writeln!(out, "{}: {verdict:?}", target.name)?;
                Ok(true)
            }
            Err(failure) => {
                writeln!(out, "{failure}")?;
                Ok(false)
            }
        };
    }
    let each = Duration::from_secs(arguments.seconds) / u32::try_from(chosen.len())?;
    if let [target] = chosen[..] {
        return match run(target, Bound::Time(each, arguments.batch), &arguments.out) {
            Ok(done) => {
                writeln!(
                    out,
                    "{:24} {:8} inputs, {:3} % valid, slowest {:?}",
                    target.name,
                    done.cases,
                    u64::from(done.accepted) * 100 / u64::from(done.cases.max(1)),
                    done.slowest
                )?;
                Ok(true)
            }
            Err(failure) => {
                writeln!(out, "{failure}")?;
                Ok(false)
            }
        };
    }
    // A process each: what ends one leaves the others.
    let mut fine = true;
    for target in chosen {
        let status = std::process::Command::new(std::env::current_exe()?)
            .args(["--seconds", &each.as_secs().max(1).to_string()])
            .args(["--batch", &arguments.batch.to_string()])
            .arg("--out")
            .arg(&arguments.out)
            .arg(target.name)
            .status()?;
        if !status.success() {
            fine = false;
            writeln!(out, "{}: {status}", target.name)?;
            out.flush()?;
        }
    }
    Ok(fine)
}
