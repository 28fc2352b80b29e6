//! `/metrics/resource`. Upstream: `pkg/kubelet/metrics/collectors/resource_metrics.go`.
//!
//! Samples carry the time they were taken at, which the Prometheus library cannot do; so the text is written here.

use std::fmt::Write as _;

use super::model::{CpuStats, MemoryStats, Summary, Time};

/// One metric family.
pub(super) struct Family<'a> {
    name: &'a str,
    lines: String,
    head: String,
}

impl<'a> Family<'a> {
    pub(super) fn new(name: &'a str, kind: &str, help: &str) -> Self {
        Family {
            name,
            lines: String::new(),
            head: format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"),
        }
    }

    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: f64, time: Option<Time>) {
        self.lines.push_str(self.name);
        if !labels.is_empty() {
            let labels: Vec<String> = labels
                .iter()
                .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
                .collect();
            let _ = write!(self.lines, "{{{}}}", labels.join(","));
        }
        let _ = write!(self.lines, " {}", number(value));
        if let Some(Time(Some(time))) = time {
            let _ = write!(self.lines, " {}", time.as_millisecond());
        }
        self.lines.push('\n');
    }

    /// The family, if it has samples.
    pub(super) fn text(self) -> String {
        if self.lines.is_empty() {
            String::new()
        } else {
            self.head + &self.lines
        }
    }
}

fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// As Go's `%g` in the text format: an exponent from 21 digits on.
fn number(value: f64) -> String {
    let exponent = if value == 0.0 {
        0.0
    } else {
        value.abs().log10().floor()
    };
    if !(-4.0..21.0).contains(&exponent) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent
            .strip_prefix('-')
            .map_or(('+', exponent), |digits| ('-', digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{value}")
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating point")]
pub(super) fn float(value: u64) -> f64 {
    value as f64
}

pub(super) fn seconds(nanoseconds: u64) -> f64 {
    float(nanoseconds) / 1e9
}

fn cpu(family: &mut Family<'_>, labels: &[(&str, &str)], stats: Option<&CpuStats>) {
    if let Some(stats) = stats
        && let Some(used) = stats.usage_core_nano_seconds
    {
        family.sample(labels, seconds(used), Some(stats.time));
    }
}

fn memory(family: &mut Family<'_>, labels: &[(&str, &str)], stats: Option<&MemoryStats>) {
    if let Some(stats) = stats
        && let Some(used) = stats.working_set_bytes
    {
        family.sample(labels, float(used), Some(stats.time));
    }
}

/// The metrics; only the error when there is no summary.
pub(super) fn text(summary: Option<&Summary>) -> String {
    let mut container_cpu = Family::new(
        "container_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
    );
    let mut container_memory = Family::new(
        "container_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the container in bytes",
    );
    let mut container_start = Family::new(
        "container_start_time_seconds",
        "gauge",
        "[STABLE] Start time of the container since unix epoch in seconds",
    );
    let mut container_swap_limit = Family::new(
        "container_swap_limit_bytes",
        "gauge",
        "[ALPHA] Current amount of the container swap limit in bytes. Reported only on non-windows systems",
    );
    let mut container_swap = Family::new(
        "container_swap_usage_bytes",
        "gauge",
        "[ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems",
    );
    let mut node_cpu = Family::new(
        "node_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
    );
    let mut node_memory = Family::new(
        "node_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the node in bytes",
    );
    let mut node_swap = Family::new(
        "node_swap_usage_bytes",
        "gauge",
        "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems",
    );
    let mut pod_cpu = Family::new(
        "pod_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
    );
    let mut pod_memory = Family::new(
        "pod_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the pod in bytes",
    );
    let mut pod_swap = Family::new(
        "pod_swap_usage_bytes",
        "gauge",
        "[ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems",
    );
    let mut error = Family::new(
        "resource_scrape_error",
        "gauge",
        "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
    );
    error.sample(&[], if summary.is_some() { 0.0 } else { 1.0 }, None);
    if let Some(summary) = summary {
        cpu(&mut node_cpu, &[], summary.node.cpu.as_ref());
        memory(&mut node_memory, &[], summary.node.memory.as_ref());
        if let Some(swap) = &summary.node.swap
            && let Some(used) = swap.swap_usage_bytes
        {
            node_swap.sample(&[], float(used), Some(swap.time));
        }
        for pod in &summary.pods {
            let pod_labels = [
                ("namespace", pod.pod_ref.namespace.as_str()),
                ("pod", pod.pod_ref.name.as_str()),
            ];
            for container in &pod.containers {
                let labels = [
                    ("container", container.name.as_str()),
                    pod_labels[0],
                    pod_labels[1],
                ];
                if let Time(Some(start)) = container.start_time
                    && start.as_second() > 0
                {
                    container_start.sample(
                        &labels,
                        start.as_second() as f64 + f64::from(start.subsec_nanosecond()) / 1e9,
                        None,
                    );
                }
                cpu(&mut container_cpu, &labels, container.cpu.as_ref());
                memory(&mut container_memory, &labels, container.memory.as_ref());
                if let Some(swap) = &container.swap {
                    let used = swap.swap_usage_bytes.unwrap_or(0);
                    if swap.swap_usage_bytes.is_some() {
                        container_swap.sample(&labels, float(used), Some(swap.time));
                    }
                    if let Some(available) = swap.swap_available_bytes {
                        container_swap_limit.sample(
                            &labels,
                            float(available + used),
                            Some(swap.time),
                        );
                    }
                }
            }
            cpu(&mut pod_cpu, &pod_labels, pod.cpu.as_ref());
            memory(&mut pod_memory, &pod_labels, pod.memory.as_ref());
            if let Some(swap) = &pod.swap
                && let Some(used) = swap.swap_usage_bytes
            {
                pod_swap.sample(&pod_labels, float(used), Some(swap.time));
            }
        }
    }
    // In the order of their names, as the library does.
    [
        container_cpu,
        container_memory,
        container_start,
        container_swap_limit,
        container_swap,
        node_cpu,
        node_memory,
        node_swap,
        pod_cpu,
        pod_memory,
        pod_swap,
        error,
    ]
    .into_iter()
    .map(Family::text)
    .collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::model::{ContainerStats, NodeStats, PodReference, PodStats, SwapStats};
    use super::*;

    #[test]
    fn numbers() {
        for (value, want) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (1_624_396_278.302, "1624396278.302"),
            (4e9, "4000000000"),
            (1e21, "1e+21"),
            (1e-5, "1e-05"),
        ] {
            assert_eq!(number(value), want);
        }
    }

    #[test]
    fn families() {
        assert_eq!(
            text(None),
            "# HELP resource_scrape_error [STABLE] 1 if there was an error while getting container metrics, 0 otherwise\n\
             # TYPE resource_scrape_error gauge\nresource_scrape_error 1\n"
        );
        let time = Time(Some(Timestamp::from_second(1000).expect("time")));
        let cpu = Some(CpuStats {
            time,
            usage_core_nano_seconds: Some(10_500_000_000),
            ..Default::default()
        });
        let memory = Some(MemoryStats {
            time,
            working_set_bytes: Some(1000),
            ..Default::default()
        });
        let summary = Summary {
            node: NodeStats {
                cpu: cpu.clone(),
                memory: memory.clone(),
                ..Default::default()
            },
            pods: vec![PodStats {
                pod_ref: PodReference {
                    name: "pod_a".to_owned(),
                    namespace: "ns".to_owned(),
                    uid: "u".to_owned(),
                },
                containers: vec![ContainerStats {
                    name: "c".to_owned(),
                    start_time: time,
                    cpu,
                    memory,
                    swap: Some(SwapStats {
                        time,
                        swap_available_bytes: Some(5),
                        swap_usage_bytes: Some(7),
                    }),
                    ..Default::default()
                }],
                ..Default::default()
            }],
        };
        let text = text(Some(&summary));
        for line in [
            "node_cpu_usage_seconds_total 10.5 1000000\n",
            "node_memory_working_set_bytes 1000 1000000\n",
            "container_cpu_usage_seconds_total{container=\"c\",namespace=\"ns\",pod=\"pod_a\"} 10.5 1000000\n",
            "container_start_time_seconds{container=\"c\",namespace=\"ns\",pod=\"pod_a\"} 1000\n",
            "container_swap_limit_bytes{container=\"c\",namespace=\"ns\",pod=\"pod_a\"} 12 1000000\n",
            "resource_scrape_error 0\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("pod_cpu_usage_seconds_total"));
    }
}
