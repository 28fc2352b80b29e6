//! Rows of apps, batch, autoscaling and policy kinds.

use api_types::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use api_types::autoscaling::v1::Scale;
use api_types::autoscaling::v2::{HorizontalPodAutoscaler, MetricSpec, MetricStatus};
use api_types::batch::v1::{CronJob, Job, JobCondition};
use api_types::core::v1::Container;
use api_types::policy::v1::PodDisruptionBudget;
use api_types::{Quantity, Struct};
use serde_json::Value;

use super::{
    Cells, Column, NONE, Row, TableRow, UNKNOWN, UNSET, columns, format_labels, format_selector,
    seconds_between, since,
};

/// Container names and images, each as one comma-separated cell.
pub(super) fn container_cells(cells: &mut Cells, containers: &[Container]) {
    cells
        .text(
            containers
                .iter()
                .map(|container| container.name.as_str())
                .collect::<Vec<_>>()
                .join(","),
        )
        .text(
            containers
                .iter()
                .map(|container| container.image.as_str())
                .collect::<Vec<_>>()
                .join(","),
        );
}

impl TableRow for Deployment {
    const COLUMNS: &'static [Column] = columns::DEPLOYMENT_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(format!(
                "{}/{}",
                self.status.ready_replicas,
                self.spec.replicas.unwrap_or(1)
            ))
            .int(self.status.updated_replicas)
            .int(self.status.available_replicas)
            .age(&self.metadata);
        container_cells(cells, &self.spec.template.spec.containers);
        // Unlike other kinds, an empty selector prints as nothing here.
        let selector = match self.spec.selector.as_deref() {
            None => String::new(),
            Some(selector) => apimachinery::labels::Selector::from_label_selector(Some(selector))
                .map_or_else(|_| "<invalid>".to_owned(), |selector| selector.to_string()),
        };
        cells.text(selector);
    }
}

impl TableRow for ReplicaSet {
    const COLUMNS: &'static [Column] = columns::REPLICA_SET_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .int(self.spec.replicas.unwrap_or(1))
            .int(self.status.replicas)
            .int(self.status.ready_replicas)
            .age(&self.metadata);
        container_cells(cells, &self.spec.template.spec.containers);
        cells.text(format_selector(self.spec.selector.as_deref()));
    }
}

impl TableRow for StatefulSet {
    const COLUMNS: &'static [Column] = columns::STATEFUL_SET_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(format!(
                "{}/{}",
                self.status.ready_replicas,
                self.spec.replicas.unwrap_or(1)
            ))
            .age(&self.metadata);
        container_cells(cells, &self.spec.template.spec.containers);
    }
}

impl TableRow for DaemonSet {
    const COLUMNS: &'static [Column] = columns::DAEMON_SET_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .int(self.status.desired_number_scheduled)
            .int(self.status.current_number_scheduled)
            .int(self.status.number_ready)
            .int(self.status.updated_number_scheduled)
            .int(self.status.number_available)
            .text(format_labels(&self.spec.template.spec.node_selector))
            .age(&self.metadata);
        container_cells(cells, &self.spec.template.spec.containers);
        cells.text(format_selector(self.spec.selector.as_deref()));
    }
}

impl TableRow for ControllerRevision {
    const COLUMNS: &'static [Column] = columns::CONTROLLER_REVISION_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let controller = self
            .metadata
            .owner_references
            .iter()
            .find(|owner| owner.controller == Some(true));
        let controller = controller.map_or_else(
            || NONE.to_owned(),
            |owner| {
                let group = owner
                    .api_version
                    .split_once('/')
                    .map_or("", |(group, _)| group);
                let kind = if group.is_empty() {
                    owner.kind.clone()
                } else {
                    format!("{}.{group}", owner.kind)
                };
                format!("{}/{}", kind.to_lowercase(), owner.name)
            },
        );
        cells
            .text(self.metadata.name.clone())
            .text(controller)
            .int(self.revision)
            .age(&self.metadata);
    }
}

fn has_condition(conditions: &[JobCondition], kind: &str) -> bool {
    conditions
        .iter()
        .find(|condition| condition.type_ == kind)
        .is_some_and(|condition| condition.status == "True")
}

