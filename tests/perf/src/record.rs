//! One line of results.jsonl: what one workload gave under one label. README.md describes the fields.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::meter::Usage;
use crate::statistics::{Percentiles, milliseconds};
use crate::{Result, process};

const FILE: &str = "results.jsonl";

/// Field names carry their units; what a workload does not have is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    pub(crate) workload: String,
    pub(crate) label: String,
    /// What one operation is.
    pub(crate) unit: String,
    pub(crate) operations: u64,
    pub(crate) errors: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) first_error: String,
    pub(crate) wall_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_second: Option<f64>,
    /// The rate in per cent of what it was without another's load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kept_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p90_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_ms_per_operation: Option<f64>,
    /// What an operation costs more than the same without what is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) added_cpu_ms_per_operation: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) etcd_cpu_ms_per_operation: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_cpu_ms_per_operation: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rss_before_kib: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rss_after_kib: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rss_peak_kib: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_per_operation: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) machine: String,
}

/// The operations of a workload, as they were seen from outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// One per operation that succeeded.
    pub(crate) latencies: Vec<Duration>,
    /// Of the answers' bodies.
    pub(crate) bytes: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: String,
    pub(crate) note: String,
}

impl Outcome {
    pub(crate) fn failed(&mut self, error: impl std::fmt::Display) {
        self.errors += 1;
        if self.errors == 1 {
            self.first_error = error.to_string();
        }
    }

    /// This and what came after it, as one.
    pub(crate) fn and(mut self, later: Self) -> Self {
        if self.errors == 0 {
            self.first_error = later.first_error;
        }
        self.latencies.extend(later.latencies);
        self.bytes += later.bytes;
        self.errors += later.errors;
        self
    }
}

impl Record {
    /// What was seen of a workload's operations, over this time.
    pub(crate) fn of_outcome(workload: &str, unit: &str, outcome: Outcome, wall: Duration) -> Self {
        let operations = outcome.latencies.len() as u64;
        let percentiles = Percentiles::of(outcome.latencies);
        Self {
            workload: workload.to_owned(),
            unit: unit.to_owned(),
            operations,
            errors: outcome.errors,
            first_error: outcome.first_error,
            wall_seconds: wall.as_secs_f64(),
            per_second: Some(operations as f64 / wall.as_secs_f64()),
            p50_ms: percentiles.map(|found| found.p50),
            p90_ms: percentiles.map(|found| found.p90),
            p99_ms: percentiles.map(|found| found.p99),
            bytes_per_operation: (outcome.bytes > 0 && operations > 0)
                .then(|| outcome.bytes as f64 / operations as f64),
            note: outcome.note,
            ..Self::default()
        }
    }

    /// A time in which nothing was asked for: an operation is one second, so that costs are per second.
    pub(crate) fn of_idle(workload: &str, usage: &Usage) -> Self {
        let record = Self {
            workload: workload.to_owned(),
            unit: "second".to_owned(),
            operations: usage.wall.as_secs_f64().round() as u64,
            wall_seconds: usage.wall.as_secs_f64(),
            ..Self::default()
        };
        record.with_usage(usage)
    }

    /// Adds what the operations cost.
    pub(crate) fn with_usage(mut self, usage: &Usage) -> Self {
        let per_operation = |cpu| milliseconds(cpu) / self.operations.max(1) as f64;
        self.cpu_ms_per_operation = Some(per_operation(usage.server_cpu));
        self.etcd_cpu_ms_per_operation = usage.etcd_cpu.map(per_operation);
        self.client_cpu_ms_per_operation = Some(per_operation(usage.own_cpu));
        self.with_memory(usage)
    }

    /// Adds memory alone: the CPU time went into other work too.
    pub(crate) fn with_memory(mut self, usage: &Usage) -> Self {
        self.rss_before_kib = Some(usage.resident_before);
        self.rss_after_kib = Some(usage.resident_after);
        self.rss_peak_kib = Some(usage.resident_peak);
        self
    }

    /// Whether the load generator, which has one thread, was busy most of the time: then it is what was measured.
    pub(crate) fn is_client_bound(&self) -> bool {
        self.client_cpu_ms_per_operation
            .is_some_and(|cpu| cpu * self.operations as f64 / 1e3 > 0.85 * self.wall_seconds)
    }
}

