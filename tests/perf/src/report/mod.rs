//! `perf report`: runs side by side, as text on standard output and as one HTML page that needs nothing else.
//!
//! A workload that was measured several times under one label is told by the median of each of its figures.

mod html;
mod text;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use crate::Result;
use crate::record::{self, Record};
use crate::statistics::median;

#[derive(Args)]
pub(crate) struct Options {
    /// Folders of runs, or files of records. The first label found is what the others are compared with.
    #[arg(required = true, value_name = "DIR")]
    runs: Vec<PathBuf>,
    /// Where the page goes.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut records = Vec::new();
    for path in &options.runs {
        records.extend(record::read(path)?);
    }
    let report = Report::new(&records);
    std::io::stdout().write_all(text::render(&report).as_bytes())?;
    if let Some(path) = &options.html {
        fs::write(path, html::render(&report))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// A figure of a workload.
struct Metric {
    name: &'static str,
    unit: &'static str,
    better: Better,
    /// Whether the page has bars for it.
    plotted: bool,
    value: fn(&Record) -> Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Better {
    More,
    Less,
    /// It says what was done, not how well.
    Neither,
}

const METRICS: &[Metric] = &[
    Metric {
        name: "time",
        unit: "s",
        better: Better::Less,
        plotted: true,
        value: |record| (record.unit == "start").then_some(record.wall_seconds),
    },
    Metric {
        name: "rate",
        unit: "/s",
        better: Better::More,
        plotted: true,
        value: |record| record.per_second,
    },
    Metric {
        name: "rate kept",
        unit: "%",
        better: Better::More,
        plotted: true,
        value: |record| record.kept_percent,
    },
    Metric {
        name: "latency p50",
        unit: "ms",
        better: Better::Less,
        plotted: true,
        value: |record| record.p50_ms,
    },
    Metric {
        name: "latency p90",
        unit: "ms",
        better: Better::Less,
        plotted: false,
        value: |record| record.p90_ms,
    },
    Metric {
        name: "latency p99",
        unit: "ms",
        better: Better::Less,
        plotted: true,
        value: |record| record.p99_ms,
    },
    Metric {
        name: "CPU",
        unit: "ms each",
        better: Better::Less,
        plotted: true,
        value: |record| record.cpu_ms_per_operation,
    },
    Metric {
        name: "CPU added",
        unit: "ms each",
        better: Better::Less,
        plotted: true,
        value: |record| record.added_cpu_ms_per_operation,
    },
    Metric {
        name: "etcd CPU",
        unit: "ms each",
        better: Better::Less,
        plotted: false,
        value: |record| record.etcd_cpu_ms_per_operation,
    },
    Metric {
        name: "client CPU",
        unit: "ms each",
        better: Better::Neither,
        plotted: false,
        value: |record| record.client_cpu_ms_per_operation,
    },
    Metric {
        name: "memory before",
        unit: "MiB",
        better: Better::Less,
        plotted: false,
        value: |record| record.rss_before_kib.map(mebibytes),
    },
    Metric {
        name: "memory after",
        unit: "MiB",
        better: Better::Less,
        plotted: false,
        value: |record| record.rss_after_kib.map(mebibytes),
    },
    Metric {
        name: "memory peak",
        unit: "MiB",
        better: Better::Less,
        plotted: true,
        value: |record| record.rss_peak_kib.map(mebibytes),
    },
    Metric {
        name: "answer",
        unit: "bytes",
        better: Better::Neither,
        plotted: false,
        value: |record| record.bytes_per_operation,
    },
    Metric {
        name: "errors",
        unit: "",
        better: Better::Less,
        plotted: false,
        value: |record| (record.errors > 0).then_some(record.errors as f64),
    },
];

fn mebibytes(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// What is shown: a row for each figure of each workload, a column for each label.
struct Report {
    labels: Vec<String>,
    rows: Vec<Row>,
    /// What a reader has to know besides the figures.
    notes: Vec<String>,
}

struct Row {
    workload: String,
    metric: &'static Metric,
    /// One per label.
    values: Vec<Option<f64>>,
}

impl Row {
    /// This label's value over the first label's.
    fn ratio(&self, label: usize) -> Option<f64> {
        let (first, this) = ((*self.values.first()?)?, (*self.values.get(label)?)?);
        (first != 0.0).then(|| this / first)
    }
}

impl Report {
    /// Workloads and labels stay in the order in which they first appear.
    fn new(records: &[Record]) -> Self {
        let workloads = distinct(records.iter().map(|record| record.workload.as_str()));
        let labels = distinct(records.iter().map(|record| record.label.as_str()));
        let mut rows = Vec::new();
        for workload in &workloads {
            for metric in METRICS {
                let value = |label: &String| {
                    let of_both =
                        |record: &&Record| record.workload == *workload && record.label == *label;
                    median(
                        records
                            .iter()
                            .filter(of_both)
                            .filter_map(metric.value)
                            .collect(),
                    )
                };
                let values: Vec<_> = labels.iter().map(value).collect();
                if values.iter().any(Option::is_some) {
                    rows.push(Row {
                        workload: workload.clone(),
                        metric,
                        values,
                    });
                }
            }
        }
        Self {
            labels,
            rows,
            notes: notes(records),
        }
    }
}

fn notes(records: &[Record]) -> Vec<String> {
    let machines = records
        .iter()
        .filter(|record| !record.machine.is_empty())
        .map(|record| format!("Measured on {}.", record.machine));
    let remarks = records
        .iter()
        .filter(|record| !record.note.is_empty())
        .map(|record| format!("{}, {}: {}.", record.workload, record.label, record.note));
    let clients = records
        .iter()
        .filter(|record| record.is_client_bound())
        .map(|record| {
            format!(
                "{}, {}: the load generator was busy all the time; the server may do better.",
                record.workload, record.label
            )
        });
    let errors = records
        .iter()
        .filter(|record| record.errors > 0)
        .map(|record| {
            format!(
                "{}, {}: {} errors, the first: {}",
                record.workload, record.label, record.errors, record.first_error
            )
        });
    let all: Vec<String> = machines
        .chain(remarks)
        .chain(clients)
        .chain(errors)
        .collect();
    distinct(all.iter().map(String::as_str))
}

fn distinct<'a>(all: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for one in all {
        if !found.iter().any(|known| known == one) {
            found.push(one.to_owned());
        }
    }
    found
}

/// Three significant digits, and no more than three after the point.
fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two servers; the second was measured twice.
    pub(super) fn records() -> Vec<Record> {
        let record = |workload: &str, label: &str, rate, cpu| Record {
            workload: workload.to_owned(),
            label: label.to_owned(),
            unit: "request".to_owned(),
            operations: 10,
            wall_seconds: 1.0,
            per_second: rate,
            cpu_ms_per_operation: Some(cpu),
            machine: "1 x <CPU>".to_owned(),
            ..Record::default()
        };
        vec![
            record("get-pod", "a", Some(1000.0), 0.5),
            record("idle", "a", None, 0.0),
            record("get-pod", "b & c", Some(1900.0), 0.3),
            record("get-pod", "b & c", Some(2100.0), 0.2),
        ]
    }

    #[test]
    fn rows_and_medians() {
        let report = Report::new(&records());
        assert_eq!(report.labels, ["a", "b & c"]);
        let rows: Vec<_> = report
            .rows
            .iter()
            .map(|row| (row.workload.as_str(), row.metric.name, row.values.clone()))
            .collect();
        let expected = [
            ("get-pod", "rate", vec![Some(1000.0), Some(2000.0)]),
            ("get-pod", "CPU", vec![Some(0.5), Some(0.25)]),
            ("idle", "CPU", vec![Some(0.0), None]),
        ];
        assert_eq!(rows, expected);
        assert_eq!(report.rows[0].ratio(1), Some(2.0));
        assert_eq!(report.rows[2].ratio(1), None);
        assert_eq!(report.notes, ["Measured on 1 x <CPU>."]);
    }

    #[test]
    fn figures() {
        for (value, expected) in [
            (0.0, "0"),
            (0.0123, "0.012"),
            (1.2345, "1.23"),
            (12.345, "12.3"),
            (12345.6, "12346"),
        ] {
            assert_eq!(figure(value), expected);
        }
    }
}