impl TableRow for Job {
    const COLUMNS: &'static [Column] = columns::JOB_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let succeeded = self.status.succeeded;
        let completions = match (self.spec.completions, self.spec.parallelism.unwrap_or(0)) {
            (Some(completions), _) => format!("{succeeded}/{completions}"),
            (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
            (None, _) => format!("{succeeded}/1"),
        };
        let duration = match (self.status.start_time, self.status.completion_time) {
            (None, _) => String::new(),
            (Some(start), None) => apimachinery::duration::human(seconds_between(
                start.timestamp(),
                jiff::Timestamp::now(),
            )),
            (Some(start), Some(end)) => {
                apimachinery::duration::human(seconds_between(start.timestamp(), end.timestamp()))
            }
        };
        let conditions = &self.status.conditions;
        let status = if has_condition(conditions, "Complete") {
            "Complete"
        } else if has_condition(conditions, "Failed") {
            "Failed"
        } else if self.metadata.deletion_timestamp.is_some() {
            "Terminating"
        } else {
            ["Suspended", "FailureTarget", "SuccessCriteriaMet"]
                .into_iter()
                .find(|kind| has_condition(conditions, kind))
                .unwrap_or("Running")
        };
        cells
            .text(self.metadata.name.clone())
            .text(status)
            .text(completions)
            .text(duration)
            .age(&self.metadata);
        container_cells(cells, &self.spec.template.spec.containers);
        cells.text(format_selector(self.spec.selector.as_deref()));
    }
}

impl TableRow for CronJob {
    const COLUMNS: &'static [Column] = columns::CRON_JOB_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let job = &self.spec.job_template.spec;
        cells
            .text(self.metadata.name.clone())
            .text(self.spec.schedule.clone())
            .text(
                self.spec
                    .time_zone
                    .clone()
                    .unwrap_or_else(|| NONE.to_owned()),
            )
            .text(match self.spec.suspend {
                Some(true) => "True",
                Some(false) => "False",
                None => UNSET,
            })
            .int(self.status.active.len() as i64)
            .text(
                self.status
                    .last_schedule_time
                    .map_or_else(|| NONE.to_owned(), since),
            )
            .age(&self.metadata);
        container_cells(cells, &job.template.spec.containers);
        cells.text(format_selector(job.selector.as_deref()));
    }
}

fn quantity(value: Option<&Quantity>) -> String {
    value.map_or_else(|| "<nil>".to_owned(), ToString::to_string)
}

fn current_or_unknown(value: Option<&Quantity>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), ToString::to_string)
}

fn percent_or(value: Option<i32>, otherwise: &str) -> String {
    value.map_or_else(|| otherwise.to_owned(), |value| format!("{value}%"))
}

/// One metric as `current/target`.
fn format_metric(spec: &MetricSpec, status: Option<&MetricStatus>) -> String {
    match spec.type_.as_str() {
        "External" => {
            let (Some(source), current) = (
                &spec.external,
                status.and_then(|status| status.external.as_ref()),
            ) else {
                return "<unknown type>".to_owned();
            };
            match &source.target.average_value {
                Some(target) => format!(
                    "{}/{target} (avg)",
                    current_or_unknown(
                        current.and_then(|current| current.current.average_value.as_ref())
                    )
                ),
                None => format!(
                    "{}/{}",
                    current.map_or_else(
                        || UNKNOWN.to_owned(),
                        |current| quantity(current.current.value.as_ref())
                    ),
                    quantity(source.target.value.as_ref())
                ),
            }
        }
        "Pods" => {
            let (Some(source), current) =
                (&spec.pods, status.and_then(|status| status.pods.as_ref()))
            else {
                return "<unknown type>".to_owned();
            };
            format!(
                "{}/{}",
                current.map_or_else(
                    || UNKNOWN.to_owned(),
                    |current| quantity(current.current.average_value.as_ref())
                ),
                quantity(source.target.average_value.as_ref())
            )
        }
        "Object" => {
            let (Some(source), current) = (
                &spec.object,
                status.and_then(|status| status.object.as_ref()),
            ) else {
                return "<unknown type>".to_owned();
            };
            match &source.target.average_value {
                Some(target) => format!(
                    "{}/{target} (avg)",
                    current_or_unknown(
                        current.and_then(|current| current.current.average_value.as_ref())
                    )
                ),
                None => format!(
                    "{}/{}",
                    current.map_or_else(
                        || UNKNOWN.to_owned(),
                        |current| quantity(current.current.value.as_ref())
                    ),
                    quantity(source.target.value.as_ref())
                ),
            }
        }
        "Resource" => {
            let (Some(source), current) = (
                &spec.resource,
                status.and_then(|status| status.resource.as_ref()),
            ) else {
                return "<unknown type>".to_owned();
            };
            match &source.target.average_value {
                Some(target) => {
                    format!(
                        "{}: {}/{target}",
                        source.name,
                        current.map_or_else(
                            || UNKNOWN.to_owned(),
                            |current| quantity(current.current.average_value.as_ref())
                        )
                    )
                }
                None => format!(
                    "{}: {}/{}",
                    source.name,
                    percent_or(
                        current.and_then(|current| current.current.average_utilization),
                        UNKNOWN
                    ),
                    percent_or(source.target.average_utilization, "<auto>")
                ),
            }
        }
        "ContainerResource" => {
            let (Some(source), current) = (
                &spec.container_resource,
                status.and_then(|status| status.container_resource.as_ref()),
            ) else {
                return "<unknown type>".to_owned();
            };
            match &source.target.average_value {
                Some(target) => {
                    format!(
                        "{}: {}/{target}",
                        source.name,
                        current.map_or_else(
                            || UNKNOWN.to_owned(),
                            |current| quantity(current.current.average_value.as_ref())
                        )
                    )
                }
                None => format!(
                    "{}: {}/{}",
                    source.name,
                    percent_or(
                        current.and_then(|current| current.current.average_utilization),
                        UNKNOWN
                    ),
                    percent_or(source.target.average_utilization, "<auto>")
                ),
            }
        }
        _ => "<unknown type>".to_owned(),
    }
}