/// Appends records to the file of a run.
pub(crate) struct Recorder {
    file: File,
    label: String,
    machine: String,
}

impl Recorder {
    pub(crate) fn open(folder: &Path, label: &str) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let path = folder.join(FILE);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self {
            file,
            label: label.to_owned(),
            machine: process::machine(),
        })
    }

    /// Writes the record and says on standard error what it holds.
    pub(crate) fn write(&mut self, record: Record) -> Result<()> {
        let record = Record {
            label: self.label.clone(),
            machine: self.machine.clone(),
            ..record
        };
        let mut line = serde_json::to_vec(&record)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        eprintln!("{}", summary(&record));
        Ok(())
    }
}

fn summary(record: &Record) -> String {
    let mut text = format!(
        "{:<25} {:>7} in {:>6.1} s",
        record.workload, record.operations, record.wall_seconds
    );
    for (value, name) in [
        (record.per_second, "/s"),
        (record.p50_ms, "ms p50"),
        (record.p99_ms, "ms p99"),
        (record.kept_percent, "% kept"),
        (record.cpu_ms_per_operation, "ms CPU"),
        (record.added_cpu_ms_per_operation, "ms added"),
        (
            record.rss_peak_kib.map(|kib| kib as f64 / 1024.0),
            "MiB peak",
        ),
    ] {
        if let Some(value) = value {
            text.push_str(&format!("  {value:>9.3} {name}"));
        }
    }
    if record.errors > 0 {
        text.push_str(&format!(
            "  {} errors: {}",
            record.errors, record.first_error
        ));
    }
    text
}

/// All records of a run's folder, or of a file of records.
pub(crate) fn read(path: &Path) -> Result<Vec<Record>> {
    let path: PathBuf = if path.is_dir() {
        path.join(FILE)
    } else {
        path.to_owned()
    };
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            serde_json::from_str(line)
                .map_err(|error| format!("{}:{}: {error}", path.display(), number + 1).into())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> Usage {
        Usage {
            wall: Duration::from_secs(2),
            server_cpu: Duration::from_millis(500),
            etcd_cpu: None,
            own_cpu: Duration::from_millis(1900),
            resident_before: 10,
            resident_after: 20,
            resident_peak: 30,
        }
    }

    #[test]
    fn costs_are_per_operation() {
        let outcome = Outcome {
            latencies: vec![Duration::from_millis(3); 100],
            bytes: 5000,
            ..Outcome::default()
        };
        let record = Record::of_outcome("get-pod", "request", outcome, usage().wall);
        let record = record.with_usage(&usage());
        assert_eq!(record.per_second, Some(50.0));
        assert_eq!(record.p99_ms, Some(3.0));
        assert_eq!(record.cpu_ms_per_operation, Some(5.0));
        assert_eq!(record.etcd_cpu_ms_per_operation, None);
        assert_eq!(record.bytes_per_operation, Some(50.0));
        assert_eq!(record.rss_peak_kib, Some(30));
        assert!(record.is_client_bound());
    }

    #[test]
    fn nothing_succeeded() {
        let mut outcome = Outcome::default();
        outcome.failed("refused");
        outcome.failed("later");
        let record = Record::of_outcome("get-pod", "request", outcome, usage().wall);
        assert_eq!((record.operations, record.errors), (0, 2));
        assert_eq!(record.first_error, "refused");
        assert_eq!(record.p50_ms, None);
    }

    #[test]
    fn written_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let mut recorder = Recorder::open(&run, "ours").unwrap();
        recorder.write(Record::of_idle("idle", &usage())).unwrap();
        // What a script writes has fewer fields.
        let mut file = OpenOptions::new()
            .append(true)
            .open(run.join(FILE))
            .unwrap();
        file.write_all(
            b"\n{\"workload\":\"ready\",\"label\":\"x\",\"unit\":\"start\",\"wall_seconds\":0.5}\n",
        )
        .unwrap();
        let records = read(&run).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].label, "ours");
        assert_eq!(records[0].cpu_ms_per_operation, Some(250.0));
        assert_eq!(records[1].wall_seconds, 0.5);
        assert!(read(folder.path()).is_err());
    }
}