fn format_metrics(specs: &[MetricSpec], statuses: &[MetricStatus]) -> String {
    const MAX: usize = 2;
    if specs.is_empty() {
        return NONE.to_owned();
    }
    let shown: Vec<String> = specs
        .iter()
        .enumerate()
        .take(MAX)
        .map(|(i, spec)| format_metric(spec, statuses.get(i)))
        .collect();
    let text = shown.join(", ");
    if specs.len() > MAX {
        format!("{text} + {} more...", specs.len() - MAX)
    } else {
        text
    }
}

impl TableRow for HorizontalPodAutoscaler {
    const COLUMNS: &'static [Column] = columns::HORIZONTAL_POD_AUTOSCALER_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(format!(
                "{}/{}",
                self.spec.scale_target_ref.kind, self.spec.scale_target_ref.name
            ))
            .text(format_metrics(
                &self.spec.metrics,
                &self.status.current_metrics,
            ))
            .text(
                self.spec
                    .min_replicas
                    .map_or_else(|| UNSET.to_owned(), |replicas| replicas.to_string()),
            )
            .int(self.spec.max_replicas)
            .int(self.status.current_replicas)
            .age(&self.metadata);
    }
}

impl TableRow for Scale {
    const COLUMNS: &'static [Column] = columns::SCALE_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .int(self.spec.replicas)
            .int(self.status.replicas)
            .age(&self.metadata);
    }
}

/// The row of a custom resource's scale. Upstream prints what the JSON has: a count of 0 and no creation time are left out there.
pub(super) fn custom_scale(object: &dyn Struct) -> Option<Row> {
    let scale = object.downcast_ref::<Scale>()?;
    let mut cells = Cells::default();
    cells.text(scale.metadata.name.clone());
    match scale.spec.replicas {
        0 => cells.0.push(Value::Null),
        replicas => {
            cells.int(replicas);
        }
    }
    cells.int(scale.status.replicas);
    if scale.metadata.creation_timestamp.is_zero() {
        cells.0.push(Value::Null);
    } else {
        cells.age(&scale.metadata);
    }
    Some((cells, None))
}

impl TableRow for PodDisruptionBudget {
    const COLUMNS: &'static [Column] = columns::POD_DISRUPTION_BUDGET_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let or_not_applicable = |value: &Option<_>| {
            value.as_ref().map_or_else(
                || "N/A".to_owned(),
                |value: &api_types::IntOrString| value.to_string(),
            )
        };
        cells
            .text(self.metadata.name.clone())
            .text(or_not_applicable(&self.spec.min_available))
            .text(or_not_applicable(&self.spec.max_unavailable))
            .int(self.status.disruptions_allowed)
            .age(&self.metadata);
    }
}
